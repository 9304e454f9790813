//! Credentials that come with a question, beside those that the process has itself.

/// Credentials of one workload, in lookup order. What is fetched with one keyring is not shown to those
/// who ask with another.
#[derive(Debug, Default)]
pub struct Keyring {
    id: [u8; 32],
}

impl Keyring {
    /// Tells keyrings apart: equal exactly if their content is. Says nothing about the content.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }
}
