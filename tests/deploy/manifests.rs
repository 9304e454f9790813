//! The plain manifests, file by file. What kustomize makes of them is tested with the real tools.

use serde_json::Value;

use super::{documents, of_kind, rules, schema, strings};
use crate::cli::User;
use crate::docs::{files, read};

#[test]
fn every_manifest_is_what_the_api_takes() {
    let mut found = Vec::new();
    for file in files(FOLDER, "yaml") {
        let documents = documents(&read(&file));
        assert!(!documents.is_empty(), "{file} is empty");
        if file.ends_with("/kustomization.yaml") {
            assert_eq!(documents.len(), 1, "{file}");
        } else if !is_patch(&file) {
            schema::assert_valid(&documents);
            found.extend(documents);
        }
    }
    assert!(found.len() > 15, "only {} documents were found", found.len());
}

#[test]
fn every_manifest_is_part_of_its_folder() {
    let mut checked = 0;
    for file in files(FOLDER, "yaml") {
        let (folder, name) = file.rsplit_once('/').expect("a folder");
        if name == "kustomization.yaml" {
            continue;
        }
        let kustomization = &documents(&read(&format!("{folder}/kustomization.yaml")))[0];
        let resources = strings(&kustomization["resources"]);
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        let listed = resources.contains(&name) || patches.into_iter().any(|p| p["path"] == name);
        assert!(listed, "{folder}/kustomization.yaml does not list {name}");
        checked += 1;
    }
    assert!(checked > 10, "only {checked} files were found");
}

#[test]
fn server_is_restricted_and_cannot_be_locked_out() {
    let mut documents = server();
    with_digest(&mut documents);
    documents.extend(self::documents(&read(&format!("{FOLDER}/webhooks/webhooks.yaml"))));
    rules::assert_safe(&documents);
    rules::assert_safe(&self::documents(&read(&format!("{FOLDER}/pull-secrets/rbac.yaml"))));
}

#[test]
fn namespace_admits_restricted_pods_alone() {
    let server = server();
    let labels = &of_kind(&server, "Namespace")[0]["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn first_configuration_denies_nothing_and_the_first_policy_everything() {
    let server = server();
    assert_eq!(rules::configuration(&server)["admission"]["default"]["mode"], "observe");
    let maps = of_kind(&server, "ConfigMap");
    let policy = maps.iter().find_map(|map| map["data"]["policy.json"].as_str()).expect("a policy");
    let user = User::new();
    user.write("policy.json", policy);
    let ended = user.run("policy check policy.json");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let policy: Value = serde_json::from_str(policy).expect("JSON");
    assert_eq!(policy, serde_json::json!({"default": [{"type": "reject"}]}));
}

/// The documents of the folder `server`.
fn server() -> Vec<Value> {
    let files = files(&format!("{FOLDER}/server"), "yaml");
    let files = files.iter().filter(|file| !file.ends_with("/kustomization.yaml"));
    files.flat_map(|file| documents(&read(file))).collect()
}

/// As kustomize does.
fn with_digest(documents: &mut [Value]) {
    let kustomization = &super::documents(&read(&format!("{FOLDER}/server/kustomization.yaml")))[0];
    let image = &kustomization["images"][0];
    for document in documents.iter_mut().filter(|document| document["kind"] == "Deployment") {
        let shown = &mut document["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(*shown, image["name"]);
        let digest = image["digest"].as_str().expect("a digest");
        *shown = format!("{}@{digest}", image["name"].as_str().expect("a name")).into();
    }
}

fn is_patch(file: &str) -> bool {
    let (folder, name) = file.rsplit_once('/').expect("a folder");
    let kustomization = &documents(&read(&format!("{folder}/kustomization.yaml")))[0];
    let patches = kustomization["patches"].as_array().into_iter().flatten();
    patches.into_iter().any(|patch| patch["path"] == name)
}

const FOLDER: &str = "deploy/manifests";

/// The configuration and policy that are installed are ones that the server starts with.
#[test]
fn configuration_and_policy_of_the_manifests_can_be_used() {
    let data = |file: &str, key: &str| {
        let yaml = read(&format!("deploy/manifests/server/{file}"));
        let found = documents(&yaml)
            .iter()
            .find_map(|document| document["data"][key].as_str().map(str::to_owned));
        found.expect("the file")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        lab::write(&path, text).expect("a file");
        path
    };
    let config = write("config.yaml", &data("configuration.yaml", "config.yaml"));
    let policy = write("policy.json", &data("policy.yaml", "policy.json"));
    let registries = folder.path().join("registries.d");
    std::fs::create_dir(&registries).expect("a folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["serve", "--check", "--config"])
        .arg(config)
        .arg("--policy")
        .arg(policy)
        .arg("--registries-d")
        .arg(registries)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
