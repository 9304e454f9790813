//! `ImageSigning` of `countersign.dev/v1`: what people write, and what they are told. `deploy/operator/crds.yaml`
//! says the same to the API server; a test compares the two.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key that signs, as it is wanted.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "countersign.dev",
    version = "v1",
    kind = "ImageSigning",
    plural = "imagesignings",
    namespaced,
    status = "ImageSigningStatus",
    doc = "A key that signs images: a Secret with the secret half, a ConfigMap with the public one",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Fingerprint", "type": "string", "jsonPath": ".status.fingerprint"}"#,
    printcolumn = r#"{"name": "Expires", "type": "string", "jsonPath": ".status.expires"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ImageSigningSpec {
    /// Whose keys are made. Only a key that is imported and never replaced needs none.
    pub identity: Option<Identity>,

    /// What keys are made with, from the next one on.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,

    /// When a key ends, from the next one on: never, or a duration (90d, 12w, 6m, 2y).
    #[serde(default = "expires")]
    pub expires: String,

    /// The Secret with the key that signs, in its entry secret.asc.
    #[serde(default = "secret_name")]
    pub secret_name: String,

    /// The ConfigMap with the public keys: public.asc, trusted.asc and previous.asc.
    #[serde(default = "config_map_name")]
    pub config_map_name: String,

    /// When keys are replaced. Without it they are not.
    pub rotation: Option<RotationSpec>,

    /// A key that is there already. It is taken over once, while there is no other.
    pub import: Option<ImportSpec>,

    /// What protects the keys. Without it, whoever may read the Secret may sign.
    pub passphrase: Option<PassphraseSpec>,

    /// Fingerprints of keys that are not trusted any more. If one of them signs, it is replaced at once.
    #[serde(default)]
    pub revoked: Vec<String>,

    /// What becomes of the key when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Whose keys are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct Identity {
    /// A person or team.
    pub name: String,
    /// By it the key is named.
    pub email: String,
    /// Behind the name, in brackets.
    #[serde(default)]
    pub comment: String,
}

/// What keys are made with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "the names are those of gpg, and a description of each makes the schema a union"
)]
pub enum KeyAlgorithm {
    Ed25519,
    P256,
    Rsa2048,
    #[default]
    Rsa3072,
    Rsa4096,
}

/// When keys are replaced.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationSpec {
    /// How long a key signs: a duration (90d, 12w, 6m, 2y).
    pub every: String,
    /// How long signatures of a key count after it was replaced.
    #[serde(default = "keep_previous_for")]
    pub keep_previous_for: String,
    /// How long before it signs the next public key is published, so that it reaches all who verify.
    #[serde(default = "announce_for")]
    pub announce_for: String,
}

/// A key that is there already.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportSpec {
    /// The Secret that has it. If it is the one of secretName, it stays where it is.
    pub secret_ref: KeyReference,
}

/// Where a key is.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct KeyReference {
    /// Of the Secret, in the same namespace.
    pub name: String,
    /// Of its entry.
    #[serde(default = "secret_entry")]
    pub key: String,
}

/// What protects the keys.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassphraseSpec {
    /// The Secret whose entry has it, in the first line.
    pub secret_ref: PassphraseReference,
}

/// Where a passphrase is.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct PassphraseReference {
    /// Of the Secret, in the same namespace.
    pub name: String,
    /// Of its entry.
    #[serde(default = "passphrase_entry")]
    pub key: String,
}

/// What becomes of the key when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[expect(
    missing_docs,
    reason = "the names say it, and a description of each makes the schema a union"
)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// What became of it. There is never a private key in it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSigningStatus {
    /// The generation of the resource that this is about.
    pub observed_generation: Option<i64>,
    /// Of the key that signs.
    pub fingerprint: Option<String>,
    /// When it ends.
    pub expires: Option<String>,
    /// When the next one signs.
    pub next_rotation: Option<String>,
    /// Of the key that is about to sign.
    pub next_fingerprint: Option<String>,
    /// The keys before it whose signatures count.
    #[serde(default)]
    pub previous: Vec<PreviousStatus>,
    /// Ready: the key is there, and its public half is published.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A key that was replaced.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousStatus {
    /// In upper-case hexadecimal.
    pub fingerprint: String,
    /// How long its signatures count.
    pub trusted_until: String,
}

/// A condition as meta/v1 has it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is said.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// The generation that it was said of.
    pub observed_generation: Option<i64>,
    /// When it last became another one.
    pub last_transition_time: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

fn expires() -> String {
    "2y".to_owned()
}

pub(super) fn secret_name() -> String {
    "signature-secret-key".to_owned()
}

pub(super) fn config_map_name() -> String {
    "signature-public-key".to_owned()
}

fn keep_previous_for() -> String {
    "90d".to_owned()
}

fn announce_for() -> String {
    "0d".to_owned()
}

fn secret_entry() -> String {
    "secret.asc".to_owned()
}

fn passphrase_entry() -> String {
    "passphrase".to_owned()
}
