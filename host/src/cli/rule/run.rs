//! `countersign rule run`: one question, and all that there is to know about the answer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use countersign::engine::{Engine, RuleEngine, Settings};
use countersign::policy::PolicyFile;
use countersign::record::Recording;
use countersign::report::runs;
use countersign::rules::{Loading, Rules};
use countersign::workbench::cases::Case;
use countersign::workbench::{Loaded, Workbench};
use serde_json::{Value, json};

use super::{ToolsArgs, module, workbench};
use crate::cli::options::{
    Format, RegistryArgs, SelectionArgs, StoreArgs, TimeArgs, decider, rule_settings,
};
use crate::cli::{Exit, print, runtime, style};

/// Ask a rule about one image, and show the answer with log, time and memory
///
/// The rule is granted what it imports. What it says alone counts; `countersign verify` judges an image by a whole
/// policy. Exit status: 0 the rule allows, 1 it denies or was ended, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES, override_usage = USAGE)]
#[group(id = "what", required = true, multiple = false, args = ["image", "case", "recording"])]
pub(crate) struct Args {
    /// The module, or a rule's folder, which is built first
    #[arg(value_name = "MODULE|DIR")]
    module: PathBuf,

    /// The image, as `countersign verify` takes it
    #[arg(value_name = "IMAGE")]
    image: Option<String>,

    /// Ask about a golden case in place of an image; what it expects is not looked at
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_IMAGES)]
    case: Option<PathBuf>,

    /// Ask again what the rule was asked first in a recording of `countersign verify --record`
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_IMAGES)]
    recording: Option<PathBuf>,

    /// The rule's settings, as the policy would have them: JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    settings: String,

    /// A document of capability `data`, by the name that the rule knows it by; may be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = document)]
    data: Vec<(String, PathBuf)>,

    /// A public key: the rule is told of the image's signatures by it; may be repeated
    ///
    /// Default: no signature is looked for.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,

    /// The form of the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    selection: SelectionArgs,

    #[command(flatten)]
    time: TimeArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    tools: ToolsArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        // A mistake in what is asked is found before anything is built.
        let known = match (&self.case, &self.recording) {
            (Some(path), _) => Known::Case(Box::new(Case::read(path)?)),
            (None, Some(path)) => Known::Recording(path, Box::new(Recording::read(path)?)),
            (None, None) => Known::Nothing,
        };
        let wasm = module(&self.module, &self.tools)?;
        // An image is judged by a policy, whose modules are kept once they are compiled: this one, then.
        let workbench = match known {
            Known::Nothing => Workbench::new(&rule_settings())?,
            Known::Case(_) | Known::Recording(..) => workbench()?,
        };
        let loaded = workbench.load(&wasm)?;
        let (case, reasons) = match known {
            Known::Case(case) => (*case, String::new()),
            Known::Recording(path, recording) => {
                let unasked = || format!("{} has no question to this rule", path.display());
                (first(&recording, &loaded).with_context(unasked)?, String::new())
            }
            Known::Nothing => self.look(&wasm, &loaded)?,
        };
        let timed = case.time(&loaded);
        // What the case does not have could not be had.
        let timed = timed.map_err(|error| match reasons.as_str() {
            "" => error.into(),
            reasons => anyhow!("the rule cannot be asked: {reasons}"),
        })?;
        print(&match self.output {
            Format::Text => runs::text(&loaded, &case.question.image.name, &timed, style()),
            Format::Json => runs::json(&loaded, &case.question.image.name, &timed),
        })?;
        Ok(if timed.allowed() { Exit::Success } else { Exit::No })
    }

    /// Have an image judged by the rule: what it was asked, and what is against the image.
    fn look(&self, wasm: &[u8], loaded: &Loaded) -> Result<(Case, String)> {
        let image = self.image.as_deref().unwrap_or_default();
        let question = self.selection.question(image)?;
        let now = self.time.now()?;
        let client = self.registry.client()?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        write(MODULE, wasm)?;
        let file = PolicyFile::read(&write("policy.json", &self.policy(loaded)?)?)?;
        let engine = Engine::new(&Settings::default())?;
        let keys = file.keys(&engine)?;
        for key in &keys {
            if let Err(fault) = &key.content {
                bail!("cannot use --key: {fault}");
            }
        }
        let policy = file.load_with(&engine, &keys)?;
        let directories = self.store.directories();
        let loading = Loading {
            file: &file,
            policy: &policy,
            engine: &RuleEngine::new(&rule_settings())?,
            client: &client,
            directories: &directories,
            tags: true,
            now,
        };
        let runtime = runtime()?;
        let (rules, material) = runtime.block_on(Rules::load_and_keep(loading));
        if let Some(fault) = rules.faults().first() {
            bail!("the rule cannot be asked: {fault}");
        }
        let decider = decider(policy.clone(), client.clone(), &self.store);
        let decider = decider.with_rules(rules.clone()).keeping_courses();
        let decisions = runtime.block_on(decider.decide(&question, now));
        let reasons = decisions.iter().flat_map(|decision| &decision.verdict.reasons);
        let reasons: Vec<_> = reasons.map(|reason| reason.message.clone()).collect();
        let reasons = reasons.join("; ");
        let recording = Recording::new(file, keys, &rules, material, now, decisions);
        match first(&recording, loaded) {
            Some(case) => Ok((case, reasons)),
            None => bail!("the rule cannot be asked: {reasons}"),
        }
    }

    /// A policy by which the rule is asked, and told of the signatures that its keys made.
    fn policy(&self, loaded: &Loaded) -> Result<Vec<u8>> {
        let settings = match self.settings.strip_prefix('@') {
            Some(path) => fs::read_to_string(path)
                .with_context(|| format!("cannot read --settings {}", self.settings))?,
            None => self.settings.clone(),
        };
        let settings: Value = serde_json::from_str(&settings)
            .with_context(|| format!("invalid --settings {}: expected JSON", self.settings))?;
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
        };
        let imports = loaded.module.imports().iter().map(|capability| capability.name());
        let mut rule = json!({
            "type": "rule",
            "module": MODULE,
            "settings": settings,
            "capabilities": imports.collect::<Vec<_>>(),
        });
        if !self.data.is_empty() {
            let mut data = serde_json::Map::new();
            for (name, path) in &self.data {
                data.insert(name.clone(), json!(absolute(path)?));
            }
            rule["data"] = data.into();
        }
        let mut requirements = vec![rule];
        if !self.keys.is_empty() {
            let paths = self.keys.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
            requirements.push(json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": paths}));
        }
        Ok(json!({"default": requirements}).to_string().into_bytes())
    }
}

/// What is asked, if it is known already.
enum Known<'a> {
    Case(Box<Case>),
    Recording(&'a Path, Box<Recording>),
    Nothing,
}

/// What a rule was asked first.
fn first(recording: &Recording, loaded: &Loaded) -> Option<Case> {
    Case::recorded(recording, &loaded.description.name).into_iter().next()
}

fn document(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

/// The module's name in the folder of the policy.
const MODULE: &str = "rule.wasm";

/// What says something about an image that is looked at.
const OF_IMAGES: [&str; 11] = [
    "settings",
    "data",
    "keys",
    "judged_as",
    "platform",
    "all_platforms",
    "at",
    "registries_d",
    "plain_http",
    "authfile",
    "cert_dir",
];

const USAGE: &str =
    "countersign rule run [OPTIONS] <MODULE|DIR> <IMAGE|--case <FILE>|--recording <FILE>>";

const EXAMPLES: &str = "\
Examples:
  What a rule says of an image:
    countersign rule run no-root.wasm docker://registry.example.com/ns/app:1

  With settings, and told of the signatures by a key:
    countersign rule run max-age.wasm --settings '{\"days\":90}' --key release.gpg docker://registry.example.com/ns/app:1

  A golden case:
    countersign rule run my-rule.wasm --case cases/denies-another-registry.json";
