//! The roles of `deploy/operator` allow everything that is asked, and nothing else.

use std::collections::BTreeSet;

use super::replicas::replica;
use super::*;
use crate::deploy::operator::rights;
use crate::support::server::Recorded;

#[tokio::test]
async fn roles_allow_what_is_asked_and_nothing_else() {
    let lab = Lab::new().await;
    let rotated = json!({"rotation": {"every": "90d"}, "deletionPolicy": "Delete"});
    lab.wants_key(&rotated);
    let kabanero = json!({"identity": identity()});
    let mut other = resource("security.kabanero.io/v1alpha1", "old", &kabanero);
    other["metadata"]["namespace"] = "build".into();
    lab.api.put("imagesignings", other);
    lab.look(NOW).await;
    lab.look(NOW + 90 * DAY).await;
    lab.api.edit("imagesignings/release", |r| {
        r["metadata"]["deletionTimestamp"] = "2026-11-25T10:00:00Z".into();
    });
    lab.look(NOW + 90 * DAY).await;
    lab.look(NOW + 90 * DAY).await;
    let api = std::sync::Arc::new(lab.api);
    let running = replica(&api, "one").await;
    let watched = "/apis/countersign.dev/v1/namespaces/build/imagesignings";
    api.server.asked(watched, api.server.requests_to(watched).len() + 3).await;
    running.end().await;

    let asked: BTreeSet<_> = api.server.requests().iter().map(right).collect();
    let granted: BTreeSet<_> =
        [rights("countersign-operator"), rights("countersign-operator-lease")]
            .concat()
            .into_iter()
            .collect();
    assert_eq!(asked, granted);
}

/// Group, resource and verb, as role-based access control has them.
fn right(request: &Recorded) -> (String, String, String) {
    let parts: Vec<_> = request.path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => unreachable!("{request:?}"),
    };
    let ["namespaces", _, resource, rest @ ..] = rest else { unreachable!("{request:?}") };
    let resource = match rest {
        [_, subresource] => format!("{resource}/{subresource}"),
        _ => (*resource).to_owned(),
    };
    let verb = match (request.method.as_str(), rest.is_empty()) {
        ("GET", true) if request.query.contains("watch") => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => unreachable!("{request:?}"),
    };
    (group.to_owned(), resource, verb.to_owned())
}
