//! Debian's docker-registry on a free loopback port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::write;

/// A running registry, plain HTTP. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Registry {
    /// Name and password of [`Self::start_with_password`].
    pub const USER: (&str, &str) = ("user", "s3cret");

    /// Start a registry that keeps its data in `folder`, and wait until it listens.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::run(folder, "")
    }

    /// As [`Self::start`], but only [`Self::USER`] may do anything.
    pub fn start_with_password(folder: &Path) -> Result<Self> {
        let passwords = folder.join("htpasswd");
        write(&passwords, format!("{HTPASSWD}\n"))?;
        Self::run(folder, &format!("auth: {{htpasswd: {{realm: tests, path: {passwords:?}}}}}\n"))
    }

    fn run(folder: &Path, more: &str) -> Result<Self> {
        let configuration = folder.join("config.yml");
        let data = folder.join("data");
        write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {data:?}}}}}\n\
                 http: {{addr: \"127.0.0.1:0\", secret: tests}}\n{more}"
            ),
        )?;
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .env_remove("OTEL_TRACES_EXPORTER")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run docker-registry")?;
        let stderr = process.stderr.take().context("docker-registry has no standard error")?;
        let mut registry = Self { process, host: String::new() };
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("listening on ") {
                registry.host =
                    rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
                break;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        if registry.host.is_empty() {
            bail!("docker-registry did not start:\n{seen}");
        }
        // The pipe must be emptied for as long as the registry writes to it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("cannot end docker-registry: {error}");
        }
    }
}

/// [`Registry::USER`] as the registry reads it, with the lowest cost of bcrypt that it takes.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";
