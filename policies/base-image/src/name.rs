//! Names of base images.

use std::str::FromStr;

/// A repository, a folder of repositories, or a repository with a tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Name {
    /// `registry.example.com/base/debian`, the host in lower case.
    repository: String,
    tag: Option<String>,
}

impl Name {
    /// Whether a reference is this, or below it. References that say no registry are none: which one they are of is
    /// the builder's configuration.
    pub(crate) fn has(&self, reference: &str) -> bool {
        let Some((repository, tag)) = split(reference) else { return false };
        match &self.tag {
            Some(own) => repository == self.repository && tag == Some(own),
            None => repository
                .strip_prefix(&self.repository)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err("a digest goes into digests");
        }
        if text.contains(['*', ' ']) || text.contains("//") || text.ends_with(['/', ':']) {
            return Err(
                "it has to be a registry, or a repository with or without a tag; what is below it fits, too",
            );
        }
        let whole = if text.contains('/') { text.to_owned() } else { format!("{text}/x") };
        let (repository, tag) =
            split(&whole).ok_or("it has to begin with a registry: docker.io/library/debian")?;
        let repository =
            if text.contains('/') { &repository } else { repository.trim_end_matches("/x") };
        Ok(Self { repository: repository.to_owned(), tag: tag.map(str::to_owned) })
    }
}

/// Repository, with its host in lower case, and tag. A digest is left out.
fn split(reference: &str) -> Option<(String, Option<&str>)> {
    let named = reference.split_once('@').map_or(reference, |(named, _)| named);
    let (host, path) = named.split_once('/')?;
    // As references are read: otherwise it is a name on Docker Hub, or wherever the builder looked.
    if !(host.contains(['.', ':']) || host == "localhost") {
        return None;
    }
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let good = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(good).then(|| (format!("{}/{path}", host.to_ascii_lowercase()), tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(name: &str, reference: &str) -> bool {
        name.parse::<Name>().expect("a name").has(reference)
    }

    #[test]
    fn a_repository_has_its_tags_and_digests() {
        for reference in [
            "registry.example.com/base/debian",
            "registry.example.com/base/debian:12",
            "registry.example.com/base/debian:12@sha256:1",
            "Registry.Example.Com/base/debian@sha256:1",
            "registry.example.com/base/debian/slim:12",
        ] {
            assert!(has("registry.example.com/base/debian", reference), "{reference}");
        }
        for reference in [
            "registry.example.com/base/debian-evil:12",
            "registry.example.com/base",
            "registry.example.com.evil.example/base/debian",
            "registry.example.com:5000/base/debian",
            "evil.example/registry.example.com/base/debian",
            "registry.example.com/base/debian/../../evil",
            "base/debian",
            "debian",
            "",
        ] {
            assert!(!has("registry.example.com/base/debian", reference), "{reference}");
        }
    }

    #[test]
    fn a_tag_is_exact() {
        assert!(has("registry.example.com/base/debian:12", "registry.example.com/base/debian:12"));
        assert!(has(
            "registry.example.com/base/debian:12",
            "registry.example.com/base/debian:12@sha256:1"
        ));
        for reference in
            ["registry.example.com/base/debian", "registry.example.com/base/debian:12.1"]
        {
            assert!(!has("registry.example.com/base/debian:12", reference), "{reference}");
        }
    }

    #[test]
    fn a_registry_has_everything_in_it() {
        for name in ["registry.example.com", "localhost:5000", "localhost"] {
            assert!(has(name, &format!("{name}/a/b:1")), "{name}");
            assert!(!has(name, &format!("x{name}/a/b:1")), "{name}");
        }
        assert!(!has("localhost", "localhost:5000/a"));
        assert!(!has("localhost:5000", "localhost:50001/a"));
    }

    #[test]
    fn refuses_what_would_never_fit() {
        for name in [
            "",
            "debian",
            "library/debian",
            "a.example/b@sha256:1",
            "a.example/*",
            "a.example/",
            "a.example/b:",
            "a.example//b",
            "a.example/../b",
        ] {
            assert!(name.parse::<Name>().is_err(), "{name}");
        }
    }
}
