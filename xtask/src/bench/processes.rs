//! Whole processes: what a user waits for, and what the machine must spare.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use lab::gpg::Home;
use lab::image::Image;
use lab::lookaside::Server;
use lab::registry::Registry;
use lab::skopeo;
use serde_json::json;

use super::Row;

/// Time `binary` and skopeo in turn, and weigh `binary`.
pub(super) fn measure(binary: &Path, rounds: usize) -> Result<Vec<Row>> {
    let bench = Bench::set_up(binary)?;
    let verify_dir = || bench.verify(&["--as", &bench.reference, &bench.dir_image()]);
    let verify_docker = || {
        bench.verify(&[
            "--plain-http",
            &bench.registry.host,
            &format!("docker://{}", bench.reference),
        ])
    };
    let [ours, theirs] = interleaved([&verify_dir, &|| Ok(bench.standalone_verify())], rounds)?;
    let dir = Row {
        id: "a",
        what: "(a) verify dir:, RSA-2048, whole process".into(),
        unit: "ms",
        ours,
        other: Some(("standalone-verify", theirs)),
        limit: Some(0.2),
        compared: true,
    };
    let [ours, theirs] = interleaved([&verify_docker, &|| bench.copy()], rounds)?;
    let docker = Row {
        id: "b",
        what: "(b) verify docker://, http lookaside, whole process".into(),
        unit: "ms",
        ours,
        other: Some(("skopeo copy", theirs)),
        limit: Some(1.0 / 3.0),
        compared: true,
    };
    let memory = [peak_mebibytes(&verify_dir()?)?, peak_mebibytes(&verify_docker()?)?];
    let memory = Row {
        id: "f",
        what: "(f) peak memory of verify, the larger of both".into(),
        unit: "MiB",
        ours: memory[0].max(memory[1]),
        other: None,
        limit: Some(48.0),
        compared: true,
    };
    Ok(vec![dir, docker, memory])
}

/// An image in a registry and in a folder, signed with RSA-2048, and everything needed to verify it.
#[derive(Debug)]
struct Bench {
    binary: PathBuf,
    gpg: Home,
    fingerprint: String,
    /// `HOST/bench/app:v1`.
    reference: String,
    registry: Registry,
    _lookaside: Server,
    // Last, so that the folder goes after everything that uses it.
    folder: tempfile::TempDir,
}

impl Bench {
    fn set_up(binary: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let gpg = Home::new(&folder.path().join("gpg"))?;
        let key = gpg.generate("bench@example.com", "rsa2048", None, "never")?;
        let registry = Registry::start(&folder.path().join("registry"))?;
        let image = Image::new("bench")?;
        let reference = format!("{}/{REPOSITORY}:v1", registry.host);
        let signature = gpg.sign(&[&key], image.payload(&reference).as_bytes(), &["--sign"])?;
        let store = folder.path().join("store");
        image.write_lookaside(&store, REPOSITORY, std::slice::from_ref(&signature))?;
        image.write_dir(&folder.path().join("image"), &[signature])?;
        skopeo::push(&folder.path().join("image"), &reference)?;
        let lookaside = Server::start(&store)?;
        lab::write(&folder.path().join("key.gpg"), gpg.export(&key)?)?;
        let policy = json!({"default": [
            {"type": "signedBy", "keyType": "GPGKeys", "keyPath": folder.path().join("key.gpg")},
        ]});
        lab::write(&folder.path().join("policy.json"), policy.to_string())?;
        let registries = json!({"docker": {&registry.host: {"lookaside": lookaside.url()}}});
        lab::write(&folder.path().join("registries.d/bench.yaml"), registries.to_string())?;
        Ok(Self {
            binary: binary.to_owned(),
            gpg,
            fingerprint: key.fingerprint,
            reference,
            registry,
            _lookaside: lookaside,
            folder,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dir_image(&self) -> String {
        format!("dir:{}", self.path("image").display())
    }

    fn verify(&self, arguments: &[&str]) -> Result<Command> {
        let mut verify = Command::new(&self.binary);
        verify.args(["verify", "--output", "json", "--policy"]).arg(self.path("policy.json"));
        verify.arg("--registries-d").arg(self.path("registries.d")).args(arguments);
        Ok(verify)
    }

    fn standalone_verify(&self) -> Command {
        let image = self.path("image");
        let mut skopeo = Command::new("skopeo");
        skopeo.env("GNUPGHOME", self.gpg.folder()).arg("standalone-verify");
        skopeo.arg(image.join("manifest.json")).args([&self.reference, &self.fingerprint]);
        skopeo.arg(image.join("signature-1"));
        skopeo
    }

    fn copy(&self) -> Result<Command> {
        let copy = self.path("copy");
        if copy.exists() {
            std::fs::remove_dir_all(&copy)?;
        }
        let image = format!("docker://{}", self.reference);
        Ok(skopeo::copy(&image, &self.path("policy.json"), &self.path("registries.d"), &copy))
    }
}

/// Median milliseconds of each of two commands, run in turn so that whatever else the machine does
/// falls on both.
fn interleaved(commands: [&dyn Fn() -> Result<Command>; 2], rounds: usize) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds + WARM_UP_ROUNDS {
        for (command, times) in commands.iter().zip(&mut times) {
            let mut command = command()?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let start = Instant::now();
            lab::run(&mut command)?;
            if round >= WARM_UP_ROUNDS {
                times.push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(times.map(median))
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The most memory that a command has resident at once, as GNU time reports it.
pub(super) fn peak_mebibytes(command: &Command) -> Result<f64> {
    let mut time = Command::new("/usr/bin/time");
    time.args(["--quiet", "--format", "%M"]).arg(command.get_program()).args(command.get_args());
    let output = lab::run(&mut time)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let kibibytes: f64 = text.lines().last().context("GNU time printed nothing")?.trim().parse()?;
    Ok(kibibytes / 1024.0)
}

const REPOSITORY: &str = "bench/app";

/// Enough to fill every cache on the way.
const WARM_UP_ROUNDS: usize = 2;
