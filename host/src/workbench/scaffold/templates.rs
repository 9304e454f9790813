//! The files of new rules, which are part of the program.

use crate::workbench::Language;

/// Path and content of each file of a rule in this language.
pub(super) fn files(language: Language) -> Vec<(&'static str, &'static str)> {
    let own: &[_] = match language {
        Language::Rust => &RUST,
        Language::JavaScript => &JAVASCRIPT,
        Language::Python => &PYTHON,
    };
    let interface: &[_] = match language {
        Language::Rust => &SDK,
        Language::JavaScript | Language::Python => &WIT,
    };
    [&SHARED, own, interface].concat()
}

/// What stands in the files for the rule's name.
pub(super) const NAME: &str = "RULE-NAME";

macro_rules! template {
    ($folder:literal: $($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../templates/rule/", $folder, $path)))),*]
    };
}

/// The library, since it is not where cargo would find it.
macro_rules! sdk {
    ($($path:literal),* $(,)?) => {
        [$((concat!("countersign-rule/", $path), include_str!(concat!("../../../../sdk/rust/", $path)))),*]
    };
}

type Files<const N: usize> = [(&'static str, &'static str); N];

const SHARED: Files<5> = [
    (".gitignore", include_str!("../../../templates/rule/gitignore")),
    CASES[0],
    CASES[1],
    CASES[2],
    CASES[3],
];

/// The same in all languages, and so are the answers.
const CASES: Files<4> = template! { "":
    "cases/allows-a-known-registry.json",
    "cases/denies-an-image-without-a-registry.json",
    "cases/denies-another-registry.json",
    "cases/refuses-settings-without-hosts.json",
};

const RUST: Files<4> = template! { "rust/": "Cargo.lock", "Cargo.toml", "README.md", "src/lib.rs" };

const JAVASCRIPT: Files<6> = template! { "js/":
    "README.md", "judge.js", "package-lock.json", "package.json", "rule.js", "test/judge.test.js",
};

const PYTHON: Files<5> = template! { "python/":
    "README.md", "app.py", "judge.py", "requirements.txt", "tests/test_judge.py",
};

const WIT: Files<2> = [
    ("wit/world.wit", include_str!("../../../templates/rule/world.wit")),
    ("wit/deps/countersign-policy/rule.wit", include_str!("../../../../wit/0.1.0/rule.wit")),
];

const SDK: Files<15> = sdk! {
    "Cargo.toml",
    "src/answer.rs",
    "src/artifact.rs",
    "src/bindings.rs",
    "src/crypto.rs",
    "src/data.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/question.rs",
    "src/rule.rs",
    "src/testing.rs",
    "src/testing/base64.rs",
    "src/testing/case.rs",
    "src/testing/time.rs",
    "wit/rule.wit",
};

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn below(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> =
            paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect();
        files.sort();
        files
    }

    #[test]
    fn the_whole_library_is_part_of_a_new_rule() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/rust");
        let there: Vec<_> = below(&sdk)
            .into_iter()
            .map(|path| Path::new("countersign-rule").join(path.strip_prefix(&sdk).expect("below")))
            .collect();
        let mut embedded = SDK.map(|(path, _)| PathBuf::from(path));
        embedded.sort();
        assert_eq!(there, embedded);
    }

    #[test]
    fn every_file_of_the_templates_is_used() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/rule");
        let there = below(&templates).len();
        assert_eq!(there, RUST.len() + JAVASCRIPT.len() + PYTHON.len() + CASES.len() + 2);
    }

    #[test]
    fn the_library_says_nothing_that_would_be_taken_for_the_name() {
        for (path, content) in SDK.iter().chain(&WIT) {
            assert!(!content.contains(NAME), "{path}");
        }
    }
}
