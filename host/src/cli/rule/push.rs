//! `countersign rule push`: a module into a registry, signed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use countersign::artifact::{self, About, Artifact};
use countersign::engine::{RuleEngine, RuleLimits};
use countersign::publish;
use countersign::rule::Description;
use jiff::Timestamp;

use crate::cli::options::{RegistryArgs, StoreArgs, now, time};
use crate::cli::signer::{Key, KeyArgs, SignerParts};
use crate::cli::{Exit, print, runtime};

/// Push a rule's module to a registry, and sign it
///
/// Prints the name by which policies take it: oci://HOST/PATH@sha256:…. The module is loaded once, to see that it
/// can be. With a key, the signature goes into the registry if that keeps signatures itself, else where registries.d has
/// them written (lookaside-staging, a file:// URL), is read back and verified; only then the tag is set. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The module, as rule build makes it
    #[arg(value_name = "MODULE")]
    module: PathBuf,

    /// Where to: oci://HOST[:PORT]/PATH[:TAG]
    ///
    /// Without a tag the module has its digest alone for a name.
    #[arg(value_name = "NAME")]
    name: String,

    /// Say something about the module; may be repeated
    ///
    /// A KEY without a dot is one of OCI's: source means org.opencontainers.image.source. Default: title, version
    /// and description are those that the rule says of itself.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,

    /// When it was made: RFC 3339 (2026-11-25T00:00:00Z) or seconds since 1970
    ///
    /// The same module with the same time and annotations has the same digest. Default: $SOURCE_DATE_EPOCH, else
    /// now.
    #[arg(long, value_name = "TIME")]
    created: Option<String>,

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let reference = artifact::reference(&self.name)?;
        if reference.digest().is_some() {
            bail!(
                "invalid name {:?}: the digest follows from the content: leave it out",
                self.name
            );
        }
        let client = self.key.authorized(self.registry.client()?)?;
        let now = now()?;
        let key = self.key.open(now)?;
        if let Some(Key::Sigstore(_)) = key {
            bail!("rules are signed by OpenPGP keys, which rulesFrom of a policy asks for");
        }
        let signer = key.map(|key| SignerParts::new(key, &self.store, now)).transpose()?;
        let unusable = || format!("cannot push {}", self.module.display());
        let module = artifact::read_module(&self.module).with_context(unusable)?;
        let about = self.about(describe(&module).with_context(unusable)?, now)?;
        let artifact = Artifact::pack(module, &about).with_context(unusable)?;
        let signing = signer.as_ref().map(SignerParts::signing);
        let push = publish::push(&client, &reference, &artifact, signing.as_ref());
        let pushed = runtime()?.block_on(push).with_context(unusable)?;
        if let (Some(signed), Some(parts)) = (&pushed.signed, &signer) {
            parts.tell(signed, &artifact.digest(), &pushed.pinned)?;
        }
        print(&format!("oci://{}\n", pushed.pinned))?;
        Ok(Exit::Success)
    }

    fn about(&self, description: Description, now: u64) -> Result<About> {
        let created = match (&self.created, std::env::var(EPOCH)) {
            (Some(text), _) => time("--created", text)?,
            (None, Ok(text)) => text.parse().with_context(|| {
                format!("invalid ${EPOCH} {text:?}: expected seconds since 1970-01-01 UTC")
            })?,
            (None, Err(_)) => now,
        };
        let created = i64::try_from(created).ok().and_then(|s| Timestamp::from_second(s).ok());
        let created = created.context("the time of --created is out of range")?.to_string();
        let Description { name, version, purpose, .. } = description;
        let known = [("title", name), ("version", version), ("description", purpose)];
        let mut annotations: BTreeMap<String, String> =
            known.into_iter().map(|(key, value)| (format!("{OCI}{key}"), value)).collect();
        annotations.extend(self.annotations.iter().cloned());
        let author = annotations.get(&format!("{OCI}authors")).cloned();
        Ok(About { created, author, annotations })
    }
}

/// What the rule says of itself. A module that no policy could load is refused.
fn describe(module: &[u8]) -> Result<Description> {
    let engine = RuleEngine::new(&super::settings())?;
    Ok(engine.compile(module)?.describe(&RuleLimits::default())?)
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) {
        return Err("expected a KEY of letters, digits, dots, slashes and hyphens".to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err("expected a VALUE of one line".to_owned());
    }
    let prefix = if key.contains('.') { "" } else { OCI };
    Ok((format!("{prefix}{key}"), value.to_owned()))
}

const OCI: &str = "org.opencontainers.image.";

/// <https://reproducible-builds.org/specs/source-date-epoch/>
const EPOCH: &str = "SOURCE_DATE_EPOCH";

const EXAMPLES: &str = "\
Examples:
  Publish a version, and see its name for policies:
    countersign rule push max-age.wasm oci://registry.example.com/rules/max-age:1.0.0

  Sign it, with a key that gpg exported, and say where its source is:
    countersign rule push --sign-by rules.key --annotation source=https://example.com/max-age max-age.wasm \\
        oci://registry.example.com/rules/max-age:1.0.0
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_of_oci_have_a_short_name() {
        let expected = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        let source = "source=https://example.com/?a=b";
        assert_eq!(
            annotation(source),
            expected("org.opencontainers.image.source", "https://example.com/?a=b")
        );
        assert_eq!(annotation("com.example/x.y="), expected("com.example/x.y", ""));
        for text in ["source", "=x", "a b=c", "a=b\nc"] {
            annotation(text).expect_err(text);
        }
    }
}
