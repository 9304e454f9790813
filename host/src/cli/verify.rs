//! `countersign verify`: the verdict about images.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use countersign::decide::{Decision, Question};
use countersign::policy::PolicyError;
use countersign::registry::Client;
use countersign::report::decisions;

use super::options::{
    Format, PolicyArgs, RegistryArgs, SelectionArgs, StoreArgs, TimeArgs, decider,
};
use super::{Exit, complain, print, runtime, style};

/// Decide whether images may run
///
/// Every image is resolved once, its signatures are fetched if the policy looks at them, and the policy is
/// evaluated in the sandbox. Results go to standard output in the order of the images, everything else to
/// standard error. Exit status: 0 every image is allowed, 1 at least one is denied, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Images, as containers-transports(5) names them; without a transport, docker:// is meant
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// The form of the results
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
        let questions = self.images.iter().map(|image| self.selection.question(image));
        let options = Options {
            questions: questions.collect::<Result<_>>()?,
            now: self.time.now()?,
            client: self.registry.client()?,
            policy: self.policy,
            store: self.store,
            output: self.output,
        };
        options.run()
    }
}

struct Options {
    questions: Vec<Question>,
    now: u64,
    client: Client,
    policy: PolicyArgs,
    store: StoreArgs,
    output: Format,
}

impl Options {
    fn run(self) -> Result<Exit> {
        // Before anything is fetched.
        let policy = match self.policy.load() {
            Ok((_, policy)) => policy,
            Err(error) => return self.without_policy(&error),
        };
        let decider = decider(policy, self.client, &self.store);
        let mut progress = Progress::new(self.questions.len());
        let decisions = runtime()?
            .block_on(decider.decide_all(&self.questions, self.now, |_| progress.advance()));
        progress.end();
        print(&match self.output {
            Format::Text => decisions::text(&decisions, style()),
            Format::Json => decisions::json(&decisions),
        })?;
        Ok(Exit::of(&decisions))
    }

    /// Programs get an answer about each image, people one message.
    fn without_policy(self, error: &PolicyError) -> Result<Exit> {
        complain(&error.to_string());
        if self.output == Format::Json {
            let unanswered = |question: Question| {
                Decision::unanswered(question.image, error.code(), error.to_string())
            };
            let decisions: Vec<_> = self.questions.into_iter().map(unanswered).collect();
            print(&decisions::json(&decisions))?;
        }
        Ok(Exit::Error)
    }
}

/// A line on the terminal that tells how far the work is, and disappears.
struct Progress {
    shown: bool,
    done: usize,
    total: usize,
}

impl Progress {
    fn new(total: usize) -> Self {
        let progress = Self { shown: io::stderr().is_terminal(), done: 0, total };
        progress.draw();
        progress
    }

    fn advance(&mut self) {
        self.done += 1;
        self.draw();
    }

    fn draw(&self) {
        self.write(&format!("\r\x1b[Kverifying: {} of {} images done", self.done, self.total));
    }

    fn end(self) {
        self.write("\r\x1b[K");
    }

    fn write(&self, text: &str) {
        if self.shown {
            // Nothing depends on it.
            let _ = write!(io::stderr(), "{text}");
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  Judge an image by the policy of this machine:
    countersign verify docker://registry.example.com/ns/app:1

  Two images by a policy under review, for a program:
    countersign verify --policy ./policy.json --output json busybox:1 registry.example.com/ns/app:1

  An image in a local folder, as though it had been pulled:
    countersign verify --as registry.example.com/ns/app:1 dir:./app

  Every platform of an image, in a registry without TLS on this machine:
    countersign verify --all-platforms --plain-http localhost:5000 localhost:5000/app:1

  What would the verdict have been last year?
    countersign verify --at 2025-11-25T00:00:00Z registry.example.com/ns/app:1
";
