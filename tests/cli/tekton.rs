//! `countersign tekton`: what pipelines need, in a cluster.

use super::*;
use crate::deploy::{documents, name};
use crate::support::applied::Cluster;

/// The project's image, as an organisation names it.
const IMAGE: &str = "registry.example.com/countersign@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// All objects, users last.
const ALL: [&str; 7] = [
    "stepaction.tekton.dev/countersign-verify",
    "stepaction.tekton.dev/countersign-sign",
    "stepaction.tekton.dev/countersign-copy",
    "task.tekton.dev/countersign-verify",
    "task.tekton.dev/countersign-sign",
    "task.tekton.dev/countersign-copy",
    "pipeline.tekton.dev/build-sign-verify",
];

/// Someone whose kubectl is set to a cluster.
struct Administrator {
    user: User,
    cluster: Cluster,
}

impl Administrator {
    fn new() -> Self {
        let (user, cluster) = (User::new(), Cluster::start());
        user.write("kubeconfig", cluster.kubeconfig());
        Self { user, cluster }
    }

    fn run(&self, words: &str) -> Ended {
        let mut command = self.user.command(&format!("tekton {words}"));
        Ended::of(command.env("KUBECONFIG", self.user.path("kubeconfig")))
    }

    fn install(&self, words: &str) -> Ended {
        self.run(&format!("install --image {IMAGE} --apply {words}"))
    }

    fn diff(&self, words: &str) -> Ended {
        self.run(&format!("diff --image {IMAGE} {words}"))
    }
}

/// What is printed of each of all objects.
fn each(word: &str) -> String {
    ALL.map(|name| format!("{name} {word}\n")).concat()
}

#[test]
fn documents_are_printed_for_kubectl() {
    let user = User::new();
    let plain = user.run("tekton install");
    assert_eq!(plain.status, Some(0), "{plain:?}");
    assert!(plain.stderr.contains("stands for an image of yours"), "{plain:?}");
    let there = user.run(&format!("tekton install --namespace build --image {IMAGE}"));
    assert_eq!((there.status, there.stderr.as_str()), (Some(0), ""), "{there:?}");
    let (plain, there) = (documents(&plain.stdout), documents(&there.stdout));
    let names = |all: &[Value]| all.iter().map(name).collect::<Vec<_>>();
    assert_eq!((plain.len(), names(&plain)), (ALL.len(), names(&there)));
    for (plain, there) in plain.iter().zip(&there) {
        assert!(plain["metadata"]["namespace"].is_null());
        assert_eq!(there["metadata"]["namespace"], "build");
        if there["kind"] == "StepAction" {
            assert_eq!(there["spec"]["image"], IMAGE);
        }
    }
    let some = user.run("tekton install --only sign,pipeline");
    assert_eq!(
        names(&documents(&some.stdout)),
        ["StepAction/countersign-sign", "Task/countersign-sign", "Pipeline/build-sign-verify"]
    );
}

#[test]
fn installing_again_changes_nothing_and_diff_says_so() {
    let administrator = Administrator::new();
    let missing = administrator.diff("");
    assert_eq!(missing.status, Some(1), "{missing:?}");
    assert_eq!(missing.stdout.matches("--- /dev/null\n").count(), ALL.len());
    assert!(administrator.cluster.objects().is_empty(), "a dry run makes nothing");

    let first = administrator.install("");
    assert_eq!((first.status, first.stdout), (Some(0), each("created")), "{}", first.stderr);
    let there = administrator.diff("");
    assert_eq!((there.status, there.stdout.as_str()), (Some(0), ""), "{there:?}");
    let versions = |administrator: &Administrator| {
        let version = |name: &str| {
            administrator.cluster.object(name).expect("it")["metadata"]["resourceVersion"].clone()
        };
        [version("tasks/countersign-sign"), version("stepactions/countersign-copy")]
    };
    let before = versions(&administrator);
    let second = administrator.install("");
    assert_eq!((second.status, second.stdout), (Some(0), each("unchanged")));
    assert_eq!(versions(&administrator), before);
}

#[test]
fn what_is_another_one_is_changed_and_shown_before() {
    let administrator = Administrator::new();
    let newer = IMAGE.replace("aaaa", "bbbb");
    administrator.install("");
    let shown = administrator.run(&format!("diff --image {newer}"));
    assert_eq!(shown.status, Some(1), "{shown:?}");
    let lines: Vec<_> = shown.stdout.lines().filter(|line| line.starts_with(['+', '-'])).collect();
    // For each of the steps: whose it is, and the image.
    assert_eq!(lines.len(), 3 * 4, "{lines:#?}");
    assert!(lines.contains(&format!("+    \"image\": \"{newer}\",").as_str()), "{lines:#?}");
    assert!(
        lines.contains(&"+++ countersign/stepaction.tekton.dev/countersign-sign"),
        "{lines:#?}"
    );
    let changed = administrator.run(&format!("install --image {newer} --apply"));
    let expected = ALL.map(|name| match name.starts_with("stepaction") {
        true => format!("{name} changed\n"),
        false => format!("{name} unchanged\n"),
    });
    assert_eq!((changed.status, changed.stdout), (Some(0), expected.concat()));
    // What others added stays, and is no difference.
    let more = json!({"metadata": {"annotations": {"team.example.com/owner": "build"}}});
    administrator.cluster.apply_as("team", "tasks/countersign-copy", more);
    assert_eq!(administrator.run(&format!("diff --image {newer}")).status, Some(0));
    administrator.run(&format!("install --image {newer} --apply"));
    let task = administrator.cluster.object("tasks/countersign-copy").expect("a task");
    assert_eq!(task["metadata"]["annotations"]["team.example.com/owner"], "build");
}

#[test]
fn fields_of_others_are_left_unless_they_are_taken_by_force() {
    let administrator = Administrator::new();
    administrator.install("--only verify");
    let other = json!({"spec": {"image": "mirror.example.com/countersign:1"}});
    administrator.cluster.apply_as("mirror-operator", "stepactions/countersign-verify", other);
    for ended in [administrator.install(""), administrator.diff("")] {
        let words = [
            ".spec.image is mirror-operator's",
            "StepAction \"countersign-verify\"",
            "--force-conflicts",
        ];
        ended.assert_error(&words);
    }
    // Nothing is installed of what would have gone through.
    assert_eq!(
        administrator.cluster.objects(),
        ["build/stepactions/countersign-verify", "build/tasks/countersign-verify"]
    );
    assert_eq!(administrator.diff("--force-conflicts --only verify").status, Some(1));
    let taken = administrator.install("--force-conflicts");
    assert_eq!(taken.status, Some(0), "{taken:?}");
    assert!(taken.stdout.contains("stepaction.tekton.dev/countersign-verify changed"));
    assert_eq!(administrator.diff("").status, Some(0));
}

#[test]
fn only_what_is_ours_is_removed() {
    let administrator = Administrator::new();
    let nothing = administrator.run("uninstall");
    assert_eq!((nothing.status, nothing.stdout.as_str()), (Some(0), ""));
    assert!(nothing.stderr.contains("nothing is installed in namespace \"build\""));
    administrator.install("");
    // Of the same name, without the label; with the label, of an older version; with another's.
    let object = |kind: &str, name: &str, labels: Value| {
        let version = if kind == "StepAction" { "tekton.dev/v1beta1" } else { "tekton.dev/v1" };
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}})
    };
    let ours = json!({"app.kubernetes.io/managed-by": "countersign"});
    let theirs = json!({"app.kubernetes.io/managed-by": "Helm"});
    for (path, object) in [
        ("tasks/sign-task", object("Task", "sign-task", json!({"team": "build"}))),
        ("tasks/countersign-old", object("Task", "countersign-old", ours)),
        ("pipelines/release", object("Pipeline", "release", theirs)),
    ] {
        administrator.cluster.apply_as("somebody", path, object);
    }
    let copied = json!({"app.kubernetes.io/managed-by": "somebody"});
    let task = json!({"metadata": {"labels": copied}});
    administrator.cluster.apply_as("somebody", "tasks/countersign-verify", task);

    let some = administrator.run("uninstall --only copy");
    assert_eq!(
        some.stdout,
        "task.tekton.dev/countersign-copy\nstepaction.tekton.dev/countersign-copy\n"
    );
    let before = administrator.cluster.objects();
    let shown = administrator.run("uninstall");
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert_eq!(administrator.cluster.objects(), before, "nothing is deleted without --apply");
    let removed = administrator.run("uninstall --apply");
    assert_eq!(removed.status, Some(0), "{removed:?}");
    let told: String = shown.stdout.lines().map(|name| format!("{name} deleted\n")).collect();
    assert_eq!(removed.stdout, told);
    assert!(removed.stdout.starts_with("pipeline.tekton.dev/build-sign-verify deleted\n"));
    assert!(removed.stdout.contains("task.tekton.dev/countersign-old deleted\n"));
    assert_eq!(
        administrator.cluster.objects(),
        ["build/pipelines/release", "build/tasks/countersign-verify", "build/tasks/sign-task"]
    );
}

#[test]
fn what_the_cluster_refuses_is_said_with_what_to_do() {
    let administrator = Administrator::new();
    administrator.install("--namespace none").assert_error(&[
        "cannot install in namespace \"none\"",
        "there is no namespace \"none\"; create it",
    ]);
    administrator.cluster.forbid("patch");
    for ended in [administrator.install(""), administrator.diff("")] {
        ended.assert_error(&[
            "does not let you patch StepAction \"countersign-verify\" of namespace \"build\"",
            "(status 403)",
            "get, list, create, patch and delete",
        ]);
    }
    administrator.cluster.forbid("list");
    administrator
        .run("uninstall")
        .assert_error(&["does not let you list pipelines", "(status 403)"]);
    administrator.cluster.without_tekton();
    for ended in [administrator.install(""), administrator.diff("")] {
        ended.assert_error(&["Tekton Pipelines is not installed there", "tekton.dev/v1beta1"]);
    }
    assert_eq!(administrator.run("uninstall --apply").status, Some(0));
    assert!(administrator.cluster.objects().is_empty());
}

#[test]
fn the_token_is_in_no_message() {
    let administrator = Administrator::new();
    let wrong = administrator.cluster.kubeconfig().replace("t0ken", "an0ther");
    administrator.user.write("kubeconfig", wrong);
    let ended = administrator.install("");
    ended.assert_error(&["(status 401)"]);
    assert!(!format!("{ended:?}").contains("an0ther"), "{ended:?}");
}

#[test]
fn misuse_is_said_before_anything_is_asked() {
    let administrator = Administrator::new();
    for (words, expected) in [
        ("install --image registry.example.com/countersign:1", "it has no digest"),
        ("install --namespace Build", "the name of a namespace"),
        ("install --only everything", "everything"),
        ("install --force-conflicts", "--apply"),
        ("diff --apply", "--apply"),
    ] {
        administrator.run(words).assert_error(&[expected]);
    }
    assert!(administrator.cluster.server.requests().is_empty());
    let nowhere = Ended::of(
        administrator
            .user
            .command("tekton diff")
            .env("KUBECONFIG", administrator.user.path("none")),
    );
    nowhere.assert_error(&["KUBECONFIG"]);
}
