//! Rules in the sandbox: what they may use, hostile ones, and one that must work for ever.

pub(crate) mod golden;
pub(crate) mod module;
