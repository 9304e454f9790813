//! Policy identities and namespaces: the keys under which a policy or registries.d is searched
//! (containers-policy.json(5), "Supported transports and their scopes").

use std::borrow::Cow;

use crate::digest::Digest;
use crate::reference::{Reference, is_domain};

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

/// The less specific keys of an absolute path: the directories above it, without the root.
pub fn path_namespaces(path: &str) -> Vec<String> {
    let mut namespaces = Vec::new();
    let mut rest = path;
    while let Some(end @ 1..) = rest.rfind('/') {
        rest = &rest[..end];
        namespaces.push(rest.to_owned());
    }
    namespaces
}

/// The less specific keys of an image in local storage, `[driver@graphroot]name[:tag][@digest][@id]`; `None`
/// if `identity` is not of that form.
pub fn storage_namespaces(identity: &str) -> Option<Vec<String>> {
    let (store, image) = identity.strip_prefix('[')?.split_once(']')?;
    let (_, root) = store.split_once('@')?;
    let (name, id) = match image.rsplit_once('@') {
        Some((name, id)) if is_image_id(id) => (name, Some(id)),
        _ => (image, None),
    };
    let mut namespaces = Vec::new();
    if !name.is_empty() {
        let reference = Reference::parse_normalized(name).ok()?;
        if id.is_some() {
            namespaces.push(format!("[{store}]{reference}"));
        }
        if let (Some(tag), Some(_)) = (reference.tag(), reference.digest()) {
            namespaces.push(format!("[{store}]{}:{tag}", reference.name()));
        }
        let name = reference.name();
        let mut rest = Some(name.as_str());
        while let Some(parent) = rest {
            namespaces.push(format!("[{store}]{parent}"));
            rest = parent.rsplit_once('/').map(|(above, _)| above);
        }
    }
    namespaces.push(format!("[{store}]"));
    namespaces.push(format!("[{root}]"));
    Some(namespaces)
}

/// Transports that name an image by Docker reference.
pub const DOCKER_TRANSPORTS: [&str; 3] = ["atomic", "docker", "docker-daemon"];

/// Every transport whose scopes the reference implementation knows (5.40). Scopes of others are accepted
/// without a look.
pub const TRANSPORTS: [&str; 11] = [
    "atomic",
    "containers-storage",
    "dir",
    "docker",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
];

/// `scope` as it is looked up: with its host in lower case.
///
/// A deliberate deviation from the reference implementation, which compares hosts byte by byte, so that
/// `EXAMPLE.com/app` escapes the rules for `example.com` although it is pulled from the same registry. Paths
/// and tags do have case and are left alone.
pub fn folded<'a>(transport: &str, scope: &'a str) -> Cow<'a, str> {
    let start = match transport {
        "containers-storage" => match scope.find(']') {
            Some(end) => end + 1,
            None => return scope.into(),
        },
        transport if DOCKER_TRANSPORTS.contains(&transport) => 0,
        _ => return scope.into(),
    };
    let (store, name) = scope.split_at(start);
    let (host, path) = name.split_at(name.find('/').unwrap_or(name.len()));
    if !host.bytes().any(|b| b.is_ascii_uppercase()) {
        return scope.into();
    }
    format!("{store}{}{path}", host.to_ascii_lowercase()).into()
}

/// Whether `transport` takes `scope`, which is not the general scope `""`.
///
/// # Errors
///
/// The scope could never have been meant for this transport; a policy that has it is refused.
pub fn validate(transport: &str, scope: &str) -> Result<(), InvalidScope> {
    let invalid = |fault| Err(InvalidScope { scope: scope.to_owned(), fault });
    match transport {
        "atomic" if !is_atomic_scope(scope) => {
            invalid(ScopeFault::Form("host[:port][/namespace[/stream[:tag]]]"))
        }
        "containers-storage" if !is_storage_scope(scope) => {
            invalid(ScopeFault::Form("[driver@/graph/root] or [/graph/root], then an image"))
        }
        "dir" | "oci" | "oci-archive" | "sif" => {
            if scope == "/" {
                return invalid(ScopeFault::Root);
            }
            if !scope.starts_with('/') {
                return invalid(ScopeFault::Relative);
            }
            let clean = clean_path(scope);
            if clean == scope { Ok(()) } else { invalid(ScopeFault::Unclean { clean }) }
        }
        "docker-archive" | "tarball" => invalid(ScopeFault::GeneralOnly),
        "docker-daemon" if scope.parse::<Digest>().is_ok() => invalid(ScopeFault::ImageId),
        _ => Ok(()),
    }
}

/// A transport does not take a scope.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Invalid scope {scope:?}: {fault}")]
pub struct InvalidScope {
    scope: String,
    fault: ScopeFault,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum ScopeFault {
    #[error("Expected {0}")]
    Form(&'static str),
    #[error("The transport does not support any scopes except the default \"\" one")]
    GeneralOnly,
    #[error("Images by digest have no scope, use the generic default scope \"\"")]
    ImageId,
    #[error("Must be an absolute path")]
    Relative,
    #[error("Use the generic default scope \"\"")]
    Root,
    #[error("Uses non-canonical format, perhaps try {clean}")]
    Unclean { clean: String },
}

/// Why `scope`, although `transport` takes it, can be no image's identity or namespace; as advice to its
/// author.
pub fn unreachable(transport: &str, scope: &str) -> Option<String> {
    match transport {
        "oci" | "oci-archive" if scope.contains(':') => {
            Some("leave out the image's name: it is not part of the identity".to_owned())
        }
        transport if DOCKER_TRANSPORTS.contains(&transport) => unreachable_docker(scope),
        _ => None,
    }
}

fn unreachable_docker(scope: &str) -> Option<String> {
    let scope = folded("docker", scope);
    if let Some((scheme, rest)) = scope.split_once("://") {
        return Some(format!("leave out {scheme}://, write {:?}", rest.trim_end_matches('/')));
    }
    let trimmed = scope.trim_end_matches('/');
    if trimmed.len() < scope.len() {
        return Some(format!("leave out the slash at the end, write {trimmed:?}"));
    }
    if let Some(parent) = scope.strip_prefix("*.")
        && is_domain(parent)
        && !parent.contains(':')
    {
        return None;
    }
    if scope.contains('*') {
        return Some(
            "`*` has a meaning only in `*.` before a host name that nothing follows: \
             \"*.example.com\""
                .to_owned(),
        );
    }
    let host = scope.split('/').next().unwrap_or_default();
    if host == "index.docker.io" {
        return Some(format!("write {:?}", scope.replacen(host, "docker.io", 1)));
    }
    // What makes the first component of a reference a host (`Reference::parse_normalized`).
    let marked = host == "localhost" || host.contains(['.', ':']);
    if !is_domain(host) || !marked {
        return Some(match Reference::parse_normalized(&scope) {
            Ok(reference) => format!("write the registry, too: {:?}", reference.to_string()),
            Err(_) => format!("{host:?} is not the host of a registry: expected host[:port]"),
        });
    }
    if host.len() == scope.len() {
        return None;
    }
    let reference = match Reference::parse_normalized(&scope) {
        Ok(reference) => reference,
        Err(error) => return Some(format!("this is no part of a reference: {error}")),
    };
    if reference.tag().is_some() && reference.digest().is_some() {
        return Some(
            "images are named by tag or by digest, never by both: leave one out".to_owned(),
        );
    }
    // As a parent of longer names, `docker.io/ns` is fine, and no image.
    let canonical = reference.to_string();
    if !reference.is_name_only() && canonical != scope {
        return Some(format!("write {canonical:?}"));
    }
    None
}

/// `host[:port][/namespace[/stream[:tag]]]`, with any characters in the parts.
fn is_atomic_scope(scope: &str) -> bool {
    let mut parts = scope.splitn(3, '/').skip(1);
    let namespace = parts.next().unwrap_or_default();
    let stream = parts.next().unwrap_or_default();
    !namespace.contains(':') && !stream.contains('/') && stream.matches(':').count() <= 1
}

/// `[[driver@]/graph/root][name][@digest][@id]`. As in the reference implementation, the name itself is not
/// looked at.
fn is_storage_scope(scope: &str) -> bool {
    let Some((store, image)) = scope.strip_prefix('[').and_then(|s| s.split_once(']')) else {
        return false;
    };
    let root = match store.split_once('@') {
        Some(("", _)) => return false,
        Some((_, root)) if !root.is_empty() => root,
        _ => store,
    };
    if !root.starts_with('/') || clean_path(root) != root {
        return false;
    }
    let is_digest = |text: &str| text.parse::<Digest>().is_ok();
    match image.splitn(3, '@').skip(1).collect::<Vec<_>>()[..] {
        [] => true,
        [one] => is_image_id(one) || is_digest(one),
        [digest, id, ..] => is_digest(digest) && is_image_id(id),
    }
}

fn is_image_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The shortest spelling of an absolute path: no empty, `.` or `..` components.
fn clean_path(path: &str) -> String {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            component => components.push(component),
        }
    }
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_of_a_path_end_below_the_root() {
        assert_eq!(path_namespaces("/a/b/c"), ["/a/b", "/a"]);
        assert_eq!(path_namespaces("/a"), [""; 0]);
        assert_eq!(path_namespaces("/"), [""; 0]);
    }

    #[test]
    fn only_hosts_are_folded() {
        assert_eq!(folded("docker", "EXAMPLE.com:5000/A:B"), "example.com:5000/A:B");
        assert_eq!(folded("atomic", "*.EXAMPLE.com"), "*.example.com");
        assert_eq!(folded("containers-storage", "[A@/B]C.io/D"), "[A@/B]c.io/D");
        assert_eq!(folded("dir", "/A"), "/A");
        assert_eq!(folded("unknown", "A"), "A");
    }

    #[test]
    fn storage_keys_drop_the_id_the_digest_and_the_driver() {
        let id = "a".repeat(64);
        let digest = format!("sha256:{}", "b".repeat(64));
        let keys = storage_namespaces(&format!("[o@/s]example.com/a:1@{digest}@{id}"));
        let expected = [
            &format!("[o@/s]example.com/a:1@{digest}"),
            "[o@/s]example.com/a:1",
            "[o@/s]example.com/a",
            "[o@/s]example.com",
            "[o@/s]",
            "[/s]",
        ];
        assert_eq!(keys.expect("an identity"), expected);
        assert_eq!(storage_namespaces(&format!("[o@/s]@{id}")).expect("one"), ["[o@/s]", "[/s]"]);
        assert_eq!(storage_namespaces("example.com/a:1"), None);
    }

    #[test]
    fn paths_must_be_absolute_and_clean() {
        let message = |scope| validate("dir", scope).expect_err("an invalid scope").to_string();
        assert!(validate("dir", "/a/b").is_ok());
        assert_eq!(message("a"), "Invalid scope \"a\": Must be an absolute path");
        assert_eq!(message("/"), "Invalid scope \"/\": Use the generic default scope \"\"");
        assert_eq!(
            message("/a/../../b/"),
            "Invalid scope \"/a/../../b/\": Uses non-canonical format, perhaps try /b"
        );
    }

    #[test]
    fn scopes_that_no_image_has_are_found() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let both = format!("example.com/a:1@{digest}");
        for scope in [
            "https://example.com",
            "example.com/",
            "*.example.com/x",
            "*.example.com:5000",
            "*",
            "exam*",
            "a.*.com",
            "busybox",
            "library/busybox",
            "index.docker.io/library/alpine",
            "docker.io/busybox:latest",
            "example.com/Upper",
            "example.com/a:b:c",
            "a b",
            "",
            both.as_str(),
        ] {
            assert!(unreachable("docker", scope).is_some(), "{scope:?}");
        }
    }

    #[test]
    fn scopes_that_images_have_are_left_alone() {
        let by_digest = format!("example.com/a@sha256:{}", "0".repeat(64));
        for scope in [
            "example.com",
            "example.com:5000",
            "localhost",
            "EXAMPLE.com/a",
            "*.com",
            "docker.io/organisation",
            "docker.io/library/busybox:latest",
            "example.com/a/b/c:1",
            by_digest.as_str(),
        ] {
            assert_eq!(unreachable("docker", scope), None, "{scope:?}");
        }
    }
}
