//! The documentation: what it says of the code is so.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

mod codes;
mod commands;
mod json;
mod limits;
mod links;
mod markdown;
mod metrics;
mod policies;
mod policy;

/// Every page, by its path from the root.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY"]
            .iter()
            .map(|name| format!("{name}.md"))
            .collect();
    pages.extend(files("docs", "md"));
    pages.extend(files("policies", "md"));
    pages.extend(files("deploy", "md"));
    pages
}

/// The content of a file, by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| missing(path, &error))
}

/// The files below a folder that have an extension, by their paths from the root, in order.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root().join(&folder)).expect("a folder of the project");
        for entry in entries {
            let path = folder.join(entry.expect("an entry").file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(text(&path));
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    path.to_str().expect("a name in UTF-8").to_owned()
}

#[expect(clippy::panic, reason = "a page that is missing is the failure of the test that reads it")]
fn missing(path: &str, error: &std::io::Error) -> String {
    panic!("{path}: {error}")
}
