//! Keys are replaced, and what was signed stays trusted as long as it is to be.

use super::*;

#[tokio::test]
async fn a_key_is_replaced_in_time_and_stays_trusted_until_its_date() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"rotation": {"every": "90d", "keepPreviousFor": "30d"}}));
    let round = lab.look(NOW).await;
    let first = lab.fingerprint(NOW);
    assert_eq!(round.again, Some(NOW + 90 * DAY));
    assert_eq!(lab.status("release")["nextRotation"], "2027-02-23T09:46:40Z");
    lab.look(NOW + 90 * DAY - 1).await;
    assert_eq!(lab.fingerprint(NOW), first);

    let rotated = NOW + 90 * DAY;
    let round = lab.look(rotated).await;
    let second = lab.fingerprint(rotated);
    assert_ne!(second, first);
    assert_eq!(lab.published("public.asc"), [second.as_str()]);
    assert_eq!(lab.published("trusted.asc"), [second.clone(), first.clone()]);
    assert_eq!(lab.published("previous.asc"), [first.as_str()]);
    let status = lab.status("release");
    assert_eq!(status["fingerprint"], second.as_str());
    let expected = json!([{"fingerprint": first, "trustedUntil": "2027-03-25T09:46:40Z"}]);
    assert_eq!(status["previous"], expected);
    assert_eq!(round.again, Some(rotated + 30 * DAY));
    // What happens again is counted by the event that says it.
    assert_eq!(lab.api.events(), ["KeyMade", "KeysPublished", "KeyAnnounced", "KeyRotated"]);

    let round = lab.look(rotated + 30 * DAY).await;
    assert_eq!(lab.published("trusted.asc"), [second.as_str()]);
    assert!(lab.published("previous.asc").is_empty());
    assert_eq!(lab.status("release")["previous"], json!([]));
    assert_eq!(round.again, Some(rotated + 90 * DAY));
    lab.assert_kept_secret();
}

#[tokio::test]
async fn a_key_is_known_before_it_signs() {
    let mut lab = Lab::new().await;
    lab.wants_key(&json!({"rotation": {"every": "90d", "announceFor": "7d"}}));
    let round = lab.look(NOW).await;
    let first = lab.fingerprint(NOW);
    let announced = NOW + 83 * DAY;
    assert_eq!(round.again, Some(announced));
    let round = lab.look(announced).await;
    assert_eq!(round.again, Some(NOW + 90 * DAY));
    assert_eq!(lab.fingerprint(NOW), first);
    let trusted = lab.published("trusted.asc");
    assert_eq!((trusted.len(), &trusted[0]), (2, &first));
    assert_eq!(lab.published("public.asc"), [first.as_str()]);
    assert_eq!(lab.status("release")["nextFingerprint"], trusted[1].as_str());
    lab.restart().await;
    lab.look(NOW + 90 * DAY).await;
    assert_eq!(lab.fingerprint(NOW + 90 * DAY), trusted[1]);
    assert_eq!(lab.published("trusted.asc"), [trusted[1].clone(), first]);

    // An operator that was away for long still announces it for as long.
    let late = NOW + 400 * DAY;
    lab.look(late).await;
    let next = lab.status("release")["nextFingerprint"].clone();
    assert_eq!(lab.fingerprint(NOW + 90 * DAY), trusted[1]);
    lab.look(late + 7 * DAY).await;
    assert_eq!(lab.fingerprint(late + 7 * DAY), next.as_str().expect("a key"));
}

#[tokio::test]
async fn a_rotation_that_is_cut_off_anywhere_loses_no_key() {
    for (method, part, place) in [
        ("PUT", "/secrets", 0),
        ("PUT", "/configmaps", 0),
        ("PUT", "/secrets", 1),
        ("PUT", "/configmaps", 1),
        ("PATCH", "/status", 0),
    ] {
        let mut lab = Lab::new().await;
        lab.wants_key(&json!({"rotation": {"every": "90d"}}));
        lab.look(NOW).await;
        let first = lab.fingerprint(NOW);
        let rotated = NOW + 90 * DAY;
        // The request before passes by a fault that comes to nothing.
        for _ in 0..place {
            lab.api.pass(method, part);
        }
        lab.api.lose_answer(method, part);
        assert_eq!(lab.operator.look(rotated).await.failures, 1, "{method} {part} {place}");
        let said = lab.published("trusted.asc");
        let signs = lab.fingerprint(rotated);
        assert!(
            said.contains(&signs),
            "{method} {part} {place}: {signs} signs, {said:?} are trusted"
        );
        lab.restart().await;
        lab.look(rotated).await;
        let second = lab.fingerprint(rotated);
        assert_eq!(lab.published("trusted.asc"), [second.clone(), first]);
        assert_eq!(lab.ready("release").0, "True");
    }
}

#[tokio::test]
async fn a_revoked_key_is_replaced_at_once_and_trusted_no_more() {
    let lab = Lab::new().await;
    let spec = json!({"rotation": {"every": "90d", "announceFor": "7d"}});
    lab.wants_key(&spec);
    lab.look(NOW).await;
    let first = lab.fingerprint(NOW);
    lab.api.edit("imagesignings/release", |resource| {
        resource["spec"]["revoked"] = json!([first.to_lowercase()]);
    });
    lab.look(NOW + 60).await;
    let second = lab.fingerprint(NOW + 60);
    assert_ne!(second, first);
    assert_eq!(lab.published("trusted.asc"), [second]);
    assert_eq!(lab.status("release")["previous"], json!([]));

    // One that signed before.
    let lab = Lab::new().await;
    lab.wants_key(&json!({"rotation": {"every": "90d"}}));
    lab.look(NOW).await;
    let first = lab.fingerprint(NOW);
    lab.look(NOW + 90 * DAY).await;
    let second = lab.fingerprint(NOW + 90 * DAY);
    lab.api.edit("imagesignings/release", |r| r["spec"]["revoked"] = json!([first]));
    lab.look(NOW + 90 * DAY).await;
    assert_eq!(lab.fingerprint(NOW + 90 * DAY), second);
    assert_eq!(lab.published("trusted.asc"), [second]);
}

#[tokio::test]
async fn what_is_asked_for_holds_for_the_next_key() {
    let lab = Lab::new().await;
    lab.wants_key(&json!({"rotation": {"every": "90d"}}));
    lab.look(NOW).await;
    let first = lab.fingerprint(NOW);
    lab.wants_key(&json!({"rotation": {"every": "90d"}, "algorithm": "p256"}));
    lab.look(NOW).await;
    assert_eq!(lab.fingerprint(NOW), first);
    lab.look(NOW + 90 * DAY).await;
    let content = entry(&lab.api.get("secrets/signature-secret-key"), "secret.asc");
    let key = SecretKey::read(&content).expect("a key").describe(NOW + 90 * DAY);
    assert_eq!(key.parts[0].algorithm, "nistp256");
}
