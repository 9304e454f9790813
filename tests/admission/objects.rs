//! Every image of every object, and no other field.

use super::*;

/// A field of the API that names an image and is not looked at would be a way around everything. The data has every
/// field of each kind filled.
#[test]
fn places_cover_the_kubernetes_api() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("conformance/kubernetes/upstream/kubernetes-api-roundtrip");
    for kind in KINDS {
        let group = if kind.group.is_empty() { "core" } else { kind.group };
        let file = folder.join(format!("{group}.v1.{}.json", kind.kind));
        let object: Value =
            serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
        let mut expected = BTreeSet::new();
        walk(&object, String::new(), &mut expected);
        // What runs already is told there.
        expected.retain(|pointer| !pointer.starts_with("/status/"));
        assert!(!expected.is_empty(), "{}", kind.kind);
        let mut review = review(kind.resource, kind.kind, &object);
        review["request"]["resource"]["group"] = json!(kind.group);
        let (_, response) = ask(Endpoint::Validate, &review, &Rules::default());
        let found: BTreeSet<_> = response.decided.iter().map(|d| d.pointer.clone()).collect();
        assert_eq!(found, expected, "{}", kind.kind);
    }
}

/// Everything that could be the name of an image: a text `image`, or `image.reference`. A volume of Ceph has an
/// `image`, too, that is none.
fn walk(value: &Value, pointer: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let here = format!("{pointer}/{name}");
                let is_image = name == "image" && !pointer.ends_with("/rbd")
                    || name == "reference" && pointer.ends_with("/image");
                if is_image && member.is_string() {
                    found.insert(here.clone());
                }
                walk(member, here, found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                walk(item, format!("{pointer}/{number}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn patch_changes_images_and_nothing_else() {
    let spec = json!({
        "nodeName": "n",
        "initContainers": [{"name": "i", "image": "good.example.com/i"}],
        "containers": [
            {"name": "a", "image": "good.example.com:5000/a:1", "args": ["good.example.com:5000/a:1"]},
            {"name": "b", "image": format!("good.example.com/b:1@{}", digest())},
            {"name": "c", "image": "good.example.com/c:1"},
        ],
        "volumes": [{"name": "v", "image": {"reference": "good.example.com/v:2"}}, {"name": "r", "rbd": {"image": "x"}}],
    });
    let object =
        json!({"metadata": {"annotations": {"image": "good.example.com/c:1"}}, "spec": spec});
    let judge = |reference: &Reference| judgement(reference, Outcome::Allow, None);
    let (answer, _) =
        ask_with(Endpoint::Mutate, &review("pods", "Pod", &object), &Rules::default(), judge);
    assert!(allowed(&answer), "{answer}");
    let mut expected = object.clone();
    for (pointer, image) in [
        ("/spec/initContainers/0/image", "good.example.com/i"),
        ("/spec/containers/0/image", "good.example.com:5000/a:1"),
        ("/spec/containers/2/image", "good.example.com/c:1"),
        ("/spec/volumes/0/image/reference", "good.example.com/v:2"),
    ] {
        *expected.pointer_mut(pointer).expect("a place") = json!(format!("{image}@{}", digest()));
    }
    let operations = patch(&answer);
    assert_eq!(apply(&object, &operations), expected);
    // What was pinned needs nothing: API servers ask again.
    let again = review("pods", "Pod", &expected);
    let (answer, _) = ask_with(Endpoint::Mutate, &again, &Rules::default(), judge);
    assert!(allowed(&answer) && patch(&answer).is_empty(), "{answer}");
    // A validating webhook may send none.
    let (answer, _) =
        ask_with(Endpoint::Validate, &review("pods", "Pod", &object), &Rules::default(), judge);
    assert!(allowed(&answer) && answer["response"].get("patch").is_none(), "{answer}");
}

proptest! {
    #[test]
    fn every_image_of_a_pod_is_judged_and_pinned(
        lists in prop::array::uniform3(prop::collection::vec("[a-z]{1,5}(:[a-z0-9]{1,4})?", 0..4)),
        volumes in prop::collection::vec("[a-z]{1,5}", 0..3),
    ) {
        let image = |name: &String| format!("good.example.com/{name}");
        let containers = |names: &[String]| -> Vec<Value> {
            let named = names.iter().enumerate();
            named.map(|(n, name)| json!({"name": format!("c{n}"), "image": image(name), "x": {"image": "no"}})).collect()
        };
        let mut containers_list = containers(&lists[1]);
        containers_list.push(json!({"name": "last", "image": "good.example.com/last"}));
        let volumes: Vec<_> = volumes.iter().map(|v| json!({"name": v, "image": {"reference": image(v)}})).collect();
        let object = json!({"spec": {
            "initContainers": containers(&lists[0]), "containers": containers_list,
            "ephemeralContainers": containers(&lists[2]), "volumes": volumes,
        }});
        let (answer, response) = ask(Endpoint::Mutate, &review("pods", "Pod", &object), &Rules::default());
        prop_assert!(allowed(&answer));
        let mut expected = BTreeSet::new();
        walk(&object, String::new(), &mut expected);
        expected.retain(|pointer| !pointer.contains("/x/"));
        let found: BTreeSet<_> = response.decided.iter().map(|d| d.pointer.clone()).collect();
        prop_assert_eq!(&found, &expected);
        let changed = apply(&object, &patch(&answer));
        for pointer in &expected {
            let old = object.pointer(pointer).and_then(Value::as_str).expect("an image");
            let new = changed.pointer(pointer).and_then(Value::as_str).expect("an image");
            prop_assert_eq!(new, &format!("{old}@{}", digest()));
        }
    }
}

/// Security history, row 2 (Portieris #508): what has no replicas, or a parent that nobody knows, is checked.
#[test]
fn objects_without_replicas_and_with_forged_parents_are_judged() {
    let template =
        json!({"spec": {"containers": [{"name": "c", "image": "evil.example.com/a:1"}]}});
    let deployment = json!({"spec": {"replicas": 0, "template": template}});
    let (answer, _) = ask(
        Endpoint::Validate,
        &review("deployments", "Deployment", &deployment),
        &Rules::default(),
    );
    assert!(!allowed(&answer), "{answer}");
    let believe = Rules { children: Children::Believe, ..Rules::default() };
    for (kind, user, controller) in [
        ("ReplicaSet", "alice", true),
        ("ReplicaSet", "system:serviceaccount:kube-system:job-controller", true),
        ("ReplicaSet", "system:serviceaccount:other:replicaset-controller", true),
        ("Widget", "system:serviceaccount:kube-system:replicaset-controller", true),
        ("ReplicaSet", "system:serviceaccount:kube-system:replicaset-controller", false),
    ] {
        let mut review = pod(&[&format!("evil.example.com/a@{}", digest())]);
        review["request"]["userInfo"]["username"] = json!(user);
        review["request"]["object"]["metadata"] = json!({"ownerReferences": [{"kind": kind, "name": "x", "uid": "y", "controller": controller}]});
        let (answer, _) = ask(Endpoint::Validate, &review, &believe);
        assert!(!allowed(&answer), "{kind} {user}: {answer}");
    }
}

#[test]
fn child_of_the_parents_own_controller_is_believed_what_carries_a_digest() {
    let pinned = format!("evil.example.com/a:1@{}", digest());
    let mut review = pod(&[&pinned]);
    review["request"]["userInfo"]["username"] =
        json!("system:serviceaccount:kube-system:replicaset-controller");
    review["request"]["object"]["metadata"] = json!({"ownerReferences": [{"kind": "ReplicaSet", "name": "x", "uid": "y", "controller": true}]});
    let believe = Rules { children: Children::Believe, ..Rules::default() };
    assert!(allowed(&ask(Endpoint::Validate, &review, &believe).0));
    // Something else that changes pods may have added it; so that is not the default.
    assert!(!allowed(&ask(Endpoint::Validate, &review, &Rules::default()).0));
    // A tag may mean something else by now.
    review["request"]["object"]["spec"]["containers"][0]["image"] = json!("evil.example.com/a:1");
    assert!(!allowed(&ask(Endpoint::Validate, &review, &believe).0));
    // Some clusters run all controllers as one user.
    review["request"]["object"]["spec"]["containers"][0]["image"] = json!(pinned);
    review["request"]["userInfo"]["username"] = json!("system:kube-controller-manager");
    assert!(!allowed(&ask(Endpoint::Validate, &review, &believe).0));
    let rules = Rules { controllers: vec!["system:kube-controller-manager".to_owned()], ..believe };
    assert!(allowed(&ask(Endpoint::Validate, &review, &rules).0));
}

/// Security history, row 5 (CVE-2023-34091), and complaints 24 and 33.
#[test]
fn deletion_excuses_nothing_and_labels_cost_nothing() {
    let mut review = pod(&["evil.example.com/a:1"]);
    review["request"]["object"]["metadata"] = json!({"deletionTimestamp": "2026-11-25T00:00:00Z"});
    assert!(!allowed(&ask(Endpoint::Validate, &review, &Rules::default()).0));

    let old = review["request"]["object"].clone();
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old;
    review["request"]["object"]["metadata"]["finalizers"] = json!([]);
    let (answer, response) = ask(Endpoint::Validate, &review, &Rules::default());
    assert!(allowed(&answer) && response.decided.is_empty(), "{answer}");

    review["request"]["subResource"] = json!("ephemeralcontainers");
    review["request"]["object"]["spec"]["ephemeralContainers"] =
        json!([{"name": "debug", "image": "evil.example.com/shell:1"}]);
    let (answer, response) = ask(Endpoint::Validate, &review, &Rules::default());
    assert!(!allowed(&answer), "{answer}");
    assert_eq!(response.decided.len(), 1);
    assert!(message(&answer).starts_with("ephemeral container \"debug\": "), "{answer}");
}

#[test]
fn object_that_cannot_be_read_is_refused() {
    for object in [
        json!({}),
        json!({"spec": {"containers": "x"}}),
        json!({"spec": {"containers": [{"name": "c", "image": ["x"]}]}}),
        json!(null),
    ] {
        let (answer, _) = ask(Endpoint::Mutate, &review("pods", "Pod", &object), &Rules::default());
        assert!(!allowed(&answer), "{object}");
        assert!(message(&answer).contains("cannot find the images of this Pod"), "{answer}");
    }
    let mut unknown = pod(&["good.example.com/a:1"]);
    unknown["request"]["resource"]["version"] = json!("v3");
    assert!(!allowed(&ask(Endpoint::Mutate, &unknown, &Rules::default()).0));
    let mut other = pod(&["good.example.com/a:1"]);
    other["request"]["kind"]["kind"] = json!("Widget");
    assert!(!allowed(&ask(Endpoint::Mutate, &other, &Rules::default()).0));
    // Its kind before Kubernetes 1.22, which has the images elsewhere.
    let mut ephemeral = other.clone();
    ephemeral["request"]["kind"]["kind"] = json!("EphemeralContainers");
    ephemeral["request"]["subResource"] = json!("ephemeralcontainers");
    assert!(!allowed(&ask(Endpoint::Mutate, &ephemeral, &Rules::default()).0));
    let mut scale = other;
    scale["request"]["subResource"] = json!("eviction");
    assert!(allowed(&ask(Endpoint::Mutate, &scale, &Rules::default()).0));
    // A pod names its images, a template need not.
    let (answer, _) = ask(Endpoint::Mutate, &pod(&[""]), &Rules::default());
    assert!(!allowed(&answer), "{answer}");
}

#[test]
fn custom_resources_are_judged_where_the_table_says() {
    let task = json!({"spec": {"steps": [
        {"name": "a", "image": "evil.example.com/a:1"},
        {"name": "b", "image": "$(params.builder)"},
    ]}});
    let mut review = review("tasks", "Task", &task);
    review["request"]["resource"]["group"] = json!("tekton.dev");
    let (answer, _) = ask(Endpoint::Validate, &review, &Rules::default());
    assert!(!allowed(&answer));
    assert!(
        message(&answer).contains("field /spec/steps/0/image: evil.example.com/a:1"),
        "{answer}"
    );
    review["request"]["object"]["spec"]["steps"][0]["image"] = json!("good.example.com/a:1");
    let (answer, _) = ask(Endpoint::Mutate, &review, &Rules::default());
    assert!(allowed(&answer));
    assert_eq!(patch(&answer).len(), 2);
    let warning = answer["response"]["warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("$(params.builder) is filled in later"), "{warning}");

    let widget = json!({"spec": {"image": "evil.example.com/a:1"}});
    let mut review = super::review("widgets", "Widget", &widget);
    review["request"]["resource"]["group"] = json!("example.com");
    assert!(allowed(&ask(Endpoint::Validate, &review, &Rules::default()).0));
    let resource = CustomResource {
        group: "example.com".to_owned(),
        resource: "widgets".to_owned(),
        images: vec!["$.spec.image".to_owned()],
        pod_specs: Vec::new(),
    };
    let rules = Rules { resources: vec![resource], ..Rules::default() };
    assert!(!allowed(&ask(Endpoint::Validate, &review, &rules).0));
}

#[test]
fn what_is_no_review_is_refused_with_what_was_expected() {
    for (endpoint, body, words) in [
        (Endpoint::Validate, "", "expected an AdmissionReview of admission.k8s.io/v1"),
        (Endpoint::Validate, "null", "expected an AdmissionReview"),
        (Endpoint::Validate, "{}", "found \"\" of \"\""),
        (
            Endpoint::Mutate,
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}"#,
            "admissionReviewVersions",
        ),
        (
            Endpoint::Mutate,
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
            "with a request",
        ),
        (Endpoint::ImagePolicy, "{}", "expected an ImageReview of imagepolicy.k8s.io/v1alpha1"),
    ] {
        let error = Review::parse(endpoint, body.as_bytes()).expect_err("no review");
        assert!(error.to_string().contains(words), "{body}: {error}");
    }
}
