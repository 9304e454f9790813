//! Images that we copy and sign, as skopeo sees them, and the other way around.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lab::gpg::Home;
use lab::image::{Image, Index};
use lab::podman::Podman;
use lab::registry::Registry;
use lab::skopeo::{self, Answer};
use serde_json::{Value, json};

use super::laboratory::{Kind, Laboratory, Place, laboratory};
use super::verdict;

/// `countersign WORDS`, which may speak to the laboratory's registry, in a folder.
fn countersign(laboratory: &Laboratory, folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env("XDG_CACHE_HOME", laboratory.path("cache")).current_dir(folder);
    command.args(words).args(["--plain-http", laboratory.host()]);
    lab::attempt(&mut command).expect("the binary under test starts")
}

/// What a command that has to succeed prints.
fn done(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8").trim().to_owned()
}

fn folder(laboratory: &Laboratory, name: &str) -> PathBuf {
    let folder = laboratory.path("copies").join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// skopeo, in a folder.
fn skopeo(folder: &Path, words: &[&str]) -> Vec<u8> {
    let mut skopeo = Command::new("skopeo");
    skopeo.current_dir(folder).arg("--insecure-policy").args(words);
    lab::run(&mut skopeo).expect("skopeo does it").stdout
}

fn inspect_raw(folder: &Path, image: &str) -> Vec<u8> {
    skopeo(folder, &["inspect", "--raw", "--tls-verify=false", image])
}

/// The key as gpg exports it.
fn secret(laboratory: &Laboratory, kind: Kind) -> String {
    let key = laboratory.key(kind);
    let mut gpg = laboratory.gpg.gpg();
    gpg.args(["--armor", "--export-secret-keys", &key.signing.fingerprint]);
    let path = laboratory.path("secrets").join(format!("{kind:?}.key"));
    lab::write(&path, lab::run(&mut gpg).expect("gpg exports").stdout).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn skopeo_accepts_what_we_sign() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "signing");
    for kind in [Kind::Rsa2048, Kind::Rsa4096, Kind::Ed25519, Kind::Nistp256] {
        let policy = json!({"default": [laboratory.key(kind).requirement()]});
        let place = laboratory.place(&format!("copy-{kind:?}"), &policy);
        place.look_into_folder(laboratory.host());
        let secret = secret(&laboratory, kind);
        let sign = ["--sign-by", &secret, "--registries-d", text(&place.registries_d)];
        let copied = format!("docker://{}/copied/{}:1", laboratory.host(), kind_name(kind));
        // Copied without, then signed where it is; and signed on its way.
        done(&countersign(&laboratory, &folder, &["copy", &laboratory.image_dir(), &copied]));
        assert!(matches!(ask_skopeo(&place, &copied), Answer::Deny(_)), "{kind:?}");
        let signed =
            done(&countersign(&laboratory, &folder, &[&["sign", &copied], &sign[..]].concat()));
        assert!(signed.ends_with(&laboratory.image.digest), "{signed}");
        let on_its_way = copied.replace("copied/", "copied/again/");
        let words = [&["copy", &copied, &on_its_way, "--remove-signatures"], &sign[..]].concat();
        assert_eq!(done(&countersign(&laboratory, &folder, &words)), laboratory.image.digest);
        for image in [copied, on_its_way, format!("docker://{signed}")] {
            assert_eq!(ask_skopeo(&place, &image), Answer::Allow, "{kind:?}: {image}");
            ask_podman(&place, &image);
            assert_eq!(verdict(&laboratory, &place, &[&image]), Answer::Allow, "{kind:?}");
        }
    }
}

#[test]
fn the_agent_of_gpg_signs_without_giving_its_key_away() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "agent");
    let gpg = Home::new(&laboratory.path("agent")).expect("a gpg home");
    let user = "Agent <agent@example.com>";
    let mut protected = gpg.gpg();
    protected.args(["--passphrase", "s3cret", "--quick-generate-key", user, "ed25519", "sign"]);
    lab::run(&mut protected).expect("gpg makes a key");
    let open = gpg.generate("open@example.com", "rsa2048", None, "never").expect("a key");
    std::fs::write(folder.join("passphrase"), "s3cret\nmore\n").expect("a file");
    std::fs::write(folder.join("wrong"), "wrong\n").expect("a file");
    let image = |name: &str| format!("docker://{}/agent/{name}:1", laboratory.host());
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env("GNUPGHOME", gpg.folder()).env("XDG_CACHE_HOME", laboratory.path("cache"));
        command.args(words).args(["--plain-http", laboratory.host()]).current_dir(&folder);
        lab::attempt(&mut command).expect("the binary under test starts")
    };
    for (number, (name, more)) in [
        ("open@example.com", &[][..]),
        (&open.fingerprint, &[]),
        ("<agent@example.com>", &["--passphrase-file", "passphrase"]),
    ]
    .into_iter()
    .enumerate()
    {
        let address = if number == 2 { "agent@example.com" } else { "open@example.com" };
        let public = lab::run(gpg.gpg().args(["--export", address])).expect("gpg exports").stdout;
        let path = folder.join(format!("{number}.gpg"));
        std::fs::write(&path, public).expect("a file");
        let requirement = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": path});
        let place =
            laboratory.place(&format!("agent-{number}"), &json!({"default": [requirement]}));
        place.look_into_folder(laboratory.host());
        let copied = image(&number.to_string());
        let sign = ["--sign-by", name, "--registries-d", text(&place.registries_d)];
        let source = laboratory.image_dir();
        let words = [&["copy", &source, &copied], &sign[..], more].concat();
        assert_eq!(done(&run(&words)), laboratory.image.digest);
        assert_eq!(ask_skopeo(&place, &copied), Answer::Allow, "{name}");
    }
    let copied = image("0");
    for (name, more, words) in [
        ("nobody@example.com", &[][..], "no key of gpg is nobody@example.com"),
        ("release", &[], "\"release\" names no key"),
        // What the agent remembers is not what it was asked for.
        ("agent@example.com", &["--passphrase-file", "wrong"], "gpg does not sign"),
    ] {
        lab::run(
            Command::new("gpgconf").env("GNUPGHOME", gpg.folder()).args(["--reload", "gpg-agent"]),
        )
        .expect("the agent forgets");
        let place = laboratory.place("agent-none", &json!({"default": [{"type": "reject"}]}));
        place.look_into_folder(laboratory.host());
        let sign =
            ["sign", &copied, "--sign-by", name, "--registries-d", text(&place.registries_d)];
        let output = run(&[&sign[..], more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
    // The same address twice.
    gpg.generate("Second <open@example.com>", "ed25519", None, "never").expect("a key");
    let output = run(&["sign", &copied, "--sign-by", "open@example.com"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("several keys of gpg are open@example.com"), "{stderr}");
    assert!(stderr.contains(&open.fingerprint) && stderr.contains("Second <open@"), "{stderr}");
}

#[test]
fn skopeo_reads_what_we_write_through_every_pair_of_transports() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "pairs");
    let manifest = &laboratory.image.manifest;
    let place = |number: usize, tool: &str| {
        let name = format!("{tool}{number}");
        [
            format!("docker://{}/pairs/{name}:1", laboratory.host()),
            format!("oci:{name}.oci:v1"),
            format!("oci-archive:{name}.tar:v1"),
            format!("dir:{name}.dir"),
        ]
    };
    // What skopeo writes.
    let sources = place(0, "skopeo");
    for source in &sources {
        let image = laboratory.image_dir();
        skopeo(
            &folder,
            &[
                "copy",
                "--quiet",
                "--remove-signatures",
                "--preserve-digests",
                "--dest-tls-verify=false",
                &image,
                source,
            ],
        );
    }
    for (number, source) in sources.iter().enumerate() {
        for copy in place(number, "ours") {
            let output = countersign(&laboratory, &folder, &["copy", source, &copy]);
            assert_eq!(done(&output), laboratory.image.digest, "{source} {copy}");
            assert_eq!(inspect_raw(&folder, &copy), *manifest, "{source} {copy}");
            // All of it, blobs included.
            let back = format!("dir:{}", folder.join("back").display());
            let words =
                ["copy", "--quiet", "--src-tls-verify=false", "--preserve-digests", &copy, &back];
            skopeo(&folder, &words);
            std::fs::remove_dir_all(folder.join("back")).expect("removed");
        }
    }
}

#[test]
fn an_index_arrives_with_all_its_images() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "index");
    let images = ["amd64", "arm64"].map(|architecture| {
        (architecture, Image::for_architecture("copied", architecture).expect("an image"))
    });
    let index = Index::new(images.to_vec()).expect("an index");
    index.write_dir(&folder.join("index")).expect("written");
    let key = laboratory.key(Kind::Rsa2048);
    let place = laboratory.place("copy-index", &json!({"default": [key.requirement()]}));
    place.look_into_folder(laboratory.host());
    let secret = secret(&laboratory, Kind::Rsa2048);
    let image = format!("docker://{}/copied/index:1", laboratory.host());
    let sign = ["--sign-by", &secret, "--registries-d", text(&place.registries_d)];
    let digest = lab::image::digest(&index.manifest);
    let words = [&["copy", "--all", "dir:index", &image], &sign[..]].concat();
    assert_eq!(done(&countersign(&laboratory, &folder, &words)), digest);
    assert_eq!(inspect_raw(&folder, &image), index.manifest);
    assert_eq!(ask_skopeo(&place, &image), Answer::Allow);
    assert_eq!(verdict(&laboratory, &place, &["--all-platforms", &image]), Answer::Allow);
    let words = ["copy", "--quiet", "--all", "--src-tls-verify=false", "--preserve-digests"];
    skopeo(&folder, &[&words[..], &["--remove-signatures", &image, "oci:theirs:v1"]].concat());
    let words = ["copy", "--all", "oci:theirs:v1", "dir:back"];
    assert_eq!(done(&countersign(&laboratory, &folder, &words)), digest);
    // The signatures that skopeo made come along as skopeo has them.
    let words =
        ["copy", "--all", &image, "dir:signed", "--registries-d", text(&place.registries_d)];
    assert_eq!(done(&countersign(&laboratory, &folder, &words)), digest);
    for (_, image) in &images {
        let hex = image.digest.trim_start_matches("sha256:");
        assert!(folder.join(format!("signed/{hex}.signature-1")).is_file());
    }
}

#[test]
fn signatures_of_skopeo_come_along() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "along");
    let key = laboratory.key(Kind::Ed25519);
    let place = laboratory.place("copy-along", &json!({"default": [key.requirement()]}));
    place.look_into_folder(laboratory.host());
    let identity = format!("{}/along/target:1", laboratory.host());
    let source = format!("docker://{}/along/source:1", laboratory.host());
    super::sign(
        &laboratory,
        &place,
        Kind::Ed25519,
        Some(&identity),
        &laboratory.image_dir(),
        &source,
    );
    let target = format!("docker://{identity}");
    let registries = ["--registries-d", text(&place.registries_d)];
    done(&countersign(
        &laboratory,
        &folder,
        &[&["copy", &source, "dir:signed"], &registries[..]].concat(),
    ));
    done(&countersign(
        &laboratory,
        &folder,
        &[&["copy", "dir:signed", &target], &registries[..]].concat(),
    ));
    assert_eq!(ask_skopeo(&place, &target), Answer::Allow);
    assert!(matches!(ask_skopeo(&place, &source), Answer::Deny(_)));
}

#[test]
fn what_skopeo_saves_for_docker_becomes_an_image_that_it_takes() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "docker-archive");
    let saved = "docker-archive:saved.tar:example.com/app:1";
    skopeo(&folder, &["copy", "--quiet", &laboratory.image_dir(), saved]);
    let image = format!("docker://{}/copied/saved:1", laboratory.host());
    let digest = done(&countersign(&laboratory, &folder, &["copy", saved, &image]));
    let words = ["inspect", "--tls-verify=false", &image];
    let seen: Value = serde_json::from_slice(&skopeo(&folder, &words)).expect("JSON");
    assert_eq!(seen["Digest"], digest.as_str());
    skopeo(&folder, &["copy", "--quiet", "--src-tls-verify=false", &image, "oci:back"]);
}

#[test]
fn a_registry_that_is_gone_and_a_disk_that_is_full_leave_nothing() {
    let Some(laboratory) = laboratory() else { return };
    let folder = folder(&laboratory, "faults");
    let registry = Registry::start(&folder.join("registry")).expect("a registry");
    let host = registry.host.clone();
    let image = format!("docker://{host}/app:1");
    let copy = |words: &[&str]| {
        countersign(&laboratory, &folder, &[&["copy", "--plain-http", &host], words].concat())
    };
    done(&copy(&[&laboratory.image_dir(), &image]));
    drop(registry);
    for words in [[laboratory.image_dir().as_str(), &image], [&image, "dir:copy"]] {
        let output = copy(&words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(&format!("cannot reach {host}")), "{stderr}");
    }
    assert!(!folder.join("copy").exists());

    // A file system of our own, smaller than the image.
    let large = folder.join("large");
    Image::new(&"x".repeat(300_000)).expect("an image").write_dir(&large, &[]).expect("written");
    std::fs::create_dir(folder.join("small")).expect("a folder");
    let script = "mount -t tmpfs -o size=128k none small && \
        for to in dir:small/a oci:small/b oci-archive:small/c.tar; do \
        \"$0\" copy dir:large $to; echo $?; done; ls -A small; ls -A small/b/blobs/sha256 | grep countersign";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_countersign")]);
    let output = lab::attempt(command.current_dir(&folder)).expect("unshare starts");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if stdout.is_empty() {
        crate::support::say(&format!("SKIPPED: no file system of our own here: {stderr}"));
        return;
    }
    assert_eq!(stdout, "2\n2\n2\nb\n", "{stderr}");
    assert_eq!(stderr.matches("No space left on device").count(), 3, "{stderr}");
}

/// podman pulls the image, where it runs.
fn ask_podman(place: &Place, image: &str) {
    let registries = std::fs::read_to_string(place.registries_d.join("lab.yaml"));
    let folder = tempfile::tempdir().expect("a folder");
    match Podman::new(folder.path(), &registries.expect("a file of registries.d")) {
        Ok(podman) => {
            let answer = podman.pull(image.trim_start_matches("docker://"), &place.policy);
            assert_eq!(answer.expect("podman starts"), Answer::Allow, "{image}");
        }
        Err(fault) => crate::support::say(&format!("SKIPPED: podman does not run here: {fault:#}")),
    }
}

fn kind_name(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}

fn ask_skopeo(place: &Place, image: &str) -> Answer {
    skopeo::verdict(image, &place.policy, &place.registries_d).expect("skopeo runs")
}
