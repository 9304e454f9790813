//! `countersign sign`: a signature of an image that is in a registry.

use anyhow::{Context, Result, bail};
use countersign::digest::Digest;
use countersign::image::ImageName;
use countersign::reference::Reference;
use countersign::registry::Client;
use countersign::signer::{Signable, Signed, Signer};

use crate::cli::options::{RegistryArgs, ResultArgs, StoreArgs, identity, now};
use crate::cli::signer::{KeyArgs, SignerParts};
use crate::cli::{Exit, note, print, runtime};

/// Sign an image that is in a registry
///
/// The image is resolved once, and its manifest's digest is signed. The signature goes into the registry if that keeps
/// signatures itself (X-Registry-Supports-Signatures), else where registries.d has them written (lookaside-staging: a
/// folder, file://, or a server); it is read back and verified. An image that this key has signed under this name already gets no second
/// signature. Prints what was signed: HOST/PATH@sha256:…. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The image: [docker://]HOST/PATH[:TAG|@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Sign the image as REFERENCE, which is what verifiers compare with the name that they pull
    ///
    /// Default, also if REFERENCE is empty: the name of the image.
    #[arg(long = "as", value_name = "REFERENCE")]
    identity: Option<String>,

    /// Of a multi-platform image, sign every instance, too
    ///
    /// Verifiers judge the instance that they pull. Default: only the manifest that the name means.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    results: ResultArgs,

    #[command(flatten)]
    key: KeyArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let image: ImageName = self.image.parse()?;
        let ImageName::Docker { reference } = &image else {
            bail!(
                "cannot sign {image}: only an image in a registry has a place for signatures; expected \
                 docker://HOST/PATH, or sign while copying to one: countersign copy --sign-by"
            );
        };
        // A parameter of Tekton that nobody set is empty.
        let identity = match self.identity.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => identity(text)?.with_default_tag(),
            None => reference.clone(),
        };
        let client = self.key.authorized(self.registry.client()?)?;
        let now = now()?;
        let key = self.key.open(now)?.with_context(|| {
            format!("cannot sign {image}: there is no key: name one with --sign-by or --keyring")
        })?;
        let parts = SignerParts::new(key, &self.store, now)?;
        let signing = self.sign(&client, &image, &parts, &identity);
        let signed =
            runtime()?.block_on(signing).with_context(|| format!("cannot sign {image}"))?;
        for (digest, signed) in &signed {
            parts.tell(signed, digest, reference)?;
        }
        let (digest, _) = signed.first().context("nothing was signed")?;
        self.results.write(digest, &image)?;
        print(&format!("{}\n", reference.at(digest.clone())))?;
        Ok(Exit::Success)
    }

    /// What the name means comes first.
    async fn sign(
        &self,
        client: &Client,
        image: &ImageName,
        parts: &SignerParts,
        identity: &Reference,
    ) -> Result<Vec<(Digest, Signed)>> {
        let top = Signable::resolve(client, image).await?;
        if !top.instances.is_empty() && !self.all {
            note(&format!(
                "{image} is an index of {} instances, and most verifiers judge the instance that they pull: sign \
                 these, too, with --all",
                top.instances.len()
            ));
        }
        let instances = if self.all { top.instances.as_slice() } else { &[] };
        let signer = Signer::new(client, &parts.signing(), &top.reference, identity).await?;
        let mut signed = Vec::new();
        // What the name means comes last: who sees its signature sees those of all instances.
        for digest in instances.iter().chain([&top.digest]) {
            signed.push((digest.clone(), signer.sign(digest).await?));
        }
        signed.reverse();
        Ok(signed)
    }
}

const EXAMPLES: &str = "\
Examples:
  Sign an image, with a key that gpg exported:
    countersign sign --sign-by signing.key registry.example.com/shop/web:1.4

  Sign by a key that gpg has; its agent asks for the passphrase:
    countersign sign --sign-by release@example.com registry.example.com/shop/web:1.4

  Sign a multi-platform image that was pushed by digest, for those who pull it by tag:
    countersign sign --all --sign-by signing.key --as registry.example.com/shop/web:1.4 \\
        registry.example.com/shop/web@sha256:…
";
