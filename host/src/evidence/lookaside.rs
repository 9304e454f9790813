//! Lookasides: `BASE/PATH@ALGORITHM=HEX/signature-1`, `…/signature-2`, … until the first that is missing
//! (signature-protocols.md of containers/image).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use guest_policy::digest::Digest;
use guest_policy::image::{
    MAX_SIGNATURE_BYTES, MAX_SIGNATURE_BYTES_TOTAL, Signature, SignatureForm,
};
use guest_policy::reference::Reference;
use reqwest::Url;
use tokio::task::JoinSet;

use super::location::redacted;
use super::{EvidenceError, Location, RegistriesD};
use crate::image::{FileFault, read_limited};
use crate::registry::{Client, shown};

/// Every signature of a manifest. One deadline holds for all: a store could be slow with each of them.
pub(super) async fn read(
    client: &Client,
    registries: &RegistriesD,
    repository: &Reference,
    digest: &Digest,
) -> Result<Vec<Signature>, EvidenceError> {
    let base = registries.lookaside(repository)?;
    client
        .within_deadline(&redacted(&base.to_string()), read_from(client, &base, repository, digest))
        .await
}

async fn read_from(
    client: &Client,
    base: &Location,
    repository: &Reference,
    digest: &Digest,
) -> Result<Vec<Signature>, EvidenceError> {
    let signature_url = |number| base.signature(digest, number);
    let mut found = Vec::new();
    let mut total = 0;
    // Requests are made by twos, so that an image with one signature costs no third one. What is behind the
    // first missing number is never looked at, so that the result is that of asking one by one.
    let mut pending = JoinSet::new();
    let mut arrived = BTreeMap::new();
    let mut asked = 0;
    for number in 1..=UNREASONABLE {
        let needed = if number > asked { number - 1 + LOOK_AHEAD } else { asked };
        while asked < UNREASONABLE.min(needed) {
            asked += 1;
            let place = Place::of(&signature_url(asked))?;
            let (client, registry) = (client.clone(), repository.domain().to_owned());
            let number = asked;
            pending.spawn(async move { (number, place.read(&client, &registry).await) });
        }
        let result = loop {
            if let Some(result) = arrived.remove(&number) {
                break result;
            }
            match pending.join_next().await {
                Some(Ok((number, result))) => arrived.insert(number, result),
                Some(Err(stopped)) => {
                    return Err(EvidenceError::Bug { fault: stopped.to_string() });
                }
                None => return Err(EvidenceError::Bug { fault: "no request is left".to_owned() }),
            };
        };
        let Some(signature) = result? else { return Ok(found) };
        total += signature.content.len();
        if total > MAX_SIGNATURE_BYTES_TOTAL {
            let image = repository.familiar();
            return Err(EvidenceError::TooMuch { image, total });
        }
        found.push(signature);
    }
    Err(EvidenceError::TooMany { store: redacted(&base.to_string()), count: UNREASONABLE })
}

/// Where one signature is.
enum Place {
    File(PathBuf),
    Http(Url),
}

impl Place {
    fn of(location: &Location) -> Result<Self, EvidenceError> {
        let unsupported = || EvidenceError::Scheme { url: redacted(&location.to_string()) };
        match location.scheme() {
            "file" => Ok(Self::File(PathBuf::from(location.path()))),
            "http" | "https" => {
                Url::parse(&location.to_string()).map(Self::Http).map_err(|_| unsupported())
            }
            _ => Err(unsupported()),
        }
    }

    async fn read(
        self,
        client: &Client,
        registry: &str,
    ) -> Result<Option<Signature>, EvidenceError> {
        let (source, content) = match self {
            Self::File(path) => match read_limited(&path, MAX_SIGNATURE_BYTES) {
                Ok(content) => (path.display().to_string(), Some(content)),
                Err(FileFault::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(fault) => return Err(fault.into()),
            },
            Self::Http(url) => {
                let content = client.file(&url, Some(registry), MAX_SIGNATURE_BYTES).await?;
                (shown(&url), content)
            }
        };
        let form = SignatureForm::Stored;
        Ok(content.map(|content| Signature { source, form, content }))
    }
}

/// Requests that are under way at once. Two make an image with one signature cost one round trip; more
/// would burden the server with questions whose answer nobody needs.
const LOOK_AHEAD: usize = 2;

/// The number of signatures that containers/image takes for a fault of the server.
pub(super) const UNREASONABLE: usize = 128;
