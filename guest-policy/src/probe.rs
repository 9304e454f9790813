//! The conformance cases' entrance: one question in, one answer out, both as JSON, so that the native
//! build and the sandboxed one can be asked the same and must answer the same, byte for byte.

mod policy;
mod signature;

use serde_json::{Value, json};

/// Answer the case `op` (`kind/op` of the conformance data). Never panics on what a case says; what cannot
/// be understood is answered with `{"unsupported": …}`.
pub fn run(op: &str, input: &str) -> String {
    let Ok(input) = serde_json::from_str::<Value>(input) else {
        return json!({"unsupported": "the input is not JSON"}).to_string();
    };
    let answer = policy::run(op, &input).or_else(|| signature::run(op, &input));
    answer.unwrap_or_else(|| json!({"unsupported": op})).to_string()
}
