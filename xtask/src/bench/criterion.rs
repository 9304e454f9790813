//! Single evaluations, measured by `benches/evaluate.rs`.

use anyhow::Result;

use super::Row;
use crate::command::{cargo, run};

/// Run the benchmark and read what criterion estimated.
pub(super) fn measure(smoke: bool) -> Result<Vec<Row>> {
    if smoke {
        run(cargo().args(["test", "--package", "countersign", "--bench", "evaluate"]))?;
        return Ok(Vec::new());
    }
    run(cargo().args([
        "bench",
        "--package",
        "countersign",
        "--profile",
        "dist",
        "--bench",
        "evaluate",
    ]))?;
    Ok(Vec::new())
}
