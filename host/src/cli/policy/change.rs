//! What commands that write a policy document have in common: where it goes, and what is said of it.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use countersign::engine::{Engine, Settings};
use countersign::files;
use countersign::nodes::{PolicyDocument, Version, diff, unknown};
use countersign::policy::PolicyFile;
use countersign::report::{Style, mistakes, printable};
use countersign::verdict::{Mistake, Severity};

use crate::cli::{Exit, print};

/// Where the document goes.
#[derive(clap::Args, Debug)]
pub(crate) struct OutputArgs {
    /// The file to write, - for standard output
    ///
    /// A file that is there is not replaced without --force. Default: -.
    #[arg(short, long, value_name = "FILE", conflicts_with = "diff")]
    output: Option<PathBuf>,

    /// Replace the file of --output if there is one [default: it is kept]
    #[arg(long, requires = "output")]
    force: bool,

    /// Print what would change, and write nothing [default: the change is shown on standard error]
    ///
    /// Exit status: 0 nothing, 1 something would.
    #[arg(long)]
    diff: bool,

    /// The oldest containers/image by which podman, skopeo or CRI-O read the document, for example 5.24
    ///
    /// Of what older ones refuse, nothing is said then. Default: everything is told that any of them refuses.
    #[arg(long, value_name = "VERSION")]
    oldest_reader: Option<Version>,
}

impl OutputArgs {
    /// Write `document`; `before` is what it was made of, and where that lies. In place of it only if `in_place`.
    pub(super) fn write(
        &self,
        document: &PolicyDocument,
        before: Option<&PolicyFile>,
        in_place: bool,
    ) -> Result<Exit> {
        let text = document.text();
        let target = match (&self.output, before) {
            (_, Some(file)) if in_place => Some(file.path()),
            (Some(path), _) if path != Path::new("-") => Some(path.as_path()),
            _ => None,
        };
        let name = target.or(before.map(PolicyFile::path)).unwrap_or(Path::new("policy.json"));
        // The engine reads again what was written, with the keys that it names.
        let whole = PolicyFile::of(name.to_owned(), text.clone().into_bytes());
        let engine = Engine::new(&Settings::default())?;
        complain_of(&whole, &whole.check(&engine, true)?)?;
        for word in unknown(&document.value(), self.oldest_reader) {
            warn(&word.to_string());
        }
        if let Some(file) = before {
            let old = String::from_utf8_lossy(file.document());
            let path = file.path().display().to_string();
            let change = diff((&path, &old), (&name.display().to_string(), &text));
            if self.diff {
                print(&lines(&change))?;
                return Ok(if change.is_empty() { Exit::Success } else { Exit::No });
            }
            // Nothing depends on it.
            let _ = write!(io::stderr(), "{}", lines(&change));
        } else if self.diff {
            print(&lines(&diff(("/dev/null", ""), ("policy.json", &text))))?;
            return Ok(Exit::No);
        }
        match target {
            Some(path) => replace(path, text.as_bytes(), in_place || self.force)?,
            None => print(&text)?,
        }
        Ok(Exit::Success)
    }
}

/// Say what the engine found in a document, and refuse it if that is an error.
pub(crate) fn complain_of(file: &PolicyFile, found: &[Mistake]) -> Result<()> {
    let name = file.path().display().to_string();
    let text = mistakes::text(&name, file.document(), found, Style::Plain);
    // The error below tells enough if nobody listens.
    let _ = write!(io::stderr(), "{text}");
    if found.iter().any(|mistake| mistake.severity == Severity::Error) {
        bail!("the document would be refused: nothing is written");
    }
    Ok(())
}

/// Say something that is worth knowing, on standard error.
pub(crate) fn warn(text: &str) {
    // Nothing depends on it.
    let _ = writeln!(io::stderr(), "warning: {}", printable(text));
}

fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", printable(line))).collect()
}

/// All of it or nothing. A link stays one, and a file keeps its mode.
pub(crate) fn replace(path: &Path, content: &[u8], replace: bool) -> Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    let exists = || {
        format!(
            "cannot write {}: it is there already; name another file, or use --force",
            path.display()
        )
    };
    let there = path.symlink_metadata().is_ok();
    if there && !replace {
        bail!(exists());
    }
    let target =
        if there { path.canonicalize().with_context(unwritable)? } else { path.to_owned() };
    let mode = match target.metadata() {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(_) => 0o644,
    };
    let file = files::prepare(&target, content, mode).with_context(unwritable)?;
    match replace {
        true => file.persist(&target).map(drop).with_context(unwritable),
        false => match file.persist_noclobber(&target) {
            // Somebody else was faster.
            Err(fault) if fault.error.kind() == io::ErrorKind::AlreadyExists => bail!(exists()),
            written => written.map(drop).with_context(unwritable),
        },
    }
}
