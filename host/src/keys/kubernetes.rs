//! The documents that bring a key into a cluster, and the names of its objects.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::Value;

use super::{KeyError, StoredKey};
use crate::webhook_config::{Namespace, is_label, quoted};

/// What a cluster is told of a key.
#[derive(Debug)]
pub struct Manifests<'a> {
    /// The key.
    pub key: &'a StoredKey,
    /// Where; `None` for whatever namespace kubectl is set to.
    pub namespace: Option<&'a Namespace>,
    /// The Secret's name.
    pub secret: &'a ObjectName,
    /// The ConfigMap's name.
    pub config_map: &'a ObjectName,
}

impl Manifests<'_> {
    /// Two documents, to be applied at the time `now`. They hold the private key.
    ///
    /// # Errors
    ///
    /// A key cannot be written.
    pub fn yaml(&self, now: u64) -> Result<String, KeyError> {
        let (mut secret, mut config_map) = (Value::Null, Value::Null);
        self.key.fill(&mut secret)?;
        self.key.published(now, &[])?.fill(&mut config_map);
        Ok(format!(
            "# The private key {}: whoever may read this Secret may sign.\n{}---\n\
             # The public key: what policies name.\n{}",
            self.key.fingerprint(),
            self.document(&secret, self.secret),
            self.document(&config_map, self.config_map),
        ))
    }

    fn document(&self, object: &Value, name: &ObjectName) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut yaml = format!("apiVersion: v1\nkind: {}\n", text(&object["kind"]));
        if object["type"].is_string() {
            let _ = writeln!(yaml, "type: {}", text(&object["type"]));
        }
        let _ = writeln!(yaml, "metadata:\n  name: {}", quoted(name.as_str()));
        if let Some(namespace) = self.namespace {
            let _ = writeln!(yaml, "  namespace: {}", quoted(namespace.as_str()));
        }
        yaml.push_str("  annotations:\n");
        for (name, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
            let _ = writeln!(yaml, "    {name}: {}", quoted(&text(value)));
        }
        yaml.push_str("data:\n");
        for (name, value) in object["data"].as_object().into_iter().flatten() {
            match text(value) {
                lines if lines.contains('\n') => yaml.push_str(&block(name, &lines)),
                word => {
                    let _ = writeln!(yaml, "  {name}: {word}");
                }
            }
        }
        yaml
    }
}

/// The name of a Secret or ConfigMap: labels with dots between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectName(String);

impl ObjectName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > MAX_OBJECT_NAME_BYTES || !text.split('.').all(is_label) {
            return Err(InvalidName);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The API server would refuse the name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected lower-case letters, digits, hyphens and dots, as Kubernetes wants them in names")]
pub struct InvalidName;

/// A text as a value of a ConfigMap. Armour has no line that YAML would read otherwise.
fn block(name: &str, armour: &str) -> String {
    let mut text = format!("  {name}: |\n");
    for line in armour.lines() {
        let indent = if line.is_empty() { "" } else { "    " };
        let _ = writeln!(text, "{indent}{line}");
    }
    text
}

/// Longest name of an object: a subdomain of DNS (RFC 1123), as Kubernetes has it.
const MAX_OBJECT_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for text in ["a", "signature-secret-key", "a.b-c.d"] {
            assert_eq!(text.parse::<ObjectName>().map(|name| name.0), Ok(text.to_owned()));
        }
        for text in ["", "A", "a_b", "-a", "a..b", "a\nb", &"a.".repeat(200)] {
            assert_eq!(text.parse::<ObjectName>(), Err(InvalidName), "{text}");
        }
    }
}
