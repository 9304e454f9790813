//! What helm makes of the chart and kustomize of the manifests is valid, safe, and the same.

use std::path::{Path, PathBuf};

use lab::helm::Helm;
use serde_json::{Value, json};

use crate::deploy::{documents, name, of_kind, rules, schema, strings};
use crate::support::{root, say};

#[test]
fn chart_is_well_formed() {
    let Some(helm) = helm() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let values = write_values(folder.path(), &values(json!({})));
    let mut command = helm.command(["lint", "--strict", "--values"]);
    lab::run(command.arg(values).arg(chart())).expect("helm lint");
}

#[test]
fn chart_is_valid_and_safe_with_any_values() {
    let Some(helm) = helm() else { return };
    let certificates = ["self-managed", "cert-manager", "secret"];
    let switches = [json!({}), everything()];
    for mode in certificates {
        for switch in &switches {
            let mut values = values(switch.clone());
            values["certificates"]["mode"] = mode.into();
            values["certificates"]["existingSecret"] = "tls".into();
            values["certificates"]["caBundle"] = "PEM".into();
            for release in ["countersign", "gate"] {
                let rendered = documents(&render(&helm, release, &values).expect("it renders"));
                schema::assert_valid(&rendered);
                rules::assert_safe(&rendered);
            }
        }
    }
}

#[test]
fn chart_and_manifests_are_the_same_installation() {
    let Some(helm) = helm() else { return };
    for (mode, server, webhooks) in [
        ("self-managed", "server", "webhooks"),
        ("cert-manager", "cert-manager/server", "cert-manager/webhooks"),
    ] {
        let chart = values(json!({
            "certificates": {"mode": mode},
            "config": {"admission": {"default": {"mode": "observe"}}},
        }));
        let mut chart = documents(&render(&helm, "countersign", &chart).expect("it renders"));
        let folder = root().join("deploy/manifests");
        let mut manifests = documents(&helm.kustomize(&folder.join(server)).expect("a server"));
        manifests.extend(documents(&helm.kustomize(&folder.join(webhooks)).expect("webhooks")));
        schema::assert_valid(&manifests);
        rules::assert_safe(&manifests);
        // Helm makes the namespace itself.
        manifests.retain(|document| document["kind"] != "Namespace");
        for documents in [&mut chart, &mut manifests] {
            documents.iter_mut().for_each(simplify);
            documents.sort_by_key(name);
        }
        let names = |documents: &[Value]| documents.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names(&chart), names(&manifests), "{mode}");
        for (chart, manifest) in chart.iter().zip(&manifests) {
            assert_eq!(chart, manifest, "{mode}: {}", name(chart));
        }
    }
}

#[test]
fn the_operator_s_folder_is_valid_and_runs_the_image_by_its_digest() {
    let Some(helm) = helm() else { return };
    let rendered = helm.kustomize(&root().join("deploy/operator")).expect("it renders");
    let rendered = documents(&rendered);
    schema::assert_valid(&rendered);
    let [deployment] = of_kind(&rendered, "Deployment")[..] else { unreachable!("one Deployment") };
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    let image = image.as_str().expect("an image");
    assert!(image.starts_with("registry.example.com/countersign/countersign@sha256:"), "{image}");
}

#[test]
fn chart_asks_as_the_values_say() {
    let Some(helm) = helm() else { return };
    let rendered = |webhooks: Value| {
        let values = values(json!({"webhooks": webhooks}));
        documents(&render(&helm, "countersign", &values).expect("it renders"))
    };
    let off = rendered(json!({"enabled": false}));
    let kinds = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    assert!(kinds.iter().all(|kind| of_kind(&off, kind).is_empty()));
    let validating = rendered(json!({
        "mutating": {"enabled": false},
        "validating": {"failurePolicy": "Ignore"},
        "excludedNamespaces": ["kube-ovn", "kube-system"],
        "customResources": [{"group": "tekton.dev", "resources": ["tasks"]}],
    }));
    assert!(of_kind(&validating, kinds[0]).is_empty());
    let webhook = &of_kind(&validating, kinds[1])[0]["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    let namespaces = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
    assert_eq!(strings(namespaces), ["kube-system", "countersign", "kube-ovn"]);
    let rules = webhook["rules"].as_array().expect("rules");
    let expected = json!({
        "apiGroups": ["tekton.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
        "resources": ["tasks"], "scope": "*",
    });
    assert_eq!(rules.last(), Some(&expected));
}

#[test]
fn rights_follow_from_the_values() {
    let Some(helm) = helm() else { return };
    let rendered =
        |more: Value| documents(&render(&helm, "countersign", &values(more)).expect("it renders"));
    // With a certificate from elsewhere and no pull secrets, nothing is read from the API.
    let none = rendered(json!({"certificates": {"mode": "cert-manager"}}));
    for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"] {
        assert!(of_kind(&none, kind).is_empty(), "{kind}");
    }
    let pod = &of_kind(&none, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let some = rendered(json!({
        "certificates": {"mode": "cert-manager"},
        "pullSecrets": {"enabled": true, "namespaces": ["one", "two"]},
    }));
    assert!(of_kind(&some, "ClusterRoleBinding").is_empty());
    let bindings = of_kind(&some, "RoleBinding");
    let places: Vec<_> = bindings.iter().map(|b| &b["metadata"]["namespace"]).collect();
    assert_eq!(places, ["one", "two"]);
    assert_eq!(rules::configuration(&some)["registries"]["pullSecrets"], true);
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let Some(helm) = helm() else { return };
    for (more, word) in [
        (json!({"replicaCount": 3}), "replicaCount"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"image": {"digest": ""}}), "image.digest is required"),
        (json!({"policy": {"document": {}}}), "policy.document is required"),
        (json!({"webhooks": {"timeoutSeconds": 31}}), "timeoutSeconds"),
        (json!({"webhooks": {"validating": {"failurePolicy": "fail"}}}), "failurePolicy"),
        (json!({"certificates": {"mode": "secret"}}), "is required with certificates.mode secret"),
        (json!({"certificates": {"mode": "none"}}), "mode"),
    ] {
        let refusal = render(&helm, "countersign", &values(more.clone())).expect_err("a refusal");
        assert!(refusal.contains(word), "{more}: {refusal}");
    }
}

/// Nothing is asked about the server's own namespace: that must not be the one everybody uses.
#[test]
fn namespace_that_others_use_is_refused() {
    let Some(helm) = helm() else { return };
    let refusal = render_into(&helm, "default", "countersign", &values(json!({})));
    let refusal = refusal.expect_err("a refusal");
    assert!(refusal.contains("a namespace of its own"), "{refusal}");
}

/// helm; `None`, said on stderr, on a machine without it.
fn helm() -> Option<Helm> {
    let helm = Helm::find();
    if helm.is_none() {
        say("SKIPPED: `cargo xtask setup` installs what is missing: helm");
    }
    helm
}

fn render(helm: &Helm, release: &str, values: &Value) -> Result<String, String> {
    render_into(helm, "countersign", release, values)
}

fn render_into(
    helm: &Helm,
    namespace: &str,
    release: &str,
    values: &Value,
) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let values = write_values(folder.path(), values);
    let mut command = helm.command(["template", release, "--namespace", namespace, "--values"]);
    let output = lab::attempt(command.arg(values).arg(chart())).expect("helm starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn chart() -> PathBuf {
    root().join("deploy/helm/countersign")
}

fn write_values(folder: &Path, values: &Value) -> PathBuf {
    let path = folder.join("values.yaml");
    std::fs::write(&path, values.to_string()).expect("a file");
    path
}

/// Those that are required, and more.
fn values(more: Value) -> Value {
    let mut values = json!({
        "image": {"digest": format!("sha256:{}", "0".repeat(64))},
        "policy": {"document": {"default": [{"type": "reject"}]}},
        "certificates": {},
    });
    for (key, more) in more.as_object().into_iter().flatten() {
        merge(&mut values[key], more);
    }
    values
}

fn merge(value: &mut Value, more: &Value) {
    match more.as_object() {
        Some(members) if !members.is_empty() => {
            for (key, more) in members {
                merge(&mut value[key], more);
            }
        }
        _ => *value = more.clone(),
    }
}

/// Everything that can be switched on.
fn everything() -> Value {
    json!({
        "replicas": 3,
        "image": {"pullSecrets": ["mine"]},
        "policy": {
            "keys": {"release.asc": "a key"},
            "binaryKeys": {"release.gpg": "AAAA"},
            "registriesD": {"ours.yaml": {"docker": {"a.example.com": {"lookaside": "https://s"}}}},
        },
        "registries": {
            "credentialsSecret": "credentials",
            "certificates": {"registry.example.com:5000": {"ca.crt": "PEM"}},
        },
        "pullSecrets": {"enabled": true},
        "certificates": {"clientAuthorities": "PEM"},
        "webhooks": {
            "excludedNamespaces": ["kube-ovn"],
            "customResources": [{"group": "tekton.dev", "resources": ["tasks"]}],
        },
        "service": {"clusterIP": "10.0.0.10"},
        "serviceAccount": {"annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "podDisruptionBudget": {"minAvailable": 2},
        "serviceMonitor": {"enabled": true, "labels": {"a": "b"}},
    })
}

/// Take away what only says who made it, and read what is kept as text.
fn simplify(document: &mut Value) {
    if let Some(labels) = document["metadata"]["labels"].as_object_mut() {
        labels.retain(|label, _| label == "app.kubernetes.io/name");
    }
    for path in [
        "/spec/selector",
        "/spec/selector/matchLabels",
        "/spec/podSelector/matchLabels",
        "/spec/template/metadata/labels",
        "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels",
        "/spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm/labelSelector/matchLabels",
    ] {
        if let Some(labels) = document.pointer_mut(path).and_then(Value::as_object_mut) {
            labels.remove("app.kubernetes.io/instance");
        }
    }
    if let Some(container) = document.pointer_mut("/spec/template/spec/containers/0") {
        container.as_object_mut().expect("a container").remove("imagePullPolicy");
    }
    if let Some(pod) = document.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
        sort_by_name(&mut pod["volumes"]);
        sort_by_name(&mut pod["containers"][0]["volumeMounts"]);
    }
    for (key, text) in document["data"].as_object_mut().into_iter().flatten() {
        let read: Value = serde_saphyr::from_str(text.as_str().expect("text")).expect(key);
        *text = read;
    }
}

fn sort_by_name(list: &mut Value) {
    let list = list.as_array_mut().expect("a list");
    list.sort_by_key(|item| item["name"].to_string());
}
