//! `countersign policy explain`: how a policy applies to an image.

use anyhow::Result;
use countersign::engine::Budget;
use countersign::image::ImageName;
use countersign::report::explanation;

use crate::cli::options::{Format, PolicyArgs};
use crate::cli::{Exit, print, style};

/// Show which scope of the policy decides about an image, and what it requires
///
/// The image need not exist: nothing is fetched.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// An image, as containers-transports(5) names it; without a transport, docker:// is meant
    #[arg(value_name = "IMAGE")]
    image: String,

    #[command(flatten)]
    policy: PolicyArgs,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let image: ImageName = self.image.parse()?;
        let subject = image.subject(None)?;
        let (file, policy) = self.policy.load()?;
        let explained = policy.explain(&subject, &Budget::default())?;
        let name = file.path().display().to_string();
        print(&match self.output {
            Format::Text => explanation::text(&image, &name, &explained, style()),
            Format::Json => explanation::json(&image, &name, &explained),
        })?;
        Ok(Exit::Success)
    }
}
