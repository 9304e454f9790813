//! What rules are told of an object, and what they have to say to whoever asks.

use countersign::rule::Workload;

use super::*;

fn workload(endpoint: Endpoint, review: &Value) -> Result<Workload, String> {
    let body = review.to_string();
    Review::parse(endpoint, body.as_bytes()).expect("a review").workload()
}

#[test]
fn workload_is_the_object_and_who_asks() {
    let mut review = review(
        "deployments",
        "Deployment",
        &json!({
            "metadata": {
                "name": "web", "namespace": "elsewhere",
                "labels": {"team": "shop"}, "annotations": {"ticket": "INC-1"},
            },
            "spec": {"template": {
                "metadata": {"labels": {"team": "of the template"}},
                "spec": {"containers": [{"name": "c", "image": "good.example.com/a:1"}]},
            }},
        }),
    );
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["userInfo"] = json!({
        "username": "alice", "uid": "7", "groups": ["system:authenticated", "shop"],
        "extra": {"scopes": ["openid"]},
    });
    let text = |texts: &[(&str, &str)]| {
        texts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let expected = Workload {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        // The request's own counts: the API server vouches for it.
        namespace: Some("apps".to_owned()),
        name: Some("web".to_owned()),
        labels: text(&[("team", "shop")]),
        annotations: text(&[("ticket", "INC-1")]),
        operation: "UPDATE".to_owned(),
        user: "alice".to_owned(),
        groups: vec!["system:authenticated".to_owned(), "shop".to_owned()],
    };
    assert_eq!(workload(Endpoint::Validate, &review), Ok(expected));
}

#[test]
fn workload_of_little_is_little() {
    let mut review = pod(&["good.example.com/a:1"]);
    let object = json!({
        "metadata": {"generateName": "web-", "labels": null, "annotations": null},
        "spec": {"containers": [{"name": "c", "image": "good.example.com/a:1"}]},
    });
    for metadata in [object["metadata"].clone(), json!({}), Value::Null] {
        review["request"]["object"] = object.clone();
        review["request"]["object"]["metadata"] = metadata;
        review["request"]["namespace"] = Value::Null;
        review["request"]["userInfo"] = json!({"username": "alice", "groups": null});
        let expected = Workload {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            operation: "CREATE".to_owned(),
            user: "alice".to_owned(),
            ..Workload::default()
        };
        assert_eq!(workload(Endpoint::Validate, &review), Ok(expected));
    }
}

#[test]
fn workload_of_an_image_review_is_a_pod() {
    let review = json!({
        "apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview",
        "spec": {
            "containers": [{"image": "good.example.com/a:1"}], "namespace": "apps",
            "annotations": {"ticket.image-policy.k8s.io/id": "INC-1"},
        },
    });
    let found = workload(Endpoint::ImagePolicy, &review).expect("a workload");
    assert_eq!((found.kind.as_str(), found.api_version.as_str()), ("Pod", "v1"));
    assert_eq!(found.namespace.as_deref(), Some("apps"));
    assert_eq!(found.annotations["ticket.image-policy.k8s.io/id"], "INC-1");
}

/// What is left out would be absent for a rule.
#[test]
fn workload_that_is_too_large_or_wrong_is_not_cut() {
    let large = |part: &str, bytes: usize| {
        let mut review = pod(&["good.example.com/a:1"]);
        review["request"]["object"]["metadata"] = json!({part: {"k": "x".repeat(bytes - 1)}});
        workload(Endpoint::Validate, &review)
    };
    for (part, most) in [("annotations", 256 << 10), ("labels", 64 << 10)] {
        assert!(large(part, most).is_ok(), "{part}");
        let words = large(part, most + 1).expect_err("too large");
        assert!(words.contains(part) && words.contains(&most.to_string()), "{words}");
    }
    let mut review = pod(&["good.example.com/a:1"]);
    review["request"]["userInfo"]["groups"] = json!(["g".repeat((64 << 10) + 1)]);
    assert!(workload(Endpoint::Validate, &review).is_err());
    review["request"]["userInfo"]["groups"] = json!("not a list");
    let words = workload(Endpoint::Validate, &review).expect_err("wrong");
    assert!(words.starts_with("/userInfo/groups: "), "{words}");
    for metadata in [json!({"labels": {"a": 7}}), json!({"annotations": ["a"]}), json!("a")] {
        let mut review = pod(&["good.example.com/a:1"]);
        review["request"]["object"]["metadata"] = metadata;
        // The object itself may be refused before that.
        let body = review.to_string();
        if let Ok(review) = Review::parse(Endpoint::Validate, body.as_bytes()) {
            assert!(review.workload().is_err(), "{body}");
        }
    }
}

#[test]
fn warnings_of_rules_are_shown_whatever_the_decision() {
    let images = ["good.example.com/a:1", "bad.example.com/a:1", "good.example.com/b:1"];
    let say = |reference: &Reference| {
        let mut judged = judge(reference);
        let verdict = Arc::make_mut(&mut judged.verdict);
        verdict.warnings =
            vec!["it is 80 days old\u{1b}[31m".to_owned(), "x".repeat(5000), "y".repeat(5000)];
        judged
    };
    let (answer, _) = ask_with(Endpoint::Validate, &pod(&images), &Rules::default(), say);
    assert_eq!(answer["response"]["allowed"], false);
    let warnings: Vec<&str> = answer["response"]["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .map(|warning| warning.as_str().expect("a text"))
        .collect();
    for image in images {
        let expected = format!("{image}: it is 80 days old\\u{{1b}}[31m");
        assert!(warnings.contains(&expected.as_str()), "{warnings:?}");
    }
    assert!(warnings.iter().all(|warning| warning.chars().count() <= 256));
    assert!(warnings.iter().map(|warning| warning.chars().count()).sum::<usize>() <= 2048);
    let (answer, _) = ask_with(Endpoint::Validate, &pod(&images[..1]), &Rules::default(), say);
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["warnings"].as_array().map(Vec::len), Some(3));
}

#[test]
fn annotations_of_rules_have_keys_that_api_servers_accept_and_never_ours() {
    let images = ["good.example.com/a:1", "good.example.com/b:1"];
    let said = |reference: &Reference| {
        let mut judged = judge(reference);
        let verdict = Arc::make_mut(&mut judged.verdict);
        let mut annotate = |key: &str, value: &str| {
            verdict.annotations.insert(key.to_owned(), value.to_owned());
        };
        annotate("max-age/days", "80");
        annotate("max-age/path", reference.path());
        annotate("max-age/verdict", "mine");
        annotate("max-age/a b/c\n", "odd");
        annotate("verdict", "no rule's");
        annotate("max-age/", "no key");
        annotate(&format!("max-age/{}", "k".repeat(500)), &"v".repeat(5000));
        for number in 0..100 {
            annotate(&format!("other/{number:03}"), "many");
        }
        judged
    };
    let reviews = json!({
        "apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview",
        "spec": {"containers": images.map(|image| json!({"image": image})), "namespace": "apps"},
    });
    for (endpoint, review, at) in
        [(Endpoint::Validate, pod(&images), "response"), (Endpoint::ImagePolicy, reviews, "status")]
    {
        let (answer, _) = ask_with(endpoint, &review, &Rules::default(), said);
        let annotations = answer[at]["auditAnnotations"].as_object().expect("annotations");
        assert_eq!(annotations["verdict"], "allow");
        assert_eq!(annotations["max-age.days"], "80");
        assert_eq!(annotations["max-age.path"], "good.example.com/a:1 a, good.example.com/b:1 b");
        assert_eq!(annotations["max-age.verdict"], "mine");
        assert_eq!(annotations["max-age.a-b-c"], "odd");
        let (ours, theirs): (Vec<_>, Vec<_>) =
            annotations.keys().partition(|key| !key.contains('.'));
        assert_eq!(ours, ["policy", "scope", "verdict"]);
        assert_eq!(theirs.len(), 32);
        let sign = |c: char| "-_.".contains(c);
        for (key, value) in annotations {
            assert!(key.len() <= 63 && !key.starts_with(sign) && !key.ends_with(sign), "{key}");
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || sign(c)), "{key}");
            assert!(value.as_str().expect("a text").len() <= 1024, "{key}");
        }
    }
}
