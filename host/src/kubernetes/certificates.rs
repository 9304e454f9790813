//! What the server stores in the API when it makes its certificates itself: a Secret with certificate and
//! key, on which all replicas agree, and the authority in the webhook configurations.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::api::{self, Question};
use super::{Cluster, ClusterError};

/// A Secret of type `kubernetes.io/tls`. Everything is PEM.
#[derive(Clone, Eq, PartialEq)]
pub struct TlsSecret {
    /// `tls.crt`: the server's certificate and those between it and the authority.
    pub certificate: String,
    /// `tls.key`. Shown nowhere.
    pub key: String,
    /// `ca.crt`: whom clients have to trust, the authorities of before included.
    pub authority: String,
    /// Which version of the Secret this is; absent if it is not stored.
    pub version: Option<String>,
}

impl TlsSecret {
    /// One that is not stored yet.
    pub fn new(certificate: String, key: String, authority: String) -> Self {
        Self { certificate, key, authority, version: None }
    }

    /// Whether there is a certificate in it. An installation may lay an empty Secret down, so that the
    /// server needs no right to create any.
    pub fn is_filled(&self) -> bool {
        ![&self.certificate, &self.key, &self.authority].iter().any(|part| part.is_empty())
    }

    fn data(&self) -> [(&'static str, &str); 3] {
        [("tls.crt", &self.certificate), ("tls.key", &self.key), ("ca.crt", &self.authority)]
    }
}

impl fmt::Debug for TlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSecret")
            .field("certificate", &self.certificate)
            .field("authority", &self.authority)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// Somebody else was first: read again, and take what is there.
    Conflict,
}

impl Cluster {
    /// The server's certificate; `None` if there is no such Secret.
    ///
    /// # Errors
    ///
    /// The API does not answer, the server may not `get` the Secret, or it is of another type.
    pub async fn tls_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<TlsSecret>, ClusterError> {
        let place = Place::new(namespace, name)?;
        let read = async {
            let Some(secret) = self.get::<Value>(&place.path(), &place.what).await? else {
                return Ok(None);
            };
            let unusable = |fault: String| place.unreadable(fault);
            check_type(&secret).map_err(unusable)?;
            let part = |key: &str| {
                let Some(encoded) = secret["data"][key].as_str() else { return Ok(String::new()) };
                let decoded = BASE64_STANDARD.decode(encoded).ok();
                let text = decoded.and_then(|content| String::from_utf8(content).ok());
                text.ok_or_else(|| place.unreadable(format!("{key} is not text in base64")))
            };
            Ok(Some(TlsSecret {
                certificate: part("tls.crt")?,
                key: part("tls.key")?,
                authority: part("ca.crt")?,
                version: version(&secret).map(str::to_owned),
            }))
        };
        api::within(self.settings.deadline, &place.what, read).await
    }

    /// Store the server's certificate: in a new Secret if no version is expected, else in place of that
    /// version. Labels, annotations and owners of the Secret stay. The version of `secret` itself does
    /// not matter.
    ///
    /// # Errors
    ///
    /// The API does not answer, the server may not `create` or `get` and `update` the Secret, or it is of
    /// another type.
    pub async fn store_tls_secret(
        &self,
        namespace: &str,
        name: &str,
        secret: &TlsSecret,
        expected_version: Option<&str>,
    ) -> Result<Written, ClusterError> {
        let place = Place::new(namespace, name)?;
        let write = async {
            match expected_version {
                None => self.create(&place, secret).await,
                Some(expected) => self.update(&place, secret, expected).await,
            }
        };
        api::within(self.settings.deadline, &place.what, write).await
    }

    /// Make the API server trust an authority, or several during a rotation, when it calls the webhooks
    /// of these configurations (mutating or validating, or both of that name). Nothing is written where
    /// it does already.
    ///
    /// # Errors
    ///
    /// The API does not answer, the server may not `get` and `patch` the configurations, one of them does
    /// not exist, or `bundle` is not certificates in PEM and nothing else.
    pub async fn publish_authority(
        &self,
        webhooks: &[String],
        bundle: &str,
    ) -> Result<(), ClusterError> {
        check_bundle(bundle)?;
        let encoded = BASE64_STANDARD.encode(bundle);
        for name in webhooks {
            let name = api::name("webhook configuration", name)?;
            let what = format!("webhook configuration {name:?}");
            let publish = async {
                let mut found = false;
                for kind in CONFIGURATIONS {
                    let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/{name}");
                    found |= self.publish(&path, &what, &encoded).await?;
                }
                if found {
                    return Ok(());
                }
                Err(ClusterError::Unreadable { what: what.clone(), fault: "there is none".into() })
            };
            api::within(self.settings.deadline, &what, publish).await?;
        }
        Ok(())
    }

    /// Publish in one configuration; false if it does not exist.
    async fn publish(&self, path: &str, what: &str, encoded: &str) -> Result<bool, ClusterError> {
        let mut tries = 0;
        loop {
            let Some(configuration) = self.get::<Value>(path, what).await? else {
                return Ok(false);
            };
            let patch = patch(&configuration, encoded);
            if patch.is_empty() {
                return Ok(true);
            }
            let (method, patch) = (Method::PATCH, Value::from(patch));
            let content = Some(("application/json-patch+json", &patch));
            let question = Question { method: method.clone(), path, content };
            let answer = self.ask(question, what).await?;
            tries += 1;
            match answer.status {
                200 => return Ok(true),
                // It was changed in between: a `test` failed, or the API server says so itself.
                409 | 422 if tries < MAX_PATCHES => {}
                _ => return Err(answer.refusal(&method, what)),
            }
        }
    }

    async fn create(&self, place: &Place<'_>, secret: &TlsSecret) -> Result<Written, ClusterError> {
        let mut document = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": TLS,
            "metadata": {"name": place.name, "namespace": place.namespace},
        });
        fill(&mut document, secret);
        let path = format!("/api/v1/namespaces/{}/secrets", place.namespace);
        let content = Some(("application/json", &document));
        let question = Question { method: Method::POST, path: &path, content };
        let answer = self.ask(question, &place.what).await?;
        match answer.status {
            200..=202 => Ok(Written::Stored),
            409 => Ok(Written::Conflict),
            _ => Err(answer.refusal(&Method::POST, &place.what)),
        }
    }

    async fn update(
        &self,
        place: &Place<'_>,
        secret: &TlsSecret,
        expected: &str,
    ) -> Result<Written, ClusterError> {
        let path = place.path();
        let Some(mut document) = self.get::<Value>(&path, &place.what).await? else {
            return Ok(Written::Conflict);
        };
        if version(&document) != Some(expected) {
            return Ok(Written::Conflict);
        }
        check_type(&document).map_err(|fault| place.unreadable(fault))?;
        // The version stays in it, so that the API refuses what somebody else changed meanwhile.
        fill(&mut document, secret);
        let content = Some(("application/json", &document));
        let question = Question { method: Method::PUT, path: &path, content };
        let answer = self.ask(question, &place.what).await?;
        match answer.status {
            200 | 201 => Ok(Written::Stored),
            404 | 409 => Ok(Written::Conflict),
            _ => Err(answer.refusal(&Method::PUT, &place.what)),
        }
    }
}

/// Where a Secret is.
struct Place<'a> {
    namespace: &'a str,
    name: &'a str,
    /// For messages.
    what: String,
}

impl<'a> Place<'a> {
    fn new(namespace: &'a str, name: &'a str) -> Result<Self, ClusterError> {
        let namespace = api::name("namespace", namespace)?;
        let name = api::name("Secret", name)?;
        Ok(Self { namespace, name, what: format!("Secret {name:?} of namespace {namespace:?}") })
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.namespace, self.name)
    }

    fn unreadable(&self, fault: String) -> ClusterError {
        ClusterError::Unreadable { what: self.what.clone(), fault }
    }
}

fn version(object: &Value) -> Option<&str> {
    object["metadata"]["resourceVersion"].as_str()
}

fn check_type(secret: &Value) -> Result<(), String> {
    match secret["type"].as_str() {
        Some(TLS) => Ok(()),
        other => Err(format!("its type is {:?}, expected {TLS:?}", other.unwrap_or_default())),
    }
}

/// Put the certificate into a Secret, beside whatever else is in it.
fn fill(document: &mut Value, secret: &TlsSecret) {
    if !document["data"].is_object() {
        document["data"] = json!({});
    }
    for (key, content) in secret.data() {
        document["data"][key] = BASE64_STANDARD.encode(content).into();
    }
}

/// What gives every webhook of a configuration the authority that has another one, or none. That the
/// place is still that webhook's is tested with it.
fn patch(configuration: &Value, encoded: &str) -> Vec<Value> {
    let webhooks = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut operations = Vec::new();
    for (place, webhook) in webhooks.iter().enumerate() {
        if webhook["clientConfig"]["caBundle"].as_str() == Some(encoded) {
            continue;
        }
        let path = format!("/webhooks/{place}");
        operations
            .push(json!({"op": "test", "path": format!("{path}/name"), "value": webhook["name"]}));
        operations.push(json!({
            "op": "add",
            "path": format!("{path}/clientConfig/caBundle"),
            "value": encoded,
        }));
    }
    operations
}

/// Refuse what would make the API server trust something else, or show everybody a key.
fn check_bundle(bundle: &str) -> Result<(), ClusterError> {
    let fault = |fault: &str| ClusterError::Authority { fault: fault.to_owned() };
    if bundle.contains("PRIVATE KEY") {
        return Err(fault("there is a private key in it"));
    }
    let mut certificates = CertificateDer::pem_slice_iter(bundle.as_bytes()).peekable();
    // An empty bundle means the authorities of the API server's system.
    if certificates.peek().is_none() {
        return Err(fault("there is no certificate in it; expected PEM"));
    }
    match certificates.all(|certificate| certificate.is_ok()) {
        true => Ok(()),
        false => Err(fault("it is not PEM")),
    }
}

const TLS: &str = "kubernetes.io/tls";

const CONFIGURATIONS: [&str; 2] =
    ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

/// Most times that a patch is made anew because the configuration was changed meanwhile: replicas that
/// start together want the same.
const MAX_PATCHES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_differs_and_nothing_else() {
        let configuration = json!({"webhooks": [
            {"name": "a", "clientConfig": {"caBundle": "bmV3", "service": {"name": "s"}}},
            {"name": "b", "clientConfig": {"caBundle": "b2xk"}},
            {"name": "c", "clientConfig": {}},
        ]});
        let expected = json!([
            {"op": "test", "path": "/webhooks/1/name", "value": "b"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "bmV3"},
            {"op": "test", "path": "/webhooks/2/name", "value": "c"},
            {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": "bmV3"},
        ]);
        assert_eq!(Value::from(patch(&configuration, "bmV3")), expected);
        assert!(patch(&json!({}), "bmV3").is_empty());
    }

    #[test]
    fn only_certificates_are_published() {
        for (bundle, words) in [
            ("", "no certificate"),
            ("nothing of the kind", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
            ("-----BEGIN EC PRIVATE KEY-----\n", "private key"),
        ] {
            let fault = check_bundle(bundle).expect_err(bundle).to_string();
            assert!(fault.contains(words), "{fault}");
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let secret = TlsSecret::new("crt".into(), "s3cret".into(), "ca".into());
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
