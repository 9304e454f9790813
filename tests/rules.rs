//! Rules in the sandbox: what they may use, hostile ones, and one that must work for ever.

mod capabilities;
mod compile;
mod crypto;
pub(crate) mod golden;
mod hostile;
pub(crate) mod module;
