//! As much of a manifest as is needed to fetch: is it an index, and of what?

use std::collections::BTreeMap;
use std::fmt;

use crate::digest::{Digest, InvalidDigest};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::platform::Platform;

/// What a manifest is.
#[derive(Debug)]
pub enum Kind {
    /// One image. Its content is the engine's business.
    Image,
    /// An index (or Docker manifest list) of these.
    Index(Vec<Instance>),
}

impl Kind {
    /// Tell what `body` is from its content, and refuse a body that two readers could take for
    /// different things (CVE-2021-41190): members of two formats, a member twice or in another case, a
    /// `Content-Type` that contradicts the content.
    pub fn of(body: &[u8], content_type: Option<&str>) -> Result<Self, Fault> {
        let keys = members(body, &TELLING_MEMBERS)?;
        let top: Top<'_> = serde_json::from_slice(body)?;
        let is_schema1 = |media_type: Option<&str>| media_type.is_some_and(is_schema1);
        if top.schema_version == Some(1)
            || is_schema1(top.media_type.as_deref())
            || is_schema1(content_type)
        {
            return Err(Fault::Schema1);
        }
        let declared = top.media_type.as_deref().and_then(format_of);
        let is_index = match declared {
            Some(format) => format == Format::Index,
            None => top.manifests.is_some(),
        };
        let foreign: &[&str] = if is_index {
            &["config", "fsLayers", "history", "layers"]
        } else {
            &["fsLayers", "history", "manifests"]
        };
        if let Some(key) = keys.iter().find(|key| foreign.contains(&key.as_str())) {
            let format = if is_index { "an index" } else { "an image manifest" };
            return Err(Fault::Ambiguous(format!("{format} has no member {key:?}")));
        }
        if let Some(served) = content_type.and_then(format_of)
            && (served == Format::Index) != is_index
        {
            let served = content_type.unwrap_or_default();
            return Err(Fault::Ambiguous(format!(
                "it is served as {served:?}, but its content is something else"
            )));
        }
        if !is_index {
            return Ok(Self::Image);
        }
        let entries: Vec<&RawValue> = match top.manifests {
            Some(raw) => serde_json::from_str(raw.get())?,
            None => Vec::new(),
        };
        if entries.len() > MAX_INSTANCES {
            return Err(Fault::TooManyInstances(entries.len()));
        }
        entries.into_iter().map(Instance::parse).collect::<Result<_, _>>().map(Self::Index)
    }
}

/// One entry of an index.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Of the instance's manifest.
    pub digest: Digest,
    /// What it is made for, if the entry tells.
    pub platform: Option<Platform>,
    /// Whether its layers are compressed with zstd, which the reference implementation prefers.
    pub zstd: bool,
}

impl Instance {
    fn parse(raw: &RawValue) -> Result<Self, Fault> {
        members(raw.get().as_bytes(), &["annotations", "digest", "platform"])?;
        let entry: Entry<'_> = serde_json::from_str(raw.get())?;
        let platform = |raw: &RawValue| {
            members(raw.get().as_bytes(), &["architecture", "os", "variant"])?;
            let platform: EntryPlatform = serde_json::from_str(raw.get())?;
            Ok::<_, Fault>(Platform {
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant.filter(|v| !v.is_empty()),
            })
        };
        let annotations = entry.annotations.unwrap_or_default();
        Ok(Self {
            platform: entry.platform.map(platform).transpose()?,
            digest: entry.digest.parse()?,
            zstd: annotations.get(ZSTD_ANNOTATION).is_some_and(|value| value == "true"),
        })
    }
}

/// A manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Two readers could take it for different things.
    #[error("it can be read in two ways: {0}")]
    Ambiguous(String),
    /// An entry's digest is none.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// Not JSON, or not of the types that the formats demand.
    #[error("it is not a JSON manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// An index that an index names.
    #[error("an index inside of an index is not supported; name the inner one by its digest")]
    NestedIndex,
    /// Docker's first format, whose digest is not that of its bytes.
    #[error(
        "it is in Docker's old schema 1, which is not judged: convert the image with \
         skopeo copy --format v2s2 docker://OLD docker://NEW, and sign the new one"
    )]
    Schema1,
    /// More entries than are looked at.
    #[error("its index has {0} entries, which is more than the {MAX_INSTANCES} that are looked at")]
    TooManyInstances(usize),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Image,
    Index,
}

/// Without parameters such as a character set.
fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn is_schema1(media_type: &str) -> bool {
    matches!(
        bare(media_type),
        "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )
}

fn format_of(media_type: &str) -> Option<Format> {
    Some(match bare(media_type) {
        "application/vnd.oci.image.index.v1+json"
        | "application/vnd.docker.distribution.manifest.list.v2+json" => Format::Index,
        "application/vnd.oci.image.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v2+json" => Format::Image,
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Top<'a> {
    schema_version: Option<i64>,
    media_type: Option<String>,
    #[serde(borrow)]
    manifests: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    digest: String,
    #[serde(borrow)]
    platform: Option<&'a RawValue>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct EntryPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// The names of an object's members; an error if one is there twice, or if one of `telling` is written in
/// another case, since readers differ in which of them counts.
fn members(object: &[u8], telling: &[&str]) -> Result<Vec<String>, Fault> {
    let Keys(keys) = serde_json::from_slice(object)?;
    for (place, key) in keys.iter().enumerate() {
        let same = |other: &String| other.eq_ignore_ascii_case(key);
        let misspelt = telling.iter().any(|m| m.eq_ignore_ascii_case(key) && m != key);
        if misspelt || keys[..place].iter().any(same) {
            return Err(Fault::Ambiguous(format!("member {key:?} is given twice or misspelt")));
        }
    }
    Ok(keys)
}

/// The names of an object's members, in order, duplicates kept.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if keys.len() == MAX_MEMBERS {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Members that tell one format from another.
const TELLING_MEMBERS: [&str; 8] = [
    "config",
    "fsLayers",
    "history",
    "layers",
    "manifests",
    "mediaType",
    "schemaVersion",
    "signatures",
];

/// Most members of a manifest's top level, or of an index's entry. The specifications name fewer than ten.
const MAX_MEMBERS: usize = 64;

/// Most entries of an index. The largest indexes of public registries have fewer than 50, attestations
/// included.
const MAX_INSTANCES: usize = 256;

/// Set by the tools of the reference implementation on instances with zstd layers.
const ZSTD_ANNOTATION: &str = "io.github.containers.compression.zstd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2021_41190_refuses_a_body_that_is_manifest_and_index() {
        for body in [
            r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#,
            r#"{"schemaVersion":2,"config":{},"layers":[],"Manifests":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"layers":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[],"MANIFESTS":[]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"","Digest":""}]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"","digest":""}]}"#,
            r#"{"schemaVersion":2,"manifests":[{"Digest":""}]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"","platform":{"os":"a","OS":"b"}}]}"#,
        ] {
            let fault = Kind::of(body.as_bytes(), None).expect_err(body);
            assert!(matches!(fault, Fault::Ambiguous(_)), "{body}: {fault}");
        }
    }

    #[test]
    fn cve_2021_41190_refuses_a_content_type_that_contradicts_the_content() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        let image = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let oci_image = Some("application/vnd.oci.image.manifest.v1+json");
        let list = Some("application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8");
        assert!(Kind::of(index, oci_image).is_err());
        assert!(Kind::of(image, list).is_err());
        assert!(matches!(Kind::of(index, list), Ok(Kind::Index(_))));
        assert!(matches!(Kind::of(image, oci_image), Ok(Kind::Image)));
        assert!(matches!(Kind::of(image, Some("text/plain")), Ok(Kind::Image)));
    }

    #[test]
    fn refuses_schema_1_however_it_shows() {
        let v1 = Some("application/vnd.docker.distribution.manifest.v1+json");
        let jws = Some("application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8");
        for (body, content_type) in [
            (r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, None),
            (r#"{"schemaVersion":1,"fsLayers":[],"history":[],"signatures":[]}"#, None),
            (r#"{"schemaVersion":1,"config":{},"layers":[]}"#, None),
            (r#"{"schemaVersion":2,"config":{},"layers":[]}"#, v1),
            (r#"{"fsLayers":[],"history":[]}"#, jws),
            (r#"{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}"#, None),
        ] {
            let fault = Kind::of(body.as_bytes(), content_type).expect_err(body);
            assert!(matches!(fault, Fault::Schema1), "{body}: {fault}");
        }
    }

    #[test]
    fn cve_2024_3727_refuses_digests_that_could_escape_a_path() {
        for digest in ["sha256:../../x", "", "sha256:ABC", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            let body = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}"}}]}}"#);
            assert!(matches!(Kind::of(body.as_bytes(), None), Err(Fault::Digest(_))), "{digest}");
        }
    }
}
