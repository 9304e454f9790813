//! The rules that ship: built and tested by the commands that their authors would use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use lab::compilers::Compiler;

use crate::command::{cargo, root, run, target};
use crate::setup;

/// Build every rule of policies/ into target/rules, and test each: its own tests first, and then its golden cases in
/// the sandbox. Rules whose compiler cannot be had here are named, and left out.
pub(crate) fn build_and_test() -> Result<()> {
    setup::compiler()?;
    let output = target().join("rules");
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    run(cargo().args(["build", "--package", "countersign"]))?;
    let rules = rules()?;
    let mut left_out = Vec::new();
    for rule in &rules {
        let module = output.join(format!("{}.wasm", rule.name));
        // What an earlier run left would be taken for this one's.
        if module.exists() {
            fs::remove_file(&module)
                .with_context(|| format!("cannot remove {}", module.display()))?;
        }
        let tools = match rule.language.compiler().map(Compiler::install) {
            None => None,
            Some(Ok(folder)) => Some(folder),
            Some(Err(error)) => {
                eprintln!("rules: {} is not built: {error:#}", rule.name);
                left_out.push(rule.name.as_str());
                continue;
            }
        };
        println!("rules: {} ({:?})", rule.name, rule.language);
        rule.own_tests()?;
        run(countersign(&["rule", "build"], tools.as_deref())
            .arg(&rule.folder)
            .arg("--output")
            .arg(&module))?;
        run(countersign(&["rule", "test"], None)
            .arg(&module)
            .arg("--cases")
            .arg(rule.folder.join("cases")))?;
    }
    match left_out.as_slice() {
        [] => println!("rules: all {} are in {}", rules.len(), output.display()),
        some => println!(
            "rules: {} of {} are in {}; not built, for want of their compilers: {}",
            rules.len() - some.len(),
            rules.len(),
            output.display(),
            some.join(", "),
        ),
    }
    Ok(())
}

/// A folder of policies/ that has a rule.
#[derive(Clone, Debug)]
struct Rule {
    name: String,
    folder: PathBuf,
    language: Language,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Language {
    Rust,
    JavaScript,
    Python,
}

impl Language {
    /// By the file that every such folder has, as `countersign rule build` tells it.
    fn of(folder: &Path) -> Option<Self> {
        let marks = [
            ("Cargo.toml", Self::Rust),
            ("package.json", Self::JavaScript),
            ("app.py", Self::Python),
        ];
        marks
            .into_iter()
            .find(|(mark, _)| folder.join(mark).is_file())
            .map(|(_, language)| language)
    }
}

impl Language {
    /// What is fetched for it; Rust's compiler is here already.
    fn compiler(self) -> Option<Compiler> {
        match self {
            Self::Rust => None,
            Self::JavaScript => Some(Compiler::JavaScript),
            Self::Python => Some(Compiler::Python),
        }
    }
}

impl Rule {
    /// The tests beside the source, which need no sandbox.
    fn own_tests(&self) -> Result<()> {
        match self.language {
            Language::Rust => run(cargo().args(["test", "--quiet", "--package", &self.name])),
            Language::JavaScript => {
                run(Command::new("node").args(["--test", "test/"]).current_dir(&self.folder))
            }
            Language::Python => run(Command::new("python3")
                // Without compiled code beside the source.
                .args(["-B", "-m", "unittest", "discover", "--quiet", "--start-directory", "tests"])
                .current_dir(&self.folder)),
        }
    }
}

/// All of them, in order of their names.
fn rules() -> Result<Vec<Rule>> {
    let policies = root().join("policies");
    let entries =
        fs::read_dir(&policies).with_context(|| format!("cannot read {}", policies.display()))?;
    let mut rules = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        // A folder without cases is a policy, or what rules share.
        if let Some(language) = Language::of(&folder)
            && folder.join("cases").is_dir()
        {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            rules.push(Rule { name, folder, language });
        }
    }
    if rules.is_empty() {
        bail!("there is no rule in {}", policies.display());
    }
    rules.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(rules)
}

/// The program that was just built.
fn countersign(words: &[&str], tools: Option<&Path>) -> Command {
    let mut command = Command::new(target().join("debug/countersign"));
    command.args(words);
    if let Some(tools) = tools {
        command.arg("--tools").arg(tools);
    }
    command
}
