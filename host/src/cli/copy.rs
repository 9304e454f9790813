//! `countersign copy`: an image from one place to another, signed on arrival.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use countersign::copy::{self, Copied, Options, Progress};
use countersign::evidence::RegistriesD;
use countersign::image::{ImageName, PlatformSelection};
use countersign::registry::Client;

use crate::cli::options::{RegistryArgs, ResultArgs, StoreArgs, now};
use crate::cli::signer::{KeyArgs, SignerParts};
use crate::cli::{Exit, note, print};

/// Copy an image from one place to another, and sign what arrived
///
/// Both are named as in containers-transports(5): docker://HOST/PATH[:TAG|@DIGEST], oci:DIR[:NAME],
/// oci-archive:FILE[:NAME], dir:DIR; docker-archive:FILE[:REFERENCE] is read only. A bare name means docker://. Manifests
/// are copied byte for byte; every blob is checked on the way, and what the destination has already is not sent. The
/// destination's name comes last. Signatures come along. With --sign-by, what arrived is signed; the destination has to
/// be in a registry. Prints the digest. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The image to copy
    #[arg(value_name = "SOURCE")]
    from: String,

    /// Where to
    ///
    /// A folder for dir: has to be empty, or not there; a file for oci-archive: must not be there. A layout (oci:) may
    /// have other images.
    #[arg(value_name = "DESTINATION")]
    to: String,

    /// Leave the signatures behind that the image has
    ///
    /// Default: they come along, and a destination that keeps none is an error.
    #[arg(long)]
    remove_signatures: bool,

    /// Of a multi-platform image, copy the index with every instance
    ///
    /// Default: only the instance for one platform.
    #[arg(long)]
    all: bool,

    /// Of a multi-platform image, copy the instance for OS/ARCHITECTURE[/VARIANT]
    ///
    /// For example linux/arm64. Default: the platform of this machine.
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all")]
    platform: Option<String>,

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
        let from: ImageName = self.from.parse()?;
        let to: ImageName = self.to.parse()?;
        let platforms = match &self.platform {
            _ if self.all => PlatformSelection::All,
            Some(platform) => PlatformSelection::Named(platform.parse()?),
            None => PlatformSelection::Host,
        };
        let client = self.key.authorized(self.registry.client()?)?;
        let registries = RegistriesD::load(&self.store.directories())?;
        let now = now()?;
        let key = self.key.open(now)?;
        let parts = key.map(|key| SignerParts::new(key, &self.store, now)).transpose()?;
        let options = Options {
            platforms,
            remove_signatures: self.remove_signatures,
            registries: &registries,
            signing: parts.as_ref().map(SignerParts::signing),
            progress: Arc::default(),
        };
        // Several blobs are hashed at once.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the asynchronous runtime")?;
        let copied = runtime.block_on(show_progress(&client, &from, &to, &options));
        let copied = copied.with_context(|| format!("cannot copy {from} to {to}"))?;
        if copied.signatures > 0 {
            note(&format!("signatures that came along: {}", copied.signatures));
        }
        for (digest, signed) in &copied.signed {
            if let (Some(parts), ImageName::Docker { reference }) = (&parts, &to) {
                parts.tell(signed, digest, reference)?;
            }
        }
        self.results.write(&copied.digest, &to)?;
        print(&format!("{}\n", copied.digest))?;
        Ok(Exit::Success)
    }
}

/// Copy; whoever sits at a terminal sees how far it is.
async fn show_progress(
    client: &Client,
    from: &ImageName,
    to: &ImageName,
    options: &Options<'_>,
) -> Result<Copied, copy::CopyError> {
    if !io::stderr().is_terminal() {
        return copy::copy(client, from, to, options).await;
    }
    let progress = Arc::clone(&options.progress);
    let shown = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(REDRAWN);
        loop {
            ticks.tick().await;
            let _ = write!(io::stderr(), "\r\x1b[K{}", line(&progress));
        }
    });
    let copied = copy::copy(client, from, to, options).await;
    shown.abort();
    let _ = write!(io::stderr(), "\r\x1b[K");
    copied
}

fn line(progress: &Progress) -> String {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let total = progress.total.load(Ordering::Relaxed);
    match total {
        0 => "asking".to_owned(),
        _ => {
            let done = progress.done.load(Ordering::Relaxed).min(total);
            format!("{} of {} MiB", mib(done), mib(total))
        }
    }
}

/// Often enough to see that it moves.
const REDRAWN: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  From one registry to another, with every platform, signed on arrival:
    countersign copy --all --sign-by signing.key docker://build.example.com/shop/web:1.4 \\
        docker://registry.example.com/shop/web:1.4

  Into a file to carry away, and from there into a registry:
    countersign copy --remove-signatures registry.example.com/shop/web:1.4 oci-archive:web.tar:1.4
    countersign copy oci-archive:web.tar:1.4 docker://other.example.com/shop/web:1.4
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_beyond_the_end() {
        let progress = Progress::default();
        assert_eq!(line(&progress), "asking");
        progress.total.store(3 << 20, Ordering::Relaxed);
        progress.done.store(3 << 19, Ordering::Relaxed);
        assert_eq!(line(&progress), "1.5 of 3.0 MiB");
        progress.done.store(9 << 20, Ordering::Relaxed);
        assert_eq!(line(&progress), "3.0 of 3.0 MiB");
    }
}
