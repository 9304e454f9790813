//! `countersign man`: manual pages.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;

use super::{Cli, Exit, print};

/// Print the manual page, or write one for each command into a folder
///
/// For example: countersign man /usr/local/share/man/man1
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The folder [default: the main page is printed]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let command = Cli::command();
        match self.folder {
            Some(folder) => {
                std::fs::create_dir_all(&folder)
                    .and_then(|()| clap_mangen::generate_to(command, &folder))
                    .with_context(|| format!("cannot write pages into {}", folder.display()))?;
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                print(&String::from_utf8(page)?)?;
            }
        }
        Ok(Exit::Success)
    }
}
