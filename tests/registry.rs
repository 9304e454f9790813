//! Registries, token servers and signature stores that lie, stall, truncate and redirect, and what the
//! client, the resolution of images and the gathering of signatures make of them.

use std::path::PathBuf;
use std::time::Duration;

use countersign::digest::Digest;
use countersign::evidence::{Directories, EvidenceError, RegistriesD};
use countersign::image::{ImageError, ImageName, PlatformSelection, Resolved};
use countersign::reference::Reference;
use countersign::registry::{Client, RegistryError, Settings};
use countersign::vocabulary::{Signature, SignatureForm};
use tempfile::TempDir;

use crate::support::server::{Answer, Server};
use crate::support::{OCI_IMAGE, manifest};

mod bodies;
mod command_line;
mod conformance;
mod credentials;
mod extension;
mod keyrings;
mod lookaside;
mod manifests;
mod messages;
mod one_resolve;
mod push;
mod tls;

/// Nothing of this machine's configuration; no pause worth mentioning between retries.
fn settings() -> Settings {
    Settings { retry_pause: Duration::from_millis(1), ..Settings::isolated() }
}

/// As [`settings`], with plain HTTP to these servers.
fn settings_for(servers: &[&Server]) -> Settings {
    Settings { plain_http: servers.iter().map(|server| server.host()).collect(), ..settings() }
}

/// A client that speaks plain HTTP to these servers.
fn client_for(servers: &[&Server]) -> Client {
    Client::new(settings_for(servers))
}

/// A client that gives a silent server up soon.
fn impatient_client_for(server: &Server) -> Client {
    let soon = Duration::from_millis(300);
    Client::new(Settings { read_timeout: soon, ..settings_for(&[server]) })
}

/// An index of manifests, each for a platform.
fn index(instances: &[(&str, &str)]) -> String {
    let entries: Vec<_> = instances
        .iter()
        .map(|(architecture, manifest)| {
            let digest = Digest::sha256(manifest.as_bytes());
            serde_json::json!({
                "mediaType": OCI_IMAGE,
                "digest": digest,
                "size": manifest.len(),
                "platform": {"os": "linux", "architecture": architecture},
            })
        })
        .collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        .to_string()
}

/// 200 with a manifest.
fn served(manifest: impl Into<Vec<u8>>, media_type: &str) -> Answer {
    Answer::ok(manifest).header("content-type", media_type)
}

/// A registry whose only image is `ns/app:1`, and the image's digest.
fn registry() -> (Server, Digest) {
    let server = Server::start();
    let digest = fill(&server);
    (server, digest)
}

/// Make a server a registry whose only image is `ns/app:1`.
fn fill(server: &Server) -> Digest {
    server.always("/v2/", Answer::ok("{}"));
    let digest = Digest::sha256(manifest("app").as_bytes());
    for target in ["1", digest.as_str()] {
        server.always(manifest_path(target), served(manifest("app"), OCI_IMAGE));
    }
    digest
}

/// Where a registry has a manifest of `ns/app`.
fn manifest_path(target: &str) -> String {
    format!("/v2/ns/app/manifests/{target}")
}

/// `ns/app:1` on a host.
fn tagged(host: &str) -> Reference {
    Reference::parse_normalized(&format!("{host}/ns/app:1")).expect("a reference")
}

/// `docker://HOST/ns/app:1`.
fn image(host: &str) -> ImageName {
    format!("docker://{host}/ns/app:1").parse().expect("an image's name")
}

/// Resolve `ns/app:1` for linux/amd64.
async fn resolve(host: &str, client: &Client) -> Result<Resolved, ImageError> {
    resolve_name(&image(host), client).await
}

/// Resolve an image for linux/amd64.
async fn resolve_name(name: &ImageName, client: &Client) -> Result<Resolved, ImageError> {
    let platform = PlatformSelection::Named("linux/amd64".parse().expect("a platform"));
    let mut resolved = name.resolve(client, None, &platform).await?;
    assert_eq!(resolved.len(), 1);
    Ok(resolved.remove(0))
}

/// Why `ns/app:1` was not resolved.
async fn resolve_fault(host: &str, client: &Client) -> String {
    match resolve(host, client).await {
        Ok(resolved) => format!("resolved to {}", resolved.digest),
        Err(fault) => fault.to_string(),
    }
}

/// Why a manifest was not fetched.
async fn manifest_fault(reference: &Reference, client: &Client) -> RegistryError {
    client.manifest(reference).await.expect_err("the manifest is not to be had")
}

/// registries.d with one file.
fn registries(content: &str) -> RegistriesD {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("default.yaml"), content).expect("written");
    let directories = Directories::Explicit(folder.path().to_owned());
    RegistriesD::load(&directories).expect("registries.d")
}

/// registries.d with one signature store for everything.
fn store(url: &str) -> RegistriesD {
    registries(&format!("default-docker:\n  lookaside: {url}\n"))
}

/// The signatures of `ns/app:1`.
async fn signatures(
    host: &str,
    client: &Client,
    registries: &RegistriesD,
) -> Result<Vec<Signature>, EvidenceError> {
    let resolved = resolve(host, client).await.expect("the image resolves");
    countersign::evidence::signatures(&resolved, client, registries).await
}

/// A file with credentials, in a folder that has to be kept.
fn auth_file(content: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("auth.json");
    std::fs::write(&path, content).expect("written");
    (folder, path)
}

/// Every one of `parts` is in the message.
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The limit of a manifest and of a signature.
const MIB_4: usize = 4 * 1024 * 1024;
