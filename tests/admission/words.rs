//! What people are told.

use super::*;

/// Complaint 15.
#[test]
fn denial_names_container_image_reason_and_what_to_do() {
    let (answer, _) = ask(
        Endpoint::Validate,
        &pod(&["good.example.com/a:1", "evil.example.com/b:2"]),
        &Rules::default(),
    );
    assert_eq!(
        message(&answer),
        "container \"c1\": evil.example.com/b:2: A signature was required, but no signature exists; sign the image"
    );
    assert_eq!(answer["response"]["status"]["code"], 403);
    let audit = &answer["response"]["auditAnnotations"];
    assert_eq!(audit["verdict"], "deny");
    assert_eq!(audit["policy"], "hash");
    assert_eq!(audit["scope"], "docker/evil.example.com, docker/good.example.com");
    assert_eq!(audit["images"], "evil.example.com/b:2 deny signature-missing");
}

#[test]
fn many_containers_are_summed_up() {
    let images: Vec<String> = (0..24).map(|n| format!("evil.example.com/{}:1", n / 3)).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let (answer, _) = ask(Endpoint::Validate, &pod(&images), &Rules::default());
    let lines: Vec<_> = message(&answer).lines().collect();
    assert_eq!(lines[0], "24 of 24 images are not allowed:");
    assert!(lines[1].starts_with(
        "- container \"c0\", container \"c1\", container \"c2\": evil.example.com/0:1: "
    ));
    assert!(message(&answer).len() <= 1024);
}

#[test]
fn image_that_will_be_denied_soon_passes_with_a_warning() {
    let rules = Rules { warn_before_expiry: Duration::from_secs(1000), ..Rules::default() };
    let review = pod(&["good.example.com/a:1"]);
    let soon = |reference: &Reference| judgement(reference, Outcome::Allow, Some(NOW + 999));
    let (answer, _) = ask_with(Endpoint::Validate, &review, &rules, soon);
    assert!(allowed(&answer));
    assert_eq!(
        answer["response"]["warnings"][0],
        "good.example.com/a:1 will be denied after 2026-11-25T00:16:39Z: its signature by key ABCD or that key ends"
    );
    let later = |reference: &Reference| judgement(reference, Outcome::Allow, Some(NOW + 1000));
    let (answer, _) = ask_with(Endpoint::Validate, &review, &rules, later);
    assert!(answer["response"].get("warnings").is_none());
}

#[test]
fn names_that_are_none_are_denied_with_what_was_expected() {
    let (answer, response) = ask(Endpoint::Validate, &pod(&["UPPER/Case:1"]), &Rules::default());
    assert!(!allowed(&answer));
    assert_eq!(response.decided[0].code, "image-name-invalid");
    assert!(message(&answer).contains("expected [HOST[:PORT]/]PATH[:TAG][@DIGEST]"), "{answer}");
}
