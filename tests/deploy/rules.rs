//! What holds for every installation, however it is made: as plain manifests, or by the chart with any values.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{name, of_kind, strings};

/// The server may do no more than it has to, cannot be kept from starting, and is found by whoever asks it.
pub(crate) fn assert_safe(documents: &[Value]) {
    rights_are_the_narrowest(documents);
    for deployment in of_kind(documents, "Deployment") {
        pod_is_restricted(&deployment["spec"]["template"]["spec"]);
        one_replica_is_always_there(documents, deployment);
        everything_mounted_exists(documents, deployment);
    }
    everything_selects_the_server(documents);
    for kind in WEBHOOKS {
        for configuration in of_kind(documents, kind) {
            let service = &configuration["webhooks"][0]["clientConfig"]["service"];
            webhooks_lock_nobody_out(configuration, service["namespace"].as_str());
            service_is_the_one_asked(documents, service);
        }
    }
}

fn rights_are_the_narrowest(documents: &[Value]) {
    for account in of_kind(documents, "ServiceAccount") {
        assert_eq!(account["automountServiceAccountToken"], false, "{}", name(account));
    }
    for kind in ["Role", "ClusterRole"] {
        for role in of_kind(documents, kind) {
            for rule in role["rules"].as_array().expect("rules") {
                let (verbs, resources) = (strings(&rule["verbs"]), strings(&rule["resources"]));
                let groups = strings(&rule["apiGroups"]);
                let named = !strings(&rule["resourceNames"]).is_empty();
                let say = || format!("{}: {rule}", name(role));
                assert!(!groups.contains(&"*") && !resources.contains(&"*"), "{}", say());
                for verb in &verbs {
                    let allowed = match *verb {
                        // Of one Secret or ServiceAccount whose name a pod says, or that is the server's own.
                        "get" => true,
                        "patch" => named && groups == ["admissionregistration.k8s.io"],
                        "update" => named && kind == "Role" && resources == ["secrets"],
                        "create" => kind == "Role" && resources == ["secrets"],
                        _ => false,
                    };
                    assert!(allowed, "{}", say());
                }
                if groups == ["admissionregistration.k8s.io"] {
                    assert!(named, "{}", say());
                }
            }
        }
    }
}

/// The Pod Security Standard `restricted`, and a little more.
fn pod_is_restricted(pod: &Value) {
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert!(context["runAsUser"].as_u64().is_some_and(|user| user > 0), "{context}");
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    for absent in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[absent].is_null(), "{absent}");
    }
    for volume in pod["volumes"].as_array().expect("volumes") {
        let kinds: Vec<_> = volume.as_object().expect("a volume").keys().collect();
        assert!(kinds.iter().all(|k| ["name", "configMap", "secret"].contains(&k.as_str())));
    }
    // Longer than `drain.delay` and the longest time that an API server waits.
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a grace period");
    assert!(grace >= 5 + 30, "{grace}");
    for container in pod["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["privileged"], false);
        assert_eq!(context["capabilities"], serde_json::json!({"drop": ["ALL"]}));
        let image = container["image"].as_str().expect("an image");
        assert!(image.contains("@sha256:"), "nobody judges {image}: it has to have a digest");
        let resources = &container["resources"];
        assert!(!resources["requests"]["memory"].is_null(), "{resources}");
        assert!(!resources["limits"]["memory"].is_null(), "{resources}");
        assert!(resources["limits"]["cpu"].is_null(), "{resources}");
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path);
            assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS");
        }
        for mount in container["volumeMounts"].as_array().expect("mounts") {
            assert_eq!(mount["readOnly"], true, "{mount}");
            assert!(mount["subPath"].is_null(), "a single file does not follow changes: {mount}");
        }
    }
}

/// Complaint 10 of the field: neither updates nor drained nodes leave the cluster without an answer.
fn one_replica_is_always_there(documents: &[Value], deployment: &Value) {
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let replicas = deployment["spec"]["replicas"].as_u64().expect("replicas");
    for budget in of_kind(documents, "PodDisruptionBudget") {
        let least = budget["spec"]["minAvailable"].as_u64().expect("a number");
        assert!((1..replicas).contains(&least), "{least} of {replicas} would hold up nodes");
        assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    }
}

fn everything_mounted_exists(documents: &[Value], deployment: &Value) {
    let pod = &deployment["spec"]["template"]["spec"];
    let names = |list: &Value| -> BTreeSet<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect()
    };
    assert_eq!(names(&pod["volumes"]), names(&pod["containers"][0]["volumeMounts"]));
    for volume in pod["volumes"].as_array().expect("volumes") {
        let Some(wanted) = volume["configMap"]["name"].as_str() else { continue };
        let maps = of_kind(documents, "ConfigMap");
        let map = maps.iter().find(|map| map["metadata"]["name"] == wanted);
        let map = map.unwrap_or_else(|| missing(&format!("no ConfigMap {wanted}")));
        for item in volume["configMap"]["items"].as_array().into_iter().flatten() {
            let key = item["key"].as_str().expect("a key");
            assert!(map["data"][key].is_string(), "{wanted} has no {key}");
        }
    }
    let accounts = of_kind(documents, "ServiceAccount");
    let account = &pod["serviceAccountName"];
    assert!(accounts.iter().any(|a| a["metadata"]["name"] == *account), "no {account}");
}

fn everything_selects_the_server(documents: &[Value]) {
    let deployments = of_kind(documents, "Deployment");
    let Some(deployment) = deployments.first() else { return };
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let pod = &deployment["spec"]["template"]["spec"];
    let mut selectors = vec![
        &deployment["spec"]["selector"]["matchLabels"],
        &pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
            ["labelSelector"]["matchLabels"],
        &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ];
    for service in of_kind(documents, "Service") {
        selectors.push(&service["spec"]["selector"]);
    }
    for budget in of_kind(documents, "PodDisruptionBudget") {
        selectors.push(&budget["spec"]["selector"]["matchLabels"]);
    }
    for policy in of_kind(documents, "NetworkPolicy") {
        selectors.push(&policy["spec"]["podSelector"]["matchLabels"]);
        assert_eq!(strings(&policy["spec"]["policyTypes"]), ["Ingress", "Egress"]);
    }
    for selector in selectors {
        let selector = selector.as_object().expect("a selector");
        assert!(!selector.is_empty());
        for (key, value) in selector {
            assert_eq!(labels[key], *value, "{key}");
        }
    }
}

/// Complaint 10 of the field: the webhook must not block its own pods, nor those that bring the cluster back.
pub(crate) fn webhooks_lock_nobody_out(configuration: &Value, own: Option<&str>) {
    for webhook in configuration["webhooks"].as_array().expect("webhooks") {
        let selector = &webhook["namespaceSelector"]["matchExpressions"];
        assert_eq!(selector.as_array().map(Vec::len), Some(1), "{selector}");
        // Nobody but the API server sets this label.
        assert_eq!(selector[0]["key"], "kubernetes.io/metadata.name");
        assert_eq!(selector[0]["operator"], "NotIn");
        let namespaces = strings(&selector[0]["values"]);
        assert!(namespaces.contains(&"kube-system"), "{namespaces:?}");
        assert!(own.is_none_or(|own| namespaces.contains(&own)), "{namespaces:?}");
        assert!(webhook["objectSelector"].is_null(), "whoever writes an object writes its labels");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        assert_eq!(strings(&webhook["admissionReviewVersions"]), ["v1"]);
        let timeout = webhook["timeoutSeconds"].as_u64().expect("a timeout");
        assert!((1..=30).contains(&timeout), "{timeout}");
    }
}

/// The certificate's name is the one that the API server looks for, and the port is there.
fn service_is_the_one_asked(documents: &[Value], asked: &Value) {
    let services = of_kind(documents, "Service");
    let service = services.iter().find(|service| {
        service["metadata"]["name"] == asked["name"]
            && service["metadata"]["namespace"] == asked["namespace"]
    });
    let service = service.unwrap_or_else(|| missing(&format!("no Service {asked}")));
    assert_eq!(service["spec"]["ports"][0]["port"], asked["port"]);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let host = format!("{}.{}.svc", text(&asked["name"]), text(&asked["namespace"]));
    let mounted = &of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["volumes"];
    for certificate in of_kind(documents, "Certificate") {
        let secret = &certificate["spec"]["secretName"];
        let shown = mounted.as_array().expect("volumes").iter();
        if shown.into_iter().any(|volume| volume["secret"]["secretName"] == *secret) {
            let names = strings(&certificate["spec"]["dnsNames"]);
            assert!(names.contains(&host.as_str()), "{names:?} has no {host}");
        }
    }
    let own = configuration(documents)["tls"]["selfManaged"].clone();
    if !own.is_null() {
        assert_eq!(own["service"], asked["name"]);
        assert_eq!(own["namespace"], asked["namespace"]);
        may_look_after_its_certificate(documents, &own);
    }
}

/// The server's configuration.
pub(crate) fn configuration(documents: &[Value]) -> Value {
    let maps = of_kind(documents, "ConfigMap");
    let text = maps.iter().find_map(|map| map["data"]["config.yaml"].as_str());
    serde_saphyr::from_str(text.expect("a configuration")).expect("YAML")
}

fn may_look_after_its_certificate(documents: &[Value], own: &Value) {
    let rules = |kind: &str| -> Vec<Value> {
        let roles = of_kind(documents, kind);
        roles
            .iter()
            .flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default())
            .collect()
    };
    let secret = own["secret"].as_str().expect("a Secret");
    let may = rules("Role").iter().any(|rule| {
        strings(&rule["resourceNames"]) == [secret] && strings(&rule["verbs"]) == ["get", "update"]
    });
    assert!(may, "{secret} cannot be written");
    for webhook in strings(&own["webhooks"]) {
        let may = rules("ClusterRole").iter().any(|rule| {
            strings(&rule["resourceNames"]) == [webhook]
                && strings(&rule["verbs"]) == ["get", "patch"]
        });
        assert!(may, "{webhook} cannot be patched");
        for kind in WEBHOOKS {
            for configuration in of_kind(documents, kind) {
                assert_eq!(configuration["metadata"]["name"], webhook);
                // Complaint 37 of the field: applying the manifests again must not take away what the server
                // wrote there.
                assert!(configuration["webhooks"][0]["clientConfig"]["caBundle"].is_null());
            }
        }
    }
}

#[expect(clippy::panic, reason = "what is missing is the failure of the test")]
fn missing(what: &str) -> ! {
    panic!("{what}")
}

const WEBHOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
