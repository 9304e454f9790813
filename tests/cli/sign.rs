//! `countersign sign`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use countersign::digest::Digest;
use sequoia_openpgp::Profile;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::SerializeInto as _;

use super::*;
use crate::support;
use crate::support::registry::Registry;
use crate::support::server::{Answer, Recorded, Server};

/// Someone with a key, and an image in a registry.
pub(super) struct Signatory {
    pub(super) user: User,
    pub(super) registry: Registry,
}

impl Signatory {
    /// `signing.key` has no passphrase; signatures go into the folder `signatures`.
    pub(super) fn new() -> Self {
        let user = User::new();
        key_files(&user, "signing", None);
        let registries =
            format!("default-docker:\n  lookaside: file://{}\n", shown(&user.path("signatures")));
        user.write("registries.d/a.yaml", registries);
        let registry = Registry::start();
        Self { user, registry }
    }

    /// The name of an image of the registry.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}/shop/{rest}", self.registry.host())
    }

    /// A command that may speak to the registry.
    pub(super) fn run(&self, words: &str) -> Ended {
        self.user.run(&format!("{words} --plain-http {}", self.registry.host()))
    }

    /// Sign by `signing.key`.
    fn sign(&self, words: &str) -> Ended {
        self.run(&format!("sign --sign-by signing.key --registries-d registries.d {words}"))
    }

    /// Ask for a signature by a key.
    pub(super) fn verify(&self, key: &str, words: &str) -> Ended {
        self.user.policy(json!({
            "type": "signedBy", "keyType": "GPGKeys", "keyPath": format!("{key}.gpg"),
        }));
        self.run(&format!("verify --policy policy.json --registries-d registries.d {words}"))
    }

    /// The names of the files in the folder for the signatures of a manifest.
    pub(super) fn signatures(&self, repository: &str, digest: &str) -> Vec<String> {
        let (_, hex) = digest.split_once(':').expect("a digest");
        let folder = self.user.path(&format!("signatures/shop/{repository}@sha256={hex}"));
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

/// `NAME.key`, secret and armoured, `NAME.gpg`, public; the fingerprint.
pub(super) fn key_files(user: &User, name: &str, passphrase: Option<&str>) -> String {
    let (cert, _) = CertBuilder::new()
        .set_profile(Profile::RFC4880)
        .expect("a profile")
        .add_userid(format!("{name}@example.com"))
        .add_signing_subkey()
        .set_password(passphrase.map(Into::into))
        .generate()
        .expect("a key");
    write_key(user, name, &cert)
}

fn write_key(user: &User, name: &str, cert: &sequoia_openpgp::Cert) -> String {
    user.write(&format!("{name}.key"), cert.as_tsk().armored().to_vec().expect("bytes"));
    let public = cert.clone().strip_secret_key_material().to_vec().expect("bytes");
    user.write(&format!("{name}.gpg"), public);
    cert.fingerprint().to_hex()
}

/// Put an image and an index of it into a registry by hand; the digests of both.
fn fill(registry: &Registry) -> [String; 2] {
    let image = support::manifest("web");
    let digest = Digest::sha256(image.as_bytes()).to_string();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": support::OCI_IMAGE,
            "digest": digest,
            "size": image.len(),
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    })
    .to_string();
    let both = [digest, Digest::sha256(index.as_bytes()).to_string()];
    for (digest, tag, content) in [(&both[0], "1", image), (&both[1], "all", index)] {
        registry.put("shop/web", digest, content.as_bytes());
        registry.put("shop/web", tag, content.as_bytes());
    }
    both
}

#[test]
fn a_signed_image_satisfies_who_wants_the_signature_by_tag_and_by_digest() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    let image = signatory.name("web:1");
    assert_eq!(signatory.verify("signing", &image).status, Some(1));
    let ended = signatory.sign(&image);
    let pinned = signatory.name(&format!("web@{digest}"));
    assert_eq!((ended.status, ended.stdout.trim()), (Some(0), pinned.as_str()), "{ended:?}");
    assert_eq!(signatory.signatures("web", &digest), ["signature-1"]);
    for name in [&image, &pinned] {
        assert_eq!(signatory.verify("signing", name).status, Some(0), "{name}");
    }
    // What nobody set in a pipeline is empty.
    let again = signatory.sign(&format!("--as= --cert-dir= {image}"));
    assert!(again.stderr.contains("there was a signature already"), "{again:?}");
    // Under another tag it was not signed.
    signatory.registry.put("shop/web", "2", support::manifest("web").as_bytes());
    assert_eq!(signatory.verify("signing", &signatory.name("web:2")).status, Some(1));
}

#[test]
fn the_same_key_signs_the_same_image_under_the_same_name_once() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    for keeps in [false, true] {
        if keeps {
            signatory.registry.keep_signatures();
        }
        let count = || match keeps {
            true => signatory.registry.signatures("shop/web", &digest).len(),
            false => signatory.signatures("web", &digest).len(),
        };
        let image = signatory.name("web:1");
        assert_eq!(signatory.sign(&image).status, Some(0));
        let again = signatory.sign(&image);
        assert_eq!(again.status, Some(0), "{again:?}");
        assert!(again.stderr.contains("there was a signature already"), "{again:?}");
        assert_eq!(count(), 1);
        // Another name is another signature, and so is another key.
        let other = format!("{image} --as {}", signatory.name("web:stable"));
        assert_eq!(signatory.sign(&other).status, Some(0));
        assert_eq!(count(), 2);
        key_files(&signatory.user, "other", None);
        let ended =
            signatory.run(&format!("sign --sign-by other.key --registries-d registries.d {image}"));
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(count(), 3);
        assert_eq!(signatory.verify("other", &image).status, Some(0));
        assert_eq!(signatory.verify("signing", &image).status, Some(0));
    }
}

#[test]
fn a_registry_that_keeps_signatures_gets_them_as_openshift_expects() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    signatory.registry.keep_signatures();
    let ended = signatory.sign(&signatory.name("web:1"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("/extensions/v2/shop/web/signatures/"), "{ended:?}");
    let kept = signatory.registry.signatures("shop/web", &digest);
    let [entry] = kept.as_slice() else { unreachable!("one signature: {kept:?}") };
    if let Some(shared) = support::shared() {
        let example = shared.join("conformance/kubernetes/openshift/xrss-put-request.json");
        let example: Value =
            serde_json::from_slice(&fs::read(example).expect("the example")).expect("JSON");
        let members = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(members(entry), members(&example));
        for member in ["schemaVersion", "type"] {
            assert_eq!(entry[member], example[member]);
        }
    }
    assert!(!signatory.user.path("signatures").exists(), "nobody would look there");
    assert_eq!(signatory.verify("signing", &signatory.name("web:1")).status, Some(0));
}

#[test]
fn a_name_that_is_taken_is_not_the_end() {
    for (answers, status) in [(1, 0), (9, 2)] {
        let signatory = Signatory::new();
        let [digest, _] = fill(&signatory.registry);
        signatory.registry.keep_signatures();
        signatory.registry.take_names(answers);
        let ended = signatory.sign(&signatory.name("web:1"));
        assert_eq!(ended.status, Some(status), "{ended:?}");
        let kept = signatory.registry.signatures("shop/web", &digest).len();
        assert_eq!(kept, usize::from(status == 0));
    }
}

#[test]
fn a_store_that_refuses_is_an_error() {
    let path = |digest: &str| format!("/extensions/v2/shop/web/signatures/{digest}");
    for (answer, words) in [
        (Answer::error(400, "SIGNATURE_INVALID", "invalid image signature"), "invalid image"),
        (Answer::error(403, "DENIED", "no signing here"), "no signing here"),
        (Answer::status(200), "status 200"),
        (Answer::status(404), "no place for a signature"),
    ] {
        let signatory = Signatory::new();
        let [digest, _] = fill(&signatory.registry);
        signatory.registry.keep_signatures();
        signatory.registry.server.on(path(&digest), move |request| match request.method.as_str() {
            "GET" => Answer::ok(r#"{"signatures":[]}"#),
            _ => answer.clone(),
        });
        let ended = signatory.sign(&signatory.name("web:1"));
        ended.assert_error(&["cannot sign docker://", "web:1", words]);
        assert_eq!(ended.stdout, "");
    }
    // A folder that nobody can make.
    let signatory = Signatory::new();
    fill(&signatory.registry);
    signatory.user.write("signatures", "a file");
    let ended = signatory.sign(&signatory.name("web:1"));
    ended.assert_error(&["cannot sign docker://", "signatures/shop/web@sha256="]);
}

#[test]
fn a_signature_that_is_not_found_again_is_an_error() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    // It says that it took it, and shows another one.
    signatory.registry.keep_signatures();
    let other = json!({"signatures": [{
        "schemaVersion": 2, "name": format!("{digest}@{:032}", 1), "type": "atomic",
        "content": "kA0DAAgBIG5vdCBhIHJlYWwgT3BlblBHUCBtZXNzYWdl",
    }]});
    let path = format!("/extensions/v2/shop/web/signatures/{digest}");
    signatory.registry.server.on(path, move |request| match request.method.as_str() {
        "GET" => Answer::ok(other.to_string()),
        _ => Answer::status(201),
    });
    let ended = signatory.sign(&signatory.name("web:1"));
    ended.assert_error(&["the signature that was made is not accepted", "counts for nothing"]);
}

#[test]
fn a_mounted_secret_signs_and_results_go_into_files() {
    use std::os::unix::fs::symlink;
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    let user = &signatory.user;
    // As the kubelet mounts it: links into a folder of one version.
    for name in ["build", "release"] {
        key_files(user, name, Some("s3cret"));
        fs::create_dir_all(user.path("mounted/..data")).expect("a folder");
        fs::rename(
            user.path(&format!("{name}.key")),
            user.path(&format!("mounted/..data/{name}.asc")),
        )
        .expect("moved");
        symlink(format!("..data/{name}.asc"), user.path(&format!("mounted/{name}.asc")))
            .expect("a link");
    }
    user.write("mounted/..data/passphrase", "s3cret");
    symlink("..data/passphrase", user.path("mounted/passphrase")).expect("a link");
    let image = signatory.name("web:1");
    let sign =
        format!("sign --registries-d registries.d --digest-file digest --url-file url {image}");
    let several = signatory.run(&format!("{sign} --keyring mounted --sign-by="));
    several.assert_error(&["several keys of mounted", "build@example.com", "release@example.com"]);
    assert!(!user.path("digest").exists());
    let ended = signatory.run(&format!("{sign} --keyring mounted --sign-by release@example.com"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(signatory.verify("release", &image).status, Some(0));
    assert_eq!(fs::read_to_string(user.path("digest")).expect("a file"), digest);
    assert_eq!(fs::read_to_string(user.path("url")).expect("a file"), image);
    // One key in a folder has no need of a name.
    fs::remove_file(user.path("mounted/build.asc")).expect("removed");
    for words in
        ["--sign-by mounted", "--keyring mounted", "--keyring= --sign-by mounted/release.asc"]
    {
        let ended = signatory.run(&format!("{sign} {words}"));
        let known = words.contains("asc");
        assert_eq!(ended.status, Some(if known { 2 } else { 0 }), "{words}: {ended:?}");
        assert!(!ended.stderr.contains("s3cret"));
        // The passphrase is of the folder.
        assert!(ended.stderr.contains(if known {
            "no terminal"
        } else {
            "there was a signature already"
        }));
    }
    signatory
        .run(&format!("{sign} --keyring= --sign-by="))
        .assert_error(&["there is no key", "--sign-by"]);
}

/// A lookaside server, which has signatures in memory.
struct Lookaside {
    server: Server,
    kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Lookaside {
    /// What is written below `/staging` is read below `/signatures`. The only writer has [`TOKEN`]. An older server
    /// knows PUT alone.
    fn start(older: bool) -> Self {
        let (server, kept) = (Server::start(), Arc::default());
        let shared: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::clone(&kept);
        server.otherwise(move |request| {
            let mut kept = shared.lock().expect("no panic");
            let path = request.path.replacen("/staging/", "/signatures/", 1);
            if request.method == "GET" {
                return kept
                    .get(&path)
                    .map_or_else(|| Answer::status(404), |content| Answer::ok(content.clone()));
            }
            let written = request.path.starts_with("/staging/");
            let token = request.headers.get("authorization").and_then(|value| value.to_str().ok());
            if !written || token != Some(&format!("Bearer {TOKEN}")) {
                return Answer::status(401);
            }
            let path = match (request.method.as_str(), path.ends_with('/')) {
                ("PUT", false) => path,
                ("POST", true) if !older => {
                    let number =
                        (1..).find(|n| !kept.contains_key(&format!("{path}signature-{n}")));
                    format!("{path}signature-{}", number.expect("a number"))
                }
                _ => return Answer::status(405),
            };
            if kept.contains_key(&path) && request.headers.contains_key("if-none-match") {
                return Answer::status(412);
            }
            kept.insert(path.clone(), request.content.to_vec());
            Answer::status(201).header("location", &path)
        });
        Self { server, kept }
    }

    /// What registries.d says, for images of any registry.
    fn registries(&self, user: &User) {
        let host = self.server.host();
        let registries = format!(
            "default-docker:\n  lookaside: http://{host}/signatures/r=5000\n  lookaside-staging: \
             http://{host}/staging/r=5000\n"
        );
        user.write("registries.d/a.yaml", registries);
    }

    fn names(&self) -> Vec<String> {
        self.kept.lock().expect("no panic").keys().cloned().collect()
    }
}

const TOKEN: &str = "t0ken.of-a_service~account";

#[test]
fn a_lookaside_server_gets_signatures_and_is_asked_as_verifiers_ask_it() {
    for older in [false, true] {
        let signatory = Signatory::new();
        let [digest, _] = fill(&signatory.registry);
        let lookaside = Lookaside::start(older);
        let user = &signatory.user;
        lookaside.registries(user);
        // As a file, and as a cluster mounts it.
        let token = if older { "mounted/token" } else { "token" };
        user.write(token, format!("{TOKEN}\n"));
        let token = token.trim_end_matches("/token").to_owned();
        key_files(user, "other", None);
        let image = signatory.name("web:1");
        let host = lookaside.server.host();
        let sign = |key: &str| {
            let words = format!(
                "sign --sign-by {key} --registries-d registries.d --plain-http {host} {image}"
            );
            signatory.run(&format!("{words} --token-file {token}"))
        };
        let ended = sign("signing.key");
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let folder = format!("/signatures/r=5000/shop/web@{}", digest.replace(':', "="));
        assert!(ended.stderr.contains(&format!("http://{host}{folder}/signature-1")), "{ended:?}");
        assert!(!ended.stderr.contains(TOKEN), "{ended:?}");
        assert!(sign("signing.key").stderr.contains("there was a signature already"));
        assert_eq!(sign("other.key").status, Some(0));
        assert_eq!(lookaside.names(), [1, 2].map(|number| format!("{folder}/signature-{number}")));
        for key in ["signing", "other"] {
            assert_eq!(signatory.verify(key, &image).status, Some(0), "{key}");
        }
        // The registry, and who only reads, see no token.
        let seen = |request: &Recorded| request.headers.contains_key("authorization");
        assert!(!signatory.registry.server.requests().iter().any(seen));
        let read =
            lookaside.server.requests().into_iter().filter(|request| request.method == "GET");
        assert!(!read.collect::<Vec<_>>().iter().any(seen));
    }
}

#[test]
fn two_who_sign_at_once_do_not_replace_each_other_s_signatures() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    let lookaside = Lookaside::start(true);
    lookaside.registries(&signatory.user);
    signatory.user.write("token", TOKEN);
    // Between the question and the answer somebody else was faster.
    let path = format!("/signatures/r=5000/shop/web@{}/signature-1", digest.replace(':', "="));
    let content = b"\x90somebody else's".to_vec();
    let kept = Arc::clone(&lookaside.kept);
    let (hidden, mut asked) = (path.clone(), 0);
    lookaside.server.on(path.clone(), move |_| {
        asked += 1;
        let mut kept = kept.lock().expect("no panic");
        kept.entry(hidden.clone()).or_insert_with(|| content.clone());
        if asked <= 2 { Answer::status(404) } else { Answer::ok(kept[&hidden].clone()) }
    });
    let host = lookaside.server.host();
    let ended = signatory.run(&format!(
        "sign --sign-by signing.key --registries-d registries.d --plain-http {host} --token-file token {}",
        signatory.name("web:1")
    ));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("signature-2"), "{ended:?}");
    assert_eq!(lookaside.kept.lock().expect("no panic")[&path], b"\x90somebody else's");
}

#[test]
fn of_many_who_sign_at_once_none_loses_a_signature() {
    const SIGNERS: usize = 6;
    for registry_keeps in [false, true] {
        let signatory = Signatory::new();
        let [digest, _] = fill(&signatory.registry);
        if registry_keeps {
            signatory.registry.keep_signatures();
        }
        let image = signatory.name("web:1");
        let keys: Vec<_> = (0..SIGNERS).map(|number| format!("signer-{number}")).collect();
        for key in &keys {
            key_files(&signatory.user, key, None);
        }
        std::thread::scope(|scope| {
            for key in &keys {
                let (signatory, image) = (&signatory, &image);
                scope.spawn(move || {
                    let words =
                        format!("sign --sign-by {key}.key --registries-d registries.d {image}");
                    let ended = signatory.run(&words);
                    assert_eq!(ended.status, Some(0), "{key}: {ended:?}");
                });
            }
        });
        let count = match registry_keeps {
            true => signatory.registry.signatures("shop/web", &digest).len(),
            false => signatory.signatures("web", &digest).len(),
        };
        assert_eq!(count, SIGNERS);
        for key in &keys {
            assert_eq!(signatory.verify(key, &image).status, Some(0), "{key}");
        }
    }
}

#[test]
fn what_somebody_else_overwrote_is_attached_again() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    let made = signatory.user.run("keygen --sigstore --no-passphrase --out cosign.key");
    assert_eq!(made.status, Some(0), "{made:?}");
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let sign = || {
        signatory.run(&format!(
            "sign --registries-d registries.d --sign-by cosign.key {}",
            signatory.name("web:1")
        ))
    };
    let path = format!("/v2/shop/web/manifests/{tag}");
    let kept: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    for (lost, status) in [(2, Some(0)), (usize::MAX, Some(2))] {
        let (shown, mut written) = (Arc::clone(&kept), 0);
        *kept.lock().expect("no panic") = None;
        signatory.registry.server.on(path.clone(), move |request| {
            let mut kept = shown.lock().expect("no panic");
            if request.method == "PUT" {
                written += 1;
                // As often as this, somebody else is faster.
                *kept = (written > lost).then(|| request.content.to_vec());
                return Answer::status(201);
            }
            kept.as_ref().map_or_else(
                || Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
                |content| Answer::ok(content.clone()).header("content-type", support::OCI_IMAGE),
            )
        });
        let ended = sign();
        assert_eq!(ended.status, status, "{ended:?}");
        assert_eq!(kept.lock().expect("no panic").is_some(), status == Some(0));
        assert_eq!(ended.stderr.contains("others sign at the same time"), status == Some(2));
    }
}

#[test]
fn a_lookaside_server_that_refuses_is_an_error_that_says_what_to_do() {
    let signatory = Signatory::new();
    fill(&signatory.registry);
    let lookaside = Lookaside::start(false);
    lookaside.registries(&signatory.user);
    let user = &signatory.user;
    user.write("token", TOKEN);
    user.write("other", "s3cret-token");
    user.write("broken", "two words");
    let host = lookaside.server.host();
    let image = signatory.name("web:1");
    let sign = |words: &str| {
        signatory
            .run(&format!("sign --sign-by signing.key --registries-d registries.d {words} {image}"))
    };
    let plain = format!("--plain-http {host}");
    for (words, faults) in [
        (
            plain.clone(),
            ["refuses the signature with status 401", "name a file with a token: --token-file"],
        ),
        (format!("{plain} --token-file other"), ["status 401", "may not write there"]),
        (
            format!("{plain} --token-file broken"),
            ["cannot use the token of broken", "no bearer token"],
        ),
        (format!("{plain} --token-file none"), ["cannot use the token of none", ""]),
        // Whoever is on the way could take the token.
        ("--token-file token".to_owned(), ["nothing is sent to http://", "--plain-http"]),
    ] {
        let ended = sign(&words);
        ended.assert_error(&faults);
        assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
        assert_eq!(lookaside.names(), [] as [&str; 0]);
    }
    // It takes what it does not show.
    lookaside.server.otherwise(|request| match request.method.as_str() {
        "GET" => Answer::status(404),
        _ => Answer::status(201),
    });
    sign(&plain).assert_error(&[
        "the signature that was made is not accepted",
        "lookaside of registries.d",
    ]);
    for (answer, words) in [
        (Answer::status(507), "status 507"),
        (Answer::error(422, "SIGNATURE_INVALID", "not by a known key"), "not by a known key"),
        (Answer::status(405), "status 405"),
    ] {
        lookaside.server.otherwise(move |request| match request.method.as_str() {
            "GET" => Answer::status(404),
            _ => answer.clone(),
        });
        sign(&plain).assert_error(&[words, &host]);
    }
}

#[test]
fn of_an_index_all_instances_are_signed_if_that_is_asked_for() {
    let signatory = Signatory::new();
    let [image, index] = fill(&signatory.registry);
    let name = signatory.name("web:all");
    let ended = signatory.sign(&name);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("--all"), "{ended:?}");
    assert_eq!(signatory.signatures("web", &index), ["signature-1"]);
    assert_eq!(signatory.signatures("web", &image), [] as [&str; 0]);
    let verify = format!("--platform linux/amd64 {name}");
    assert_eq!(signatory.verify("signing", &verify).status, Some(1));
    let ended = signatory.sign(&format!("--all {name}"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.trim().ends_with(&index), "{ended:?}");
    assert_eq!(signatory.signatures("web", &index), ["signature-1"]);
    assert_eq!(signatory.signatures("web", &image), ["signature-1"]);
    assert_eq!(signatory.verify("signing", &verify).status, Some(0));
}

#[test]
fn a_key_that_cannot_sign_asks_nobody() {
    let signatory = Signatory::new();
    let Signatory { user, .. } = &signatory;
    key_files(user, "protected", Some("s3cret"));
    user.write("passphrase", "another\n");
    let day = std::time::Duration::from_secs(86_400);
    let (expired, _) = CertBuilder::new()
        .set_profile(Profile::RFC4880)
        .expect("a profile")
        .add_userid("expired@example.com")
        .set_creation_time(std::time::SystemTime::UNIX_EPOCH + day * 19_000)
        .set_validity_period(day)
        .add_signing_subkey()
        .generate()
        .expect("a key");
    write_key(user, "expired", &expired);
    let image = signatory.name("web:1");
    for (options, words) in [
        ("--sign-by none.key", "none.key"),
        ("--sign-by signing.gpg", "public key"),
        ("--sign-by protected.key", "no terminal to ask for the passphrase"),
        ("--sign-by protected.key --passphrase-file passphrase", "passphrase does not open it"),
        ("--sign-by expired.key", "xpired"),
        ("--sign-by signing", "\"signing\" names no key"),
        ("--passphrase-file passphrase", "no key that it is for: --sign-by"),
    ] {
        let ended = signatory.run(&format!("sign {options} {image}"));
        ended.assert_error(&[words]);
        assert!(!ended.stderr.contains("another"), "{ended:?}");
    }
    for (words, fault) in [
        (format!("sign {image}"), "--sign-by"),
        ("sign --sign-by signing.key dir:x".to_owned(), "copy --sign-by"),
        (format!("sign --sign-by signing.key --as UPPER {image}"), "invalid --as"),
    ] {
        signatory.run(&words).assert_error(&[fault]);
    }
    assert!(signatory.registry.server.requests().is_empty());
}

#[test]
fn a_key_of_sigstore_attaches_signatures_to_the_image() {
    let signatory = Signatory::new();
    let [digest, _] = fill(&signatory.registry);
    let user = &signatory.user;
    user.write("cosign.password", "s3cret");
    for words in
        ["--passphrase-file cosign.password --out cosign.key", "--no-passphrase --out open.key"]
    {
        let ended = user.run(&format!("keygen --sigstore {words}"));
        assert_eq!(ended.status, Some(0), "{ended:?}");
    }
    // As cosign generate-key-pair k8s:// has it mounted.
    fs::create_dir(user.path("mounted")).expect("a folder");
    for name in ["cosign.key", "cosign.password", "cosign.pub"] {
        fs::copy(user.path(name), user.path("mounted").join(name)).expect("copied");
    }
    let image = signatory.name("web:1");
    let sign = |key: &str| {
        signatory.run(&format!("sign --registries-d registries.d --sign-by {key} {image}"))
    };
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let attached = || -> Value {
        let manifest = signatory.registry.manifest("shop/web", &tag).expect("a manifest");
        serde_json::from_slice(&manifest).expect("JSON")
    };
    let first = sign("mounted");
    assert_eq!(first.status, Some(0), "{first:?}");
    assert!(first.stderr.contains(&format!("shop/web:{tag}")), "{first:?}");
    assert!(first.stderr.contains("use-sigstore-attachments: true"), "{first:?}");
    assert!(!first.stderr.contains("s3cret"), "{first:?}");
    let again = sign("cosign.key --passphrase-file cosign.password");
    assert!(again.stderr.contains("there was a signature already"), "{again:?}");
    assert_eq!(sign("open.key").status, Some(0));
    let manifest = attached();
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 2, "{manifest}");
    for layer in layers {
        assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
        let blob = layer["digest"].as_str().expect("a digest");
        let payload = signatory.registry.blob("shop/web", blob).expect("a blob");
        assert_eq!(layer["size"], payload.len());
        let payload: Value = serde_json::from_slice(&payload).expect("JSON");
        let critical = json!({
            "type": "cosign container image signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": image},
        });
        assert_eq!(payload["critical"], critical);
    }
    // Another name is another signature; what others attached stays.
    let other = signatory.name("web:stable");
    assert_eq!(sign(&format!("open.key --as {other}")).status, Some(0));
    assert_eq!(attached()["layers"].as_array().map(Vec::len), Some(3));
    // A folder whose other keys cannot be read is not one without other keys.
    user.write("mounted/secret.asc", "no key");
    sign("mounted").assert_error(&["mounted/secret.asc", "not an OpenPGP key"]);
    // A wrong passphrase is told.
    user.write("wrong", "another");
    sign("cosign.key --passphrase-file wrong").assert_error(&["cosign.key", "does not open it"]);
    sign("cosign.key").assert_error(&["no terminal to ask for the passphrase"]);
    // What is there is no list of signatures.
    signatory.registry.put("shop/web", &tag, br#"{"layers": 1}"#);
    sign("open.key").assert_error(&["cannot attach a signature", &tag]);
}
