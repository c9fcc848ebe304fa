//! The gallery of bad configurations: what `check` prints for each, word for word. A fault whose text got worse shows
//! here. `UPDATE_GALLERY=1` writes the texts anew; read the difference before it is kept.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::config::{Sources, load};

/// From the root of the crate, where tests run: so that the printed names are the same everywhere.
const GALLERY: &str = "tests/it/fixtures/config";

fn env(name: &str) -> Option<String> {
    match name {
        "GOOD_SECRET" => Some("a secret that is long enough for every one of the three hashes".repeat(2)),
        "SHORT_SECRET" => Some("correct-horse".into()),
        "ONE_BYTE_SECRET" => Some("x".repeat(64)),
        "EMPTY_SECRET" => Some("\n".into()),
        "WORD" => Some("hunter2".into()),
        _ => None,
    }
}

fn exhibits() -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(GALLERY)
        .expect("the gallery")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
}

fn printed(path: &Path) -> String {
    match load(path, &Sources { env: &env, secrets: true }) {
        Ok(_) => panic!("{} is good", path.display()),
        Err(problems) => problems.to_string(),
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // a switch of this test, no configuration
fn every_fault_is_told_with_its_place_and_what_to_do() {
    let update = std::env::var_os("UPDATE_GALLERY").is_some();
    let exhibits = exhibits();
    assert!(exhibits.len() >= 40, "{}", exhibits.len());
    let mut wrong = Vec::new();
    for path in exhibits {
        let (found, beside) = (printed(&path), path.with_extension("txt"));
        if update {
            fs::write(&beside, &found).expect("the gallery can be written");
        }
        let expected = fs::read_to_string(&beside).unwrap_or_else(|_| "(there is no expected text)\n".into());
        if expected != found {
            wrong.push(format!("{}\n--- expected\n{expected}--- found\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_fault_shows_what_may_be_secret() {
    for path in exhibits() {
        // Every value in the gallery that stands for a secret has this word in it.
        assert!(!printed(&path).contains("hunter2"), "{}", path.display());
    }
}

#[test]
fn every_expected_text_belongs_to_an_exhibit() {
    for entry in fs::read_dir(GALLERY).expect("the gallery") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            assert!(path.with_extension("toml").exists(), "{}", path.display());
        }
    }
}
