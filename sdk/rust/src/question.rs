//! What a rule is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// One question. All of it is an input: a rule keeps nothing from one question to the next.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Question {
    /// What is asked about.
    pub image: Image,
    /// What verified signatures established. Only signatures that the policy accepts become claims.
    pub claims: Vec<Claim>,
    /// What verified attestations say.
    pub attestations: Vec<Attestation>,
    /// What wants to run the image, if it is a cluster that asks.
    pub workload: Option<Workload>,
    /// Evaluation time (seconds since 1970-01-01 UTC). There is no other clock.
    pub now: u64,
}

/// The image that is asked about. Its names are as the asker gave them; its digest is what runs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// As messages name it: `docker://registry.example.com/ns/app:1`.
    pub name: String,
    /// The complete reference: `registry.example.com/ns/app:1`; absent where the transport has none.
    #[serde(default)]
    pub reference: Option<String>,
    /// The reference without tag and digest: `registry.example.com/ns/app`.
    #[serde(default)]
    pub repository: Option<String>,
    /// The tag by which the image was named; absent if it was named by digest alone.
    #[serde(default)]
    pub tag: Option<String>,
    /// Of the manifest: `sha256:` and 64 lower-case hexadecimal digits.
    pub digest: String,
    /// `os/architecture[/variant]`, if the image was chosen from an index that tells.
    #[serde(default)]
    pub platform: Option<String>,
}

/// A fact that a verified signature established.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claim {
    /// `simple-signing`.
    pub format: String,
    /// Fingerprint of the primary key, upper-case hexadecimal.
    pub key: String,
    /// Fingerprint of the key or subkey that made the signature.
    pub signing_key: String,
    /// The reference that was signed, exactly as signed.
    pub reference: String,
    /// The manifest digest that was signed.
    pub digest: String,
    /// When the signature says it was made (seconds since 1970-01-01 UTC).
    pub signed_at: Option<u64>,
    /// Who the signature says made it.
    pub creator: Option<String>,
    /// The earliest expiry among the signature, its key and the primary key.
    pub valid_until: Option<u64>,
    /// Names of the key's numbers: claims that share one were made by the same signer.
    pub material: Vec<String>,
}

/// A verified statement about the image (in-toto).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attestation {
    /// URI of the predicate's type: `https://slsa.dev/provenance/v1`.
    pub predicate_type: String,
    /// The predicate, as JSON.
    pub predicate: String,
    /// Who signed it.
    pub signed_by: Claim,
}

/// What wants to run the image, as the cluster tells it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Absent for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Absent where the cluster will make one up.
    pub name: Option<String>,
    /// Of the object itself.
    pub labels: BTreeMap<String, String>,
    /// Of the object itself.
    pub annotations: BTreeMap<String, String>,
    /// `CREATE`, `UPDATE`, ...
    pub operation: String,
    /// Who asks the cluster for it.
    pub user: String,
    /// Of that user.
    pub groups: Vec<String>,
}

impl Question {
    /// The distinct signers behind the claims, each by the fingerprints of its primary keys. Claims that share
    /// any key material are one signer's, whatever names the keys have.
    pub fn signers(&self) -> Vec<BTreeSet<&str>> {
        let mut signers: Vec<(BTreeSet<&str>, BTreeSet<&str>)> = Vec::new();
        for claim in &self.claims {
            let mut keys = BTreeSet::from([claim.key.as_str()]);
            let mut material: BTreeSet<&str> = claim.material.iter().map(String::as_str).collect();
            material.extend([claim.key.as_str(), claim.signing_key.as_str()]);
            signers.retain(|(other_keys, other)| {
                let separate = other.is_disjoint(&material);
                if !separate {
                    keys.extend(other_keys);
                    material.extend(other);
                }
                separate
            });
            signers.push((keys, material));
        }
        signers.into_iter().map(|(keys, _)| keys).collect()
    }

    /// The namespace of what wants to run the image.
    pub fn namespace(&self) -> Option<&str> {
        self.workload.as_ref()?.namespace.as_deref()
    }

    /// A label of what wants to run the image.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.workload.as_ref()?.labels.get(name).map(String::as_str)
    }

    /// The verified attestations whose predicate has this type.
    pub fn attestations_of<'a>(
        &'a self,
        predicate_type: &'a str,
    ) -> impl Iterator<Item = &'a Attestation> {
        self.attestations
            .iter()
            .filter(move |attestation| attestation.predicate_type == predicate_type)
    }
}

impl Image {
    /// The registry: `registry.example.com:5000` of `registry.example.com:5000/ns/app`. Absent where the
    /// transport has no references.
    pub fn host(&self) -> Option<&str> {
        let (host, _) = self.repository.as_deref()?.split_once('/')?;
        Some(host)
    }

    /// The path within the registry: `ns/app`.
    pub fn path(&self) -> Option<&str> {
        let (_, path) = self.repository.as_deref()?.split_once('/')?;
        Some(path)
    }
}

impl Claim {
    /// How many seconds before `now` the signature was made. Absent if it says no time, or one that is yet to
    /// come.
    pub fn age(&self, now: u64) -> Option<u64> {
        now.checked_sub(self.signed_at?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(key: &str, material: &[&str]) -> Claim {
        let material = material.iter().map(|name| (*name).to_owned()).collect();
        Claim { key: key.to_owned(), signing_key: key.to_owned(), material, ..Claim::default() }
    }

    #[test]
    fn claims_that_share_material_have_one_signer() {
        let claims = vec![
            claim("A", &["1"]),
            claim("B", &["2"]),
            claim("C", &["1", "2"]),
            claim("D", &["3"]),
        ];
        let question = Question { claims, ..Question::default() };
        assert_eq!(question.signers(), [BTreeSet::from(["A", "B", "C"]), BTreeSet::from(["D"])]);
    }

    #[test]
    fn keys_count_where_there_is_no_material() {
        let claims = vec![claim("A", &[]), claim("A", &[]), claim("B", &[])];
        assert_eq!(Question { claims, ..Question::default() }.signers().len(), 2);
    }

    #[test]
    fn a_port_belongs_to_the_host() {
        let repository = Some("registry.example.com:5000/ns/app".to_owned());
        let image = Image { repository, ..Image::default() };
        assert_eq!(
            (image.host(), image.path()),
            (Some("registry.example.com:5000"), Some("ns/app"))
        );
        assert_eq!(Image::default().host(), None);
    }

    #[test]
    fn a_signature_from_the_future_has_no_age() {
        let claim = Claim { signed_at: Some(10), ..Claim::default() };
        assert_eq!((claim.age(12), claim.age(9), Claim::default().age(9)), (Some(2), None, None));
    }
}
