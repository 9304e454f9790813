//! A rule's module as registries keep it: the "Wasm OCI Artifact layout" of CNCF TAG Runtime.
//!
//! An image manifest of OCI with a configuration that says what the component imports and exports, and with the
//! module as its only layer. Other tools (wkg, containerd, Spin) write and read the same. What is written here
//! depends on nothing but the module and what is said about it, so that the digest can be told beforehand.

use std::collections::BTreeMap;

use guest_policy::digest::Digest;
use guest_policy::reference::Reference;
use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};

use crate::registry::{Client, RegistryError};

/// A module with its manifest and configuration, ready to be pushed.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// JSON; its digest is the name by which policies call the module.
    pub manifest: Vec<u8>,
    /// JSON.
    pub config: Vec<u8>,
    /// The component.
    pub module: Vec<u8>,
}

/// What is said about a module when it is packed.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// RFC 3339, in UTC: `2026-11-25T00:00:00Z`.
    pub created: String,
    /// Who made it.
    pub author: Option<String>,
    /// Of the manifest: `org.opencontainers.image.title` and the like.
    pub annotations: BTreeMap<String, String>,
}

impl Artifact {
    /// Pack a module.
    ///
    /// # Errors
    ///
    /// It is no component, or too large.
    pub fn pack(module: Vec<u8>, about: &About) -> Result<Self, ArtifactError> {
        check_size(module.len() as u64)?;
        let component = Component::of(&module)?;
        let config = Config {
            created: Some(about.created.clone()),
            author: about.author.clone(),
            architecture: ARCHITECTURE.to_owned(),
            os: OS.to_owned(),
            layer_digests: vec![Digest::sha256(&module)],
            component: Some(component),
        };
        let config = encode(&config)?;
        let descriptor = |media_type: &str, content: &[u8]| Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::sha256(content),
            size: content.len() as u64,
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.to_owned()),
            config: descriptor(CONFIG_TYPE, &config),
            layers: vec![descriptor(MODULE_TYPE, &module)],
            annotations: about.annotations.clone(),
        };
        Ok(Self { manifest: encode(&manifest)?, config, module })
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    /// Fetch a module by the name of its manifest. Whatever is named by digest has it.
    ///
    /// # Errors
    ///
    /// [`ArtifactError::Registry`] if the registry does not give it; any other if it is not a module's.
    pub async fn fetch(client: &Client, reference: &Reference) -> Result<Self, ArtifactError> {
        let manifest = client.manifest(reference).await?.content;
        let parts = Parts::of(&manifest)?;
        let blob = async |part: &Part, limit| {
            let content = client.blob(reference, &part.digest, limit).await?;
            if content.len() as u64 != part.size {
                return Err(ArtifactError::Manifest(format!(
                    "has the size {} for {}, which has {} bytes",
                    part.size,
                    part.digest,
                    content.len()
                )));
            }
            Ok(content)
        };
        let config = blob(&parts.config, MAX_CONFIG_BYTES).await?;
        check_config(&config, &parts.module.digest)?;
        let module = blob(&parts.module, MAX_MODULE_BYTES).await?;
        if !is_component(&module) {
            return Err(ArtifactError::Component(
                "its first bytes are another format's".to_owned(),
            ));
        }
        Ok(Self { manifest, config, module })
    }
}

/// What a module's manifest names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parts {
    /// What [`Artifact::config`] is.
    pub config: Part,
    /// What [`Artifact::module`] is.
    pub module: Part,
    /// As the manifest has them.
    pub annotations: BTreeMap<String, String>,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// SHA-256.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

impl Parts {
    /// Read a manifest. More than one layer is refused, as the layout demands: nobody could tell which is meant.
    ///
    /// # Errors
    ///
    /// It is not the manifest of a module, or names blobs that are too large.
    pub fn of(manifest: &[u8]) -> Result<Self, ArtifactError> {
        let fault = |fault: String| ArtifactError::Manifest(fault);
        let manifest: Manifest =
            serde_json::from_slice(manifest).map_err(|e| fault(format!("cannot be read: {e}")))?;
        if manifest.schema_version != 2 {
            return Err(fault(format!("has the schema {}, not 2", manifest.schema_version)));
        }
        if let Some(media_type) = manifest.media_type.filter(|name| name != MANIFEST_TYPE) {
            return Err(fault(format!("is a {media_type:?}, not a {MANIFEST_TYPE}")));
        }
        let [module] = <[Descriptor; 1]>::try_from(manifest.layers).map_err(|layers| {
            let count = layers.len();
            fault(format!("has {count} layers, and a module's has one, of type {MODULE_TYPE}"))
        })?;
        let part = |what: &str, descriptor: Descriptor, expected: &str, limit: usize| {
            let Descriptor { media_type, digest, size } = descriptor;
            if media_type != expected {
                return Err(fault(format!("has a {what} of type {media_type:?}, not {expected}")));
            }
            if digest.algorithm() != guest_policy::digest::Algorithm::Sha256 {
                return Err(fault(format!("names its {what} by {digest}, not by SHA-256")));
            }
            if size > limit as u64 {
                return Err(ArtifactError::TooLarge { size, limit });
            }
            Ok(Part { digest, size })
        };
        Ok(Self {
            config: part("configuration", manifest.config, CONFIG_TYPE, MAX_CONFIG_BYTES)?,
            module: part("layer", module, MODULE_TYPE, MAX_MODULE_BYTES)?,
            annotations: manifest.annotations,
        })
    }
}

/// Something is not a rule's module, or cannot be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The bytes are no component.
    #[error(
        "it is not a WebAssembly component: {0}; countersign rule build makes one, and wasm-tools component new"
    )]
    Component(String),
    /// The configuration is another thing's.
    #[error("its configuration {0}; countersign rule push writes what is expected")]
    Config(String),
    /// The manifest is another thing's.
    #[error("its manifest {0}; countersign rule push writes what is expected")]
    Manifest(String),
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Larger than allowed.
    #[error("it has {size} bytes, more than the {limit} that are allowed")]
    TooLarge {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: usize,
    },
}

/// What a component imports and exports, in the order in which it does.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Component {
    /// `countersign:policy/ruling@0.1.0`.
    pub exports: Vec<String>,
    /// `countersign:policy/log@0.1.0`.
    pub imports: Vec<String>,
    /// The world that it was made for: `countersign:policy/rule@0.1.0`.
    pub target: Option<String>,
}

impl Component {
    /// Read a component's own list. What is inside it is not looked at: to compile it finds out more.
    fn of(module: &[u8]) -> Result<Self, ArtifactError> {
        let fault = |e: wasmparser::BinaryReaderError| ArtifactError::Component(e.to_string());
        let other = |fault: &str| ArtifactError::Component(fault.to_owned());
        let mut component = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(fault)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(other("it is a core module"));
                }
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports {
                        component.imports.push(import.map_err(fault)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    for export in exports {
                        component.exports.push(export.map_err(fault)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        let world = |name: &str| {
            let (interface, version) = name.split_once('@')?;
            (interface == RULING).then(|| format!("{WORLD}@{version}"))
        };
        component.target = component.exports.iter().find_map(|name| world(name));
        Ok(component)
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    architecture: String,
    os: String,
    layer_digests: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    component: Option<Component>,
}

/// A configuration has to be about the layer that it lies beside.
fn check_config(config: &[u8], module: &Digest) -> Result<(), ArtifactError> {
    let fault = |fault: String| ArtifactError::Config(fault);
    let config: Config =
        serde_json::from_slice(config).map_err(|e| fault(format!("cannot be read: {e}")))?;
    if (config.architecture.as_str(), config.os.as_str()) != (ARCHITECTURE, OS) {
        let (architecture, os) = (config.architecture, config.os);
        return Err(fault(format!(
            "is for {os:?} on {architecture:?}, and a component's is for {OS} on {ARCHITECTURE}"
        )));
    }
    if config.layer_digests != [module.clone()] {
        return Err(fault(format!("is not that of the layer {module}")));
    }
    Ok(())
}

/// Whether bytes begin as a component does (component model, "Binary Format").
fn is_component(module: &[u8]) -> bool {
    module.starts_with(b"\0asm\x0d\0\x01\0")
}

fn check_size(size: u64) -> Result<(), ArtifactError> {
    match size > MAX_MODULE_BYTES as u64 {
        true => Err(ArtifactError::TooLarge { size, limit: MAX_MODULE_BYTES }),
        false => Ok(()),
    }
}

fn encode(document: &impl Serialize) -> Result<Vec<u8>, ArtifactError> {
    // Texts, numbers and lists of them are always written.
    serde_json::to_vec(document).map_err(|e| ArtifactError::Manifest(e.to_string()))
}

/// The media type of the manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of the configuration.
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";

/// The media type of the module.
pub const MODULE_TYPE: &str = "application/wasm";

/// Largest module, in bytes: what the sandbox compiles. One made of JavaScript has 12 MB, one of Python 18 MB.
pub const MAX_MODULE_BYTES: usize = 32 * 1024 * 1024;

/// Largest configuration, in bytes: hundreds of imports and exports, of which a rule has five.
const MAX_CONFIG_BYTES: usize = 64 * 1024;

const ARCHITECTURE: &str = "wasm";

/// What the layout has for components, whatever they import.
const OS: &str = "wasip2";

const RULING: &str = "countersign:policy/ruling";
const WORLD: &str = "countersign:policy/rule";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn packed(about: &About) -> Artifact {
        Artifact::pack(component(), about).expect("a component")
    }

    /// Exports an instance of a rule's interface, with nothing in it, and has a core module inside, whose exports
    /// are not its own.
    fn component() -> Vec<u8> {
        wat::parse_str(
            r#"(component
                (import "countersign:policy/log@0.1.0" (instance))
                (core module (export "inner" (func 0)) (func))
                (instance $ruling)
                (export "countersign:policy/ruling@0.1.0" (instance $ruling)))"#,
        )
        .expect("a component")
    }

    fn about() -> About {
        About {
            created: "2026-11-25T00:00:00Z".to_owned(),
            author: Some("Rules <rules@example.com>".to_owned()),
            annotations: BTreeMap::from([(
                "org.opencontainers.image.title".to_owned(),
                "max-age".to_owned(),
            )]),
        }
    }

    #[test]
    fn writes_the_layout_of_cncf() {
        let artifact = packed(&about());
        let manifest: Value = serde_json::from_slice(&artifact.manifest).expect("JSON");
        let expected = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": Digest::sha256(&artifact.config),
                "size": artifact.config.len(),
            },
            "layers": [{
                "mediaType": "application/wasm",
                "digest": Digest::sha256(&component()),
                "size": component().len(),
            }],
            "annotations": {"org.opencontainers.image.title": "max-age"},
        });
        assert_eq!(manifest, expected);
        let config: Value = serde_json::from_slice(&artifact.config).expect("JSON");
        let expected = json!({
            "created": "2026-11-25T00:00:00Z",
            "author": "Rules <rules@example.com>",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [Digest::sha256(&component())],
            "component": {
                "exports": ["countersign:policy/ruling@0.1.0"],
                "imports": ["countersign:policy/log@0.1.0"],
                "target": "countersign:policy/rule@0.1.0",
            },
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn the_same_module_has_the_same_digest() {
        assert_eq!(packed(&about()).digest(), packed(&about()).digest());
        assert_ne!(packed(&about()).digest(), packed(&About::default()).digest());
    }

    #[test]
    fn reads_what_it_writes() {
        let artifact = packed(&about());
        let parts = Parts::of(&artifact.manifest).expect("a module's manifest");
        assert_eq!(parts.module.digest, Digest::sha256(&component()));
        assert_eq!(parts.config.size, artifact.config.len() as u64);
        assert_eq!(parts.annotations, about().annotations);
        check_config(&artifact.config, &parts.module.digest).expect("its configuration");
    }

    #[test]
    fn reads_what_wkg_writes() {
        let module = Digest::sha256(&component());
        let config = json!({
            "created": "2026-11-25T00:00:00.123456789Z",
            "author": null,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [module],
            "component": {"exports": [], "imports": ["wasi:io/error@0.2.0"], "target": null},
        });
        check_config(config.to_string().as_bytes(), &module).expect("a configuration");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": module, "size": 2, "annotations": null},
            "layers": [{
                "mediaType": MODULE_TYPE, "digest": module, "size": 2, "urls": [], "annotations": {"a": "b"},
            }],
            "annotations": {},
            "artifactType": CONFIG_TYPE,
        });
        Parts::of(manifest.to_string().as_bytes()).expect("a module's manifest");
    }

    #[test]
    fn refuses_what_is_not_a_module() {
        let good: Value = serde_json::from_slice(&packed(&about()).manifest).expect("JSON");
        let layer = &good["layers"][0];
        let image = json!("application/vnd.oci.image.layer.v1.tar+gzip");
        let other = format!("sha512:{}", "0".repeat(128));
        for (pointer, value, words) in [
            ("/schemaVersion", json!(1), "schema 1"),
            ("/mediaType", json!("application/vnd.oci.image.index.v1+json"), "index"),
            ("/layers", json!([]), "0 layers"),
            ("/layers", json!([layer, layer]), "2 layers"),
            ("/layers/0/mediaType", image.clone(), "layer of type"),
            ("/config/mediaType", image, "configuration of type"),
            ("/layers/0/size", json!(MAX_MODULE_BYTES + 1), "33554433 bytes"),
            ("/config/size", json!(MAX_CONFIG_BYTES + 1), "65537 bytes"),
            ("/layers/0/digest", json!("sha256:../../x"), "invalid digest"),
            ("/layers/0/digest", json!(other), "not by SHA-256"),
            ("/layers/0/size", json!(-1), "cannot be read"),
            ("/config", json!(null), "cannot be read"),
        ] {
            let mut manifest = good.clone();
            *manifest.pointer_mut(pointer).expect("a member") = value;
            let fault = Parts::of(manifest.to_string().as_bytes()).expect_err(pointer).to_string();
            assert!(fault.contains(words), "{pointer}: {fault}");
        }
        let twice = String::from_utf8(packed(&about()).manifest).expect("UTF-8");
        let twice = twice.replacen('{', "{\"layers\":[],", 1);
        let fault = Parts::of(twice.as_bytes()).expect_err("layers twice").to_string();
        assert!(fault.contains("duplicate field"), "{fault}");
    }

    #[test]
    fn refuses_the_configuration_of_something_else() {
        let artifact = packed(&about());
        let module = Digest::sha256(&component());
        let good: Value = serde_json::from_slice(&artifact.config).expect("JSON");
        for (pointer, value) in [
            ("/architecture", json!("amd64")),
            ("/os", json!("wasip1")),
            ("/layerDigests", json!([])),
            ("/layerDigests", json!([module, module])),
            ("/layerDigests/0", json!(Digest::sha256(b"another module"))),
        ] {
            let mut config = good.clone();
            *config.pointer_mut(pointer).expect("a member") = value;
            check_config(config.to_string().as_bytes(), &module).expect_err(pointer);
        }
    }

    #[test]
    fn packs_components_alone() {
        let core = wat::parse_str("(module)").expect("a core module");
        let compiled = b"\x7fELF and so on".to_vec();
        let mut cut = component();
        cut.truncate(cut.len() - 1);
        for (module, words) in [
            (core, "core module"),
            (compiled, "magic"),
            (Vec::new(), "unexpected end"),
            (cut, "unexpected end"),
        ] {
            let fault = Artifact::pack(module, &about()).expect_err(words).to_string();
            assert!(fault.contains(words), "{words}: {fault}");
        }
        let huge = vec![0; MAX_MODULE_BYTES + 1];
        let fault = Artifact::pack(huge, &about()).expect_err("too large").to_string();
        assert!(fault.contains("33554433"), "{fault}");
    }
}
