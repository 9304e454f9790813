//! Copying and signing, against skopeo.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use lab::gpg::{Home, Key};
use lab::image::{Image, digest};
use lab::registry::Registry;
use lab::skopeo;
use serde_json::json;

use super::Row;
use super::processes::{median, peak_mebibytes};

/// Time and weigh `binary` and skopeo in turn.
pub(super) fn measure(binary: &Path, smoke: bool) -> Result<Vec<Row>> {
    let (layer_bytes, rounds) = match smoke {
        true => (SMOKE_LAYER_BYTES, 1),
        false => (LAYER_BYTES, COPY_ROUNDS),
    };
    let bench = Bench::set_up(binary, layer_bytes)?;
    let [ours, theirs] = bench.copies(rounds)?;
    let mebibytes = (LAYERS as u64 * layer_bytes).div_ceil(1024 * 1024);
    let copy = Row {
        id: "a",
        what: format!("(a) copy {mebibytes} MiB in {LAYERS} layers between two registries"),
        unit: "s",
        ours: median(ours.iter().map(|run| run.seconds).collect()),
        other: Some(("skopeo copy", median(theirs.iter().map(|run| run.seconds).collect()))),
        limit: Some(0.8),
        compared: true,
    };
    let largest = |runs: &[Run]| runs.iter().map(|run| run.mebibytes).fold(0.0, f64::max);
    let memory = Row {
        id: "b",
        what: "(b) most resident memory meanwhile".into(),
        unit: "MiB",
        ours: largest(&ours),
        other: Some(("skopeo copy", largest(&theirs))),
        limit: Some(64.0),
        compared: false,
    };
    let [ours, theirs] = bench.signatures(if smoke { 1 } else { SIGN_ROUNDS })?;
    let sign = Row {
        id: "c",
        what: "(c) sign an image in a registry, RSA-2048, and read it back".into(),
        unit: "ms",
        ours: ours * 1000.0,
        other: Some(("skopeo copy --sign-by", theirs * 1000.0)),
        limit: Some(1.0 / 3.0),
        compared: true,
    };
    Ok(vec![copy, memory, sign])
}

/// What one command took.
#[derive(Clone, Copy, Debug)]
struct Run {
    seconds: f64,
    mebibytes: f64,
}

/// A registry with a large image and a small one, and a key.
#[derive(Debug)]
struct Bench {
    binary: PathBuf,
    gpg: Home,
    key: Key,
    registry: Registry,
    // Last, so that the folder goes after everything that uses it.
    folder: tempfile::TempDir,
}

impl Bench {
    fn set_up(binary: &Path, layer_bytes: u64) -> Result<Self> {
        // Not where the system has its memory for temporary files: a registry's disk is a disk.
        let folder = tempfile::tempdir_in(crate::command::target())?;
        let gpg = Home::new(&folder.path().join("gpg"))?;
        let key = gpg.generate("bench@example.com", "rsa2048", None, "never")?;
        lab::write(&folder.path().join("secret.asc"), gpg.export_secret(&key)?)?;
        let registry = Registry::start(&folder.path().join("registry"))?;
        let large = folder.path().join("large");
        write_large(&large, layer_bytes)?;
        skopeo::push(&large, &format!("{}/{LARGE}", registry.host))?;
        std::fs::remove_dir_all(&large)?;
        let small = folder.path().join("small");
        Image::new("small")?.write_dir(&small, &[])?;
        skopeo::push(&small, &format!("{}/{SMALL}", registry.host))?;
        Ok(Self { binary: binary.to_owned(), gpg, key, registry, folder })
    }

    /// Each copy goes into a registry of its own, which has nothing.
    fn copies(&self, rounds: usize) -> Result<[Vec<Run>; 2]> {
        let source = format!("docker://{}/{LARGE}", self.registry.host);
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (skopeo, runs) in [false, true].into_iter().zip(&mut runs) {
                let to = tempfile::tempdir_in(self.folder.path())?;
                let registry = Registry::start(to.path())?;
                let destination = format!("docker://{}/{LARGE}", registry.host);
                let mut command = if skopeo { copy_by_skopeo() } else { self.copy() };
                if !skopeo {
                    for host in [&self.registry.host, &registry.host] {
                        command.args(["--plain-http", host]);
                    }
                }
                command.args([&source, &destination]);
                // What the round before wrote is not to be written during this one.
                lab::run(&mut Command::new("sync"))?;
                let start = Instant::now();
                let mebibytes = peak_mebibytes(&command)?;
                runs.push(Run { seconds: start.elapsed().as_secs_f64(), mebibytes });
                drop(registry);
            }
        }
        Ok(runs)
    }

    fn copy(&self) -> Command {
        let mut copy = Command::new(&self.binary);
        copy.args(["copy", "--remove-signatures"]);
        copy
    }

    /// Median seconds for a signature in a folder that has none.
    fn signatures(&self, rounds: usize) -> Result<[f64; 2]> {
        let reference = format!("{}/{SMALL}", self.registry.host);
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds + 1 {
            for (skopeo, times) in [false, true].into_iter().zip(&mut times) {
                let signatures = tempfile::tempdir_in(self.folder.path())?;
                let registries = signatures.path().join("registries.d");
                let store = format!("file://{}/store", signatures.path().display());
                let place = json!({"docker": {&self.registry.host: {"lookaside": store}}});
                lab::write(&registries.join("bench.yaml"), place.to_string())?;
                let mut command = match skopeo {
                    true => self.sign_by_skopeo(&registries, &reference),
                    false => self.sign(&registries, &reference),
                };
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
                let start = Instant::now();
                lab::run(&mut command)?;
                // The first starts the agent of gpg.
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
        Ok(times.map(median))
    }

    fn sign(&self, registries: &Path, reference: &str) -> Command {
        let mut sign = Command::new(&self.binary);
        sign.args(["sign", "--plain-http", &self.registry.host, reference, "--registries-d"]);
        sign.arg(registries).arg("--sign-by").arg(self.folder.path().join("secret.asc"));
        sign
    }

    fn sign_by_skopeo(&self, registries: &Path, reference: &str) -> Command {
        let mut skopeo = Command::new("skopeo");
        skopeo.env("GNUPGHOME", self.gpg.folder()).arg("--registries.d").arg(registries);
        skopeo.args(["--insecure-policy", "copy", "--sign-by", &self.key.fingerprint]);
        skopeo
            .args(skopeo::AS_IT_IS)
            .args([format!("docker://{reference}"), format!("docker://{reference}")]);
        skopeo
    }
}

fn copy_by_skopeo() -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--remove-signatures"]);
    skopeo.args(skopeo::AS_IT_IS);
    skopeo
}

/// Write an image of layers that nothing can make smaller, as `dir:` reads it.
fn write_large(folder: &Path, layer_bytes: u64) -> Result<()> {
    let mut layers = Vec::new();
    for _ in 0..LAYERS {
        let content = std::fs::File::open("/dev/urandom")?.take(layer_bytes);
        let mut header = tar::Header::new_ustar();
        header.set_size(layer_bytes);
        header.set_mode(0o644);
        let mut layer = tar::Builder::new(Vec::new());
        layer.append_data(&mut header, "content", content)?;
        let layer = layer.into_inner()?;
        layers.push((digest(&layer), layer.len()));
        write_blob(folder, &layer)?;
    }
    let ids: Vec<_> = layers.iter().map(|(id, _)| id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let config = serde_json::to_vec(&config)?;
    write_blob(folder, &config)?;
    let descriptor = |kind: &str, digest: &str, size: usize| {
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": kind, "digest": digest, "size": size})
    };
    let layers: Vec<_> =
        layers.iter().map(|(id, size)| descriptor("layer.v1.tar", id, *size)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &digest(&config), config.len()),
        "layers": layers,
    });
    lab::write(&folder.join("version"), "Directory Transport Version: 1.1\n")?;
    lab::write(&folder.join("manifest.json"), manifest.to_string())
}

fn write_blob(folder: &Path, content: &[u8]) -> Result<()> {
    let digest = digest(content);
    lab::write(&folder.join(digest.trim_start_matches("sha256:")), content)
}

const LARGE: &str = "bench/large:v1";
const SMALL: &str = "bench/small:v1";

const LAYERS: usize = 20;

/// 1 GiB in all.
const LAYER_BYTES: u64 = 1024 * 1024 * 1024 / LAYERS as u64;

const SMOKE_LAYER_BYTES: u64 = 1024 * 1024;

/// Odd, so that the median is one of them; each writes 2 GiB.
const COPY_ROUNDS: usize = 5;

const SIGN_ROUNDS: usize = 21;
