//! What operators see: logs, metrics and traces.

mod metrics;

pub use metrics::{Metrics, Stage};
