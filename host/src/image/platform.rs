//! Platforms, and which instance of an index is meant for one.
//!
//! The rules are those of the reference implementation (`internal/pkg/platform`, `ChooseInstance`), so
//! that the instance that is judged is the one that skopeo or podman would run.

use guest_policy::manifest::Instance;
use guest_policy::platform::Platform;

/// Which instances of an index are judged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PlatformSelection {
    /// Every one.
    All,
    /// The one for this machine.
    #[default]
    Host,
    /// None: the index is judged itself as an image, under its own digest.
    Index,
    /// The one for this platform.
    Named(Platform),
}

impl PlatformSelection {
    /// The selected instances, or the platform for which there is none.
    pub(crate) fn select(&self, instances: Vec<Instance>) -> Result<Vec<Instance>, Platform> {
        let wanted = match self {
            Self::All => return Ok(instances),
            Self::Index => return Ok(Vec::new()),
            Self::Host => of_this_machine(),
            Self::Named(platform) => platform.clone(),
        };
        let acceptable = acceptable(&wanted);
        let rank = |instance: &Instance| match &instance.platform {
            Some(platform) => acceptable.iter().position(|a| a == platform),
            // OCI lets an entry say nothing about its platform: it is the last resort.
            None => Some(acceptable.len()),
        };
        // Of equals, one with zstd layers is preferred to one without, then the first.
        instances
            .into_iter()
            .filter_map(|instance| Some((rank(&instance)?, !instance.zstd, instance)))
            .min_by_key(|(rank, not_zstd, _)| (*rank, *not_zstd))
            .map(|(_, _, instance)| vec![instance])
            .ok_or(wanted)
    }
}

/// The platform of this machine.
fn of_this_machine() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    };
    let variant = match architecture {
        "arm64" => Some("v8".to_owned()),
        "arm" => Some("v7".to_owned()),
        _ => None,
    };
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant }
}

/// The platforms that can run here, best first.
fn acceptable(wanted: &Platform) -> Vec<Platform> {
    let known: &[&str] = match wanted.architecture.as_str() {
        "arm" => &["v8", "v7", "v6", "v5"],
        "arm64" => &["v8"],
        _ => &[],
    };
    let mut variants: Vec<Option<&str>> = Vec::new();
    match wanted.variant.as_deref() {
        Some(variant) => {
            match known.iter().position(|known| *known == variant) {
                Some(place) => variants.extend(known[place..].iter().map(|v| Some(*v))),
                None => variants.push(Some(variant)),
            }
            variants.push(None);
        }
        None => {
            variants.push(None);
            variants.extend(known.iter().map(|v| Some(*v)));
        }
    }
    let platform =
        |variant: Option<&str>| Platform { variant: variant.map(str::to_owned), ..wanted.clone() };
    variants.into_iter().map(platform).collect()
}

#[cfg(test)]
mod tests {
    use guest_policy::digest::Digest;

    use super::*;

    fn instance(name: &str, platform: Option<&str>) -> Instance {
        Instance {
            digest: Digest::sha256(name.as_bytes()),
            platform: platform.map(|p| p.parse().expect("valid")),
            zstd: name.contains("zstd"),
        }
    }

    fn chosen(wanted: &str, instances: &[(&str, Option<&str>)]) -> Option<String> {
        let all: Vec<_> = instances.iter().map(|(name, p)| instance(name, *p)).collect();
        let selection = PlatformSelection::Named(wanted.parse().expect("valid"));
        let digest = selection.select(all).ok()?.first()?.digest.clone();
        let name = |(name, _): &&(&str, _)| Digest::sha256(name.as_bytes()) == digest;
        Some(instances.iter().find(name).expect("one of them").0.to_owned())
    }

    #[test]
    fn chooses_the_best_variant_that_can_run() {
        let arm = [
            ("v6", Some("linux/arm/v6")),
            ("v7", Some("linux/arm/v7")),
            ("x", Some("linux/amd64")),
        ];
        assert_eq!(chosen("linux/arm/v7", &arm).as_deref(), Some("v7"));
        assert_eq!(chosen("linux/arm/v8", &arm).as_deref(), Some("v7"));
        assert_eq!(chosen("linux/arm/v5", &arm), None);
        assert_eq!(chosen("linux/arm", &arm).as_deref(), Some("v7"));
        assert_eq!(chosen("linux/arm64", &arm), None);
        assert_eq!(
            chosen("linux/arm64/v8", &[("plain", Some("linux/arm64"))]).as_deref(),
            Some("plain")
        );
        assert_eq!(chosen("linux/arm64", &[("v8", Some("linux/arm64/v8"))]).as_deref(), Some("v8"));
    }

    #[test]
    fn chooses_an_entry_without_platform_last() {
        let entries = [("none", None), ("amd", Some("linux/amd64"))];
        assert_eq!(chosen("linux/amd64", &entries).as_deref(), Some("amd"));
        assert_eq!(chosen("linux/s390x", &entries).as_deref(), Some("none"));
    }

    #[test]
    fn prefers_zstd_then_the_first() {
        let entries =
            [("a", Some("linux/amd64")), ("zstd", Some("linux/amd64")), ("b", Some("linux/amd64"))];
        assert_eq!(chosen("linux/amd64", &entries).as_deref(), Some("zstd"));
        assert_eq!(chosen("linux/amd64", &[entries[0], entries[2]]).as_deref(), Some("a"));
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux//v7"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
