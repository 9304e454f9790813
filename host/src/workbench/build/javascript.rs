//! Rules in JavaScript: componentize-js, an npm package, with everything switched off.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, absolute, find, read, run, scratch};

pub(super) fn build(folder: &Path, tools: Option<&Path>) -> Result<Vec<u8>, BuildError> {
    let node = find("node").ok_or_else(|| BuildError::Missing {
        what: "node".to_owned(),
        install: "install Node.js 20 or later (Debian: `apt-get install nodejs npm`)".to_owned(),
    })?;
    let folder = absolute(folder)?;
    let tools = tools.map(absolute).transpose()?;
    let packages = packages(&folder, tools.as_deref()).ok_or_else(|| BuildError::Missing {
        what: format!("the npm package {PACKAGE}"),
        install: format!("run `npm install` in {}", folder.display()),
    })?;
    let scratch = scratch()?;
    let output = scratch.path().join("rule.wasm");
    let mut command = Command::new(node);
    command.args(["--input-type", "module", "--eval", SCRIPT, "--"]).arg(packages).arg(&output);
    run(&folder, &mut command)?;
    read(&output)
}

/// The folder whose `node_modules` has the package: `tools`, or as Node.js looks for it, that of the rule or one
/// above.
fn packages(folder: &Path, tools: Option<&Path>) -> Option<PathBuf> {
    let places = tools.into_iter().chain(folder.ancestors());
    let mut places = places.filter(|place| place.join("node_modules").join(PACKAGE).is_dir());
    places.next().map(Path::to_owned)
}

/// It makes components of JavaScript.
const PACKAGE: &str = "@bytecodealliance/componentize-js";

/// It calls the package.
const SCRIPT: &str = include_str!("componentize.mjs");
