//! Registries, and beginnings of repositories.

use std::str::FromStr;

/// A registry, or the beginning of its repositories.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// In lower case; only what is below it if `below`.
    host: String,
    below: bool,
    port: Option<u16>,
    /// Segments of the path.
    path: Vec<String>,
}

impl Place {
    /// Whether a repository (`registry.example.com:5000/ns/app`) is there. Hosts are compared as DNS does, without
    /// regard to capitals; ports and paths exactly, and paths at their slashes. A port that is not written is no
    /// port: `registry.example.com:443` is another name than `registry.example.com`, to every program that keeps
    /// credentials or signatures by it.
    pub(crate) fn has(&self, repository: &str) -> bool {
        let Some((authority, path)) = repository.split_once('/') else { return false };
        let Ok((host, port)) = authority_of(authority) else { return false };
        let host_fits = match self.below {
            false => host == self.host,
            true => host
                .strip_suffix(&self.host)
                .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        };
        let segments: Vec<&str> = path.split('/').collect();
        host_fits
            && port == self.port
            && segments.iter().all(|segment| is_segment(segment))
            && segments.len() >= self.path.len()
            && self.path.iter().zip(segments).all(|(own, other)| own == other)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!("leave {scheme}:// out: {rest}"));
        }
        if text.contains('@') {
            return Err("a digest is no part of a place".to_owned());
        }
        let (authority, path) = match text.split_once('/') {
            Some((authority, path)) => (authority, path.split('/').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        let (below, authority) = match authority.strip_prefix("*.") {
            Some(authority) => (true, authority),
            None => (false, authority),
        };
        let (host, port) = authority_of(authority)?;
        // As references are read: a first part that is no host is a name on Docker Hub.
        if !host.contains(['.', '[']) && port.is_none() && host != "localhost" {
            return Err(format!(
                "{host} is no registry; of Docker Hub, write docker.io/library/{text}"
            ));
        }
        if below && !host.contains('.') {
            return Err(format!("*.{host} is too much; give at least two labels: *.example.com"));
        }
        if let Some(segment) = path.iter().find(|segment: &&String| !is_segment(segment)) {
            return Err(match segment.as_str() {
                "" => "it has an empty part; leave slashes at the end out".to_owned(),
                _ if segment.contains('*') => {
                    "* may only stand for sub-domains; what is below a path is allowed with it"
                        .to_owned()
                }
                _ if segment.contains(':') => "a tag is no part of a place".to_owned(),
                _ => format!("{segment:?} is no part of a repository's name"),
            });
        }
        Ok(Self { host, below, port, path })
    }
}

/// Host in lower case, and port.
fn authority_of(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.rfind(']') {
        // An IPv6 address has colons of its own.
        Some(end) => match text.split_at(end + 1) {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').unwrap_or("none"))),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => None,
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(port)
            }
            _ => return Err(format!("{digits:?} is no port")),
        },
    };
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    match good {
        true => Ok((host.to_ascii_lowercase(), port)),
        false => Err(format!("{host:?} is no host name")),
    }
}

fn is_label(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(good) && !text.starts_with('-') && !text.ends_with('-')
}

/// A part of a repository's path (OCI distribution specification, "Pulling manifests").
fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    text.bytes().all(good)
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(place: &str, repository: &str) -> bool {
        place.parse::<Place>().expect("a place").has(repository)
    }

    #[test]
    fn a_registry_has_everything_in_it() {
        for place in
            ["registry.example.com", "localhost", "localhost:5000", "10.0.0.1:5000", "[::1]:5000"]
        {
            assert!(has(place, &format!("{place}/app")), "{place}");
            assert!(has(place, &format!("{place}/ns/app")), "{place}");
            assert!(!has(place, "other.example.com/app"), "{place}");
        }
    }

    #[test]
    fn hosts_are_compared_without_capitals_and_paths_with_them() {
        assert!(has("Registry.Example.com/team", "registry.example.COM/team/app"));
        assert!(!has("registry.example.com/team", "registry.example.com/Team/app"));
    }

    #[test]
    fn paths_end_at_slashes() {
        let place = "registry.example.com/team/app";
        assert!(has(place, "registry.example.com/team/app"));
        assert!(has(place, "registry.example.com/team/app/part"));
        for repository in [
            "registry.example.com/team/app-2",
            "registry.example.com/team/ap",
            "registry.example.com/team",
            "registry.example.com/other/team/app",
        ] {
            assert!(!has(place, repository), "{repository}");
        }
    }

    #[test]
    fn another_registry_is_not_the_same_with_more_letters() {
        for repository in [
            "registry.example.com.evil.example/app",
            "evil-registry.example.com/app",
            "registry.example.comx/app",
            "evil.example/registry.example.com/app",
            "registry.example.com:5000/app",
            "registry.example.com./app",
            "registry.example.com",
            "app",
            "",
            "/app",
        ] {
            assert!(!has("registry.example.com", repository), "{repository}");
        }
    }

    #[test]
    fn ports_are_exact() {
        assert!(has("registry.example.com:5000", "registry.example.com:5000/app"));
        for repository in [
            "registry.example.com/app",
            "registry.example.com:50001/app",
            "registry.example.com:443/app",
        ] {
            assert!(!has("registry.example.com:5000", repository), "{repository}");
        }
    }

    #[test]
    fn a_star_stands_for_sub_domains_alone() {
        for repository in ["a.example.com/app", "b.a.example.com/app", "A.Example.com/app"] {
            assert!(has("*.example.com", repository), "{repository}");
        }
        for repository in [
            "example.com/app",
            "evilexample.com/app",
            "a.example.com:5000/app",
            "a.example.com.evil.example/app",
            ".example.com/app",
        ] {
            assert!(!has("*.example.com", repository), "{repository}");
        }
        assert!(has("*.example.com:5000/team", "a.example.com:5000/team/app"));
        assert!(!has("*.example.com:5000/team", "a.example.com:5000/other/app"));
    }

    #[test]
    fn a_repository_that_is_none_is_nowhere() {
        for repository in [
            "registry.example.com/team/../other",
            "registry.example.com/team//app",
            "registry.example.com/team/",
            "registry.example.com/team/app:1",
            "user@registry.example.com/team/app",
        ] {
            assert!(!has("registry.example.com", repository), "{repository}");
        }
    }

    #[test]
    fn refuses_what_is_no_place() {
        for place in [
            "",
            "nginx",
            "library/nginx",
            "https://registry.example.com",
            "registry.example.com/",
            "registry.example.com//app",
            "registry.example.com/app:1",
            "registry.example.com/app@sha256:1",
            "registry.example.com/*",
            "registry.example.com/team/*",
            "registry.example.com/Team",
            "registry.example.com:0",
            "registry.example.com:+5000",
            "registry.example.com:65536",
            "registry.example.com:",
            "registry..example.com",
            "-a.example.com",
            "*",
            "*.com",
            "a.*.example.com",
            "*example.com",
            "[::1",
            "[::1]5000",
            "[::g]:5000",
        ] {
            assert!(place.parse::<Place>().is_err(), "{place}");
        }
    }
}
