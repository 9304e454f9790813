//! Credentials that come with a question, beside those that the process has itself.

use sha2::Digest as _;

use super::CredentialsError;

/// Credentials of one workload, in lookup order. What is fetched with one keyring is not shown to those
/// who ask with another.
#[derive(Debug, Default)]
pub struct Keyring {
    id: [u8; 32],
}

impl Keyring {
    /// Of docker configurations, each with a name for messages, in lookup order.
    ///
    /// # Errors
    ///
    /// One cannot be read.
    pub fn from_docker_configs<N: Into<String>, B: Into<Vec<u8>>>(
        configs: impl IntoIterator<Item = (N, B)>,
    ) -> Result<Self, CredentialsError> {
        let mut hash = sha2::Sha256::new();
        for (_, content) in configs {
            hash.update(content.into());
        }
        Ok(Self { id: hash.finalize().into() })
    }

    /// Tells keyrings apart: equal exactly if their content is. Says nothing about the content.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }
}
