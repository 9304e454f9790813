//! What Tekton's catalog wants of its entries: layout (TEP-0003), the rules of `catlin validate`, and a page for each.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::docs::read;
use crate::support::tekton::{list, text};

/// The documents that are no samples, with the parts of their paths below `deploy/tekton`.
pub(super) fn entries() -> Vec<(Vec<String>, Value)> {
    let mut entries = Vec::new();
    for (path, document) in all() {
        let path = path.strip_prefix(root().join("deploy/tekton")).expect("below").to_owned();
        let parts = path.iter().map(|part| part.to_str().expect("UTF-8").to_owned());
        let parts: Vec<_> = parts.collect();
        if parts[3] != "samples" {
            entries.push((parts, document));
        }
    }
    entries
}

#[test]
fn files_lie_where_the_catalog_wants_them() {
    for (parts, document) in entries() {
        let [kind, name, version, file] = parts.as_slice() else { unreachable!("{parts:?}") };
        assert_eq!(file, &format!("{name}.yaml"));
        assert_eq!(text(&document["kind"]).to_lowercase(), *kind);
        let about = &document["metadata"];
        assert_eq!(
            (&about["name"], &about["labels"]["app.kubernetes.io/version"]),
            (&json!(name), &json!(version))
        );
    }
}

#[test]
fn catlin_has_nothing_to_say() {
    for (parts, document) in entries() {
        let annotation = |name: &str| {
            let value = &document["metadata"]["annotations"][format!("tekton.dev/{name}")];
            value.as_str().unwrap_or_else(|| unreachable!("{parts:?} has no {name}")).to_owned()
        };
        let version = annotation("pipelines.minVersion");
        assert!(version.split('.').count() == 3, "{version}");
        for category in annotation("categories").split(", ") {
            assert!(CATEGORIES.contains(&category), "{category}");
        }
        assert!(!annotation("tags").is_empty() && !annotation("displayName").is_empty());
        for platform in annotation("platforms").split(',') {
            let (system, processor) = platform.split_once('/').expect("OS/ARCHITECTURE");
            let word = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            assert!(word(system) && word(processor), "{platform}");
        }
        let description = text(&document["spec"]["description"]).trim();
        assert!(!description.is_empty() && description.ends_with('.'), "{description}");
        let raw = document.to_string();
        assert!(!raw.contains("secretKeyRef"), "a secret in the environment");
        for step in list(&document["spec"]["steps"]) {
            // Images are those of StepActions alone.
            assert!(step["image"].is_null());
        }
        if document["kind"] == "StepAction" {
            let image = text(&document["spec"]["image"]);
            let (host, rest) = image.split_once('/').expect("a registry");
            let (_, tag) = rest.split_once(':').expect("a tag");
            assert!(host.contains('.') && tag != "latest", "{image}");
        }
    }
}

#[test]
fn every_page_names_what_there_is() {
    for (parts, document) in entries() {
        let [kind, name, version, _] = parts.as_slice() else { unreachable!("{parts:?}") };
        // A StepAction is described with its Task.
        if kind == "stepaction" {
            assert!(root().join("deploy/tekton/task").join(name).exists());
            continue;
        }
        let folder = format!("deploy/tekton/{kind}/{name}/{version}");
        let page = read(&format!("{folder}/README.md"));
        for heading in ["Install", "Parameters", "Workspaces", "Results", "Platforms", "Usage"] {
            assert!(page.contains(&format!("\n## {heading}\n")), "{folder}: {heading}");
        }
        for (heading, members) in
            [("parameter", "params"), ("workspace", "workspaces"), ("result", "results")]
        {
            let there = list(&document["spec"][members]).iter();
            let there: BTreeSet<_> = there.map(|member| text(&member["name"])).collect();
            assert_eq!(names(&page, heading), there, "{folder}/README.md: {members}");
        }
        let samples = root().join(&folder).join("samples");
        for sample in std::fs::read_dir(samples).expect("samples") {
            let sample = sample.expect("a sample").file_name();
            let link = Path::new("samples").join(sample);
            assert!(page.contains(link.to_str().expect("UTF-8")), "{folder}: {link:?}");
        }
    }
}

/// What the first column of a table names.
fn names<'a>(page: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let rows = page.lines().skip_while(|line| !line.starts_with(&format!("| {heading} |")));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)).collect()
}

#[test]
fn steps_need_no_rights_and_no_shell() {
    for (parts, document) in entries() {
        assert!(!document.to_string().contains("\"script\":"), "{parts:?}");
        if document["kind"] != "StepAction" {
            continue;
        }
        let spec = &document["spec"];
        let security = &spec["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        // Whatever the cluster chooses.
        assert!(security["runAsUser"].is_null());
        // What a user says is the value of an option, or behind the end of the options.
        let arguments: Vec<_> = list(&spec["args"]).iter().map(text).collect();
        let end = arguments.iter().position(|argument| *argument == "--").expect("an end");
        for argument in &arguments[..end] {
            let fixed = !argument.contains("$(");
            assert!(fixed || argument.starts_with("--") && argument.contains('='), "{argument}");
        }
        assert!(arguments[end + 1..].iter().all(|argument| argument.starts_with("$(params.")));
    }
}

/// Chains takes results of these names for what a task has built.
#[test]
fn only_what_pushes_says_what_it_built() {
    for (parts, document) in entries() {
        let results: Vec<_> =
            list(&document["spec"]["results"]).iter().map(|result| text(&result["name"])).collect();
        let builds = |name: &&str| name.ends_with("IMAGE_URL") || name.ends_with("IMAGE_DIGEST");
        let expected = if parts[1] == "countersign-verify" { 0 } else { 2 };
        assert_eq!(results.iter().filter(|name| builds(name)).count(), expected, "{parts:?}");
    }
}

/// Some of those that the catalog's hub knows.
const CATEGORIES: [&str; 4] = ["CLI", "Image Build", "Publishing", "Security"];
