//! `countersign rule build`: from source to a module.

use std::path::{Path, PathBuf};

use anyhow::Result;
use countersign::workbench::build::build;

use super::{ToolsArgs, without_doubts, workbench, write};
use crate::cli::{Exit, print};

/// Build a rule: DIR/NAME.wasm, a component that imports nothing but capabilities
///
/// Rust needs cargo with the target wasm32-wasip1; JavaScript Node.js and componentize-js; Python
/// componentize-py. What is missing is named with the command that installs it. The module is loaded once, to see
/// that it can be.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The rule's folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,

    /// The module [default: DIR/NAME.wasm, by the name that the rule has]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    tools: ToolsArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let wasm = build(&self.folder, self.tools.tools.as_deref())?;
        let loaded = workbench()?.load(&wasm)?;
        without_doubts(&loaded)?;
        let name = format!("{}.wasm", loaded.description.name);
        let output = self.output.unwrap_or_else(|| match self.folder == Path::new(".") {
            true => name.into(),
            false => self.folder.join(name),
        });
        write(&output, &wasm, true)?;
        print(&format!("{}\nsha256:{}\n", output.display(), loaded.module.sha256()))?;
        Ok(Exit::Success)
    }
}
