//! The container image, from scratch and without a container engine.
//!
//! Two layers: what every program needs (accounts, authorities, a folder for temporary files), which is the
//! same from release to release, and the program with its engine. docs/image.md says what is in them.

mod layout;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::layout::{Content, Entry, Image, Layout};
use crate::command::{cargo, root, run, target};
use crate::setup;

/// `image [--tag NAME] [--twice]`.
pub(crate) fn command(options: &[&str]) -> Result<()> {
    let mut tag = env!("CARGO_PKG_VERSION");
    let mut twice = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--tag" => tag = options.next().context("`--tag` needs a name")?,
            "--twice" => twice = true,
            unknown => bail!("unknown option `{unknown}`; this command knows: --tag NAME, --twice"),
        }
    }
    if !is_tag(tag) {
        bail!(
            "`{tag}` is not a tag: up to 128 letters, digits, `_`, `.` and `-`, beginning with none of the last two"
        );
    }
    setup::compiler()?;
    setup::static_linking(TARGET)?;
    let created = created()?;
    let layout = pack(&binary(&target())?, tag, created)?;
    if twice {
        // Another folder, so that nothing is taken from the first build and no path of it remains.
        let again = pack(&binary(&target().join("image-again"))?, tag, created)?;
        if layout.digest() != again.digest() {
            bail!(
                "the second build has the digest {}, the first {}",
                again.digest(),
                layout.digest()
            );
        }
        println!("image: two builds have the same digest");
    }
    let folder = target().join("image");
    layout.write(&folder)?;
    println!(
        "image: oci:{}:{tag}, {} KiB compressed\nimage: {}",
        folder.display(),
        layout.size() / 1024,
        layout.digest()
    );
    Ok(())
}

/// Build the static program below `target`, and compile its engine beside it. Returns their folder.
fn binary(target: &Path) -> Result<PathBuf> {
    // Messages of panics name source files: the same ones wherever they lie.
    let mut flags = vec![remap(&root(), "countersign"), remap(target, "target")];
    flags.extend(guest_build::cargo_home().map(|home| remap(&home, "cargo")));
    run(cargo()
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // The same for files in C, and no time of day in them: the allocator tells when it was compiled.
        .env("SOURCE_DATE_EPOCH", "0")
        .env(format!("CFLAGS_{}", TARGET.replace('-', "_")), c_flags())
        .args(["build", "--locked", "--package", "countersign", "--bin", "countersign"])
        .args(["--profile", "dist", "--target", TARGET, "--target-dir"])
        .arg(target))?;
    let built = target.join(TARGET).join("dist/countersign");
    let folder = target.join("image-files");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let program = folder.join("countersign");
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    run(Command::new(&program).args(["precompile", "--portable"]).arg(&folder))?;
    Ok(folder)
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

fn c_flags() -> String {
    let homes = guest_build::cargo_home().map(|home| (home, "cargo"));
    let maps =
        homes.into_iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
    maps.collect::<Vec<_>>().join(" ")
}

/// Tie the files of `folder` up.
fn pack(folder: &Path, tag: &str, created: i64) -> Result<Layout> {
    let mut program = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name in UTF-8")?;
        let content = read(&path)?;
        // Nobody may write to compiled code, or it is not taken.
        let mode = if name == "countersign" { 0o555 } else { 0o444 };
        program.push(Entry { path: name.to_owned(), mode, content: Content::File(content) });
    }
    let image = Image {
        tag: tag.to_owned(),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => bail!("images for {other} are not known how to build; use x86_64 or aarch64"),
        },
        created: jiff::Timestamp::from_second(created)?.to_string(),
        user: format!("{USER}:{USER}"),
        entrypoint: vec!["/countersign".to_owned()],
        labels: labels(),
        layers: vec![base()?, program],
    };
    layout::pack(&image, u64::try_from(created)?)
}

/// What every program needs.
fn base() -> Result<Vec<Entry>> {
    let folder = |path: &str, mode| Entry { path: path.to_owned(), mode, content: Content::Folder };
    let file = |path: &str, content: Vec<u8>| Entry {
        path: path.to_owned(),
        mode: 0o444,
        content: Content::File(content),
    };
    let authorities = read(Path::new(AUTHORITIES)).context(
        "the image needs the public certificate authorities; on Debian, the package ca-certificates has them",
    )?;
    Ok(vec![
        folder("etc", 0o755),
        file("etc/passwd", format!("countersign:x:{USER}:{USER}::/:/nologin\n").into_bytes()),
        file("etc/group", format!("countersign:x:{USER}:\n").into_bytes()),
        folder("etc/ssl", 0o755),
        folder("etc/ssl/certs", 0o755),
        file("etc/ssl/certs/ca-certificates.crt", authorities),
        folder("tmp", 0o1777),
    ])
}

fn labels() -> Vec<(&'static str, &'static str)> {
    vec![
        ("org.opencontainers.image.description", DESCRIPTION),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
        ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY")),
        ("org.opencontainers.image.title", "countersign"),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
    ]
}

/// The time of all files and of the image, in seconds since 1970-01-01 UTC: `SOURCE_DATE_EPOCH`
/// (reproducible-builds.org), or 0.
fn created() -> Result<i64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => match text.parse() {
            Ok(seconds) if (0..=LATEST).contains(&seconds) => Ok(seconds),
            _ => bail!("SOURCE_DATE_EPOCH is `{text}`; expected seconds since 1970-01-01 UTC"),
        },
        Err(_) => Ok(0),
    }
}

fn is_tag(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&name.len())
        && name.bytes().next().is_some_and(good)
        && name.bytes().all(|b| good(b) || b == b'.' || b == b'-')
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

const DESCRIPTION: &str = "Decides whether a container image may run";

/// A program for it needs nothing of the system that it runs on, the resolution of names included: a static
/// glibc would still load its resolver at run time.
const TARGET: &str = match std::env::consts::ARCH.as_bytes() {
    b"aarch64" => "aarch64-unknown-linux-musl",
    _ => "x86_64-unknown-linux-musl",
};

/// Whom the program runs as: `nonroot` of distroless images, so that policies of clusters that know
/// that number fit.
const USER: u32 = 65532;

/// Mozilla's authorities as Debian and most others lay them down.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// 9999-12-31: the last day that RFC 3339 can write.
const LATEST: i64 = 253_402_214_400;

#[cfg(test)]
mod tests {
    use super::is_tag;

    #[test]
    fn tags_are_those_of_registries() {
        for tag in ["1", "0.1.0", "v1_a-b.c", &"a".repeat(128)] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", ".1", "-a", "a b", "a/b", "a:b", "é", &"a".repeat(129)] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
