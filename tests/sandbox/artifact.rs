//! Where compiled code is taken from, and what becomes of code that cannot be trusted.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use countersign::engine::{Budget, Engine, Origin, Places, Settings};
use tempfile::TempDir;

use super::component::Impostor;

#[test]
fn second_process_finds_what_the_first_compiled() {
    let folder = folder();
    let cache = folder.path().join("cache/countersign");
    assert_eq!(origin(&cache), Origin::Compiled);
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&only_file(&cache)), 0o400);
    assert_eq!(origin(&cache), Origin::Cached);
}

#[test]
fn code_of_another_component_is_not_taken() {
    let folder = folder();
    let cache = folder.path().join("cache");
    assert_eq!(origin(&cache), Origin::Compiled);
    let other = Impostor { evaluate: "unreachable", ..Impostor::default() };
    assert_eq!(origin_of(&other, &cache), Origin::Compiled);
}

#[test]
fn code_that_others_can_write_is_not_taken_and_is_replaced() {
    let folder = folder();
    let cache = folder.path().join("cache");
    assert_eq!(origin(&cache), Origin::Compiled);
    for mode in [0o620, 0o602] {
        fs::set_permissions(only_file(&cache), Permissions::from_mode(mode)).expect("a mode");
        assert_eq!(origin(&cache), Origin::Compiled);
        assert_eq!(origin(&cache), Origin::Cached);
    }
}

#[test]
fn folder_that_others_can_write_is_not_used() {
    let folder = folder();
    let cache = folder.path().join("cache");
    assert_eq!(origin(&cache), Origin::Compiled);
    for mode in [0o770, 0o707] {
        fs::set_permissions(&cache, Permissions::from_mode(mode)).expect("a mode");
        assert_eq!(origin(&cache), Origin::Compiled);
    }
}

#[test]
fn link_to_code_that_others_can_write_is_not_taken() {
    let folder = folder();
    let cache = folder.path().join("cache");
    let open = folder.path().join("open");
    assert_eq!(origin(&cache), Origin::Compiled);
    let file = only_file(&cache);
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a mode");
    fs::rename(&file, open.join("code")).expect("a move");
    std::os::unix::fs::symlink(open.join("code"), &file).expect("a link");
    assert_eq!(origin(&cache), Origin::Compiled);
}

#[test]
fn damaged_code_is_compiled_again() {
    let folder = folder();
    let cache = folder.path().join("cache");
    assert_eq!(origin(&cache), Origin::Compiled);
    let file = only_file(&cache);
    let code = fs::read(&file).expect("a file");
    for damaged in [&b""[..], b"not code", &code[..code.len() / 2]] {
        fs::remove_file(&file).expect("a file");
        fs::write(&file, damaged).expect("a file");
        fs::set_permissions(&file, Permissions::from_mode(0o400)).expect("a mode");
        assert_eq!(origin(&cache), Origin::Compiled);
        assert_eq!(origin(&cache), Origin::Cached);
    }
}

/// A full or read-only disk costs time, not the decision.
#[test]
fn cache_that_cannot_be_written_does_not_matter() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    assert_eq!(origin(&file.join("countersign")), Origin::Compiled);
    assert_eq!(origin(Path::new("/proc/countersign")), Origin::Compiled);
}

#[test]
fn packaged_code_is_taken_first() {
    let folder = folder();
    let paths = Engine::precompile(folder.path()).expect("compiled code");
    let places = Places { packaged: Some(folder.path().to_owned()), cache: None };
    let settings = Settings { places, ..Settings::default() };
    let engine = Engine::new(&settings).expect("an engine");
    assert_eq!(engine.origin(), Origin::Packaged);
    engine.instantiate(&Budget::default()).expect("an instance");

    for path in paths {
        fs::set_permissions(path, Permissions::from_mode(0o666)).expect("a mode");
    }
    assert_eq!(Engine::new(&settings).expect("an engine").origin(), Origin::Compiled);
}

/// A package runs on other machines than the one that made it.
#[test]
fn portable_code_is_taken_like_any_other_and_is_the_same_every_time() {
    let [first, second] = [folder(), folder()];
    let paths = Engine::precompile_portably(first.path()).expect("compiled code");
    let again = Engine::precompile_portably(second.path()).expect("compiled code");
    let code = |paths: &[PathBuf]| -> Vec<Vec<u8>> {
        paths.iter().map(|path| fs::read(path).expect("code")).collect()
    };
    assert!(code(&paths) == code(&again), "the code differs");

    let places = Places { packaged: Some(first.path().to_owned()), cache: None };
    let engine = Engine::new(&Settings { places, ..Settings::default() }).expect("an engine");
    assert_eq!(engine.origin(), Origin::Packaged);
    engine.instantiate(&Budget::default()).expect("an instance");
}

fn origin(cache: &Path) -> Origin {
    origin_of(&Impostor::default(), cache)
}

fn origin_of(impostor: &Impostor<'_>, cache: &Path) -> Origin {
    let places = Places { packaged: None, cache: Some(cache.to_owned()) };
    let settings = Settings { places, ..Settings::default() };
    let engine = Engine::from_component(&impostor.build(), &settings).expect("an engine");
    engine.instantiate(&Budget::default()).expect("an instance");
    engine.origin()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().expect("a file")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}
