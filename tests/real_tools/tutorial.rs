//! The tutorial, as it stands in the documentation: each command is run, and what it prints is what is shown.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::registry::Registry;

/// A command of the document.
#[derive(Debug)]
struct Step {
    line: usize,
    command: String,
    /// What is shown below it.
    shown: Vec<String>,
    status: i32,
}

/// The commands of the blocks marked `console`, in order.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in document.lines().enumerate() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            line => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    line: number + 1,
                    command: command.to_owned(),
                    shown: Vec::new(),
                    status: 0,
                }),
                (None, Some(step)) => match status(line) {
                    Some(status) => step.status = status,
                    None => step.shown.push(line.to_owned()),
                },
                (None, None) => unreachable!("line {} comes before any command", number + 1),
            },
        }
    }
    steps
}

/// `[125]` is an exit status.
fn status(line: &str) -> Option<i32> {
    line.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether `shown` describes `printed`: a line `…` stands for any lines, and `…` in a line for any characters.
fn matches<S: AsRef<str>>(shown: &[S], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.as_ref() == "…" => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed.split_first().is_some_and(|(first, others)| {
            let parts: Vec<_> = line.as_ref().split('…').collect();
            line_matches(&parts, first) && matches(rest, others)
        }),
    }
}

fn line_matches(parts: &[&str], line: &str) -> bool {
    let [start, middle @ .., end] = parts else { return parts.first() == Some(&line) };
    let Some(mut rest) = line.strip_prefix(start) else { return false };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(end)
}

/// A home of its own, in which podman keeps everything.
struct Desk {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Registry::start(&folder.path().join("registry")).expect("a registry");
        let desk = Self { folder, registry };
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            desk.path("storage"),
            desk.path("run")
        );
        lab::write(&desk.path("home/.config/containers/storage.conf"), storage).expect("a file");
        std::fs::create_dir(desk.path("work")).expect("a folder");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell with `countersign` in its path, as the reader of the tutorial has it.
    fn shell(&self, command: &str) -> Command {
        let binaries = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().expect("a folder");
        let path = std::env::var("PATH").expect("a path");
        let command = command.replace("localhost:5000", &self.registry.host);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {command}")]).stdin(Stdio::null());
        shell.current_dir(self.path("work"));
        shell.env("PATH", format!("{}:{path}", binaries.display())).env("HOME", self.path("home"));
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "GNUPGHOME"] {
            shell.env_remove(name);
        }
        shell.env("CONTAINERS_STORAGE_CONF", self.path("home/.config/containers/storage.conf"));
        shell.env("STORAGE_DRIVER", "vfs").env("XDG_CACHE_HOME", self.path("cache"));
        shell.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
        shell
    }
}

#[test]
fn the_tutorial_shows_what_happens() {
    if super::laboratory::laboratory().is_none() {
        return;
    }
    let desk = Desk::new();
    if let Err(fault) = lab::run(&mut desk.shell("podman images --quiet")) {
        println!("SKIPPED: podman does not run here: {fault:#}");
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md");
    let document = std::fs::read_to_string(file).expect("the tutorial");
    let steps = steps(&document);
    assert!(steps.len() > 15, "{steps:?}");
    for Step { line, command, shown, status } in steps {
        let output = desk.shell(&command).output().expect("sh");
        let printed = String::from_utf8_lossy(&output.stdout);
        let printed = printed.replace(&desk.registry.host, "localhost:5000");
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(output.status.code(), Some(status), "line {line}: {command}\n{printed}");
        assert!(matches(&shown, &lines), "line {line}: {command}\n{printed}");
    }
}

#[test]
fn what_is_shown_is_compared_in_earnest() {
    assert!(matches(&["a…c", "…", "z"], &["abc", "x", "y", "z"]));
    assert!(matches(&["a…c", "…", "z"], &["ac", "z"]));
    for printed in [vec!["abc", "x"], vec!["abd", "z"], vec!["z"], vec!["abc", "z", "x"]] {
        assert!(!matches(&["a…c", "…", "z"], &printed), "{printed:?}");
    }
    assert!(!matches(&["a"], &["ab"]));
    assert_eq!(status("[125]"), Some(125));
    assert_eq!(status("[x]"), None);
}
