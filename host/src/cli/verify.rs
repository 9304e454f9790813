//! `countersign verify`: the verdict about images.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use countersign::decide::{Decider, Decision, Question};
use countersign::digest::Digest;
use countersign::engine::{Budget, Engine, Policy, RuleEngine, Settings};
use countersign::policy::{PolicyError, PolicyFile};
use countersign::record::{Recording, Replayed};
use countersign::registry::Client;
use countersign::report::decisions;
use countersign::rules::{Loading, Material, Rules};
use countersign::verdict::Outcome;
use countersign::vocabulary::KeyFile;

use super::options::{
    Format, PolicyArgs, RegistryArgs, SelectionArgs, StoreArgs, TimeArgs, decider, engine,
    rule_settings,
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
    #[arg(value_name = "IMAGE", required_unless_present = "replay")]
    images: Vec<String>,

    /// The form of the results
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    /// Show how each requirement of the policy came out, and what rules logged
    ///
    /// Requirements are shown as a tree: ✓ it holds, ✗ it does not, - it was not looked at, since what came
    /// before it decided. By default the verdict is shown alone.
    #[arg(long)]
    explain: bool,

    /// Write everything that the decisions rested on into FILE
    ///
    /// That is the policy with its keys, the images' manifests, signatures and documents, the modules and
    /// documents of rules, the time and the verdicts; no credentials. One that is there is replaced.
    /// By default nothing is written.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Write the verdict of the one image into FILE: allow, deny or error, without a line end
    ///
    /// This and --digest-file are for pipelines, whose steps hand on results as files. By default neither is
    /// written.
    #[arg(long, value_name = "FILE", conflicts_with = "all_platforms")]
    verdict_file: Option<PathBuf>,

    /// Write the digest that was verified into FILE, without a line end
    ///
    /// Only if the image is allowed: the file is empty by default, so that nobody deploys what was denied.
    #[arg(long, value_name = "FILE", conflicts_with = "all_platforms")]
    digest_file: Option<PathBuf>,

    /// Make the decisions of a recording again, without a network and without the policy
    ///
    /// The output is the same, byte for byte. If this version decides otherwise, or the recording contradicts
    /// itself, the exit status is 2. By default, the images are fetched and judged as they are now.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "images", "record", "verdict_file", "digest_file", "policy", "judged_as", "platform", "all_platforms", "at", "registries_d",
        "plain_http", "authfile", "cert_dir",
    ])]
    replay: Option<PathBuf>,

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
        let form = Form { output: self.output, explain: self.explain };
        if let Some(file) = &self.replay {
            return replay(file, form);
        }
        let questions = self.images.iter().map(|image| self.selection.question(image));
        let results = Results { verdict: self.verdict_file, digest: self.digest_file };
        results.begin(self.images.len())?;
        let options = Options {
            questions: questions.collect::<Result<_>>()?,
            results,
            now: self.time.now()?,
            client: self.registry.client()?,
            policy: self.policy,
            store: self.store,
            record: self.record,
            form,
        };
        options.run()
    }
}

/// What is printed.
#[derive(Clone, Copy)]
struct Form {
    output: Format,
    explain: bool,
}

impl Form {
    fn print(self, decisions: &[Decision]) -> Result<()> {
        print(&match (self.output, self.explain) {
            (Format::Text, false) => decisions::text(decisions, style()),
            (Format::Text, true) => decisions::text_explained(decisions, style()),
            (Format::Json, false) => decisions::json(decisions),
            (Format::Json, true) => decisions::json_explained(decisions),
        })
    }
}

/// Files for the next step of a pipeline.
struct Results {
    verdict: Option<PathBuf>,
    digest: Option<PathBuf>,
}

impl Results {
    /// Empty until there is an answer, whatever was there before.
    fn begin(&self, images: usize) -> Result<()> {
        if self.verdict.is_none() && self.digest.is_none() {
            return Ok(());
        }
        if images != 1 {
            bail!("--verdict-file and --digest-file are about one image, but {images} are named");
        }
        self.write("error", "")
    }

    fn end(&self, decisions: &[Decision]) -> Result<()> {
        // One question about one platform has one answer.
        let [Decision { digest, verdict, .. }] = decisions else { return Ok(()) };
        let digest = digest.as_ref().filter(|_| verdict.outcome == Outcome::Allow);
        self.write(&verdict.outcome.to_string(), digest.map(Digest::as_str).unwrap_or_default())
    }

    fn write(&self, verdict: &str, digest: &str) -> Result<()> {
        for (file, content) in [(&self.verdict, verdict), (&self.digest, digest)] {
            if let Some(file) = file {
                fs::write(file, content)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        Ok(())
    }
}

struct Options {
    questions: Vec<Question>,
    results: Results,
    now: u64,
    client: Client,
    policy: PolicyArgs,
    store: StoreArgs,
    record: Option<PathBuf>,
    form: Form,
}

/// A policy with all that it names.
struct Loaded {
    file: PolicyFile,
    keys: Vec<KeyFile>,
    policy: Policy,
    rules: Rules,
    material: Material,
}

impl Options {
    fn run(self) -> Result<Exit> {
        let runtime = runtime()?;
        // Before anything else is fetched.
        let loaded = match runtime.block_on(self.load()) {
            Ok(loaded) => loaded,
            Err(error) => return self.without_policy(&error),
        };
        let Loaded { file, keys, policy, rules, material } = loaded;
        for warning in rules.warnings() {
            complain(&format!("warning: {warning}"));
        }
        let decider = decider(policy, self.client, &self.store).with_rules(rules.clone());
        let keeps = self.form.explain || self.record.is_some();
        let decider = if keeps { Decider::keeping_courses(decider) } else { decider };
        let mut progress = Progress::new(self.questions.len());
        let decisions =
            runtime.block_on(decider.decide_all(&self.questions, self.now, |_| progress.advance()));
        progress.end();
        let exit = Exit::of(&decisions);
        self.form.print(&decisions)?;
        self.results.end(&decisions)?;
        if let Some(path) = &self.record {
            Recording::new(file, keys, &rules, material, self.now, decisions).write(path)?;
        }
        Ok(exit)
    }

    async fn load(&self) -> Result<Loaded, PolicyError> {
        let file = self.policy.find()?;
        let engine = engine(&file)?;
        let keys = file.keys(&engine)?;
        let policy = file.load_with(&engine, &keys)?;
        let failed = |source| PolicyError::Engine { path: file.path().to_owned(), source };
        let (mut rules, mut material) = (Rules::default(), Material::default());
        // A policy without rules does not pay for them.
        if !policy.rules(&Budget::default()).map_err(failed)?.uses.is_empty() {
            let loading = Loading {
                file: &file,
                policy: &policy,
                engine: &RuleEngine::new(&rule_settings()).map_err(failed)?,
                client: &self.client,
                directories: &self.store.directories(),
                tags: true,
                now: self.now,
            };
            match self.record {
                Some(_) => (rules, material) = Rules::load_and_keep(loading).await,
                None => rules = Rules::load(loading).await,
            }
        }
        Ok(Loaded { file, keys, policy, rules, material })
    }

    /// Programs get an answer about each image, people one message.
    fn without_policy(self, error: &PolicyError) -> Result<Exit> {
        complain(&error.to_string());
        if self.form.output == Format::Json {
            let unanswered = |question: Question| {
                Decision::unanswered(question.image, error.code(), error.to_string())
            };
            let decisions: Vec<_> = self.questions.into_iter().map(unanswered).collect();
            self.form.print(&decisions)?;
        }
        Ok(Exit::Error)
    }
}

fn replay(file: &Path, form: Form) -> Result<Exit> {
    let recording = Recording::read(file)?;
    let engine = Engine::new(&Settings::default())?;
    let Replayed { decisions, differences } =
        runtime()?.block_on(recording.replay(&engine, &rule_settings()))?;
    form.print(&decisions)?;
    for difference in &differences {
        complain(difference);
    }
    Ok(if differences.is_empty() { Exit::of(&decisions) } else { Exit::Error })
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

  Which requirement is it that does not hold?
    countersign verify --explain registry.example.com/ns/app:1

  A decision for somebody else to look at, without a network:
    countersign verify --record app.json registry.example.com/ns/app:1
    countersign verify --replay app.json --explain

  What would the verdict have been last year?
    countersign verify --at 2025-11-25T00:00:00Z registry.example.com/ns/app:1
";
