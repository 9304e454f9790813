//! Policy identities and namespaces: the keys under which a policy or registries.d is searched
//! (containers-policy.json(5), "Supported transports and their scopes").

use crate::reference::Reference;

/// The most specific key of a Docker reference: `host[:port]/path:tag` or `…@digest`.
pub fn docker_identity(reference: &Reference) -> String {
    reference.to_string()
}

/// The less specific keys, in lookup order: the repository, its parents down to `host[:port]`, then
/// `*.` wildcards over the host without its port.
pub fn docker_namespaces(reference: &Reference) -> Vec<String> {
    let mut namespaces = Vec::new();
    let name = reference.name();
    let mut rest = name.as_str();
    loop {
        namespaces.push(rest.to_owned());
        match rest.rfind('/') {
            Some(i) => rest = &rest[..i],
            None => break,
        }
    }
    let mut host = rest.split_once(':').map_or(rest, |(host, _)| host);
    while let Some((_, parent)) = host.split_once('.') {
        namespaces.push(format!("*.{parent}"));
        host = parent;
    }
    namespaces
}
