//! Debian's docker-registry, and images that skopeo signed.

use countersign::digest::Digest;
use lab::gpg::Home;
use lab::image::{Image, Index};
use lab::registry::Registry;
use lab::{lookaside, skopeo};
use serde_json::json;

use super::hostile::patch;
use super::{Setup, Webhook, pod};

#[test]
fn signed_image_is_allowed_and_pinned_and_unsigned_one_denied() {
    let lab = Laboratory::new();
    let webhook = lab.start();
    let (signed, unsigned) = (lab.name("app:signed"), lab.name("app:unsigned"));
    assert_eq!(webhook.validate(&pod(&[&signed])), (true, String::new()));

    let (allowed, words) = webhook.validate(&pod(&[&signed, &unsigned]));
    assert!(!allowed);
    assert!(words.contains("A signature was required, but no signature exists"), "{words}");
    assert!(words.contains("\"c1\"") && words.contains(&unsigned), "{words}");
    assert!(!words.contains("\"c0\""), "{words}");

    let (_, answer) = webhook.ask("/admit?timeout=10s", &pod(&[&signed]));
    assert_eq!(answer["response"]["patchType"], "JSONPatch", "{answer}");
    let pinned = format!("{signed}@{}", lab.image.digest);
    let expected = json!([
        {"op": "test", "path": "/spec/containers/0/image", "value": signed},
        {"op": "replace", "path": "/spec/containers/0/image", "value": pinned},
    ]);
    assert_eq!(json!(patch(&answer)), expected);
    // What was pinned is allowed as it is, and needs no patch.
    let (_, again) = webhook.ask("/mutate?timeout=10s", &pod(&[&pinned]));
    assert_eq!(again["response"]["allowed"], true, "{again}");
    assert!(again["response"].get("patch").is_none(), "{again}");
}

#[test]
fn image_policy_webhook_gets_the_same_answers() {
    let lab = Laboratory::new();
    let webhook = lab.start();
    let review = |image: String| {
        json!({
            "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1",
            "spec": {"containers": [{"image": image}], "namespace": "apps"},
            "status": {"allowed": true},
        })
    };
    let (_, answer) = webhook.ask("/imagepolicy?timeout=30s", &review(lab.name("app:signed")));
    assert_eq!(answer["status"]["allowed"], true, "{answer}");
    let (_, answer) = webhook.ask("/imagepolicy?timeout=30s", &review(lab.name("app:unsigned")));
    assert_eq!(answer["status"]["allowed"], false, "{answer}");
    let words = answer["status"]["reason"].as_str().expect("words");
    assert!(words.contains("A signature was required, but no signature exists"), "{words}");
}

#[test]
fn index_is_pinned_whether_it_or_its_instances_were_signed() {
    let lab = Laboratory::new();
    let webhook = lab.start();
    let image = lab.name("multi:1");
    let (_, answer) = webhook.ask("/mutate?timeout=10s", &pod(&[&image]));
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    let digest = Digest::sha256(&lab.index.manifest);
    assert_eq!(patch(&answer)[1]["value"], format!("{image}@{digest}"));
}

#[test]
fn tag_that_moves_to_an_unsigned_image_is_denied_once_the_tag_is_looked_up_again() {
    let mut lab = Laboratory::new();
    lab.setup.configuration["cache"] = json!({"tags": "0s"});
    let webhook = lab.start();
    let moving = lab.name("moving:1");
    lab.push_signed("moving:1", &lab.image);
    assert!(webhook.validate(&pod(&[&moving])).0);
    lab.push(&Image::new("another").expect("an image"), "moving:1");
    let (allowed, words) = webhook.validate(&pod(&[&moving]));
    assert!(!allowed, "{words}");
    // The one that was verified still is.
    assert!(webhook.validate(&pod(&[&format!("{moving}@{}", lab.image.digest)])).0);
}

/// A registry with an image that skopeo signed and one that nobody did.
struct Laboratory {
    setup: Setup,
    image: Image,
    index: Index,
    gpg: Home,
    key: lab::gpg::Key,
    registry: Registry,
    _lookaside: lookaside::Server,
}

impl Laboratory {
    fn new() -> Self {
        let mut setup = Setup::new();
        let gpg = Home::new(&setup.path("gpg")).expect("gpg");
        let key = gpg.generate("signer@example.com", "ed25519", None, "never").expect("a key");
        let registry = Registry::start(&setup.path("registry")).expect("a registry");
        let store = setup.path("store");
        let lookaside = lookaside::Server::start(&store).expect("a lookaside");
        setup.write("policy/key.gpg", &gpg.export(&key).expect("a public key"));
        let policy = json!({"default": [
            {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg"},
        ]});
        setup.write_policy("policy", &policy);
        let hosts = [registry.host.clone(), lookaside.url().replace("http://", "")];
        setup.trust_plain(&hosts, None);
        let stores = json!({"docker": {&registry.host: {
            "lookaside": lookaside.url(), "lookaside-staging": format!("file://{}", store.display()),
        }}});
        setup.write("registries.d/default.yaml", stores.to_string().as_bytes());
        let image = Image::new("signed").expect("an image");
        let instance = |architecture| {
            let image = Image::for_architecture("multi", architecture).expect("an image");
            (architecture, image)
        };
        let index = Index::new(vec![instance("amd64"), instance("arm64")]).expect("an index");
        let lab = Self { setup, image, index, gpg, key, registry, _lookaside: lookaside };
        lab.push_signed("app:signed", &lab.image);
        lab.push(&Image::new("unsigned").expect("an image"), "app:unsigned");
        let folder = lab.setup.path("index");
        lab.index.write_dir(&folder).expect("a folder");
        lab.sign(&folder, "multi:1");
        lab
    }

    fn start(&self) -> Webhook {
        self.setup.start()
    }

    fn name(&self, image: &str) -> String {
        format!("{}/ns/{image}", self.registry.host)
    }

    fn push(&self, image: &Image, name: &str) {
        let folder = self.setup.path(&format!("dir-{}", image.digest.replace(':', "-")));
        image.write_dir(&folder, &[]).expect("a folder");
        skopeo::push(&folder, &self.name(name)).expect("skopeo pushes");
    }

    fn push_signed(&self, name: &str, image: &Image) {
        let folder = self.setup.path(&format!("dir-{}", image.digest.replace(':', "-")));
        image.write_dir(&folder, &[]).expect("a folder");
        self.sign(&folder, name);
    }

    fn sign(&self, folder: &std::path::Path, name: &str) {
        let source = format!("dir:{}", folder.display());
        let destination = format!("docker://{}", self.name(name));
        let stores = self.setup.path("registries.d");
        skopeo::sign(&self.gpg, &self.key, &stores, None, &source, &destination)
            .expect("skopeo signs");
    }
}
