//! Debian's registry with a password, and a pod with and without the pull secret.

use countersign::reference::Reference;
use countersign::registry::{Client, RegistryError, Settings as RegistrySettings};
use lab::image::Image;
use lab::registry::Registry;

use super::*;
use crate::support::say;

#[tokio::test]
async fn a_real_registry_gives_an_image_to_the_pod_with_the_pull_secret_alone() {
    let missing: Vec<&str> = lab::tools::missing().iter().map(|tool| tool.program).collect();
    if !missing.is_empty() {
        say(&format!(
            "SKIPPED: `cargo xtask setup` installs what is missing: {}",
            missing.join(", ")
        ));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start_with_password(&folder.path().join("registry"));
    let registry = registry.expect("a registry");
    let host = &registry.host;
    let image = Image::new("private").expect("an image");
    let source = folder.path().join("image");
    image.write_dir(&source, &[]).expect("an image in a folder");
    let name = format!("{host}/ns/private:1");
    lab::skopeo::push_with_password(&source, &name).expect("the image is pushed");

    let api = Api::start();
    api.has_account(&[]);
    let (user, password) = Registry::USER;
    let entry = |password: &str| {
        json!({"auths": {host.as_str(): {"username": user, "password": password}}}).to_string()
    };
    for (secret, content) in [("right", entry(password)), ("wrong", entry("something else"))] {
        let kind = "kubernetes.io/dockerconfigjson";
        api.has_secret(secret, kind, ".dockerconfigjson", &content);
    }
    let cluster = api.cluster().await;
    let plain_http = [host.as_str()].into_iter().collect();
    let client = Client::new(RegistrySettings { plain_http, ..RegistrySettings::isolated() });
    let reference = Reference::parse_normalized(&name).expect("a reference");
    for (secrets, allowed) in [
        (&["right"][..], true),
        (&[], false),
        (&["wrong"], false),
        (&["missing"], false),
        (&["wrong", "right"], true),
    ] {
        let keyring: Arc<Keyring> = cluster.keyring(&puller(secrets)).await.expect("a keyring");
        match client.acting_as(keyring).manifest(&reference).await {
            Ok(manifest) => assert!(allowed && manifest.content == image.manifest, "{secrets:?}"),
            Err(RegistryError::Unauthorized { .. }) => assert!(!allowed, "{secrets:?}"),
            Err(other) => assert_eq!(other.to_string(), "no other error"),
        }
    }
}
