//! The workbench for rules, as an author meets it: the real program, the real compiler of Rust. JavaScript and Python,
//! whose compilers come from their registries, are in `real_tools`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::root;

mod building;
mod library;
mod new;
mod testing;

/// `countersign rule …`, run to its end.
pub(crate) fn rule<S: AsRef<std::ffi::OsStr>>(
    folder: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.current_dir(folder).arg("rule").args(arguments);
    // Everything that a new rule needs was fetched to build this program.
    command.env("CARGO_NET_OFFLINE", "true");
    command.output().expect("the program starts")
}

/// Standard output of a command that ended with `status`.
#[track_caller]
pub(crate) fn out(output: &Output, status: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        output.status.code(),
        Some(status),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// What a command said on standard error.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A new rule in Rust, built once for all tests: the folder with `my-rule.wasm`.
fn my_rule() -> &'static Path {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, folder) = FOLDER.get_or_init(|| {
        // Not below the workspace's target folder: an author is elsewhere.
        let parent = tempfile::tempdir().expect("a folder");
        out(&rule(parent.path(), ["new", "my-rule", "--lang", "rust"]), 0);
        let folder = parent.path().join("my-rule");
        out(&rule(&folder, ["build"]), 0);
        (parent, folder)
    });
    folder
}
