//! Modes, mutation, exemptions and the glass.

use super::*;

#[test]
fn modes_refuse_warn_or_only_observe() {
    let review = pod(&["evil.example.com/a:1"]);
    for (mode, admitted, warned) in
        [(Mode::Enforce, false, false), (Mode::Warn, true, true), (Mode::Observe, true, false)]
    {
        let rules = treated(Treatment { mode, ..Treatment::default() });
        let (answer, response) = ask(Endpoint::Mutate, &review, &rules);
        assert_eq!(allowed(&answer), admitted, "{mode:?}");
        assert_eq!(answer["response"].get("warnings").is_some(), warned, "{mode:?}");
        assert_eq!(response.decided[0].outcome, "deny");
        assert_eq!(response.decided[0].code, "signature-missing");
        assert_eq!(answer["response"]["auditAnnotations"]["verdict"], "deny");
        assert_eq!(answer["response"]["auditAnnotations"]["mode"], mode.name());
        // What is not allowed is never pinned.
        assert!(patch(&answer).is_empty());
    }
}

/// Errors are refused unless the administrator chose otherwise, and a deny is whatever he chose.
#[test]
fn only_errors_are_let_through_by_the_dangerous_knob() {
    let rules = treated(Treatment { admit_on_error: true, ..Treatment::default() });
    let (answer, _) = ask(Endpoint::Mutate, &pod(&["broken.example.com/a:1"]), &rules);
    assert!(allowed(&answer));
    assert_eq!(answer["response"]["auditAnnotations"]["admitted-on-error"], "true");
    assert!(answer["response"]["warnings"][0].as_str().expect("a warning").contains("admitted"));
    assert!(!allowed(&ask(Endpoint::Mutate, &pod(&["evil.example.com/a:1"]), &rules).0));
    let (answer, _) = ask(Endpoint::Mutate, &pod(&["broken.example.com/a:1"]), &Rules::default());
    assert!(!allowed(&answer));
}

/// Complaints 12, 13 and 14.
#[test]
fn mutation_is_switched_off_restricted_to_pods_or_replaced() {
    let template =
        json!({"spec": {"containers": [{"name": "c", "image": "good.example.com/a:1"}]}});
    let deployment = review("deployments", "Deployment", &json!({"spec": {"template": template}}));
    let pod = pod(&["good.example.com/a:1"]);
    for (mutation, in_pod, in_template) in
        [(Mutation::Pin, 2, 2), (Mutation::PinPods, 2, 0), (Mutation::Off, 0, 0)]
    {
        let rules = treated(Treatment { mutation, ..Treatment::default() });
        assert_eq!(patch(&ask(Endpoint::Mutate, &pod, &rules).0).len(), in_pod, "{mutation:?}");
        let (answer, _) = ask(Endpoint::Mutate, &deployment, &rules);
        assert!(allowed(&answer));
        assert_eq!(patch(&answer).len(), in_template, "{mutation:?}");
    }
    let rules = treated(Treatment { mutation: Mutation::RequireDigest, ..Treatment::default() });
    for endpoint in [Endpoint::Mutate, Endpoint::Validate] {
        let (answer, response) = ask(endpoint, &pod, &rules);
        assert!(!allowed(&answer));
        assert_eq!(response.decided[0].code, "digest-required");
    }
    let pinned = super::pod(&[&format!("good.example.com/a:1@{}", digest())]);
    assert!(allowed(&ask(Endpoint::Mutate, &pinned, &rules).0));
}

/// An allow about something else than what was named is none.
#[test]
fn judgement_about_another_digest_is_no_allow() {
    let review = pod(&[&format!("good.example.com/a@{}", digest())]);
    for wrong in [None, Some(Digest::sha256(b"another"))] {
        let judge = |reference: &Reference| Judgement {
            digest: wrong.clone(),
            ..judgement(reference, Outcome::Allow, None)
        };
        let (answer, response) = ask_with(Endpoint::Validate, &review, &Rules::default(), judge);
        assert!(!allowed(&answer), "{answer}");
        assert_eq!(response.decided[0].outcome, "error");
    }
    // Fewer judgements than images are none.
    let body = review.to_string();
    let parsed = Review::parse(Endpoint::Validate, body.as_bytes()).expect("a review");
    assert!(!parsed.respond(&Rules::default(), &[], "", NOW).admitted);
}

#[test]
fn namespaces_are_exempt_by_configuration_and_not_by_labels() {
    let mut review = pod(&["evil.example.com/a:1"]);
    review["request"]["object"]["metadata"]["labels"] =
        json!({"securityenforcement.admission.cloud.ibm.com/namespace": "skip"});
    assert!(!allowed(&ask(Endpoint::Validate, &review, &Rules::default()).0));
    let rules = Rules { exempt_namespaces: vec!["app*".to_owned()], ..Rules::default() };
    let (answer, _) = ask(Endpoint::Validate, &review, &rules);
    assert!(allowed(&answer));
    assert_eq!(answer["response"]["auditAnnotations"]["skipped"], "the namespace is exempt");
}

#[test]
fn rules_are_for_namespaces_and_images_together() {
    let rule = Rule {
        namespaces: vec!["app*".to_owned()],
        images: vec!["evil.example.com/team".to_owned()],
        treatment: Treatment { mode: Mode::Observe, ..Treatment::default() },
    };
    let rules = Rules { rules: vec![rule], ..Rules::default() };
    assert!(allowed(&ask(Endpoint::Validate, &pod(&["evil.example.com/team/a:1"]), &rules).0));
    assert!(!allowed(&ask(Endpoint::Validate, &pod(&["evil.example.com/teams/a:1"]), &rules).0));
    let mut elsewhere = pod(&["evil.example.com/team/a:1"]);
    elsewhere["request"]["namespace"] = json!("prod");
    assert!(!allowed(&ask(Endpoint::Validate, &elsewhere, &rules).0));
}

#[test]
fn glass_is_broken_only_where_the_administrator_put_one() {
    let review = json!({
        "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1",
        "spec": {
            "containers": [{"image": "evil.example.com/a:1"}], "namespace": "apps",
            "annotations": {"x.image-policy.k8s.io/break-glass": "INC-4711"},
        },
        "status": {"allowed": true},
    });
    let (answer, _) = ask(Endpoint::ImagePolicy, &review, &Rules::default());
    assert_eq!(answer["status"]["allowed"], false);
    assert!(answer["status"]["reason"].as_str().expect("words").contains("no signature exists"));
    let glass = |value_prefix: &str, namespace: &str| Rules {
        break_glass: Some(BreakGlass {
            annotation: "x.image-policy.k8s.io/break-glass".to_owned(),
            value_prefix: value_prefix.to_owned(),
            namespaces: vec![namespace.to_owned()],
        }),
        ..Rules::default()
    };
    assert_eq!(
        ask(Endpoint::ImagePolicy, &review, &glass("INC-", "prod")).0["status"]["allowed"],
        false
    );
    assert_eq!(
        ask(Endpoint::ImagePolicy, &review, &glass("CHG-", "apps")).0["status"]["allowed"],
        false
    );
    let (answer, response) = ask(Endpoint::ImagePolicy, &review, &glass("INC-", "apps"));
    assert_eq!(answer["status"]["allowed"], true);
    assert_eq!(answer["status"]["auditAnnotations"]["break-glass"], "INC-4711");
    assert_eq!(answer["status"]["auditAnnotations"]["verdict"], "deny");
    assert_eq!(response.break_glass.as_deref(), Some("INC-4711"));
    // An empty list is nothing to run.
    let mut empty = review;
    empty["spec"]["containers"] = json!([]);
    let (answer, response) = ask(Endpoint::ImagePolicy, &empty, &Rules::default());
    assert_eq!(answer["status"]["allowed"], true);
    assert!(response.break_glass.is_none());
}
