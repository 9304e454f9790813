//! `countersign copy`.

use countersign::digest::Digest;

use super::sign::{Signatory, key_files};
use super::*;
use crate::support;
use crate::support::server::Answer;

/// An image of two layers, one of them larger than what is read at once, and an index of two such images.
struct Images {
    place: Signatory,
    /// Of `shop/web:1`.
    image: String,
    /// Of `shop/web:all`.
    index: String,
    /// The instance for linux/arm64.
    arm: String,
}

impl Images {
    fn new() -> Self {
        let place = Signatory::new();
        let registry = &place.registry;
        let image = |name: &str| {
            let large: Vec<u8> = (0..700_000_u32).map(|n| (n * 31 / 7) as u8).collect();
            let layers = [large, format!("layer of {name}").into_bytes()];
            let config = format!("configuration of {name}");
            let describe = |kind: &str, content: &[u8]| {
                let digest = registry.put_blob("shop/web", content);
                json!({
                    "mediaType": format!("application/vnd.oci.image.{kind}"),
                    "digest": digest, "size": content.len(),
                })
            };
            // Spaces that nobody would write anew.
            let manifest = format!(
                "{{ \"schemaVersion\": 2,  \"mediaType\": {:?}, \"config\": {},\n \"layers\": [{}, {}] }}\n",
                support::OCI_IMAGE,
                describe("config.v1+json", config.as_bytes()),
                describe("layer.v1.tar", &layers[0]),
                describe("layer.v1.tar", &layers[1]),
            );
            let digest = Digest::sha256(manifest.as_bytes()).to_string();
            registry.put("shop/web", &digest, manifest.as_bytes());
            (digest, manifest)
        };
        let ((amd, manifest), (arm, of_arm)) = (image("amd64"), image("arm64"));
        registry.put("shop/web", "1", manifest.as_bytes());
        let entry = |digest: &str, size: usize, architecture: &str| {
            json!({
                "mediaType": support::OCI_IMAGE, "digest": digest, "size": size,
                "platform": {"os": "linux", "architecture": architecture},
            })
        };
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry(&amd, manifest.len(), "amd64"), entry(&arm, of_arm.len(), "arm64")],
        })
        .to_string();
        let digest = Digest::sha256(index.as_bytes()).to_string();
        for name in ["all", &digest] {
            registry.put("shop/web", name, index.as_bytes());
        }
        Self { place, image: amd, index: digest, arm }
    }

    /// `copy FROM TO`; `shop/` stands for that part of the registry.
    fn copy(&self, words: &str) -> Ended {
        let words = words.replace("shop/", &self.place.name(""));
        self.place.run(&format!("copy --registries-d registries.d {words}"))
    }

    fn copied(&self, words: &str, digest: &str) {
        let ended = self.copy(words);
        assert_eq!((ended.status, ended.stdout.trim()), (Some(0), digest), "{words}: {ended:?}");
        assert!(!ended.stderr.contains("MiB"), "this is no terminal: {ended:?}");
    }

    /// Why it was not copied.
    fn fault(&self, words: &str, faults: &[&str]) {
        let ended = self.copy(words);
        ended.assert_error(&["cannot copy"]);
        ended.assert_error(faults);
        assert_eq!(ended.stdout, "");
    }

    /// What was asked of a repository after so many requests.
    fn asked(&self, repository: &str, before: usize) -> Vec<String> {
        let path = format!("/v2/shop/{repository}/");
        let asked = self.place.registry.asked().into_iter().skip(before);
        asked
            .filter_map(|line| line.split_once(&path).map(|(m, rest)| m.to_owned() + rest))
            .collect()
    }

    /// Nothing in the user's folder is left over from something unfinished.
    fn assert_tidy(&self) {
        let entries = fs::read_dir(self.place.user.path("")).expect("a folder");
        let names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        let left = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".countersign");
        assert!(!names.iter().any(left), "{names:?}");
    }
}

#[test]
fn an_image_stays_the_same_through_every_transport_and_back() {
    let images = Images::new();
    let steps = [
        "shop/web:1",
        "dir:a",
        "oci:b:v1",
        "oci-archive:c.tar:v1",
        "dir:d",
        "oci-archive:e.tar",
        "oci:f",
        "shop/back:1",
    ];
    for pair in steps.windows(2) {
        images.copied(&format!("{} {}", pair[0], pair[1]), &images.image);
    }
    let registry = &images.place.registry;
    assert_eq!(registry.manifest("shop/back", "1"), registry.manifest("shop/web", "1"));
    assert_eq!(registry.blobs("shop/back").len(), 3);
    images.assert_tidy();
}

#[test]
fn an_index_goes_with_everything_or_as_one_instance() {
    let images = Images::new();
    let steps = [
        "shop/web:all",
        "dir:a",
        "oci:b:v1",
        "oci-archive:c.tar:v1",
        "shop/back:all",
        "shop/again:all",
    ];
    for pair in steps.windows(2) {
        images.copied(&format!("--all {} {}", pair[0], pair[1]), &images.index);
    }
    let registry = &images.place.registry;
    assert_eq!(registry.manifests("shop/again").len(), 4, "a tag and three digests");
    for (number, from) in steps.iter().enumerate() {
        images.copied(&format!("--platform linux/arm64 {from} dir:arm{number}"), &images.arm);
    }
    images.fault("--platform plan9/amd64 shop/web:all dir:none", &["plan9/amd64"]);
    images.copy("--platform x --all shop/web:all dir:none").assert_error(&["--all"]);
    assert!(!images.place.user.path("none").exists());
}

#[test]
fn the_name_comes_last_and_an_index_after_its_instances() {
    let images = Images::new();
    images.copied("--all shop/web:all dir:a", &images.index);
    let before = images.place.registry.asked().len();
    images.copied("--all dir:a shop/back:all", &images.index);
    let puts: Vec<_> = images
        .place
        .registry
        .server
        .requests()
        .into_iter()
        .skip(before)
        .filter(|request| request.method == "PUT")
        .map(|request| request.path.rsplit_once('/').expect("a path").1.to_owned())
        .collect();
    let Images { image, arm, index, .. } = &images;
    assert_eq!(puts[puts.len() - 4..], [image, arm, index, "all"]);
    // Five blobs, one of which both have, were sent once each.
    assert_eq!(puts.len(), 5 + 4);
}

#[test]
fn what_is_there_is_not_sent_and_what_the_registry_has_elsewhere_is_not_fetched() {
    let images = Images::new();
    images.copied("shop/web:1 shop/other:1", &images.image);
    let gets = |repository: &str, before: usize| {
        let asked = images.asked(repository, before);
        asked.into_iter().filter(|line| line.starts_with("GET blobs")).count()
    };
    assert_eq!(gets("web", 0), 0, "the registry took them itself");
    assert_eq!(images.place.registry.blobs("shop/other").len(), 3);
    images.copied("shop/web:1 oci:b", &images.image);
    assert_eq!(gets("web", 0), 3);
    // Who may not take them from there sends them.
    images.place.registry.refuse_mounts();
    images.copied("shop/web:1 shop/third:1", &images.image);
    assert_eq!(gets("web", 0), 6);
    let before = images.place.registry.asked().len();
    images.copied("oci:b shop/other:2", &images.image);
    let asked = images.asked("other", before);
    assert!(!asked.iter().any(|line| line.contains("uploads")), "{asked:?}");
    // Nor is what a layout has.
    images.copied("shop/web:1 oci:b:again", &images.image);
    assert_eq!(gets("web", before), 0);
    // Unless it is damaged there.
    let folder = images.place.user.path("b/blobs/sha256");
    let small = Digest::sha256(b"layer of amd64");
    fs::write(folder.join(small.hex()), b"laber of amd64").expect("written");
    images.copied("shop/web:1 oci:b:again", &images.image);
    assert_eq!(fs::read(folder.join(small.hex())).expect("a blob"), b"layer of amd64");
}

#[test]
fn a_layout_keeps_its_other_images() {
    let images = Images::new();
    images.copied("shop/web:1 oci:b:one", &images.image);
    images.copied("--platform linux/arm64 shop/web:all oci:b:two", &images.arm);
    images.copied("oci:b:one dir:one", &images.image);
    images.copied("--platform linux/arm64 shop/web:all oci:b:one", &images.arm);
    images.copied("oci:b:one dir:two", &images.arm);
    images.copied("oci:b:two dir:three", &images.arm);
    images.place.user.write("b/index.json", "{}");
    images.fault("shop/web:1 oci:b:one", &["b/index.json", "no OCI index"]);
    images.fault("shop/web:1 oci:b:@0", &["has no number yet"]);
}

#[test]
fn nothing_that_is_there_is_replaced() {
    let images = Images::new();
    images.place.user.write("a/mine", "mine");
    images.place.user.write("c.tar", "mine");
    for to in ["dir:a", "dir:c.tar", "oci-archive:c.tar"] {
        images.fault(&format!("shop/web:1 {to}"), &["is there already"]);
    }
    assert_eq!(fs::read(images.place.user.path("c.tar")).expect("a file"), b"mine");
    fs::create_dir(images.place.user.path("empty")).expect("a folder");
    images.copied("shop/web:1 dir:empty", &images.image);
    images.fault("shop/web:1 docker-archive:x.tar", &["only read"]);
    images.fault("shop/web:1 dir:none/below", &["none/below", "No such file"]);
    let wrong = format!("shop/web:1 shop/other@{}", images.arm);
    images.fault(&wrong, &["another digest", &images.image]);
    let right = format!("shop/web:1 shop/other@{}", images.image);
    images.copied(&right, &images.image);
    images.assert_tidy();
}

#[test]
fn the_digest_goes_into_a_file_when_that_is_asked_for() {
    let images = Images::new();
    images.copied("--digest-file digest shop/web:1 dir:a", &images.image);
    let written = fs::read_to_string(images.place.user.path("digest")).expect("a file");
    assert_eq!(written, images.image);
    images.fault("--digest-file other shop/none:1 dir:b", &["shop/none"]);
    assert!(!images.place.user.path("other").exists());
}

#[test]
fn signatures_come_along_or_are_left_behind_on_purpose() {
    let images = Images::new();
    let Images { place, .. } = &images;
    let web = place.name("web:1");
    let sign = "sign --sign-by signing.key --registries-d registries.d";
    for image in [web.as_str(), &format!("--all {}", place.name("web:all"))] {
        assert_eq!(place.run(&format!("{sign} {image}")).status, Some(0));
    }
    // The image was signed by its tag and as an instance of the index.
    images.copied("shop/web:1 dir:a", &images.image);
    assert!(place.user.path("a/signature-2").is_file());
    images.copied("--all shop/web:all dir:all", &images.index);
    let hex = &images.arm["sha256:".len()..];
    assert!(place.user.path(&format!("all/{hex}.signature-1")).is_file());
    assert!(place.user.path("all/signature-1").is_file());
    for to in ["oci:b", "oci-archive:c.tar"] {
        images.fault(&format!("shop/web:1 {to}"), &["keeps no signatures", "--remove-signatures"]);
        images.fault(&format!("dir:a {to}"), &["keeps no signatures", "--remove-signatures"]);
    }
    assert!(!place.user.path("b").exists());
    images.copied("--remove-signatures shop/web:1 oci:b", &images.image);
    images.copied("--remove-signatures shop/web:1 dir:bare", &images.image);
    assert!(!place.user.path("bare/signature-1").exists());
    // To another repository; once, however often it is copied.
    for _ in 0..2 {
        images.copied("dir:a shop/other:1", &images.image);
        assert_eq!(place.signatures("other", &images.image), ["signature-1", "signature-2"]);
    }
    // They say the name that they were made for.
    assert_eq!(place.verify("signing", &place.name("other:1")).status, Some(1));
    let verify = format!("dir:a --as {}", place.name("web:1"));
    assert_eq!(place.verify("signing", &verify).status, Some(0));
    // Into a registry that keeps them itself.
    place.registry.keep_signatures();
    images.copied("dir:a shop/third:1", &images.image);
    assert_eq!(place.registry.signatures("shop/third", &images.image).len(), 2);
}

#[test]
fn what_arrives_is_signed_before_it_has_its_name() {
    let images = Images::new();
    let Images { place, .. } = &images;
    let sign = "--all --sign-by signing.key shop/web:all";
    let ended = images.copy(&format!("{sign} shop/signed:1"));
    assert_eq!((ended.status, ended.stdout.trim()), (Some(0), images.index.as_str()), "{ended:?}");
    for digest in [&images.index, &images.image, &images.arm] {
        assert_eq!(place.signatures("signed", digest), ["signature-1"]);
    }
    let verify = format!("--all-platforms {}", place.name("signed:1"));
    assert_eq!(place.verify("signing", &verify).status, Some(0));
    let again = images.copy(&format!("{sign} shop/signed:1"));
    assert!(again.stderr.contains("there was a signature already"), "{again:?}");
    assert_eq!(place.signatures("signed", &images.index), ["signature-1"]);
    // A store that takes no signatures keeps the name from being set.
    place.user.write("registries.d/a.yaml", "default-docker:\n  lookaside: file:///proc/none\n");
    images.fault(&format!("{sign} shop/refused:1"), &["/proc/none"]);
    assert!(!place.registry.manifests("shop/refused").contains(&"1".to_owned()));
    images.fault(&format!("{sign} dir:signed"), &["cannot sign", "docker://HOST/PATH"]);
    assert!(!place.user.path("signed").exists());
}

#[test]
fn a_key_that_cannot_sign_keeps_everything_as_it_was() {
    let images = Images::new();
    key_files(&images.place.user, "protected", Some("s3cret"));
    images.place.user.write("passphrase", "another\n");
    for (options, words) in [
        ("--sign-by none.key", "none.key"),
        ("--sign-by protected.key", "no terminal to ask for the passphrase"),
        ("--sign-by protected.key --passphrase-file passphrase", "passphrase does not open it"),
        ("--passphrase-file passphrase", "--sign-by"),
    ] {
        images.copy(&format!("{options} shop/web:1 shop/other:1")).assert_error(&[words]);
    }
    assert!(images.place.registry.server.requests().is_empty());
}

#[test]
fn a_signature_store_that_loses_what_it_took_is_found_out() {
    let images = Images::new();
    let Images { place, .. } = &images;
    let sign =
        format!("sign --sign-by signing.key --registries-d registries.d {}", place.name("web:1"));
    assert_eq!(place.run(&sign).status, Some(0));
    images.copied("shop/web:1 dir:a", &images.image);
    place.registry.keep_signatures();
    let path = format!("/extensions/v2/shop/other/signatures/{}", images.image);
    place.registry.server.on(path, |request| match request.method.as_str() {
        "GET" => Answer::ok(r#"{"signatures":[]}"#),
        _ => Answer::status(201),
    });
    images.fault("dir:a shop/other:1", &["not found again", &images.image]);
    assert!(!place.registry.manifests("shop/other").contains(&"1".to_owned()));
}

#[test]
fn a_blob_that_is_another_one_goes_nowhere() {
    for (change, words) in [
        ((|content| content[0] ^= 1) as fn(&mut Vec<u8>), "has the digest"),
        (|content| content.push(b'x'), "bytes, and its manifest says"),
        (|content| content.truncate(content.len() - 1), "bytes, and its manifest says"),
        (Vec::clear, "bytes, and its manifest says"),
    ] {
        for target in [b"layer of amd64".as_slice(), b"configuration of amd64"] {
            let images = Images::new();
            let digest = Digest::sha256(target);
            images.copied("shop/web:1 dir:good", &images.image);
            images.copied("shop/web:1 oci:good-oci", &images.image);
            for blob in
                ["good", "good-oci/blobs/sha256"].map(|folder| format!("{folder}/{}", digest.hex()))
            {
                let path = images.place.user.path(&blob);
                let mut content = fs::read(&path).expect("a blob");
                change(&mut content);
                fs::write(&path, content).expect("written");
            }
            images.place.registry.alter_blobs(|named, content| {
                if named == digest.as_str() {
                    change(content);
                }
            });
            for from in ["shop/web:1", "dir:good", "oci:good-oci"] {
                for to in ["dir:a", "oci:b", "oci-archive:c.tar", "shop/other:1"] {
                    // A registry that takes a blob from its own other repository answers for it.
                    if from.starts_with("shop") && to.starts_with("shop") {
                        continue;
                    }
                    images.fault(&format!("{from} {to}"), &[digest.as_str(), words]);
                    assert!(
                        !images.place.registry.blobs("shop/other").contains(&digest.to_string())
                    );
                }
            }
            for path in ["a", "b/index.json", "c.tar"] {
                assert!(!images.place.user.path(path).exists(), "{path}");
            }
            assert_eq!(images.place.registry.manifests("shop/other"), [] as [&str; 0]);
            images.assert_tidy();
        }
    }
}

#[test]
fn a_registry_that_dies_in_the_middle_is_asked_again_and_then_given_up() {
    let images = Images::new();
    let server = &images.place.registry.server;
    let blob = Digest::sha256(b"layer of amd64");
    let path = format!("/v2/shop/web/blobs/{blob}");
    let broken = || Answer::status(200).truncated("layer", 14);
    server.in_turn(
        &path,
        [Answer::status(200).truncated("", 14), Answer::ok("layer of amd64"), broken()],
    );
    images.copied("shop/web:1 dir:a", &images.image);
    assert_eq!(server.requests_to(&path).len(), 2);
    for to in ["dir:b", "oci:c", "oci-archive:d.tar", "oci:c:again"] {
        images.fault(&format!("shop/web:1 {to}"), &["cannot reach 127.0.0.1"]);
    }
    for path in ["b", "c/index.json", "d.tar"] {
        assert!(!images.place.user.path(path).exists(), "{path}");
    }
    // The one that gets the image.
    let uploads = "/v2/shop/other/blobs/uploads/";
    server.always(uploads, Answer::error(503, "UNAVAILABLE", "the disk is full"));
    images.fault("dir:a shop/other:1", &["status 503", "the disk is full"]);
    server.always(uploads, Answer::error(507, "X", "the disk is full"));
    images.fault("dir:a shop/other:1", &["status 507", "the disk is full"]);
    assert_eq!(images.place.registry.manifests("shop/other"), [] as [&str; 0]);
    images.assert_tidy();
}

#[test]
fn a_blob_goes_on_where_it_broke_off() {
    let blob = Digest::sha256(b"layer of amd64");
    let path = format!("/v2/shop/web/blobs/{blob}");
    let rest =
        |from: &str| Answer::status(206).header("content-range", format!("bytes {from}-13/14"));
    for (answer, asked_once_more, wrong) in [
        (rest("5").body(" of amd64"), false, false),
        // Not what was asked for: all of it is asked for once more.
        (rest("4").body("r of amd64"), true, false),
        (Answer::ok("layer of amd64"), true, false),
        (Answer::error(416, "RANGE_INVALID", "no ranges here"), true, false),
        // What was asked for, and another blob.
        (rest("5").body(" of arm64"), false, true),
    ] {
        for to in ["dir:a", "shop/other:1"] {
            let images = Images::new();
            images.place.registry.refuse_mounts();
            let server = &images.place.registry.server;
            let broken = Answer::status(200).truncated("layer", 14);
            let whole = Answer::ok("layer of amd64");
            server.in_turn(&path, [broken, answer.clone(), whole]);
            if wrong {
                images.fault(&format!("shop/web:1 {to}"), &["has the digest", blob.as_str()]);
                continue;
            }
            images.copied(&format!("shop/web:1 {to}"), &images.image);
            let asked: Vec<_> = server
                .requests_to(&path)
                .iter()
                .map(|request| {
                    request
                        .headers
                        .get("range")
                        .map(|range| range.to_str().expect("text").to_owned())
                })
                .collect();
            let mut expected = vec![None, Some("bytes=5-".to_owned())];
            expected.extend(asked_once_more.then_some(None));
            assert_eq!(asked, expected);
        }
    }
}

#[test]
fn uploads_go_in_parts_where_a_registry_wants_that() {
    for (least, says_so) in [(100_000, true), (5 << 20, true), (0, false)] {
        let images = Images::new();
        images.copied("shop/web:1 dir:a", &images.image);
        images.place.registry.want_parts(least, says_so);
        images.copied("dir:a shop/other:1", &images.image);
        let large = images.place.registry.blobs("shop/other");
        assert_eq!(large.len(), 3);
        let before = images.place.registry.server.requests();
        let refused = before.iter().filter(|r| r.method == "PUT" && !r.content.is_empty());
        let refused = refused.filter(|r| r.path.contains("/blobs/")).count();
        assert_eq!(refused, if says_so { 0 } else { 3 });
    }
    let images = Images::new();
    images.copied("shop/web:1 dir:a", &images.image);
    images.place.registry.want_parts(1 << 30, true);
    images.fault("dir:a shop/other:1", &["wants parts of 1073741824 bytes"]);
}

#[test]
fn what_docker_saves_becomes_an_image_of_oci() {
    let images = Images::new();
    let layer = b"a tar file, or something like it".to_vec();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["x/layer.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("x/layer.tar", layer.clone()),
        ("config.json", config.clone()),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_slice()).expect("an entry");
    }
    images.place.user.write("saved.tar", archive.into_inner().expect("an archive"));
    let ended = images.copy("docker-archive:saved.tar:web:1 shop/saved:1");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let registry = &images.place.registry;
    let manifest = registry.manifest("shop/saved", "1").expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["mediaType"], support::OCI_IMAGE);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    assert_eq!(registry.blob("shop/saved", Digest::sha256(&layer).as_str()), Some(layer));
    assert_eq!(registry.blob("shop/saved", Digest::sha256(&config).as_str()), Some(config));
    images.copied("docker-archive:saved.tar oci:saved", ended.stdout.trim());
}
