//! `countersign demo`: what this program is for, on this machine, in a minute.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Parser;
use countersign::digest::Digest;
use countersign::reference::Reference;
use countersign::report::Style;
use countersign::sign::{SigningKey, payload};

use super::{Cli, Exit, print, style};

/// See a signed image allowed, and an unsigned, a tampered and a wrongly named one denied
///
/// Keys, images, signatures and a policy are made in a temporary folder, and judged by the commands that
/// are shown. Nothing else has to be installed, and no network is used. Exit status: 0 everything went as it
/// must, 1 something did not, 2 the demo could not be set up.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Keep the folder, to try more
    #[arg(long)]
    keep: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let folder = tempfile::Builder::new()
            .prefix("countersign-demo-")
            .tempdir()
            .context("cannot make a temporary folder; $TMPDIR says where")?;
        // So that the commands are the ones that are shown.
        std::env::set_current_dir(folder.path())
            .with_context(|| format!("cannot enter {}", folder.path().display()))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut demo = Demo { style: style(), now, unexpected: 0 };
        demo.play(folder.path())?;
        let exit = demo.end()?;
        if self.keep {
            print(&format!("\nIt is all still there: cd {}\n", folder.keep().display()))?;
        }
        Ok(exit)
    }
}

struct Demo {
    style: Style,
    now: u64,
    /// How many commands did not end as they must.
    unexpected: usize,
}

impl Demo {
    fn play(&mut self, folder: &Path) -> Result<()> {
        let signed: Reference = Reference::parse_normalized(SIGNED)?;

        self.say(
            "Countersign decides whether a container image may run. Four images come by: one is allowed,\n\
             three are denied. Everything lies in a temporary folder; lines that begin with $ are what\n\
             you would type.",
        )?;
        self.show(&format!("cd {}", folder.display()))?;

        self.title("1. The release team has a key, and gives its public half away")?;
        let key = SigningKey::generate(USER, self.now)?;
        write("release.gpg", key.export()?)?;
        self.show(&format!("gpg --quick-generate-key '{USER}' ed25519 sign never"))?;
        self.show("gpg --export release@example.com > release.gpg")?;
        self.say(&format!("Here it was made without gpg. Its fingerprint: {}", key.fingerprint()))?;

        self.title("2. The policy: images of registry.example.com/demo need that key's signature")?;
        write("policy.json", POLICY)?;
        let store = format!("file://{}/signatures", folder.display());
        let registries = format!("docker:\n  registry.example.com:\n    lookaside: {store}\n");
        write("registries.d/demo.yaml", &registries)?;
        self.show("cat policy.json")?;
        print(POLICY)?;
        self.say("Signatures are kept beside the registry; registries.d says where.")?;
        self.show("cat registries.d/demo.yaml")?;
        print(&registries)?;
        self.say("Has the policy mistakes? Each would be pointed at. And what does it say about an image?")?;
        self.run("countersign policy check policy.json", Exit::Success)?;
        self.run(
            &format!("countersign policy explain --policy policy.json {SIGNED}"),
            Exit::Success,
        )?;

        self.title("3. A signed image is allowed")?;
        let image = Image::new("hello, world\n")?;
        image.write("app")?;
        let signature = key.sign(payload(&image.digest, &signed, self.now).as_bytes(), self.now)?;
        keep_signature("demo/app", &image.digest, &signature)?;
        self.say(
            "The folder app is the image as skopeo copy would bring it here. The release team signs it,\n\
             and puts the signature where it is looked for:",
        )?;
        self.show(&format!(
            "skopeo standalone-sign app/manifest.json {SIGNED} release@example.com --output signature-1"
        ))?;
        let url = "countersign lookaside url --registries-d registries.d --as";
        self.run(&format!("{url} {SIGNED} dir:app"), Exit::Success)?;
        self.say(&format!("May it run as {SIGNED}?"))?;
        self.run(&verify(SIGNED, "app"), Exit::Success)?;

        self.title("4. An image that nobody signed is denied")?;
        Image::new("hello, release\n")?.write("unsigned")?;
        self.run(&verify(UNSIGNED, "unsigned"), Exit::No)?;

        self.title("5. A tampered image is denied")?;
        self.say(
            "Somebody breaks into the registry and the signature store, changes what the image runs, and\n\
             puts the good image's signature beside it. The signature is genuine, and about other bytes.",
        )?;
        let tampered = Image::new("hello, attacker\n")?;
        tampered.write("tampered")?;
        keep_signature("demo/app", &tampered.digest, &signature)?;
        self.run(&verify(SIGNED, "tampered"), Exit::No)?;

        self.title("6. A wrongly named image is denied")?;
        self.say(
            "The good image is offered under the name of another one, with its genuine signature. That was\n\
             made for another name.",
        )?;
        keep_signature("demo/database", &image.digest, &signature)?;
        self.run(&verify(MISNAMED, "app"), Exit::No)
    }

    fn end(&self) -> Result<Exit> {
        if self.unexpected > 0 {
            self.say(&format!(
                "{} of the commands did not end as they must: this build of countersign is not to be trusted.",
                self.unexpected
            ))?;
            return Ok(Exit::No);
        }
        self.say(
            "One allowed, three denied, as it must be. Every verdict was computed in a sandbox that has no\n\
             network, no files and no clock. Further: countersign verify --help",
        )?;
        Ok(Exit::Success)
    }

    /// Run a command that is shown, in this process.
    fn run(&mut self, command: &str, expected: Exit) -> Result<()> {
        self.show(command)?;
        let exit = Cli::try_parse_from(command.split(' '))?.command.run()?;
        if expected == Exit::No {
            print(&format!("(exit status {})\n", exit.status()))?;
        }
        if exit != expected {
            self.unexpected += 1;
            let (got, wanted) = (exit.status(), expected.status());
            print(&format!("UNEXPECTED: exit status {got}, and it must be {wanted}\n"))?;
        }
        Ok(())
    }

    fn title(&self, text: &str) -> Result<()> {
        print(&format!("\n{}\n", self.style.strong(text)))
    }

    fn say(&self, text: &str) -> Result<()> {
        print(&format!("\n{text}\n"))
    }

    fn show(&self, command: &str) -> Result<()> {
        print(&format!("\n{}\n", self.style.strong(&format!("$ {command}"))))
    }
}

fn verify(reference: &str, image: &str) -> String {
    let options = "--policy policy.json --registries-d registries.d";
    format!("countersign verify {options} --as {reference} dir:{image}")
}

/// An image of one file, as the `dir:` transport lays it out.
struct Image {
    manifest: Vec<u8>,
    digest: Digest,
    blobs: [Vec<u8>; 2],
}

impl Image {
    fn new(greeting: &str) -> Result<Self> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(greeting.len().try_into()?);
        header.set_mode(0o644);
        layer.append_data(&mut header, "greeting", greeting.as_bytes())?;
        let layer = layer.into_inner()?;
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["cat", "/greeting"]},
            "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer)]},
        }))?;
        let manifest = serde_json::to_vec_pretty(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::sha256(&config),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": Digest::sha256(&layer),
                "size": layer.len(),
            }],
        }))?;
        Ok(Self { digest: Digest::sha256(&manifest), manifest, blobs: [config, layer] })
    }

    fn write(&self, folder: &str) -> Result<()> {
        write(&format!("{folder}/version"), "Directory Transport Version: 1.1\n")?;
        write(&format!("{folder}/manifest.json"), &self.manifest)?;
        for blob in &self.blobs {
            write(&format!("{folder}/{}", Digest::sha256(blob).hex()), blob)?;
        }
        Ok(())
    }
}

/// Put the first signature of an image where registries.d says.
fn keep_signature(repository: &str, digest: &Digest, signature: &[u8]) -> Result<()> {
    let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
    write(&format!("signatures/{repository}@{algorithm}={hex}/signature-1"), signature)
}

fn write(path: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let fault = || format!("cannot write {path} of the demo");
    if let Some(folder) = Path::new(path).parent() {
        std::fs::create_dir_all(folder).with_context(fault)?;
    }
    std::fs::write(path, content).with_context(fault)
}

const USER: &str = "Release Team <release@example.com>";
const SIGNED: &str = "registry.example.com/demo/app:1";
const UNSIGNED: &str = "registry.example.com/demo/app:2";
const MISNAMED: &str = "registry.example.com/demo/database:1";

const POLICY: &str = r#"{
  "default": [{"type": "reject"}],
  "transports": {
    "docker": {
      "registry.example.com/demo": [
        {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "release.gpg"}
      ]
    }
  }
}
"#;
