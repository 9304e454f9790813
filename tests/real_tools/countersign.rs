//! What the `countersign` binary says.

use std::process::Command;

use lab::skopeo::Answer;
use serde_json::Value;

use super::laboratory::{Laboratory, Place};

/// The answer to `countersign verify ARGUMENTS...`, which name one image.
#[expect(
    clippy::panic,
    reason = "an exit status that contradicts the answer is the test's failure"
)]
pub(super) fn verdict(laboratory: &Laboratory, place: &Place, arguments: &[&str]) -> Answer {
    let mut command = verify(laboratory, place);
    let output = lab::attempt(command.args(["--output", "json"]).args(arguments))
        .expect("the binary under test starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let document: Value = match serde_json::from_slice(&output.stdout) {
        Ok(document) => document,
        // A mistake in the question as a whole has no results.
        Err(_) if output.status.code() == Some(2) => return Answer::Error(stderr.into_owned()),
        Err(error) => panic!("{command:?}: {error}: {output:?}"),
    };
    let results = document["results"].as_array().expect("a list of results");
    let answers: Vec<Answer> = results.iter().map(answer).collect();
    let worst = answers
        .into_iter()
        .max_by_key(|answer| match answer {
            Answer::Allow => 0,
            Answer::Deny(_) => 1,
            Answer::Error(_) => 2,
        })
        .expect("a result");
    let status = match worst {
        Answer::Allow => 0,
        Answer::Deny(_) => 1,
        Answer::Error(_) => 2,
    };
    assert_eq!(output.status.code(), Some(status), "{command:?}: {document}\n{stderr}");
    worst
}

/// A call of `countersign verify` that still needs an image.
pub(super) fn verify(laboratory: &Laboratory, place: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    // Compiled code is kept for the next call, but not among the user's.
    command.env("XDG_CACHE_HOME", laboratory.path("cache"));
    command.arg("verify").arg("--policy").arg(&place.policy);
    command.arg("--registries-d").arg(&place.registries_d);
    command.args(["--plain-http", laboratory.host()]);
    command
}

fn answer(result: &Value) -> Answer {
    let reasons = result["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let messages: Vec<&str> =
        reasons.iter().filter_map(|reason| reason["message"].as_str()).collect();
    let text = messages.join("; ");
    match result["verdict"].as_str() {
        Some("allow") => Answer::Allow,
        Some("deny") => Answer::Deny(text),
        _ => Answer::Error(text),
    }
}
