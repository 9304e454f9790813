//! Objects of any kind: applied, listed, deleted.

use countersign::kubernetes::{Applied, Apply, Change, Resource};

use super::*;
use crate::support::applied::Cluster as Store;

const LABEL: (&str, &str) = ("example.com/made-by", "tests");

/// Access to a store of objects, and the kind `Task`.
async fn access(store: &Store) -> (Cluster, Resource) {
    let kubeconfig = Kubeconfig::from_yaml(&store.kubeconfig()).expect("a kubeconfig");
    let read = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let cluster = Cluster::from_config(read.expect("a configuration")).expect("it can be used");
    let task = cluster.resource("tekton.dev/v1", "Task").await.expect("a kind");
    (cluster, task)
}

fn task(spec: Value) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "Task",
        "metadata": {"name": "a", "labels": {LABEL.0: LABEL.1}}, "spec": spec,
    })
}

async fn apply(cluster: &Cluster, kind: &Resource, spec: Value) -> Result<Applied, ClusterError> {
    cluster.apply(kind, "build", &task(spec), Apply::default()).await
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_away_and_what_others_said_stays() {
    let store = Store::start();
    let (cluster, kind) = access(&store).await;
    assert_eq!(cluster.namespace(), "build");
    let spec = json!({"description": "x", "steps": []});
    let made = apply(&cluster, &kind, spec).await.expect("applied");
    assert_eq!(made.change(), Change::Created);
    store.apply_as("other", "tasks/a", json!({"spec": {"displayName": "theirs"}}));
    let changed = apply(&cluster, &kind, json!({"steps": []})).await.expect("applied");
    assert_eq!(changed.change(), Change::Changed);
    let (_, after) = changed.meanings();
    assert_eq!(after["spec"], json!({"steps": [], "displayName": "theirs"}));
    assert_eq!(after["metadata"].as_object().expect("metadata").len(), 3, "{after}");
    let again = apply(&cluster, &kind, json!({"steps": []})).await.expect("applied");
    assert_eq!(again.change(), Change::Unchanged);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let store = Store::start();
    let (cluster, kind) = access(&store).await;
    let how = Apply { dry_run: true, ..Apply::default() };
    let object = task(json!({"params": [{"name": "p"}]}));
    let would = cluster.apply(&kind, "build", &object, how).await.expect("it would be made");
    assert_eq!(would.change(), Change::Created);
    assert_eq!(would.after["spec"]["params"][0]["type"], "string", "with defaults");
    assert!(store.objects().is_empty());
}

#[tokio::test]
async fn an_object_that_was_changed_since_it_was_read_is_not_deleted() {
    let store = Store::start();
    let (cluster, kind) = access(&store).await;
    apply(&cluster, &kind, json!({"steps": []})).await.expect("applied");
    let read = cluster.labelled(&kind, "build", LABEL).await.expect("a list").remove(0);
    store.apply_as("other", "tasks/a", json!({"spec": {"displayName": "theirs"}}));
    let fault = cluster.delete(&kind, "build", &read).await.expect_err("changed").to_string();
    assert!(fault.contains("changed just now") && fault.contains("Task \"a\""), "{fault}");
    assert_eq!(store.objects(), ["build/tasks/a"]);
    let read = cluster.labelled(&kind, "build", LABEL).await.expect("a list").remove(0);
    for _ in 0..2 {
        cluster.delete(&kind, "build", &read).await.expect("deleted, or gone");
    }
    assert!(store.objects().is_empty());
    assert!(cluster.labelled(&kind, "build", LABEL).await.expect("a list").is_empty());
}

#[tokio::test]
async fn conflicts_are_told_but_not_all_of_many() {
    let store = Store::start();
    let (cluster, kind) = access(&store).await;
    let spec = |value: &str| -> Value {
        (0..10)
            .map(|n| (format!("field{n}"), value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    store.apply_as("other", "tasks/a", task(spec("theirs")));
    let fault = apply(&cluster, &kind, spec("ours")).await.expect_err("a conflict");
    assert!(matches!(fault, ClusterError::Conflict { .. }), "{fault}");
    let fault = fault.to_string();
    assert!(fault.contains(".spec.field7 is other's, and 2 more; leave it to them"), "{fault}");
    assert!(!fault.contains("theirs"), "{fault}");
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_not_asked_for() {
    let store = Store::start();
    let (cluster, kind) = access(&store).await;
    let before = store.server.requests().len();
    let mut object = task(json!({}));
    for name in ["../secrets/a", "a?dryRun=All", ""] {
        object["metadata"]["name"] = name.into();
        for namespace in ["build", name] {
            let fault = cluster.apply(&kind, namespace, &object, Apply::default()).await;
            assert!(matches!(fault, Err(ClusterError::Name { .. })), "{name}");
        }
        assert!(cluster.labelled(&kind, name, LABEL).await.is_err(), "{name}");
    }
    assert_eq!(store.server.requests().len(), before);
    let fault = cluster.resource("tekton.dev/v1", "Tasks").await.expect_err("no such kind");
    assert!(matches!(fault, ClusterError::Unknown { .. }), "{fault}");
}

#[tokio::test]
async fn the_api_s_own_words_are_not_shown() {
    let api = Api::start();
    let cluster = api.cluster().await;
    let kinds = json!({"resources": [{"name": "secrets", "kind": "Secret", "namespaced": true}]});
    api.server.always("/api/v1", Answer::ok(kinds.to_string()));
    let kind = cluster.resource("v1", "Secret").await.expect("a kind");
    assert_eq!(kind.shown("tls"), "secret/tls");
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "data": {"k": "s3cret"},
    });
    for code in [400, 409, 422] {
        let refusal = status(code, "Invalid", "data: Invalid value: s3cret");
        api.server.on(secret_path("tls"), move |request| match request.method.as_str() {
            "PATCH" => refusal.clone(),
            _ => Answer::status(404),
        });
        let fault = cluster.apply(&kind, "prod", &object, Apply::default()).await;
        let fault = fault.expect_err("refused");
        let shown = format!("{fault} {fault:?}");
        assert!(shown.contains(&format!("status {code} (Invalid)")), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
