//! Simple signing: a JSON payload that binds a manifest digest to a Docker reference, inside an OpenPGP
//! message (containers-signature(5)).

mod payload;
mod stored;

pub use payload::{Payload, PayloadError};
pub use stored::{Sigstore, Stored, StoredError};
