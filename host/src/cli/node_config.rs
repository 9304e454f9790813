//! `countersign node-config`: what makes nodes verify.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use countersign::engine::{Engine, Settings};
use countersign::nodes::{
    DaemonSet, DefaultRule, FilesError, Ignition, KeyPlace, Lookaside, MachineConfig, NodeConfig,
    NodeFiles, PolicyDocument, Pool, PublicKey, Scope, Version, folder,
};
use countersign::policy::PolicyFile;
use countersign::reference::Reference;
use countersign::report::printable;
use countersign::webhook_config::{Bundle, Namespace};

use super::policy::{DefaultName, PreferName, complain_of, read, warn};
use super::signals::Signals;
use super::{Exit, note, print, runtime};

/// Write what makes nodes verify: policy.json, registries.d, keys and the authorities of registries
///
/// From a policy, or from options that say what is trusted; as files, as an archive, as MachineConfigs for OpenShift, or
/// as a DaemonSet for other clusters. What has to be known before that is applied is said on standard error, and stands
/// in the documents. Exit status: 0 done, 1 something would change (--diff), 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The policy of nodes as it is, to which everything else is added; none of it is lost [default: none]
    ///
    /// Files that it names are expected to be on the nodes.
    #[arg(long, value_name = "FILE")]
    merge: Option<PathBuf>,

    /// A policy document, whose keys are brought to the nodes, too [default: none]
    ///
    /// A relative path is relative to its folder.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Whose word holds where --policy contradicts --merge [default: that is an error]
    #[arg(long, value_name = "WHOM", value_enum, requires_all = ["merge", "policy"])]
    prefer: Option<PreferName>,

    /// What holds where no scope decides [default: what --merge and --policy say, else reject]
    #[arg(long = "default", value_name = "RULE", value_enum)]
    rule: Option<DefaultName>,

    /// Want images of a scope signed by a key, OpenPGP or PEM; may be repeated [default: none]
    ///
    /// Of several keys of one format for a scope, a signature by any counts.
    #[arg(long, value_name = "SCOPE=KEYFILE", value_parser = trust)]
    trust: Vec<(Scope, PathBuf)>,

    /// Where the signatures of a scope's images are; may be repeated [default: none]
    #[arg(long, value_name = "SCOPE=URL")]
    lookaside: Vec<Lookaside>,

    /// The signatures of a scope's images are attached to them, as cosign does; may be repeated [default: none]
    #[arg(long, value_name = "SCOPE")]
    attachments: Vec<Scope>,

    /// The authorities of a registry's certificate, PEM; may be repeated [default: those of the node]
    #[arg(long, value_name = "HOST[:PORT]=FILE", value_parser = authorities)]
    ca: Vec<(String, PathBuf)>,

    /// Where keys are [default: inline for machineconfig, else files]
    #[arg(long, value_name = "WHERE", value_enum)]
    keys: Option<Keys>,

    /// The oldest containers/image by which nodes read all this, for example 5.22 [default: any]
    ///
    /// Of what older ones refuse, nothing is said then; for those before 5.25, lookasides have their older name, too.
    #[arg(long, value_name = "VERSION")]
    oldest_reader: Option<Version>,

    /// What is written
    #[arg(long, value_name = "FORM", value_enum, default_value = "folder")]
    form: Form,

    /// The root folder, or the file, to write; - for standard output [default: -, a folder has to be named]
    #[arg(short, long, value_name = "PATH", conflicts_with = "diff")]
    output: Option<PathBuf>,

    /// Replace files that are there [default: they are kept, and nothing is written]
    #[arg(long)]
    force: bool,

    /// Print what would change below this root folder of a node, and write nothing [default: it is written]
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,

    #[command(flatten, next_help_heading = "OpenShift")]
    openshift: OpenShiftArgs,

    #[command(flatten, next_help_heading = "Kubernetes")]
    kubernetes: KubernetesArgs,
}

#[derive(clap::Args, Debug)]
struct OpenShiftArgs {
    /// The pools of nodes, one document for each
    #[arg(
        long = "pool",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "worker,master"
    )]
    pools: Vec<Pool>,

    /// The name of the documents; POOL in it becomes the pool's
    #[arg(long, value_name = "NAME", default_value = MachineConfig::NAME)]
    name: String,

    /// The version of Ignition's configuration: 2.2, or 3.0 to 3.5
    #[arg(long, value_name = "VERSION", default_value = "3.2")]
    ignition: Ignition,
}

#[derive(clap::Args, Debug)]
struct KubernetesArgs {
    /// The image of this program, best by digest, for the DaemonSet [default: none, it has to be named]
    #[arg(long, value_name = "IMAGE", required_if_eq("form", "daemonset"))]
    image: Option<String>,

    /// The namespace of the DaemonSet, for nothing else
    #[arg(long, value_name = "NAME", default_value = "countersign-nodes")]
    namespace: Namespace,
}

#[derive(Debug, Subcommand)]
enum Command {
    Apply(ApplyArgs),
}

/// What is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Form {
    /// Files below a folder: of a node, or of an image of one
    Folder,
    /// The same as an archive
    Tar,
    /// A MachineConfig for each pool of OpenShift's nodes
    Machineconfig,
    /// Namespace, ConfigMap and DaemonSet
    Daemonset,
}

/// Where keys are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Keys {
    /// In files below /etc/pki/containers
    Files,
    /// In policy.json
    Inline,
    /// Where the policy says: they are on the nodes already
    Left,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        if let Some(Command::Apply(args)) = self.command {
            return args.run();
        }
        let (files, mut notes) = self.config()?.finish(self.oldest_reader);
        if let Some(root) = &self.diff {
            notes.iter().for_each(|note| warn(note));
            let text: String =
                files.diff(root)?.lines().map(|line| format!("{}\n", printable(line))).collect();
            print(&text)?;
            return Ok(if text.is_empty() { Exit::Success } else { Exit::No });
        }
        let content = match self.form {
            Form::Folder => {
                notes.iter().for_each(|note| warn(note));
                return self.write_folder(&files);
            }
            Form::Tar => files.tar()?,
            Form::Machineconfig => {
                let config = MachineConfig {
                    pools: self.openshift.pools.clone(),
                    name: self.openshift.name.clone(),
                    ignition: self.openshift.ignition,
                    merged: self.merge.is_some(),
                };
                notes.extend(config.warnings(&files));
                config.yaml(&files, &notes)?.into_bytes()
            }
            Form::Daemonset => {
                let set = DaemonSet {
                    image: self.image()?,
                    namespace: self.kubernetes.namespace.clone(),
                };
                notes.extend(set.warnings(self.merge.is_some()));
                set.yaml(&files, &notes)?.into_bytes()
            }
        };
        notes.iter().for_each(|note| warn(note));
        match self.output.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => super::policy::replace(path, &content, self.force)?,
            None => {
                let mut out = io::stdout().lock();
                out.write_all(&content)
                    .and_then(|()| out.flush())
                    .context("cannot write to standard output")?;
            }
        }
        Ok(Exit::Success)
    }

    /// What nodes shall believe, without mistakes.
    fn config(&self) -> Result<NodeConfig> {
        let keys = match (self.keys, self.form) {
            (Some(Keys::Inline), _) | (None, Form::Machineconfig) => KeyPlace::Inline,
            (Some(Keys::Files) | None, _) => KeyPlace::Files,
            (Some(Keys::Left), _) => KeyPlace::Left,
        };
        let prefer = self.prefer.map(|name| name.0);
        let given = self.policy.as_deref().map(PolicyFile::read).transpose()?;
        let mut config = match &self.merge {
            Some(path) => NodeConfig::new(read(&PolicyFile::read(path)?)?, keys),
            None => {
                let default = self.rule.map_or(DefaultRule::Reject, |name| name.0);
                NodeConfig::new(PolicyDocument::new(default), keys)
            }
        };
        if let Some(file) = &given {
            let mut document = read(file)?;
            if self.merge.is_none() {
                // It is the whole policy, in its own spelling.
                config = NodeConfig::new(document.clone(), keys);
            }
            if let (Some(rule), Some(_)) = (self.rule, &self.merge) {
                // What is asked for in so many words contradicts nobody.
                config.policy().set_default(rule.0)?;
                document.set_default(rule.0)?;
            }
            let add = match self.merge {
                Some(_) => config.add(document, &folder(file.path()), prefer),
                None => config.keep(&folder(file.path())),
            };
            add.with_context(|| format!("cannot use {}", file.path().display()))?;
        }
        if let Some(rule) = self.rule {
            config.policy().set_default(rule.0)?;
        }
        let engine = Engine::new(&Settings::default())?;
        for (scope, path) in &self.trust {
            let key = PublicKey::read(path)?;
            key.check(&engine)?;
            config
                .trust(scope, &key)
                .with_context(|| format!("cannot trust {}", path.display()))?;
        }
        self.lookaside.iter().for_each(|lookaside| config.lookaside(lookaside));
        self.attachments.iter().for_each(|scope| config.attachments(scope));
        for (host, path) in &self.ca {
            config.authorities(host, &Bundle::read(path)?)?;
        }
        let found = config.mistakes(&engine)?;
        let text = config.policy().text().into_bytes();
        complain_of(&PolicyFile::of("/etc/containers/policy.json".into(), text), &found)?;
        Ok(config)
    }

    fn write_folder(&self, files: &NodeFiles) -> Result<Exit> {
        let root = match &self.output {
            Some(root) if root != Path::new("-") => root,
            _ => bail!("--form folder needs --output DIR: the root folder of a node, or another"),
        };
        for path in files.write(root, self.force)? {
            note(&format!("wrote {}", root.join(path.trim_start_matches('/')).display()));
        }
        Ok(Exit::Success)
    }

    fn image(&self) -> Result<Reference> {
        let image = self.kubernetes.image.as_deref().context("--form daemonset needs --image")?;
        Reference::parse_normalized(image).with_context(|| {
            format!("invalid --image {image:?}: expected HOST[:PORT]/PATH[:TAG][@DIGEST]")
        })
    }
}

/// Write files onto the node on which this runs: what the DaemonSet does
///
/// Files are replaced whole, policy.json last, and nothing else is touched. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
struct ApplyArgs {
    /// The folder with the files, as --form folder writes it
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The root folder of the node
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// Wait for the signal to end afterwards, as pods of a DaemonSet have to [default: end]
    #[arg(long)]
    stay: bool,
}

impl ApplyArgs {
    fn run(self) -> Result<Exit> {
        let files = NodeFiles::read(&self.from)?;
        if files.is_empty() {
            bail!("there are no files of a node in {}", self.from.display());
        }
        let changed: Result<_, FilesError> = files.write(&self.to, true);
        for path in changed? {
            note(&format!("wrote {path}"));
        }
        if self.stay {
            runtime()?.block_on(async {
                Signals::new()?.next().await;
                Ok::<_, io::Error>(())
            })?;
        }
        Ok(Exit::Success)
    }
}

fn trust(text: &str) -> Result<(Scope, PathBuf), String> {
    let (scope, path) = text.split_once('=').ok_or("expected SCOPE=KEYFILE")?;
    Ok((scope.parse()?, path.into()))
}

fn authorities(text: &str) -> Result<(String, PathBuf), String> {
    let (host, path) = text.split_once('=').ok_or("expected HOST[:PORT]=FILE")?;
    Ok((host.to_owned(), path.into()))
}

const EXAMPLES: &str = "\
Examples:
  Let this machine want signatures of one registry, and see what would change:
    countersign node-config --merge /etc/containers/policy.json --trust registry.example.com=release.gpg \\
        --lookaside registry.example.com=https://signatures.example.com --diff /

  The same for the workers of OpenShift, as one document to apply:
    countersign node-config --merge policy-of-a-node.json --trust registry.example.com=release.gpg \\
        --lookaside registry.example.com=https://signatures.example.com \\
        --form machineconfig --pool worker --output machineconfig.yaml

  For other clusters:
    countersign node-config --policy policy.json --form daemonset \\
        --image registry.example.com/countersign@sha256:… --output daemonset.yaml
";
