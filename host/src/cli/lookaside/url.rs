//! `countersign lookaside url`: where the signatures of an image are kept.

use anyhow::{Context, Result, bail};
use countersign::digest::Digest;
use countersign::evidence::RegistriesD;
use countersign::image::ImageName;

use crate::cli::options::{RegistryArgs, SelectionArgs, StoreArgs};
use crate::cli::{Exit, print, runtime};

/// Print the URL of an image's first signature
///
/// Further signatures are signature-2 and so on. An image that is named by its digest is not fetched.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// An image, as containers-transports(5) names it; without a transport, docker:// is meant
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Print where signatures are written instead of where they are read
    #[arg(long)]
    staging: bool,

    #[command(flatten)]
    selection: SelectionArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let question = self.selection.question(&self.image)?;
        let reference = match (&question.judged_as, &question.image) {
            (Some(reference), _) | (None, ImageName::Docker { reference }) => reference,
            (None, image) => bail!(
                "{image} has no signature store of its own; say with --as as which image of a registry it \
                 is judged"
            ),
        };
        let registries = RegistriesD::load(&self.store.directories())?;
        let store = match self.staging {
            false => registries.lookaside(reference)?,
            true => registries.staging(reference)?,
        };
        let known = match &question.image {
            ImageName::Docker { reference } => reference.digest().cloned(),
            _ => None,
        };
        let digests: Vec<Digest> = match known {
            Some(digest) => vec![digest],
            None => {
                let (image, platforms) = (&question.image, &question.platforms);
                let client = self.registry.client()?;
                let resolved = image.resolve(&client, question.judged_as.as_ref(), platforms);
                let resolved = runtime()?.block_on(resolved).with_context(|| {
                    format!("cannot tell the image's digest, which follows {store}@ in the URL")
                })?;
                resolved.into_iter().map(|image| image.digest).collect()
            }
        };
        let lines = digests.iter().map(|digest| format!("{}\n", store.signature(digest, 1)));
        print(&lines.collect::<String>())?;
        Ok(Exit::Success)
    }
}
