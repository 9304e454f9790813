//! registries.d: where nodes find signatures (containers-registries.d(5)).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use super::document::Scope;
use crate::evidence::Location;
use crate::webhook_config::quoted;

/// Where the signatures of a scope's images are: `SCOPE=URL`.
#[derive(Clone, Debug)]
pub struct Lookaside {
    pub(super) scope: Scope,
    pub(super) url: String,
}

impl FromStr for Lookaside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scope, url) = text.split_once('=').ok_or("expected SCOPE=URL")?;
        url.parse::<Location>().map_err(|fault| fault.to_string())?;
        let known =
            ["https://", "http://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        if !known || url.contains(char::is_whitespace) {
            return Err("expected a URL with https://, http:// or file:///".to_owned());
        }
        if url.ends_with('/') {
            return Err("expected a URL without a slash at its end: readers add one".to_owned());
        }
        Ok(Self { scope: scope.parse()?, url: url.to_owned() })
    }
}

/// What is said of one scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub(super) lookaside: Option<String>,
    pub(super) attachments: bool,
}

/// One file. `older`: for readers, too, that know `lookaside` by the name `sigstore` alone.
pub(super) fn yaml(stores: &BTreeMap<String, Store>, older: bool) -> String {
    let mut text = "docker:\n".to_owned();
    for (scope, store) in stores {
        let _ = writeln!(text, "  {}:", plain(scope));
        if let Some(url) = &store.lookaside {
            let _ = writeln!(text, "    lookaside: {}", plain(url));
            if older {
                let _ = writeln!(text, "    sigstore: {}", plain(url));
            }
        }
        if store.attachments {
            text.push_str("    use-sigstore-attachments: true\n");
        }
    }
    text
}

/// A string as people write it, where YAML takes it for a string.
fn plain(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "./:_-@=%~".contains(c);
    let letter = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if letter && text.contains(['.', '/']) && text.chars().all(harmless) && !text.ends_with(':') {
        text.to_owned()
    } else if text.chars().all(|c| harmless(c) || c == '*') {
        format!("'{text}'")
    } else {
        quoted(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_read_as_it_is_meant() {
        let scopes = ["*.example.com", "172.30.62.231:5000", "localhost", "a.example/b:1.0", "y.b"];
        let store = Store { lookaside: Some("https://a/?x=#y".to_owned()), attachments: true };
        let stores: BTreeMap<_, _> =
            scopes.iter().map(|scope| ((*scope).to_owned(), store.clone())).collect();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.yaml"), yaml(&stores, true)).expect("a file");
        let directories = crate::evidence::Directories::Explicit(folder.path().to_owned());
        let read = crate::evidence::RegistriesD::load(&directories).expect("registries.d");
        assert_eq!(read.sections().len(), scopes.len());
        for scope in scopes {
            let section = &read.sections()[scope];
            assert_eq!(section.lookaside.as_deref(), Some("https://a/?x=#y"));
            assert_eq!(section.sigstore, section.lookaside);
            assert_eq!(section.use_sigstore_attachments, Some(true));
        }
    }

    #[test]
    fn url_that_no_reader_fetches_is_refused() {
        for text in [
            "a.example",
            "a.example=",
            "a.example=ftp://x",
            "a.example=/x",
            "a.example=https://x/",
            "x=https://x",
        ] {
            text.parse::<Lookaside>().expect_err(text);
        }
        "a.example:5000/b=https://x/a=5000".parse::<Lookaside>().expect("a lookaside");
    }
}
