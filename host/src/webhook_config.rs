//! The documents that make a cluster ask: webhook configurations, and what API servers are started with.
//!
//! They are text, with comments that say why each line is there, because an administrator reads them before
//! applying them. Whatever comes from outside is validated here and quoted. The manifests in `deploy/`
//! are what this prints.

mod api_server;
mod bundle;
mod names;
mod webhooks;

pub use api_server::{Credentials, ImagePolicy, RetryBackoff, Ttl};
pub use bundle::{Bundle, BundleError};
pub(crate) use names::is_label;
pub use names::{HttpsUrl, Invalid, Namespace, Resource, Service, Timeout};
pub use webhooks::{Client, FailurePolicy, Form, Kind, RESOURCES, Webhooks};

/// A text as YAML that is a string whatever it looks like: JSON's strings are YAML's, but for some control
/// characters that YAML wants escaped.
pub(crate) fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let escaped = |c: char| {
        if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
    };
    json.chars().map(escaped).collect()
}

/// A list of strings on one line.
fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{list, quoted};

    #[test]
    fn text_that_looks_like_yaml_stays_a_string() {
        for text in ["true", "null", "1e3", "- a", "a: b", "\"", "\n", "#", "*", "\u{7f}"] {
            let read: String = serde_saphyr::from_str(&quoted(text)).expect("YAML");
            assert_eq!(read, text);
        }
        let read: Vec<String> = serde_saphyr::from_str(&list(["yes", "a,b"])).expect("YAML");
        assert_eq!(read, ["yes", "a,b"]);
    }
}
