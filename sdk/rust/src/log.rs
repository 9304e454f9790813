//! Capability `log`: notes for the author and the operator. They are no part of the answer.
//!
//! `countersign rule run` and `verify --explain` show them. Lines beyond the limits of number and length are
//! dropped. In `cargo test` they go to standard error.

/// For whoever looks for a mistake in the rule.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// For whoever wants to know how the rule came to its answer.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is not as it should be.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something is wrong.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// One line.
pub fn write(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    {
        use crate::bindings::countersign::policy::log as wit;
        let level = match level {
            Level::Debug => wit::Level::Debug,
            Level::Info => wit::Level::Info,
            Level::Warn => wit::Level::Warn,
            Level::Error => wit::Level::Error,
        };
        wit::write(level, message);
    }
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// For whoever looks for a mistake in the rule.
    Debug,
    /// For whoever wants to know how the rule came to its answer.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something is wrong.
    Error,
}
