//! What `node-config` and `policy add-key` write, as skopeo and podman read it.

use std::path::Path;
use std::process::Command;

use lab::skopeo::{self, Answer};
use serde_json::json;

use super::laboratory::{Kind, Laboratory, Place, laboratory};

/// `countersign WORDS`, in a folder.
fn countersign(laboratory: &Laboratory, folder: &Path, words: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env("XDG_CACHE_HOME", laboratory.path("cache")).current_dir(folder);
    lab::run(command.args(words.split_whitespace())).expect("countersign does it");
}

fn key_file(laboratory: &Laboratory, folder: &Path, kind: Kind) {
    let key = laboratory.gpg.export(&laboratory.key(kind).signing).expect("a key");
    lab::write(&folder.join(format!("{kind:?}.gpg")), key).expect("a file");
}

#[test]
fn skopeo_decides_by_what_is_written_as_it_is_meant() {
    let Some(laboratory) = laboratory() else { return };
    let place = laboratory.place("nodes", &json!({"default": [{"type": "reject"}]}));
    let folder = laboratory.path("nodes");
    for kind in [Kind::Rsa2048, Kind::Colleague] {
        key_file(&laboratory, &folder, kind);
    }
    let image = format!("docker://{}", laboratory.tagged());
    let host = laboratory.host();
    let write = |name: &str, trust: &str| {
        let url = laboratory.url("nodes");
        countersign(
            &laboratory,
            &folder,
            &format!(
                "node-config {trust} --lookaside {host}={url} --keys inline --oldest-reader 5.22 --output {name}"
            ),
        );
        let files = folder.join(name).join("etc/containers");
        (files.join("policy.json"), files.join("registries.d"))
    };
    let ask = |(policy, registries_d): &(std::path::PathBuf, std::path::PathBuf)| {
        skopeo::verdict(&image, policy, registries_d).expect("skopeo runs")
    };
    let ours = write("ours", &format!("--trust {host}=Rsa2048.gpg"));
    let unsigned = "A signature was required, but no signature exists";
    assert_eq!(ask(&ours), Answer::Deny(unsigned.to_owned()));
    sign(&laboratory, &place, &image);
    assert_eq!(ask(&ours), Answer::Allow);
    let either =
        write("either", &format!("--trust {host}=Colleague.gpg --trust {host}=Rsa2048.gpg"));
    assert_eq!(ask(&either), Answer::Allow);
    let other = write("other", &format!("--trust {host}=Colleague.gpg"));
    assert!(matches!(ask(&other), Answer::Deny(_)));
    let rejected = write("rejected", "--trust elsewhere.example.com=Rsa2048.gpg");
    assert!(
        matches!(ask(&rejected), Answer::Deny(reason) if reason.contains("rejected by policy"))
    );
    let accepted = write("accepted", "--default accept --trust elsewhere.example.com=Rsa2048.gpg");
    assert_eq!(ask(&accepted), Answer::Allow);
}

#[test]
fn skopeo_takes_policies_that_keys_were_added_to() {
    let Some(laboratory) = laboratory() else { return };
    let place =
        laboratory.place("added", &json!({"default": [{"type": "insecureAcceptAnything"}]}));
    let folder = laboratory.path("places/added");
    let image = format!("docker://{}", laboratory.tagged());
    let ask = || skopeo::verdict(&image, &place.policy, &place.registries_d).expect("skopeo runs");
    assert_eq!(ask(), Answer::Allow);
    for kind in [Kind::Colleague, Kind::Rsa2048] {
        key_file(&laboratory, &folder, kind);
        let host = laboratory.host();
        let words = format!("policy add-key --policy policy.json --in-place {host} {kind:?}.gpg");
        countersign(&laboratory, &folder, &words);
        let unsigned = "A signature was required, but no signature exists";
        assert_eq!(ask(), Answer::Deny(unsigned.to_owned()));
    }
    sign(&laboratory, &place, &image);
    assert_eq!(ask(), Answer::Allow);
}

/// Sign the image, and have the signature where `place` has it looked for.
fn sign(laboratory: &Laboratory, place: &Place, image: &str) {
    place.look_into_folder(laboratory.host());
    let key = &laboratory.key(Kind::Rsa2048).signing;
    skopeo::sign(&laboratory.gpg, key, &place.registries_d, None, &laboratory.image_dir(), image)
        .expect("skopeo signs");
}
