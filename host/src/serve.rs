//! The webhook server.

mod certificates;
mod configuration;
mod quantity;

pub use certificates::CertificateError;
pub use configuration::{Configuration, ConfigurationError, Source, schema};
