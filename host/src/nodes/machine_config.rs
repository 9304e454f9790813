//! OpenShift: a MachineConfig for each pool, whose operator writes the files onto nodes.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::files::NodeFiles;
use super::{POLICY, document};
use crate::webhook_config::{is_label, quoted};

/// What the operator is given.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// For the nodes of which pools: one document for each.
    pub pools: Vec<Pool>,
    /// The documents' names, with `POOL` for that of the pool.
    pub name: String,
    /// The version of what the documents hold.
    pub ignition: Ignition,
    /// Whether the policy was merged with that of the nodes.
    pub merged: bool,
}

impl MachineConfig {
    /// The name that is sorted behind all that the operator makes.
    pub const NAME: &str = "99-zz-POOL-image-policy";

    /// The documents, which begin with `warnings` as comments.
    ///
    /// # Errors
    ///
    /// A name is none that the API takes, or a document is larger than it takes.
    pub fn yaml(
        &self,
        files: &NodeFiles,
        warnings: &[String],
    ) -> Result<String, MachineConfigError> {
        let mut text = String::new();
        for warning in warnings {
            let _ = writeln!(text, "# {}", warning.replace('\n', " "));
        }
        for (place, pool) in self.pools.iter().enumerate() {
            let document = self.document(pool, files)?;
            if document.len() > MAX_MACHINE_CONFIG_BYTES {
                return Err(MachineConfigError::TooLarge { bytes: document.len() });
            }
            text.push_str(if place > 0 { "---\n" } else { "" });
            text.push_str(&document);
        }
        Ok(text)
    }

    /// What an administrator has to know before applying them.
    pub fn warnings(&self, files: &NodeFiles) -> Vec<String> {
        let mut warnings = Vec::new();
        for pool in &self.pools {
            let (name, generated) = (self.name(pool), format!("99-{pool}-generated-registries"));
            if name <= generated {
                warnings.push(format!(
                    "{name} comes before {generated} in the alphabet: as soon as image.config.openshift.io, a \
                     ClusterImagePolicy or an ImagePolicy has something to say of registries, the policy.json of \
                     that one replaces this one without a word"
                ));
            }
        }
        if !self.merged {
            warnings.push(
                "the policy.json of these documents replaces the one that the cluster makes of \
                 image.config.openshift.io (allowed and blocked registries), ClusterImagePolicy and ImagePolicy: take \
                 the one from a node and give it to --merge, again whenever one of these changes"
                    .to_owned(),
            );
        }
        if files.get(POLICY).is_some_and(rejects_by_default) {
            warnings.push(
                "the default is not to accept images: the cluster's own are not excepted unless a scope says so \
                 (quay.io/openshift-release-dev, registry.redhat.io, the internal registry), and without them nodes \
                 do not come up"
                    .to_owned(),
            );
        }
        let drained: Vec<_> =
            files.iter().map(|(path, _)| path).filter(|p| !is_reloaded(p)).collect();
        if drained.is_empty() {
            warnings.push(
                "nodes reload CRI-O; those of a cluster older than node disruption policies are drained and rebooted, \
                 one after the other"
                    .to_owned(),
            );
        } else {
            warnings.push(format!(
                "nodes are drained and rebooted, one after the other, unless spec.nodeDisruptionPolicy of \
                 MachineConfiguration lists {}; keys in the policy itself (--keys inline) and authorities in \
                 spec.additionalTrustedCA of image.config.openshift.io need no reboot",
                drained.join(", ")
            ));
        }
        warnings.push(
            "pods of a namespace with an ImagePolicy are judged by /etc/crio/policies/NAMESPACE.json alone, which the \
             cluster makes without these documents"
                .to_owned(),
        );
        warnings.push(
            "files that somebody edits on a node make its pool degraded; the proof is: oc get mcp says UPDATED, then \
             pull an image that must be refused"
                .to_owned(),
        );
        warnings
    }

    fn name(&self, pool: &Pool) -> String {
        self.name.replace("POOL", &pool.0)
    }

    fn document(&self, pool: &Pool, files: &NodeFiles) -> Result<String, MachineConfigError> {
        let name = self.name(pool);
        if name.len() > MAX_OBJECT_NAME_LENGTH || !name.split('.').all(is_label) {
            return Err(MachineConfigError::Name { name });
        }
        if self.pools.len() > 1 && !self.name.contains("POOL") {
            return Err(MachineConfigError::OneName { name });
        }
        let mut text = format!(
            "apiVersion: machineconfiguration.openshift.io/v1\n\
             kind: MachineConfig\n\
             metadata:\n\
             \x20 name: {}\n\
             \x20 labels:\n\
             \x20   machineconfiguration.openshift.io/role: {}\n\
             spec:\n\
             \x20 config:\n\
             \x20   ignition:\n\
             \x20     version: {}\n\
             \x20   storage:\n\
             \x20     files:\n",
            quoted(&name),
            quoted(&pool.0),
            self.ignition
        );
        for (path, content) in files.iter() {
            let (first, last) = match self.ignition.0 {
                2 => ("filesystem: root\n        path: ", ""),
                // Since 3.0 a file that is there is an error otherwise.
                _ => ("path: ", "        overwrite: true\n"),
            };
            let _ = write!(
                text,
                "      - {first}{}\n        mode: {MODE}\n{last}        contents:\n          source: {}\n",
                quoted(path),
                quoted(&data_url(content))
            );
        }
        Ok(text)
    }
}

/// The name of a pool of nodes: `worker`, `master`, or another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool(String);

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid =
            "expected the name of a MachineConfigPool, for example worker, master or infra";
        is_label(text).then(|| Self(text.to_owned())).ok_or(invalid)
    }
}

/// A version of Ignition's configuration that the operator takes: 2.2, or 3.0 to 3.5.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ignition(u8, u8);

impl fmt::Display for Ignition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.0, self.1)
    }
}

impl FromStr for Ignition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [(2, 2), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5)];
        let short = text.strip_suffix(".0").filter(|short| short.contains('.')).unwrap_or(text);
        let found = known.into_iter().find(|(a, b)| short == format!("{a}.{b}"));
        found.map(|(a, b)| Self(a, b)).ok_or("expected 2.2, or 3.0 to 3.5")
    }
}

/// A URL that is its own content (RFC 2397). A space is %20: `+` stands for itself there.
fn data_url(content: &[u8]) -> String {
    if std::str::from_utf8(content).is_err() {
        return format!("data:;base64,{}", STANDARD.encode(content));
    }
    let mut url = "data:,".to_owned();
    for byte in content {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            url.push(char::from(*byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

fn rejects_by_default(policy: &[u8]) -> bool {
    document::PolicyDocument::parse(policy).is_ok_and(|policy| !policy.accepts_by_default())
}

/// Whether the operator reloads CRI-O for a change of this file, instead of rebooting.
fn is_reloaded(path: &str) -> bool {
    path == POLICY || path.starts_with("/etc/containers/registries.d/")
}

/// There is no such MachineConfig.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineConfigError {
    /// The API takes no such name.
    #[error(
        "invalid name {name:?}: expected small letters, digits, hyphens and dots, for example {}",
        MachineConfig::NAME
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Several documents would have one name.
    #[error(
        "invalid name {name:?}: there are several pools; expected POOL in it, which becomes the pool's name"
    )]
    OneName {
        /// The name.
        name: String,
    },
    /// The API takes no such document.
    #[error(
        "a document of {bytes} bytes exceeded maximum allowed size of {MAX_MACHINE_CONFIG_BYTES} bytes; name fewer \
         keys, or smaller ones"
    )]
    TooLarge {
        /// How large.
        bytes: usize,
    },
}

/// 0644. JSON knows no octal numbers, and YAML's are another thing in each of its versions.
const MODE: u32 = 0o644;

/// Largest document: etcd takes requests of 1.5 MiB, and the operator keeps all configurations of a pool in one.
const MAX_MACHINE_CONFIG_BYTES: usize = 1 << 20;

/// Longest name of an object: that of a name of DNS.
const MAX_OBJECT_NAME_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_no_plus_for_a_space() {
        assert_eq!(data_url(b"{ \"a\": \"+\" }\n"), "data:,%7B%20%22a%22%3A%20%22%2B%22%20%7D%0A");
        assert_eq!(data_url("é".as_bytes()), "data:,%C3%A9");
        assert_eq!(data_url(b"\x99\xff"), "data:;base64,mf8=");
    }

    #[test]
    fn versions_are_those_that_the_operator_takes() {
        for (text, shown) in
            [("2.2", "2.2.0"), ("3.2.0", "3.2.0"), ("3.5", "3.5.0"), ("3.0", "3.0.0")]
        {
            assert_eq!(text.parse::<Ignition>().expect(text).to_string(), shown);
        }
        for text in ["", "2", "2.3", "3.6", "3", "3.2.1", "03.2"] {
            text.parse::<Ignition>().expect_err(text);
        }
    }

    #[test]
    fn our_name_comes_last() {
        let pools = ["worker", "master", "infra"].map(|name| Pool(name.to_owned())).to_vec();
        let ignition = Ignition(3, 2);
        let config =
            MachineConfig { pools, name: MachineConfig::NAME.to_owned(), ignition, merged: true };
        let none = config.warnings(&NodeFiles::default());
        assert!(none.iter().all(|warning| !warning.contains("alphabet")), "{none:?}");
        let early = MachineConfig { name: "51-POOL-rh-registry-trust".to_owned(), ..config };
        let told = early.warnings(&NodeFiles::default());
        assert_eq!(told.iter().filter(|warning| warning.contains("alphabet")).count(), 3);
    }

    #[test]
    fn names_that_the_api_refuses_are_refused() {
        let pools = vec![Pool("worker".to_owned()), Pool("master".to_owned())];
        let named = |name: &str| MachineConfig {
            pools: pools.clone(),
            name: name.to_owned(),
            ignition: Ignition(3, 2),
            merged: false,
        };
        let yaml = |name| named(name).yaml(&NodeFiles::default(), &[]);
        assert!(yaml("99-POOL").is_ok());
        assert!(matches!(yaml("99_POOL"), Err(MachineConfigError::Name { .. })));
        assert!(matches!(yaml("99-policy"), Err(MachineConfigError::OneName { .. })));
    }
}
