//! Links lead somewhere, and files that are named exist.

use std::path::Path;

use super::{markdown, pages, read};
use crate::support::root;

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_it() {
    let mut followed = 0;
    for page in pages() {
        let (_, prose) = markdown::split(&read(&page));
        for link in markdown::links(&prose) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&page).parent().expect("a page lies in a folder");
            let target =
                if file.is_empty() { page.clone() } else { super::text(&folder.join(file)) };
            assert!(root().join(&target).exists(), "{page} links to {link}, which is not there");
            if !anchor.is_empty() {
                let (_, prose) = markdown::split(&read(&target));
                let anchors = markdown::anchors(&prose);
                assert!(anchors.iter().any(|a| a == anchor), "{page}: no heading for {link}");
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were found");
}

#[test]
fn every_file_of_the_project_that_is_named_exists() {
    let mut named = 0;
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/policy.md", "docs/sandbox.md"] {
        let (_, prose) = markdown::split(&read(page));
        for code in markdown::code(&prose) {
            let top = code.split_once('/').map_or("", |(top, _)| top);
            if TOP_FOLDERS.contains(&top) && !code.contains([' ', '…', '*']) {
                assert!(root().join(code).exists(), "{page} names {code}, which is not there");
                named += 1;
            }
        }
    }
    assert!(named > 40, "only {named} files were found");
}

#[test]
fn map_of_a_crate_names_its_modules_and_no_others() {
    let (_, prose) = markdown::split(&read("ARCHITECTURE.md"));
    for folder in ["guest-policy/src", "host/src"] {
        let (_, section) = prose.split_once(&format!("### In `{folder}/`")).expect("a section");
        let section = section.split("\n#").next().unwrap_or_default();
        let rows = markdown::rows(section, "file");
        let mut named: Vec<&str> = rows.iter().flat_map(|row| markdown::code(row[0])).collect();
        for name in &named {
            assert!(root().join(folder).join(name).exists(), "{folder}/{name} is not there");
        }
        named.extend(["lib.rs", "main.rs"]);
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a name in UTF-8");
            let known = named.iter().any(|named| named.trim_end_matches('/') == name);
            assert!(known, "ARCHITECTURE.md does not say what {folder}/{name} is");
        }
    }
}

/// A path in a page that begins with one of these is one of the project.
const TOP_FOLDERS: [&str; 9] =
    ["benches", "docs", "fuzz", "guest-build", "guest-policy", "host", "policies", "tests", "wit"];
