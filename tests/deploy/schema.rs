//! Documents are what the Kubernetes API takes: every field is one of its types', and has the right form.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::name;

/// Every document is of a known kind and has nothing that its kind does not have.
#[expect(clippy::panic, reason = "a document that the API would refuse is the failure of the test")]
pub(crate) fn assert_valid(documents: &[Value]) {
    for document in documents {
        if let Err(fault) = check(document) {
            panic!("{}: {fault}\n{document:#}", name(document));
        }
    }
    let names: BTreeSet<_> =
        documents.iter().map(|d| (name(d), d["metadata"]["namespace"].to_string())).collect();
    assert_eq!(names.len(), documents.len(), "something is there twice");
}

fn check(document: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&document["apiVersion"]), text(&document["kind"]));
    match (version.as_str(), kind.as_str()) {
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration") => {
            strict::<MutatingWebhookConfiguration>(document)
        }
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration") => {
            strict::<ValidatingWebhookConfiguration>(document)
        }
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
            strict::<CustomResourceDefinition>(document)
        }
        ("apps/v1", "Deployment") => strict::<Deployment>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => strict::<NetworkPolicy>(document),
        ("policy/v1", "PodDisruptionBudget") => strict::<PodDisruptionBudget>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => strict::<ClusterRole>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            strict::<ClusterRoleBinding>(document)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => strict::<Role>(document),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => strict::<RoleBinding>(document),
        ("v1", "ConfigMap") => strict::<ConfigMap>(document),
        ("v1", "Namespace") => strict::<Namespace>(document),
        ("v1", "ResourceQuota") => strict::<ResourceQuota>(document),
        ("v1", "Service") => strict::<Service>(document),
        ("v1", "ServiceAccount") => strict::<ServiceAccount>(document),
        // Of others, whose types are not at hand.
        ("cert-manager.io/v1", "Certificate" | "Issuer")
        | ("monitoring.coreos.com/v1", "ServiceMonitor") => Ok(()),
        _ => Err(format!("{version} {kind} is not expected here")),
    }
}

fn strict<T: DeserializeOwned>(document: &Value) -> Result<(), String> {
    let mut unknown = Vec::new();
    serde_ignored::deserialize::<_, _, T>(document, |path| unknown.push(path.to_string()))
        .map_err(|error| error.to_string())?;
    if unknown.is_empty() { Ok(()) } else { Err(format!("unknown: {}", unknown.join(", "))) }
}

#[test]
fn finds_what_the_api_does_not_know() {
    let mut document = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"},
        "spec": {"ports": [{"port": 443, "protocol": "TCP"}]},
    });
    check(&document).expect("a Service");
    document["spec"]["ports"][0]["prot"] = "TCP".into();
    let fault = check(&document).expect_err("an unknown field");
    assert!(fault.contains("prot"), "{fault}");
    document["spec"]["ports"] = serde_json::json!([{"port": "443"}]);
    check(&document).expect_err("a wrong type");
    check(&serde_json::json!({"apiVersion": "v1", "kind": "Pod"})).expect_err("an unexpected kind");
}
