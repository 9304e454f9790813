//! Options that several commands have, each group with what it comes to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use countersign::decide::{Decider, Question};
use countersign::digest::Digest;
use countersign::engine::{Budget, Engine, Places, Policy, RuleSettings, Settings};
use countersign::evidence::Directories;
use countersign::files;
use countersign::image::{ImageName, PlatformSelection};
use countersign::policy::{PolicyError, PolicyFile};
use countersign::reference::{self, Reference};
use countersign::registry::{self, Client};
use jiff::Timestamp;

/// The form of results on standard output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: one document, whose members never change their meaning
    Json,
}

/// What is judged.
#[derive(Args, Debug)]
pub(super) struct SelectionArgs {
    /// Judge the image as though it had been pulled as docker://REFERENCE
    ///
    /// Scope, identity and signature store are those of REFERENCE; signatures that lie with the image
    /// (dir:) count, too. Default: the image is judged under its own name.
    #[arg(long = "as", value_name = "REFERENCE")]
    judged_as: Option<String>,

    /// Of a multi-platform image, judge the instance for OS/ARCHITECTURE[/VARIANT]
    ///
    /// For example linux/arm64. Default: the platform of this machine.
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    platform: Option<String>,

    /// Of a multi-platform image, judge every instance
    ///
    /// Each counts like an image of its own. Default: only the instance for one platform.
    #[arg(long)]
    all_platforms: bool,
}

impl SelectionArgs {
    /// What is asked about an image.
    pub(super) fn question(&self, image: &str) -> Result<Question> {
        let platforms = match &self.platform {
            _ if self.all_platforms => PlatformSelection::All,
            Some(platform) => PlatformSelection::Named(platform.parse()?),
            None => PlatformSelection::Host,
        };
        Ok(Question { image: image.parse()?, judged_as: self.judged_as()?, platforms })
    }

    /// The reference to judge by, if it is not the image's own.
    fn judged_as(&self) -> Result<Option<Reference>> {
        self.judged_as.as_deref().map(identity).transpose()
    }
}

/// The value of `--as`.
pub(super) fn identity(text: &str) -> Result<Reference> {
    let expected = "expected [HOST[:PORT]/]PATH[:TAG|@DIGEST], without docker://";
    let reference = Reference::parse_normalized(text)
        .with_context(|| format!("invalid --as {text:?}, {expected}"))?;
    if reference.tag().is_some() && reference.digest().is_some() {
        bail!("invalid --as {text:?}: it has both a tag and a digest: leave one of them out");
    }
    Ok(reference)
}

/// When the question is asked.
#[derive(Args, Debug)]
pub(super) struct TimeArgs {
    /// Evaluate as of TIME: RFC 3339 (2026-11-25T00:00:00Z) or seconds since 1970
    ///
    /// Keys and signatures that are expired at that time do not count. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl TimeArgs {
    /// Seconds since 1970-01-01 UTC.
    pub(super) fn now(&self) -> Result<u64> {
        match &self.at {
            Some(text) => time("--at", text),
            None => now().context("cannot tell the evaluation time without --at"),
        }
    }
}

/// Which policy decides.
#[derive(Args, Debug)]
pub(super) struct PolicyArgs {
    /// The policy: a file as containers-policy.json(5) describes it
    ///
    /// A relative keyPath in it is relative to its folder. Default: $CONTAINERS_POLICY_JSON, else the first
    /// that exists of $XDG_CONFIG_HOME/containers/policy.json (~/.config/containers/policy.json),
    /// /etc/containers/policy.json and /usr/share/containers/policy.json.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    /// Find and read it.
    pub(super) fn find(&self) -> Result<PolicyFile, PolicyError> {
        PolicyFile::find(self.policy.as_deref())
    }

    /// Find, read and load it.
    pub(super) fn load(&self) -> Result<(PolicyFile, Policy), PolicyError> {
        let file = self.find()?;
        let engine = engine(&file)?;
        let policy = file.load(&engine)?;
        Ok((file, policy))
    }
}

/// The engine that judges `file`.
pub(super) fn engine(file: &PolicyFile) -> Result<Engine, PolicyError> {
    Engine::new(&Settings::default())
        .map_err(|source| PolicyError::Engine { path: file.path().to_owned(), source })
}

/// How rules run on a command line: compiled by a process of its own, kept in the user's cache.
pub(super) fn rule_settings() -> RuleSettings {
    RuleSettings {
        places: Places::of_this_process(),
        compiler: std::env::current_exe().ok(),
        ..RuleSettings::default()
    }
}

/// Where signatures are kept.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// The folder that says where signatures are kept, see containers-registries.d(5)
    ///
    /// Default, also if DIR is empty: registries.d of /usr/share/containers, /etc/containers and
    /// $XDG_CONFIG_HOME/containers (~/.config/containers), merged.
    #[arg(long, value_name = "DIR")]
    registries_d: Option<OsString>,
}

impl StoreArgs {
    /// The folders of configuration.
    pub(super) fn directories(&self) -> Directories {
        // A workspace of Tekton that nobody bound is an empty path.
        match self.registries_d.as_ref().filter(|directory| !directory.is_empty()) {
            Some(directory) => Directories::Explicit(directory.into()),
            None => Directories::from_environment(),
        }
    }
}

/// Files for the next step of a pipeline.
#[derive(Args, Debug)]
pub(super) struct ResultArgs {
    /// Write the digest (sha256:…) into this file, too, without a line end
    ///
    /// Default: it is only printed.
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,

    /// Write the image's name without its digest into this file, without a line end
    ///
    /// Default: it is not written.
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

impl ResultArgs {
    /// Write what there is to write, each file whole.
    pub(super) fn write(&self, digest: &Digest, image: &ImageName) -> Result<()> {
        let url = match image {
            // With the tag, if it has one.
            ImageName::Docker { reference } => match reference.tag() {
                Some(tag) => format!("{}:{tag}", reference.name()),
                None => reference.name(),
            },
            image => image.to_string(),
        };
        for (file, content) in [(&self.digest_file, digest.as_str()), (&self.url_file, &url)] {
            if let Some(file) = file {
                files::write(file, content.as_bytes(), files::READABLE)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        Ok(())
    }
}

/// How registries are reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "Registries")]
pub(super) struct RegistryArgs {
    /// Speak to this registry without TLS; may be repeated
    ///
    /// Whoever is on the way can then change what is fetched, and hide signatures. Default: TLS for every
    /// registry, on loopback, too.
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Vec<String>,

    /// The file with credentials, see containers-auth.json(5)
    ///
    /// Default: $REGISTRY_AUTH_FILE, else ${XDG_RUNTIME_DIR}/containers/auth.json,
    /// $XDG_CONFIG_HOME/containers/auth.json and $DOCKER_CONFIG/config.json (~/.docker/config.json), with
    /// credential helpers.
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// The folder with certificates (*.crt, *.cert, *.key) for every registry
    ///
    /// Default, also if DIR is empty: HOST[:PORT] in certs.d of ~/.config/containers, /etc/containers and /etc/docker, see
    /// containers-certs.d(5), beside the authorities that the system trusts.
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<OsString>,
}

impl RegistryArgs {
    /// A client that has done nothing yet.
    pub(super) fn client(&self) -> Result<Client> {
        for host in &self.plain_http {
            if !reference::is_domain(host) {
                bail!("invalid --plain-http {host:?}: expected HOST[:PORT], without http://");
            }
        }
        let mut settings = registry::Settings::from_environment();
        settings.plain_http = self.plain_http.iter().collect();
        if let Some(file) = &self.authfile {
            // A default file may be absent; one that was asked for may not.
            file.metadata()
                .with_context(|| format!("cannot read credentials of {}", file.display()))?;
            settings.auth_files = vec![file.clone()];
        }
        // A workspace of Tekton that nobody bound is an empty path.
        let cert_dir = self.cert_dir.as_ref().filter(|directory| !directory.is_empty());
        settings.cert_dir = cert_dir.map(PathBuf::from);
        Ok(Client::new(settings))
    }
}

/// Who answers, from what these options say.
pub(super) fn decider(policy: Policy, client: Client, store: &StoreArgs) -> Decider {
    Decider::new(policy, client, store.directories(), Budget::default())
}

/// The time of this machine, in seconds since 1970-01-01 UTC.
pub(super) fn now() -> Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(since.context("the clock of this machine stands before 1970; set it")?.as_secs())
}

/// The value of an option, in seconds since 1970-01-01 UTC.
pub(super) fn time(option: &str, text: &str) -> Result<u64> {
    let expected = || {
        format!(
            "invalid {option} {text:?}: expected RFC 3339, for example 2026-11-25T00:00:00Z, or seconds since \
             1970-01-01 UTC"
        )
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().with_context(expected);
    }
    let time: Timestamp = text.parse().with_context(expected)?;
    u64::try_from(time.as_second()).with_context(expected)
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_is_rfc_3339_or_seconds() {
        let time = |text| super::time("--at", text);
        assert_eq!(time("1795564800").expect("seconds"), 1_795_564_800);
        assert_eq!(time("2026-11-25T00:00:00Z").expect("a time"), 1_795_564_800);
        assert_eq!(time("2026-11-25T01:00:00+01:00").expect("a time"), 1_795_564_800);
        for text in ["", "-1", "now", "2026-11-25", "1969-12-31T23:59:59Z", "99999999999999999999"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
