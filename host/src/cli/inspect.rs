//! `countersign inspect`: every signature of an image, and what it is worth.

use anyhow::Result;
use countersign::report::inspections;

use super::options::{
    Format, PolicyArgs, RegistryArgs, SelectionArgs, StoreArgs, TimeArgs, decider,
};
use super::{Exit, print, runtime, style};

/// Show every signature of an image, who made it, and what the policy thinks of each
///
/// All signatures are fetched, whether or not the policy looks at them. This decides nothing: exit status 0
/// means that it could look, 2 error or misuse.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// An image, as containers-transports(5) names it; without a transport, docker:// is meant
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    selection: SelectionArgs,

    #[command(flatten)]
    time: TimeArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        let question = self.selection.question(&self.image)?;
        let now = self.time.now()?;
        let client = self.registry.client()?;
        let (_, policy) = self.policy.load()?;
        let decider = decider(policy, client, &self.store);
        let inspections = runtime()?.block_on(decider.inspect(&question, now))?;
        print(&match self.output {
            Format::Text => inspections::text(&inspections, style()),
            Format::Json => inspections::json(&inspections),
        })?;
        Ok(Exit::Success)
    }
}
