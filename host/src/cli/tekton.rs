//! `countersign tekton`: what pipelines verify, sign and copy with.

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use countersign::kubernetes::{Change, Cluster, Settings};
use countersign::tekton::{self, Bundle, Image, Part};
use countersign::webhook_config::Namespace;

use super::{Exit, note, print, runtime};

/// Install what pipelines of Tekton verify, sign and copy images with
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Install(InstallArgs),
    Diff(DiffArgs),
    Uninstall(UninstallArgs),
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit> {
        match self {
            Self::Install(args) => args.run(),
            Self::Diff(args) => args.run(),
            Self::Uninstall(args) => args.run(),
        }
    }
}

/// Print the StepActions, Tasks and the Pipeline for a namespace, or apply them
///
/// They are for Tekton Pipelines 1.0 and newer. With --apply, each is created or changed as the field manager
/// "countersign" (server-side apply), and none unless the cluster takes all of them; what others added to them stays.
/// Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    bundle: BundleArgs,

    /// Apply them, and say of each: created, changed or unchanged [default: print them]
    #[arg(long)]
    apply: bool,

    /// Take over fields that others have at other values [default: that is an error]
    #[arg(long, requires = "apply")]
    force_conflicts: bool,
}

impl InstallArgs {
    fn run(self) -> Result<Exit> {
        let bundle = self.bundle.bundle();
        if bundle.image.is_placeholder() && bundle.parts != [Part::Pipeline] {
            note(&format!("{} stands for an image of yours: name it by --image", bundle.image));
        }
        if !self.apply {
            print(&bundle.yaml())?;
            return Ok(Exit::Success);
        }
        let force = self.force_conflicts;
        let installed = runtime()?.block_on(async {
            let (cluster, namespace) = cluster(bundle.namespace.as_ref()).await?;
            let installed = tekton::install(&cluster, &namespace, &bundle, force).await;
            installed.with_context(|| format!("cannot install in namespace {namespace:?}"))
        })?;
        for it in installed {
            let change = match it.change {
                Change::Created => "created",
                Change::Changed => "changed",
                Change::Unchanged => "unchanged",
            };
            print(&format!("{} {change}\n", it.name))?;
        }
        Ok(Exit::Success)
    }
}

/// Show what install --apply would change in the cluster
///
/// The API server is asked what would become of each document (server-side dry run): what it fills in by itself is no
/// difference. Exit status: 0 nothing would change, 1 something would, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    bundle: BundleArgs,

    /// As install --force-conflicts would do it [default: fields that others have at other values are an error]
    #[arg(long)]
    force_conflicts: bool,
}

impl DiffArgs {
    fn run(self) -> Result<Exit> {
        let bundle = self.bundle.bundle();
        let force = self.force_conflicts;
        let difference = runtime()?.block_on(async {
            let (cluster, namespace) = cluster(bundle.namespace.as_ref()).await?;
            let difference = tekton::diff(&cluster, &namespace, &bundle, force).await;
            difference.with_context(|| format!("cannot compare with namespace {namespace:?}"))
        })?;
        print(&difference)?;
        Ok(if difference.is_empty() { Exit::Success } else { Exit::No })
    }
}

/// Print the names of what install has made in a namespace, or delete it
///
/// That is what has the label app.kubernetes.io/managed-by=countersign; nothing else is ever deleted. Secrets,
/// ConfigMaps and runs stay. Exit status: 0 done, 2 error or misuse.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// Delete it [default: print the names]
    #[arg(long)]
    apply: bool,
}

impl UninstallArgs {
    fn run(self) -> Result<Exit> {
        runtime()?.block_on(async {
            let (cluster, namespace) = cluster(self.place.namespace.as_ref()).await?;
            let failed = || format!("cannot uninstall in namespace {namespace:?}");
            let parts = self.place.parts();
            let found = tekton::found(&cluster, &namespace, &parts).await.with_context(failed)?;
            if found.is_empty() {
                note(&format!("nothing is installed in namespace {namespace:?}"));
            }
            for it in found {
                if self.apply {
                    it.delete(&cluster, &namespace).await.with_context(failed)?;
                    print(&format!("{} deleted\n", it.name))?;
                } else {
                    print(&format!("{}\n", it.name))?;
                }
            }
            Ok(Exit::Success)
        })
    }
}

/// What is installed, and where.
#[derive(clap::Args, Debug)]
struct BundleArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// The image of this program, by its digest [default: the name that stands for yours]
    ///
    /// A tag may stand before the digest, but does not replace it: the steps run with your key.
    #[arg(long, value_name = "HOST/PATH[:TAG]@DIGEST")]
    image: Option<Image>,
}

impl BundleArgs {
    fn bundle(self) -> Bundle {
        Bundle {
            parts: self.place.parts(),
            namespace: self.place.namespace,
            image: self.image.unwrap_or_default(),
        }
    }
}

/// Where.
#[derive(clap::Args, Debug)]
struct PlaceArgs {
    /// The namespace [default: whatever kubectl is set to; in a pod, its own]
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<Namespace>,

    /// Only these: verify, sign, copy, pipeline, separated by commas [default: all]
    ///
    /// The pipeline needs copy and verify.
    #[arg(long, value_name = "PART", value_enum, value_delimiter = ',')]
    only: Vec<PartName>,
}

impl PlaceArgs {
    fn parts(&self) -> Vec<Part> {
        match self.only.as_slice() {
            [] => Part::ALL.to_vec(),
            only => only.iter().map(|part| part.0).collect(),
        }
    }
}

/// The cluster that kubectl is set to, and the namespace there.
async fn cluster(namespace: Option<&Namespace>) -> Result<(Cluster, String)> {
    let settings = Settings { deadline: tekton::OBJECT_DEADLINE, ..Settings::default() };
    let cluster = Cluster::connect().await?.with_settings(settings);
    let namespace = namespace.map_or(cluster.namespace(), Namespace::as_str).to_owned();
    Ok((cluster, namespace))
}

#[derive(Clone, Copy, Debug)]
struct PartName(Part);

impl ValueEnum for PartName {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Part::Verify), Self(Part::Sign), Self(Part::Copy), Self(Part::Pipeline)]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self.0 {
            Part::Verify => "verify".into(),
            Part::Sign => "sign".into(),
            Part::Copy => "copy".into(),
            Part::Pipeline => "pipeline".into(),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  Look at everything, then install it in the namespace build:
    countersign tekton install --namespace build --image registry.example.com/countersign@sha256:…
    countersign tekton install --namespace build --image registry.example.com/countersign@sha256:… --apply

  The same by kubectl:
    countersign tekton install --image registry.example.com/countersign@sha256:… | kubectl apply -n build -f -

  What would a newer version change?
    countersign tekton diff --namespace build --image registry.example.com/countersign@sha256:…

  Remove what was installed:
    countersign tekton uninstall --namespace build
    countersign tekton uninstall --namespace build --apply
";
