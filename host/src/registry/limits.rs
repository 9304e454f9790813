//! What a server may cost.

use std::time::Duration;

use super::RegistryError;

/// Largest body of a token or an error, in bytes: the limits of containers/image.
pub(super) const MAX_TOKEN_BYTES: usize = 1024 * 1024;

/// Most credentials of a keyring that are tried for one request. A workload has one or two for a registry;
/// registries lock accounts after some more failures.
pub(super) const MAX_OFFERS: usize = 8;

/// Most bytes of remembered authorizations: thousands of tokens, which have a few thousand characters.
pub(super) const MAX_AUTHORIZATION_BYTES: u64 = 16 * 1024 * 1024;

/// How long a token is good that does not say so (distribution specification, "Token Authentication").
pub(super) const TOKEN_FOR: Duration = Duration::from_secs(60);

/// How long before its end a token is not used any more: as long as a slow request may be on its way.
pub(super) const TOKEN_MARGIN: Duration = Duration::from_secs(5);

/// Longest use of an authorization, whatever it says itself. Tokens of cloud registries live for hours;
/// fetching one each hour costs nothing.
pub(super) const AUTHORIZED_FOR: Duration = Duration::from_secs(3600);

/// Most hosts about which something is remembered: clusters pull from dozens.
pub(super) const MAX_HOSTS: usize = 1024;

/// Most redirects that are followed. A registry needs one, to its storage.
pub(super) const MAX_REDIRECTS: usize = 5;

/// Most pages of a list of referrers that are read. Registries put a hundred and more on one.
pub(super) const MAX_PAGES: usize = 16;

/// Most times that a request is repeated after 429 or a failure of the server.
pub(super) const MAX_RETRIES: u32 = 2;

/// Ten times a slow handshake across the world.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that is silent for so long has failed; containers/image waits for ever.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Half of the 60 s that a kubelet gives a slow image service, so that the answer is still of use.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The largest module, 32 MiB, over a line of 1 Mbit/s. Nobody waits for an upload but who asked for it. A blob that is
/// streamed may stand still for as long: registries move large ones to their place before they answer.
pub(super) const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);

/// Most times that an upload is begun. A registry may forget one that is under way: another replica of it does
/// not know it, or it failed in the middle.
pub(super) const MAX_UPLOADS: usize = 2;

/// Long enough for a load balancer to turn to another server.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Read a body of at most `limit` bytes, without trusting its declared length.
pub(super) async fn read(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Vec<u8>, ReadFault> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(ReadFault::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadFault::Transfer)? {
        if chunk.len() > limit - body.len() {
            return Err(ReadFault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A body was not read.
pub(super) enum ReadFault {
    TooLarge,
    Transfer(reqwest::Error),
}

impl ReadFault {
    pub(super) fn into_error(self, url: &reqwest::Url, limit: usize) -> RegistryError {
        match self {
            Self::TooLarge => RegistryError::TooLarge { url: super::client::shown(url), limit },
            Self::Transfer(error) => super::client::transfer_error(url, &error),
        }
    }
}
