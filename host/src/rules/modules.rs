//! Where modules of rules are found: beside the policy, or in a registry.
//!
//! A module is bytes until its signatures are judged. One of a registry that was fetched by its digest is kept in
//! the user's cache folder with its signatures, so that a server starts while the registry is away. What is kept
//! is trusted no further than what is fetched: digests and signatures are verified again each time.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use guest_policy::digest::Digest;
use guest_policy::image::{MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES_TOTAL, Signature, Subject};
use guest_policy::reference::Reference;

use super::{Loading, RuleError};
use crate::artifact::{Artifact, ArtifactError, MAX_MODULE_BYTES, Parts};
use crate::decide;
use crate::engine::Places;
use crate::evidence::{self, EvidenceError, RegistriesD};
use crate::files;
use crate::image::{FileFault, ImageName, Resolved, read_limited};

/// A module that was found, with everything by which it can be judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// Who is asked about when its signatures are judged.
    pub(crate) subject: Subject,
    /// What signatures are about: the manifest of a module in a registry, else the module.
    pub(crate) digest: Digest,
    /// Of a module in a registry.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The component.
    pub(crate) wasm: Vec<u8>,
    /// Empty if the policy does not look at them.
    pub(crate) signatures: Vec<Signature>,
}

impl Found {
    /// Whether all parts are those that the digests say, and those of this module of a policy.
    pub(crate) fn is_whole(&self, module: &str) -> Result<(), String> {
        let fault =
            |what: &str| Err(format!("{what} of module {module} is not what its digest says"));
        let signed = match &self.manifest {
            None => &self.wasm,
            Some(manifest) => {
                let parts = Parts::of(manifest).map_err(|e| format!("module {module}: {e}"))?;
                if !parts.module.digest.matches(&self.wasm) {
                    return fault("the content");
                }
                manifest
            }
        };
        if !self.digest.matches(signed) {
            return fault(if self.manifest.is_some() { "the manifest" } else { "the content" });
        }
        match named(module) {
            Some(Ok(reference))
                if reference.digest().is_some_and(|named| *named != self.digest) =>
            {
                fault("the manifest")
            }
            Some(Err(fault)) => Err(fault),
            _ => Ok(()),
        }
    }
}

/// The reference of a module in a registry; `None` for a file.
pub(super) fn named(module: &str) -> Option<Result<Reference, String>> {
    let name = module.strip_prefix("oci://")?;
    Some(Reference::parse_normalized(name).map_err(|e| e.to_string()))
}

/// Find a module. Its signatures are gathered if the policy looks at them, and not judged.
pub(super) async fn find(
    loading: &Loading<'_>,
    module: &str,
    signed: bool,
) -> Result<Found, RuleError> {
    match named(module) {
        None => in_file(loading, module, signed).await,
        Some(Err(fault)) => Err(RuleError::Name(fault)),
        Some(Ok(reference)) => match reference.digest().cloned() {
            // Signatures are for names with one of the two.
            Some(digest) => {
                by_digest(loading, &reference.at(digest.clone()), &digest, signed).await
            }
            None if !loading.tags => Err(RuleError::Tag),
            None => {
                let Artifact { manifest, module, .. } =
                    Artifact::fetch(loading.client, &reference).await?;
                let digest = Digest::sha256(&manifest);
                in_registry(loading, &reference, digest, manifest, module, signed).await
            }
        },
    }
}

async fn in_file(loading: &Loading<'_>, module: &str, signed: bool) -> Result<Found, RuleError> {
    let path = loading.file.key_path(module);
    let subject =
        ImageName::Directory { path: path.clone() }.subject(None).map_err(decide::Failure::from)?;
    let subject = Subject { name: path.display().to_string(), ..subject };
    let read = move || -> Result<Found, RuleError> {
        let wasm = read_limited(&path, MAX_MODULE_BYTES)?;
        let signatures = if signed { evidence::beside(&path)? } else { Vec::new() };
        let digest = Digest::sha256(&wasm);
        Ok(Found { subject, digest, manifest: None, wasm, signatures })
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|stopped| Err(RuleError::bug(stopped.to_string())))
}

/// From the cache if it is there, else from the registry, and then it is kept.
async fn by_digest(
    loading: &Loading<'_>,
    reference: &Reference,
    digest: &Digest,
    signed: bool,
) -> Result<Found, RuleError> {
    let kept = Kept::of(digest);
    if let Some((manifest, module)) = kept.as_ref().and_then(|kept| kept.module(digest)) {
        let found = in_registry(
            loading,
            reference,
            digest.clone(),
            manifest.clone(),
            module.clone(),
            signed,
        );
        let found = found.await;
        let unreachable = matches!(
            &found,
            Err(RuleError::Signatures(failure))
                if matches!(**failure, decide::Failure::Evidence(EvidenceError::Registry(_)))
        );
        let signatures = kept.as_ref().and_then(Kept::signatures).filter(|_| unreachable);
        let Some(signatures) = signatures else {
            if let (Some(kept), Ok(found)) = (&kept, &found) {
                kept.keep_signatures(&found.signatures, signed);
            }
            return found;
        };
        let subject = subject(reference)?;
        let (digest, manifest) = (digest.clone(), Some(manifest));
        return Ok(Found { subject, digest, manifest, wasm: module, signatures });
    }
    let Artifact { manifest, module, .. } = Artifact::fetch(loading.client, reference).await?;
    if let Some(kept) = &kept {
        kept.keep_module(&manifest, &module);
    }
    let found = in_registry(loading, reference, digest.clone(), manifest, module, signed).await?;
    if let Some(kept) = &kept {
        kept.keep_signatures(&found.signatures, signed);
    }
    Ok(found)
}

async fn in_registry(
    loading: &Loading<'_>,
    reference: &Reference,
    digest: Digest,
    manifest: Vec<u8>,
    wasm: Vec<u8>,
    signed: bool,
) -> Result<Found, RuleError> {
    let subject = subject(reference)?;
    let mut resolved = Resolved {
        subject,
        digest,
        manifest,
        index: None,
        platform: None,
        name: ImageName::Docker { reference: reference.clone() },
    };
    let signatures = match signed {
        false => Vec::new(),
        true => {
            let registries = RegistriesD::load(loading.directories).map_err(EvidenceError::from)?;
            evidence::signatures(&resolved, loading.client, &registries).await?
        }
    };
    let manifest = Some(std::mem::take(&mut resolved.manifest));
    let Resolved { subject, digest, .. } = resolved;
    Ok(Found { subject, digest, manifest, wasm, signatures })
}

fn subject(reference: &Reference) -> Result<Subject, RuleError> {
    let name = ImageName::Docker { reference: reference.clone() };
    let subject = name.subject(None).map_err(decide::Failure::from)?;
    let name = format!("oci://{}", reference.familiar());
    Ok(Subject { name, ..subject })
}

/// Where a module of a registry is kept.
struct Kept {
    /// The path without its ending.
    stem: PathBuf,
}

impl Kept {
    fn of(digest: &Digest) -> Option<Self> {
        let folder = Places::of_this_process().cache?.join("modules");
        Some(Self { stem: folder.join(format!("{}-{}", digest.algorithm().name(), digest.hex())) })
    }

    /// Manifest and module, if both are what the digest says.
    fn module(&self, digest: &Digest) -> Option<(Vec<u8>, Vec<u8>)> {
        let manifest = read_limited(&self.path("json"), MAX_MANIFEST_BYTES).ok()?;
        if !digest.matches(&manifest) {
            return None;
        }
        let module = read_limited(&self.path("wasm"), MAX_MODULE_BYTES).ok()?;
        Parts::of(&manifest).ok()?.module.digest.matches(&module).then_some((manifest, module))
    }

    fn signatures(&self) -> Option<Vec<Signature>> {
        // Bytes are numbers with up to four characters.
        let text = read_limited(&self.path("signatures"), 4 * MAX_SIGNATURE_BYTES_TOTAL).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn keep_module(&self, manifest: &[u8], module: &[u8]) {
        self.keep("wasm", module);
        self.keep("json", manifest);
    }

    fn keep_signatures(&self, signatures: &[Signature], looked_at: bool) {
        if !looked_at || self.signatures().is_some_and(|kept| kept == signatures) {
            return;
        }
        if let Ok(text) = serde_json::to_vec(signatures) {
            self.keep("signatures", &text);
        }
    }

    /// Whoever reads sees all of it or nothing. What cannot be kept is fetched the next time.
    fn keep(&self, ending: &str, content: &[u8]) {
        let write = |folder: &Path| -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            files::write(&self.path(ending), content, files::PRIVATE)
        };
        let _ = self.stem.parent().map(write);
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.stem.with_extension(ending)
    }
}

impl From<FileFault> for RuleError {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::TooLarge { .. } => Self::Artifact(ArtifactError::TooLarge {
                size: MAX_MODULE_BYTES as u64 + 1,
                limit: MAX_MODULE_BYTES,
            }),
            fault => Self::File(fault),
        }
    }
}

impl From<EvidenceError> for RuleError {
    fn from(error: EvidenceError) -> Self {
        decide::Failure::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wasm: &[u8]) -> Found {
        let subject =
            Subject { transport: "dir".into(), name: "x".into(), reference: None, path: None };
        let (digest, wasm) = (Digest::sha256(wasm), wasm.to_vec());
        Found { subject, digest, manifest: None, wasm, signatures: Vec::new() }
    }

    #[test]
    fn module_is_whole_if_every_digest_fits() {
        let good = found(b"module");
        assert_eq!(good.is_whole("x.wasm"), Ok(()));
        let altered = Found { wasm: b"Module".to_vec(), ..good.clone() };
        assert!(altered.is_whole("x.wasm").is_err());
        let named = format!("oci://example.com/x@{}", Digest::sha256(b"another"));
        assert!(good.is_whole(&named).is_err());
        let no_manifest = Found { manifest: Some(b"{}".to_vec()), ..good };
        assert!(no_manifest.is_whole("x.wasm").is_err());
    }
}
