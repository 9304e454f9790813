//! `countersign webhook-config`: what it prints is what was reviewed, and what the manifests have.

use std::collections::BTreeSet;
use std::fs;

use countersign::webhook_config::RESOURCES;
use serde_json::{Value, json};

use super::{documents, of_kind, rules, schema, strings};
use crate::cli::User;
use crate::docs::read;
use crate::support::shared;

#[test]
fn prints_what_was_reviewed() {
    for (file, arguments) in GOLDEN {
        assert_eq!(
            printed(arguments),
            read(&format!("tests/data/webhook-config/{file}")),
            "{file}"
        );
    }
}

#[test]
fn manifests_are_what_is_printed() {
    let printed = printed("--service countersign/countersign");
    assert_eq!(printed, read("deploy/manifests/webhooks/webhooks.yaml"));
}

#[test]
fn what_is_printed_is_what_the_api_takes_and_locks_nobody_out() {
    let printed =
        documents(&printed("--service security/gate --exempt-namespace kube-ovn --timeout 30s"));
    schema::assert_valid(&printed);
    for configuration in &printed {
        rules::webhooks_lock_nobody_out(configuration, Some("security"));
        let webhook = &configuration["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["timeoutSeconds"], 30);
        let selector = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(strings(&selector["values"]), ["kube-system", "security", "kube-ovn"]);
    }
    assert_eq!(of_kind(&printed, "MutatingWebhookConfiguration").len(), 1);
    assert_eq!(of_kind(&printed, "ValidatingWebhookConfiguration").len(), 1);
}

/// CVE-2023-34091 of Kyverno: what is being deleted can still be changed to run something.
#[test]
fn objects_that_are_being_deleted_are_asked_about() {
    let printed = printed("--service countersign/countersign");
    assert!(!printed.contains("deletionTimestamp"));
    for configuration in documents(&printed) {
        let conditions = configuration["webhooks"][0]["matchConditions"].as_array().cloned();
        let conditions = conditions.expect("conditions");
        assert_eq!(conditions.len(), 1);
        // Only kubelets, only their mirror pods.
        let expression = conditions[0]["expression"].as_str().expect("an expression");
        for word in ["system:nodes", "system:node:", "kubernetes.io/config.mirror", "CREATE"] {
            assert!(expression.contains(word), "{word}: {expression}");
        }
    }
}

/// Complaint 24 of the field: ephemeral containers are a subresource, and `pods` does not match it.
#[test]
fn ephemeral_containers_are_asked_about() {
    for configuration in documents(&printed("--service countersign/countersign")) {
        let rules = configuration["webhooks"][0]["rules"].as_array().cloned().expect("rules");
        assert!(rules.iter().any(|rule| {
            strings(&rule["resources"]).contains(&"pods/ephemeralcontainers")
                && strings(&rule["operations"]) == ["CREATE", "UPDATE"]
        }));
    }
}

#[test]
fn every_kind_of_the_kubernetes_api_that_has_containers_is_asked_about() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("conformance/kubernetes/upstream/kubernetes-api-roundtrip");
    let mut kinds = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the API's own data") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let Some((group, kind)) = stem.split_once(".v1.") else { continue };
        let group = if group == "core" { "" } else { group };
        let document = fs::read_to_string(&path).expect("a file");
        let document: Value = serde_json::from_str(&document).expect("JSON");
        if names_containers(&document) {
            kinds.insert((group.to_owned(), format!("{}s", kind.to_lowercase())));
        }
    }
    let asked: BTreeSet<_> = RESOURCES
        .iter()
        .flat_map(|(group, resources)| resources.iter().map(move |resource| (group, resource)))
        .filter(|(_, resource)| !resource.contains('/'))
        .map(|(group, resource)| ((*group).to_owned(), (*resource).to_owned()))
        .collect();
    assert_eq!(kinds, asked);
}

#[test]
fn kinds_and_custom_resources_are_chosen() {
    let arguments = "--service a/b:8443 --kind validating --failure-policy Ignore \
                     --custom-resource tekton.dev/tasks --custom-resource argoproj.io/rollouts";
    let printed = documents(&printed(arguments));
    schema::assert_valid(&printed);
    assert_eq!(printed.len(), 1);
    let webhook = &printed[0]["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["clientConfig"]["service"]["port"], 8443);
    let rules = webhook["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), RESOURCES.len() + 2);
    assert_eq!(rules[3]["apiGroups"], json!(["argoproj.io"]));
    assert_eq!(rules[4]["resources"], json!(["tasks"]));
}

#[test]
fn authorities_are_written_in() {
    let user = User::new();
    let authority = crate::support::tls::Authority::new();
    let pem = authority.pem();
    user.write("ca.crt", &pem);
    let ended = user.run("webhook-config --service a/b --ca-bundle ca.crt");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for configuration in documents(&ended.stdout) {
        let bundle = &configuration["webhooks"][0]["clientConfig"]["caBundle"];
        let bundle = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            bundle.as_str().expect("a bundle"),
        );
        assert_eq!(bundle.expect("base64"), pem.as_bytes());
    }
    schema::assert_valid(&documents(&ended.stdout));
}

/// Static files know no Services, and each kind has a folder of its own.
#[test]
fn static_manifests_are_of_one_kind_and_have_a_url() {
    let printed =
        documents(&printed("--url https://a.example.com --static-manifests --kind mutating"));
    schema::assert_valid(&printed);
    let name = printed[0]["metadata"]["name"].as_str().expect("a name");
    assert!(name.ends_with(".static.k8s.io"), "{name}");
    let client = &printed[0]["webhooks"][0]["clientConfig"];
    assert_eq!(*client, json!({"url": "https://a.example.com/mutate"}));
    let user = User::new();
    let both = user.run("webhook-config --url https://a.example.com --static-manifests");
    both.assert_error(&["one --kind", "different folders"]);
    let service = user.run("webhook-config --service a/b --static-manifests --kind mutating");
    service.assert_error(&["--url"]);
}

#[test]
fn files_of_api_servers_have_the_form_of_the_real_ones() {
    let printed = documents(&printed(
        "imagepolicy --url https://images.example.com:8443 --ca /etc/kubernetes/imagepolicy/ca.pem \
         --client-certificate /etc/kubernetes/imagepolicy/apiserver.pem \
         --client-key /etc/kubernetes/imagepolicy/apiserver-key.pem --allow-ttl 50 --deny-ttl 50",
    ));
    let Some(shared) = shared() else { return };
    let real = |file: &str| -> Value {
        let path = shared.join("conformance/kubernetes/webhook-config").join(file);
        documents(&fs::read_to_string(path).expect("a fixture")).remove(0)
    };
    assert_eq!(printed[0], real("admission-configuration-imagepolicy.yaml"));
    // But for the names that the file gives its own parts.
    let named = printed[1].to_string().replace("\"countersign\"", "\"image-policy\"");
    let named: Value = serde_json::from_str(&named).expect("JSON");
    let real = real("imagepolicy-kubeconfig.yaml");
    assert_eq!(named["clusters"], real["clusters"]);
    assert_eq!(named["users"], real["users"]);
    assert_eq!(named["contexts"][0]["context"], real["contexts"][0]["context"]);
    assert_eq!(named["current-context"], named["contexts"][0]["name"]);
}

#[test]
fn values_that_the_api_server_would_refuse_are_refused() {
    let user = User::new();
    for (arguments, words) in [
        ("--service countersign", &["NAMESPACE/NAME"][..]),
        ("--service default/countersign", &["server's own"]),
        ("--service a/b --url https://a", &["--url"]),
        ("--url http://a", &["https://HOST"]),
        ("--service a/b --timeout 31s", &["1s to 30s"]),
        ("--service a/b --exempt-namespace openshift-*", &["no patterns", "own configuration"]),
        ("--service a/b --custom-resource tekton.dev/*", &["GROUP/RESOURCE"]),
        ("--service a/b --ca-bundle absent.crt", &["absent.crt"]),
        ("imagepolicy --url https://a --ca b --allow-ttl 1", &["2 to 1800"]),
        ("imagepolicy --url https://a --ca b --client-key k", &["--client-certificate"]),
        ("", &["--service"]),
    ] {
        let ended = user.run(&format!("webhook-config {arguments}"));
        ended.assert_error(words);
        assert_eq!(ended.stdout, "", "{arguments}");
    }
}

fn printed(arguments: &str) -> String {
    let ended = User::new().run(&format!("webhook-config {arguments}"));
    assert_eq!(ended.status, Some(0), "{arguments}: {ended:?}");
    assert_eq!(ended.stderr, "", "{arguments}");
    ended.stdout
}

fn names_containers(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.contains_key("containers") || members.values().any(names_containers)
        }
        Value::Array(items) => items.iter().any(names_containers),
        _ => false,
    }
}

/// What was reviewed, and the command that prints it.
const GOLDEN: [(&str, &str); 4] = [
    (
        "url.yaml",
        "--url https://images.example.com:8443/countersign --exempt-namespace kube-ovn --timeout 5s \
         --custom-resource tekton.dev/tasks --custom-resource tekton.dev/pipelines",
    ),
    ("static.yaml", "--url https://images.example.com:8443 --static-manifests --kind validating"),
    (
        "imagepolicy.yaml",
        "imagepolicy --url https://images.example.com:8443 --ca /etc/kubernetes/imagepolicy/ca.pem \
         --client-certificate /etc/kubernetes/imagepolicy/apiserver.pem \
         --client-key /etc/kubernetes/imagepolicy/apiserver-key.pem",
    ),
    (
        "credentials.yaml",
        "credentials --service countersign/countersign \
         --client-certificate /etc/kubernetes/admission/apiserver.pem \
         --client-key /etc/kubernetes/admission/apiserver-key.pem",
    ),
];
