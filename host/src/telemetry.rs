//! What operators see: logs, metrics and traces.

pub mod logs;
mod metrics;
pub mod traces;

pub use metrics::{Metrics, Stage};
