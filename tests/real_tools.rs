//! Real tools: what gpg and skopeo sign, we verify; what we deny, skopeo and podman deny, in the same
//! words.

mod chart;
mod combinations;
mod compare;
mod copy;
mod countersign;
mod keys;
mod laboratory;
mod nodes;
mod rule_artifacts;
mod shipped_rules;
mod tekton;
mod tutorial;
mod workbench;

use lab::image::{Image, Index};
use lab::podman::Podman;
use lab::skopeo::{self, Answer};
use serde_json::json;

use self::compare::compare;
use self::countersign::verdict;
use self::laboratory::{Kind, Laboratory, Place, REPOSITORY, laboratory};

#[test]
fn verifies_what_skopeo_signs_into_a_signature_store() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Rsa2048);
    let place = laboratory.place("skopeo-store", &json!({"default": [key.requirement()]}));
    place.look_into_folder(laboratory.host());
    let reference = format!("{}/skopeo/store:v1", laboratory.host());
    let image = format!("docker://{reference}");
    sign(&laboratory, &place, Kind::Rsa2048, None, &laboratory.image_dir(), &image);
    let by_digest =
        format!("docker://{}/skopeo/store@{}", laboratory.host(), laboratory.image.digest);

    // file://, as it was written.
    assert_eq!(verdict(&laboratory, &place, &[&image]), Answer::Allow);
    assert_eq!(verdict(&laboratory, &place, &[&by_digest]), Answer::Allow);
    assert_eq!(ask_skopeo(&place, &image), Answer::Allow);

    // A second signature beside the first, by a key that the policy does not name, changes nothing.
    sign(&laboratory, &place, Kind::Stranger, None, &image, &image);
    assert!(
        place.store.join(store_path("skopeo/store", &laboratory.image.digest, 2)).is_file(),
        "skopeo signs once more"
    );
    assert_eq!(verdict(&laboratory, &place, &[&image]), Answer::Allow);

    // The same files over HTTP.
    place.look_aside(laboratory.host(), &laboratory.url("skopeo-store"));
    assert_eq!(verdict(&laboratory, &place, &[&image]), Answer::Allow);
    assert_eq!(verdict(&laboratory, &place, &[&by_digest]), Answer::Allow);
}

#[test]
fn verifies_what_skopeo_signs_into_a_directory() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Ed25519);
    let reference = "registry.example.com/ns/app:v1";
    let place = laboratory.place("skopeo-dir", &json!({"default": [key.requirement()]}));
    let signed = format!("dir:{}", laboratory.path("skopeo-dir").display());
    sign(&laboratory, &place, Kind::Ed25519, Some(reference), &laboratory.image_dir(), &signed);

    assert_eq!(verdict(&laboratory, &place, &["--as", reference, &signed]), Answer::Allow);
    let other = "registry.example.com/ns/app:v2";
    let reason = denial(verdict(&laboratory, &place, &["--as", other, &signed]));
    assert_eq!(reason, format!("Signature for identity \"{reference}\" is not accepted"));

    // Without a name of its own the image is nobody's, unless the policy says whose it is.
    denied_in_the_same_words(&laboratory, &place, &signed);
    let mut requirement = key.requirement();
    requirement["signedIdentity"] =
        json!({"type": "exactRepository", "dockerRepository": "registry.example.com/ns/app"});
    let place = laboratory.place("skopeo-dir-exact", &json!({"default": [requirement]}));
    assert_eq!(verdict(&laboratory, &place, &[&signed]), Answer::Allow);
    assert_eq!(ask_skopeo(&place, &signed), Answer::Allow);
}

#[test]
fn verifies_what_skopeo_signs_by_itself() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Rsa4096);
    let place = laboratory.place("standalone-sign", &json!({"default": [key.requirement()]}));
    let reference = laboratory.tagged();
    let signature = skopeo::standalone_sign(
        &laboratory.gpg,
        &key.signing,
        &laboratory.image.manifest,
        &reference,
    )
    .expect("skopeo signs");
    laboratory
        .image
        .write_lookaside(&place.store, REPOSITORY, &[signature])
        .expect("a signature store");
    let image = format!("docker://{reference}");
    assert_eq!(verdict(&laboratory, &place, &[&image]), Answer::Allow);
    assert_eq!(ask_skopeo(&place, &image), Answer::Allow);
}

#[test]
fn verifies_a_layout_as_though_it_had_been_pulled() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Nistp256);
    let place = laboratory.place("layout", &json!({"default": [key.requirement()]}));
    let reference = laboratory.tagged();
    let payload = laboratory.image.payload(&reference);
    let signature =
        laboratory.gpg.sign(&[&key.signing], payload.as_bytes(), &["--sign"]).expect("gpg signs");
    laboratory
        .image
        .write_lookaside(&place.store, REPOSITORY, &[signature])
        .expect("a signature store");
    let folder = laboratory.path("layout");
    std::fs::create_dir(&folder).expect("a folder");
    let layout = format!("oci:{}:v1", folder.join("oci").display());
    let archive = format!("oci-archive:{}:v1", folder.join("oci.tar").display());
    for image in [&layout, &archive] {
        skopeo::convert(&laboratory.image_dir(), image).expect("skopeo converts");
        assert_eq!(verdict(&laboratory, &place, &["--as", &reference, image]), Answer::Allow);
        denied_in_the_same_words(&laboratory, &place, image);
    }
}

#[test]
fn judges_a_signed_index_as_skopeo_does() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Rsa3072);
    let place = laboratory.place("index", &json!({"default": [key.requirement()]}));
    place.look_into_folder(laboratory.host());
    let architectures = ["amd64", "arm64"];
    let images = architectures.map(|architecture| {
        (architecture, Image::for_architecture("of an index", architecture).expect("an image"))
    });
    let arm = images[1].1.clone();
    let index = Index::new(images.to_vec()).expect("an index");
    let source = laboratory.path("index");
    index.write_dir(&source).expect("an index in a folder");
    let image = format!("docker://{}/skopeo/index:v1", laboratory.host());
    let source = format!("dir:{}", source.display());
    sign(&laboratory, &place, Kind::Rsa3072, None, &source, &image);

    assert_eq!(verdict(&laboratory, &place, &["--platform", "linux/amd64", &image]), Answer::Allow);
    assert_eq!(verdict(&laboratory, &place, &["--platform", "linux/arm64", &image]), Answer::Allow);
    assert_eq!(verdict(&laboratory, &place, &["--all-platforms", &image]), Answer::Allow);
    assert_eq!(ask_skopeo(&place, &image), Answer::Allow);

    // One platform's signature is gone: the others are none the worse, but not all are good.
    let signature = place.store.join(store_path("skopeo/index", &arm.digest, 1));
    std::fs::remove_file(signature).expect("the signature was there");
    assert_eq!(verdict(&laboratory, &place, &["--platform", "linux/amd64", &image]), Answer::Allow);
    for platforms in [&["--platform", "linux/arm64"][..], &["--all-platforms"]] {
        let arguments = [platforms, &[image.as_str()]].concat();
        assert_eq!(
            verdict(&laboratory, &place, &arguments),
            Answer::Deny("A signature was required, but no signature exists".into()),
            "{platforms:?}"
        );
    }
}

#[test]
fn says_in_text_what_skopeo_says() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Ed25519);
    let place = laboratory.place("text", &json!({"default": [key.requirement()]}));
    let image = format!("docker://{}", laboratory.tagged());
    let output = lab::attempt(countersign::verify(&laboratory, &place).arg(&image))
        .expect("the binary under test starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let reason = denial(ask_skopeo(&place, &image));
    assert!(text.contains(&format!("Source image rejected: {reason}")), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn agrees_with_podman() {
    let Some(laboratory) = laboratory() else { return };
    let key = laboratory.key(Kind::Rsa2048);
    let signed = laboratory.place("podman", &json!({"default": [key.requirement()]}));
    let stranger = laboratory.key(Kind::Stranger);
    let payload = laboratory.image.payload(&laboratory.tagged());
    let signature =
        laboratory.gpg.sign(&[&key.signing], payload.as_bytes(), &["--sign"]).expect("gpg signs");
    laboratory
        .image
        .write_lookaside(&signed.store, REPOSITORY, &[signature])
        .expect("a signature store");
    let wrong_key = Place {
        policy: laboratory
            .place("podman-wrong-key", &json!({"default": [stranger.requirement()]}))
            .policy,
        ..signed.clone()
    };
    let rejecting = Place {
        policy: laboratory.place("podman-reject", &json!({"default": [{"type": "reject"}]})).policy,
        ..signed.clone()
    };
    let unsigned = laboratory.place("podman-unsigned", &json!({"default": [key.requirement()]}));

    let reference = laboratory.tagged();
    let mut answers = Vec::new();
    for (name, place) in [
        ("signed", &signed),
        ("wrong-key", &wrong_key),
        ("rejected", &rejecting),
        ("unsigned", &unsigned),
    ] {
        let registries = std::fs::read_to_string(place.registries_d.join("lab.yaml"))
            .expect("a file of registries.d");
        let folder = laboratory.path("podman").join(name);
        let podman = match Podman::new(&folder, &registries) {
            Ok(podman) => podman,
            Err(error) => {
                crate::support::say(&format!(
                    "SKIPPED: podman cannot run on this machine: {error:#}"
                ));
                return;
            }
        };
        let podmans = podman.pull(&reference, &place.policy).expect("podman starts");
        let ours = verdict(&laboratory, place, &[&format!("docker://{reference}")]);
        assert_eq!(compare(&ours, &podmans), Ok(()), "{name}");
        answers.push(podmans);
    }
    assert_eq!(answers[0], Answer::Allow);
    assert!(answers[1..].iter().all(|answer| matches!(answer, Answer::Deny(_))), "{answers:?}");
}

fn sign(
    laboratory: &Laboratory,
    place: &Place,
    kind: Kind,
    identity: Option<&str>,
    source: &str,
    destination: &str,
) {
    let key = &laboratory.key(kind).signing;
    skopeo::sign(&laboratory.gpg, key, &place.registries_d, identity, source, destination)
        .expect("skopeo signs");
}

fn ask_skopeo(place: &Place, image: &str) -> Answer {
    skopeo::verdict(image, &place.policy, &place.registries_d).expect("skopeo runs")
}

fn denied_in_the_same_words(laboratory: &Laboratory, place: &Place, image: &str) {
    let skopeos = ask_skopeo(place, image);
    assert!(matches!(skopeos, Answer::Deny(_)), "{image}: {skopeos:?}");
    assert_eq!(compare(&verdict(laboratory, place, &[image]), &skopeos), Ok(()), "{image}");
}

#[expect(clippy::panic, reason = "another answer is the failure of the test that asks")]
fn denial(answer: Answer) -> String {
    match answer {
        Answer::Deny(reason) => reason,
        other => panic!("not denied: {other:?}"),
    }
}

/// Where a signature store keeps signature `number` of an image.
fn store_path(repository: &str, digest: &str, number: u32) -> String {
    format!("{repository}@{}/signature-{number}", digest.replace(':', "="))
}
