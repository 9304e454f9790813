//! A key as a cluster keeps it: the secret half in a Secret, the public one in a ConfigMap.
//!
//! Secret and key in it have the names that Kabanero's tasks know: `signature-secret-key`, `secret.asc`.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{KeyError, PublicKeys, SecretKey};
use crate::report::time;
use crate::webhook_config::{Namespace, is_label, quoted};

/// What a cluster is told of a key.
#[derive(Debug)]
pub struct Manifests<'a> {
    /// The key.
    pub key: &'a SecretKey,
    /// The one that it takes the place of, if there is one.
    pub previous: Option<Previous>,
    /// Where; `None` for whatever namespace kubectl is set to.
    pub namespace: Option<&'a Namespace>,
    /// The Secret's name.
    pub secret: &'a ObjectName,
    /// The ConfigMap's name.
    pub config_map: &'a ObjectName,
}

/// A key whose time goes by.
#[derive(Debug)]
pub struct Previous {
    /// Its public half.
    pub keys: PublicKeys,
    /// How long its signatures are to be trusted, in seconds since 1970-01-01 UTC.
    pub until: u64,
}

impl Manifests<'_> {
    /// Two documents, to be applied. They hold the private key.
    ///
    /// # Errors
    ///
    /// A key cannot be written.
    pub fn yaml(&self) -> Result<String, KeyError> {
        let fingerprint = self.key.fingerprint();
        let secret = BASE64_STANDARD.encode(self.key.armoured()?);
        let mut yaml = format!(
            "# The private key {fingerprint}: whoever may read this Secret may sign.\n\
             apiVersion: v1\nkind: Secret\ntype: Opaque\n{}data:\n  secret.asc: {secret}\n",
            self.metadata(self.secret, &[("fingerprint", fingerprint.clone())]),
        );
        let mut annotations = vec![("fingerprint", fingerprint)];
        let mut data = block("public.asc", &self.key.public().armoured()?);
        if let Some(previous) = &self.previous {
            annotations.push(("previous-fingerprint", previous.keys.fingerprints().join(" ")));
            annotations.push(("previous-trusted-until", time(previous.until)));
            data += &block("previous.asc", &previous.keys.armoured()?);
        }
        // Writing to a string cannot fail.
        let _ = write!(
            yaml,
            "---\n# The public key: what policies name.\n\
             apiVersion: v1\nkind: ConfigMap\n{}data:\n{data}",
            self.metadata(self.config_map, &annotations),
        );
        Ok(yaml)
    }

    fn metadata(&self, name: &ObjectName, annotations: &[(&str, String)]) -> String {
        let mut text = format!("metadata:\n  name: {}\n", quoted(name.as_str()));
        if let Some(namespace) = self.namespace {
            let _ = writeln!(text, "  namespace: {}", quoted(namespace.as_str()));
        }
        text.push_str("  annotations:\n");
        for (name, value) in annotations {
            let _ = writeln!(text, "    {PREFIX}/{name}: {}", quoted(value));
        }
        text
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

/// Of annotations.
const PREFIX: &str = "countersign";

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
