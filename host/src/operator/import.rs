//! Whether what is to be imported is a key that signs, and its public half its own. Nothing of it is in a message.

use super::step::Fault;
use crate::keys::{PublicKeys, SecretKey};
use crate::sign::SigningKey;

/// A key that stands in a resource itself. Keys of Kabanero have no passphrase.
pub(super) fn inline(content: &[u8], public: Option<&[u8]>) -> Result<SecretKey, Fault> {
    let key = SecretKey::read(content).ok_or_else(|| {
        let fault = "what stands in its place is not one OpenPGP key with its secret";
        Fault::ImportFailed(fault.to_owned())
    })?;
    belongs(&key, public)?;
    Ok(key)
}

/// A key that signs, with that passphrase if it needs one.
pub(super) fn checked(
    content: &[u8],
    public: Option<&[u8]>,
    passphrase: Option<&[u8]>,
    now: u64,
) -> Result<SecretKey, Fault> {
    let signer = SigningKey::read(content, passphrase, now);
    signer.map_err(|fault| Fault::ImportFailed(fault.to_string()))?;
    inline(content, public)
}

fn belongs(key: &SecretKey, public: Option<&[u8]>) -> Result<(), Fault> {
    let Some(public) = public else { return Ok(()) };
    let fingerprints = PublicKeys::read(public).map(|keys| keys.fingerprints());
    match fingerprints {
        Some(fingerprints) if fingerprints == [key.fingerprint()] => Ok(()),
        Some(fingerprints) => Err(Fault::ImportFailed(format!(
            "the public key {} does not belong to the secret one, {}",
            fingerprints.join(" "),
            key.fingerprint()
        ))),
        None => Err(Fault::ImportFailed("the public key is not an OpenPGP key".to_owned())),
    }
}
