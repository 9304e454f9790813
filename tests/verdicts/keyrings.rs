//! What was fetched with one workload's credentials is not shown to another.

use super::*;

#[tokio::test]
async fn what_one_keyring_fetched_is_fetched_again_for_another() {
    let bench = Bench::new();
    let digest = bench.push("1", &manifest("app"));
    bench.sign(&digest, "1");
    let ask = async |keyring: &Arc<Keyring>| {
        let image = bench.reference(":1");
        let deadline = Instant::now() + Duration::from_secs(60);
        let ask = Ask { image, keyring: Arc::clone(keyring), workload: None, deadline };
        bench.verdicts.decide(&bench.basis, ask).await
    };
    let another =
        Keyring::from_docker_configs([("theirs", br#"{"auths":{"127.0.0.1":{"auth":"YTpi"}}}"#)]);
    let another = another.expect("a keyring");
    let (mine, theirs) = (Arc::new(Keyring::default()), Arc::new(another));
    assert_allows(&ask(&mine).await, &digest);
    // The registry does not give the image to the other one.
    for target in ["1", digest.as_str()] {
        bench.registry.always(manifest_path(target), Answer::error(403, "DENIED", "not yours"));
    }
    assert_fails(&ask(&theirs).await, "registry-unauthorized");
    assert_eq!(ask(&mine).await.served, Served::Cache);
    assert_allows(&ask(&mine).await, &digest);
}
