//! Steps of Tekton as its entrypoint starts them: filled-in arguments, mounted Secrets, files for results, some user, no
//! rights; against a real registry, judged by skopeo. Once as a process, once in a container with a read-only root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lab::image::{Image as Built, Index};
use lab::skopeo::{self, Answer};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::laboratory::{Laboratory, Place, laboratory};
use crate::deploy::documents;
use crate::support::say;
use crate::support::tekton::{Step, document, fill, list, text};

#[test]
fn steps_sign_and_verify_as_the_entrypoint_starts_them() {
    let Some(laboratory) = laboratory() else { return };
    let image = Image::installed();
    if rustix::process::geteuid().is_root() {
        Pod::new(&laboratory, "tekton-process", &image, false).works();
    } else {
        say("SKIPPED: only root can start steps of Tekton as another user");
    }
    match lab::run(image.container(image.folder.path(), &[]).arg("--version")) {
        Ok(_) => Pod::new(&laboratory, "tekton-container", &image, true).works(),
        Err(fault) => {
            say(&format!("SKIPPED: podman runs no containers on this machine: {fault:#}"));
        }
    }
}

/// What a pod of a TaskRun has: volumes, and a registry to speak to.
struct Pod<'a> {
    laboratory: &'a Laboratory,
    image: &'a Image,
    /// Or else as a process, on the root of this machine.
    contained: bool,
    /// Where its images are in the registry.
    name: &'static str,
    folder: PathBuf,
    /// With `policy.json` and the public key.
    policy: PathBuf,
    place: Place,
    /// Pushed by a build: of an index, then of its instances.
    digests: Vec<String>,
}

impl<'a> Pod<'a> {
    fn new(
        laboratory: &'a Laboratory,
        name: &'static str,
        image: &'a Image,
        contained: bool,
    ) -> Self {
        let folder = laboratory.path(name);
        // Readable, and the results writable, for whatever user there is.
        for part in ["results", "signatures", "key"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).expect("a folder");
            fs::set_permissions(&part, fs::Permissions::from_mode(0o777)).expect("a mode");
        }
        for above in folder.ancestors().take(2) {
            readable(above);
        }
        // As it is made for a cluster, and as the kubelet mounts it.
        let mut keygen = Command::new(env!("CARGO_BIN_EXE_countersign"));
        keygen.args(["keygen", "--user", "Release <release@example.com>", "--type", "rsa2048"]);
        let made = lab::run(keygen.args(["--no-passphrase", "--kubernetes"])).expect("a key");
        let objects = documents(&String::from_utf8(made.stdout).expect("YAML"));
        let secret = objects[0]["data"]["secret.asc"].as_str().expect("a key");
        let secret = BASE64_STANDARD.decode(secret).expect("base64");
        lab::write(&folder.join("key/..2026/secret.asc"), secret).expect("written");
        symlink("..2026", folder.join("key/..data")).expect("a link");
        symlink("..data/secret.asc", folder.join("key/secret.asc")).expect("a link");
        let policy = folder.join("policy");
        let public = objects[1]["data"]["public.asc"].as_str().expect("a key");
        lab::write(&policy.join("public.asc"), public).expect("written");
        let requirement =
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": policy.join("public.asc")});
        let default = json!({"default": [requirement]});
        lab::write(&policy.join("policy.json"), default.to_string()).expect("written");
        let place = Place {
            policy: policy.join("policy.json"),
            registries_d: folder.join("registries.d"),
            store: folder.join("signatures"),
        };
        // As Kabanero's ConfigMap has it, with nothing for other registries.
        let store = format!("file://{}", place.store.display());
        let registries = format!(
            "default-docker:\n\ndocker:\n  {}:\n    sigstore: {store}\n    sigstore-staging: {store}\n",
            laboratory.host()
        );
        lab::write(&place.registries_d.join("default.yaml"), registries).expect("written");

        let images = ["amd64", "arm64"].map(|architecture| {
            (architecture, Built::for_architecture(name, architecture).expect("an image"))
        });
        let index = Index::new(images.to_vec()).expect("an index");
        index.write_dir(&folder.join("index")).expect("written");
        let mut digests = vec![lab::image::digest(&index.manifest)];
        digests.extend(images.into_iter().map(|(_, image)| image.digest));
        let pod = Self { laboratory, image, contained, name, folder, policy, place, digests };
        let mut push = Command::new("skopeo");
        push.args(["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"]);
        push.arg("--preserve-digests");
        push.arg(format!("dir:{}", pod.folder.join("index").display()));
        lab::run(push.arg(format!("docker://{}", pod.named("built:run-1")))).expect("pushed");
        pod
    }

    fn named(&self, rest: &str) -> String {
        format!("{}/{}/{rest}", self.laboratory.host(), self.name)
    }

    fn digest(&self) -> String {
        self.digests[0].clone()
    }

    /// The one step of a task, with all workspaces that may be left out left out, but `registries-d`.
    fn step(&self, task: &str, params: &[(&str, &str)]) -> Step {
        for result in fs::read_dir(self.folder.join("results")).expect("results") {
            fs::remove_file(result.expect("a result").path()).expect("removed");
        }
        let (key, registries_d) = (self.folder.join("key"), self.place.registries_d.clone());
        let given: &[(&str, &Path)] = match task {
            "countersign-verify" => &[("policy", &self.policy), ("registries-d", &registries_d)],
            _ => &[("signing-key", &key), ("registries-d", &registries_d)],
        };
        Step::of(task, params, given, &self.folder.join("results"))
    }

    fn run(&self, step: &Step) -> Output {
        // The registry of the tests has no certificate.
        let (subcommand, rest) = step.arguments.split_first().expect("a command");
        let plain = ["--plain-http".to_owned(), self.laboratory.host().to_owned()];
        let arguments = std::iter::once(subcommand).chain(&plain).chain(rest);
        let mut command = match self.contained {
            true => self.image.container(&self.folder, &step.environment),
            false => self.image.process(&step.environment),
        };
        lab::attempt(command.args(arguments)).expect("it starts")
    }

    /// Run a step that has to succeed.
    fn done(&self, step: &Step) -> String {
        let output = self.run(step);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {stderr}", self.name);
        // All results of a task share 4 KiB.
        let size: usize = step.results.keys().map(|name| step.result(name).len()).sum();
        assert!(size < 4096, "{size}");
        stderr
    }

    fn skopeo(&self, image: &str) -> Answer {
        let image = format!("docker://{image}");
        skopeo::verdict(&image, &self.place.policy, &self.place.registries_d).expect("skopeo runs")
    }

    /// The names of signatures, of the index and of its instances.
    fn signatures(&self, repository: &str) -> Vec<Vec<String>> {
        let names = |digest: &String| {
            let hex = digest.replace(':', "=");
            let folder = self.place.store.join(self.name).join(format!("{repository}@{hex}"));
            let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
            let name = |e: std::io::Result<fs::DirEntry>| e.expect("an entry").file_name();
            entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect()
        };
        self.digests.iter().map(names).collect()
    }

    fn works(&self) {
        self.copies_and_verifies();
        self.signs_for_those_who_pull_by_tag();
        self.runs_as_the_pipeline_has_it();
        self.pushes_nothing_unsigned();
    }

    fn copies_and_verifies(&self) {
        let (source, signed) =
            (format!("{}@{}", self.named("built"), self.digest()), self.named("signed:1"));
        let params = [
            ("source-image", source.as_str()),
            ("signed-image", &signed),
            ("sign-by", "release@example.com"),
        ];
        let step = self.step("countersign-copy", &params);
        self.done(&step);
        assert_eq!(
            [step.result("IMAGE_URL"), step.result("IMAGE_DIGEST")],
            [signed.clone(), self.digest()]
        );
        assert_eq!(self.skopeo(&signed), Answer::Allow);
        let signatures = self.signatures("signed");
        assert_eq!(signatures, [["signature-1"], ["signature-1"], ["signature-1"]]);
        // A run that is repeated adds nothing; nobody needs to name the only key.
        let step = self.step("countersign-copy", &params[..2]);
        let stderr = self.done(&step);
        assert!(stderr.contains("there was a signature already"), "{stderr}");
        assert_eq!(self.signatures("signed"), signatures);

        // As the pipeline asks: by what was signed.
        let pinned = format!("{}@{}", self.named("signed"), self.digest());
        let step = self.step("countersign-verify", &[("image", &pinned)]);
        self.done(&step);
        assert_eq!(step.result("VERDICT"), "allow");
        assert!(step.result("VERIFIED_DIGEST").starts_with("sha256:"));
        let step = self.step("countersign-verify", &[("image", &source)]);
        assert_eq!(self.run(&step).status.code(), Some(1));
        assert_eq!([step.result("VERDICT"), step.result("VERIFIED_DIGEST")], ["deny", ""]);
    }

    fn signs_for_those_who_pull_by_tag(&self) {
        let (pinned, tagged) =
            (format!("{}@{}", self.named("built"), self.digest()), self.named("built:run-1"));
        assert!(matches!(self.skopeo(&tagged), Answer::Deny(_)));
        let step = self.step("countersign-sign", &[("image", &pinned), ("sign-as", &tagged)]);
        self.done(&step);
        assert_eq!(
            [step.result("IMAGE_URL"), step.result("IMAGE_DIGEST")],
            [self.named("built"), self.digest()]
        );
        assert_eq!(self.skopeo(&tagged), Answer::Allow);
        // Under its own name.
        let step = self.step("countersign-sign", &[("image", &tagged)]);
        let stderr = self.done(&step);
        assert!(stderr.contains("there was a signature already"), "{stderr}");
    }

    /// The tasks of build-sign-verify one after the other, each with what those before it gave.
    fn runs_as_the_pipeline_has_it(&self) {
        let pipeline = document("pipeline", "build-sign-verify");
        let mut values = BTreeMap::new();
        for (name, value) in [
            ("params.source-image", self.named("built")),
            ("params.signed-image", self.named("released")),
            ("params.tag", "1.0".to_owned()),
            ("params.sign-by", String::new()),
            ("context.pipelineRun.name", "run-1".to_owned()),
            ("tasks.build.results.IMAGE_DIGEST", self.digest()),
        ] {
            values.insert(name.to_owned(), value);
        }
        for task in list(&pipeline["spec"]["tasks"]) {
            let param =
                |it: &Value| (text(&it["name"]).to_owned(), fill(text(&it["value"]), &values));
            let params: Vec<_> = list(&task["params"]).iter().map(param).collect();
            let params: Vec<_> = params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let name = text(&task["name"]);
            if name == "build" {
                assert_eq!(params, [("IMAGE", self.named("built:run-1").as_str())]);
                continue;
            }
            let step = self.step(text(&task["taskRef"]["name"]), &params);
            self.done(&step);
            let results = step.results.keys();
            let result = |it: &String| (format!("tasks.{name}.results.{it}"), step.result(it));
            values.extend(results.map(result).collect::<Vec<_>>());
        }
        let result = |it: &Value| fill(text(&it["value"]), &values);
        let results: Vec<_> = list(&pipeline["spec"]["results"]).iter().map(result).collect();
        assert_eq!(results[..2], [self.named("released:1.0"), self.digest()]);
        assert!(self.digests[1..].contains(&results[2]), "{results:?}");
        assert_eq!(self.skopeo(&results[0]), Answer::Allow);
    }

    fn pushes_nothing_unsigned(&self) {
        let (source, target) = (self.named("built:run-1"), self.named("never:1"));
        let faults = [
            (
                self.copying(&source, &target, &self.folder.join("key"), "other@example.com"),
                "other@example.com",
            ),
            (self.copying(&source, &target, Path::new(""), ""), "no secret key"),
            // What looks like an option is a name.
            (self.copying("--sign-by=x", &target, &self.folder.join("key"), ""), "--sign-by=x"),
            (self.copying("$(id)", &target, &self.folder.join("key"), ""), "$(id)"),
        ];
        for (step, words) in faults {
            let output = self.run(&step);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(words), "{words}: {stderr}");
            assert!(step.results.values().all(|path| !path.exists()), "a result of what failed");
            assert!(matches!(self.skopeo(&target), Answer::Error(_)), "it is there");
        }
    }

    /// The StepAction of countersign-copy.
    fn copying(&self, source: &str, target: &str, key: &Path, sign_by: &str) -> Step {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (key, registries_d) = (path(key), path(&self.place.registries_d));
        let params = [
            ("source-image", source),
            ("signed-image", target),
            ("key-path", &key),
            ("sign-by", sign_by),
            ("registries-d", &registries_d),
        ];
        Step::of_action("countersign-copy", &params, &self.folder.join("none"))
    }
}

/// A root folder as the project's image has it, but for the libraries of a program that is not static.
struct Image {
    folder: TempDir,
}

impl Image {
    fn installed() -> Self {
        // podman wants short paths.
        let folder = tempfile::Builder::new().prefix("pod").tempdir().expect("a folder");
        readable(folder.path());
        let image = Self { folder };
        let root = image.root();
        // Where the kernel and Tekton mount something.
        for place in ["dev", "proc", "run", "sys", "etc", "tekton/home"] {
            fs::create_dir_all(root.join(place)).expect("a folder");
        }
        let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
        fs::copy(program, root.join("countersign")).expect("the program");
        lab::run(Command::new(program).arg("precompile").arg(&root)).expect("its engine");
        let libraries = lab::run(Command::new("ldd").arg(program)).expect("ldd").stdout;
        let libraries = String::from_utf8(libraries).expect("text");
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = root.join(library.trim_start_matches('/'));
            lab::write(&copy, fs::read(library).expect("a library")).expect("written");
            readable(&copy);
        }
        image
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// The program as that user, without rights.
    fn process(&self, environment: &[(String, String)]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", "0", "--clear-groups"]);
        command.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
        command.arg(self.root().join("countersign")).env_clear();
        command.envs(environment.iter().cloned());
        command
    }

    /// A container with the rights that the StepActions ask for; its volumes are in a folder.
    fn container(&self, volumes: &Path, environment: &[(String, String)]) -> Command {
        let mut command = Command::new("unshare");
        // crun wants no hybrid cgroups, which some machines have.
        let hide = "umount /sys/fs/cgroup/unified 2>/dev/null; exec podman \"$@\"";
        command.args(["-m", "sh", "-c", hide, "podman", "--storage-driver", "vfs"]);
        for option in ["root", "runroot", "tmpdir"] {
            let place = self.folder.path().join(format!("podman-{option}"));
            command.arg(format!("--{option}")).arg(place);
        }
        command.args(["--runtime", "crun", "run", "--rm", "--network", "host"]);
        command.args([
            "--cgroups=disabled",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
        ]);
        command.args(["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"]);
        command.args(["--security-opt=no-new-privileges", "--tmpfs=/tekton/home:rw,mode=1777"]);
        command.arg(format!("--user={USER}:0"));
        command.arg(format!("--volume={0}:{0}", volumes.display()));
        for (name, value) in environment {
            command.arg(format!("--env={name}={value}"));
        }
        command.arg("--rootfs").arg(self.root()).arg("/countersign");
        command
    }
}

/// For everybody, and writable for the owner alone.
fn readable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// A user as OpenShift chooses one.
const USER: &str = "1000770000";
