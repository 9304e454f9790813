//! The webhook server.

mod configuration;
mod quantity;

pub use configuration::{Configuration, ConfigurationError, Source, schema};
