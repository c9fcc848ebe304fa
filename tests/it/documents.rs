//! What stands in the documents works: every configuration in them loads, every file they point to exists.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::config::{Sources, load};
use tempfile::TempDir;

/// From the root of the crate, where tests run.
fn documents() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir("docs").expect("docs") {
        paths.push(entry.expect("an entry").path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths
}

/// The fenced blocks of one language, without their fences.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.trim_end().strip_prefix("```")) {
            (None, Some(tag)) => open = Some(if tag == language { String::new() } else { String::from("\0") }),
            (Some(block), Some("")) => {
                if !block.starts_with('\0') {
                    blocks.push(std::mem::take(block));
                }
                open = None;
            }
            (Some(block), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Writes a certificate, made up for the occasion, for each file that a configuration names as `….pem`.
fn write_certificates(beside: &Path, text: &str) {
    for name in text.split('"').filter(|word| word.ends_with(".pem")) {
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let params = rcgen::CertificateParams::new(vec![format!("{stem}.test")]).expect("a name");
        let key = rcgen::KeyPair::generate().expect("a key");
        let path = beside.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, params.self_signed(&key).expect("a certificate").pem()).expect("a file");
    }
}

/// Loads the files of one configuration.
fn check(files: &[(&str, &str)]) -> Result<(), String> {
    let directory = TempDir::new().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        let beside = path.parent().expect("a directory");
        fs::create_dir_all(beside).expect("a directory");
        write_certificates(beside, text);
        fs::write(path, text).expect("a file");
    }
    let sources = Sources { env: &|_| None, secrets: false };
    load(directory.path(), &sources).map(|_| ()).map_err(|problems| problems.to_string())
}

/// For documents that are about the gateway and not about a realm.
const ANY_REALM: &str = "realm = \"any\"\nhosts = [\"any.example\"]\nupstream = \"http://127.0.0.1:9000\"\n\
                         [[routes]]\npath = \"/\"\nauth = [\"public\"]\n";

/// The files of the configurations in a document, in their order. A file that is told in several parts is one.
pub(crate) fn files(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).expect("a document");
    let mut files: Vec<(String, String)> = Vec::new();
    for block in blocks(&text, "toml") {
        let first = block.lines().next().unwrap_or_default();
        let title = first.strip_prefix("# ").unwrap_or_default();
        let (name, continued) = title.strip_suffix(", continued").map_or((title, false), |name| (name, true));
        assert!(
            name == "portcullis.toml" || (name.starts_with("realms/") && name.ends_with(".toml")),
            "{}: a configuration begins with the name of its file, not {first:?}",
            path.display()
        );
        match files.last_mut() {
            Some((last, text)) if continued => {
                assert_eq!(last, name, "{}", path.display());
                text.push('\n');
                text.push_str(&block);
            }
            _ => files.push((name.to_owned(), block)),
        }
    }
    files
}

#[test]
fn every_configuration_in_the_documents_loads() {
    let mut seen = 0;
    for path in documents() {
        let files = files(&path);
        let mut main: Option<(&str, &str)> = None;
        for (name, block) in &files {
            if name == "portcullis.toml" {
                check(&[(name, block), ("realms/any.toml", ANY_REALM)])
                    .unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
                main = Some((name, block));
                continue;
            }
            let files: Vec<_> = main.into_iter().chain([(name.as_str(), block.as_str())]).collect();
            check(&files).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn the_worked_example_of_a_port_is_the_realm_that_is_shipped() {
    let bare = |text: &str| -> Vec<String> {
        let without_comment = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        text.lines().map(without_comment).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    };
    let files = files(Path::new("docs/port-your-api.md"));
    let (_, told) = files.iter().find(|(name, _)| name == "realms/affilync.toml").expect("the example");
    let shipped = fs::read_to_string("config/realms/affilync.toml").expect("shipped");
    assert_eq!(bare(told), bare(&shipped));
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = fs::read_to_string("README.md").expect("the readme");
    let pages = documents().into_iter().filter(|path| path.starts_with("docs"));
    let missing: Vec<_> = pages.filter(|path| !readme.contains(&format!("]({})", path.display()))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    let more = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(PathBuf::from);
    for path in documents().into_iter().chain(more) {
        let text = fs::read_to_string(&path).expect("a document");
        let from = path.parent().unwrap_or(Path::new(""));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !from.join(target).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_configuration_that_is_shipped_loads_without_its_secrets() {
    let sources = Sources { env: &|_| None, secrets: false };
    let mut seen = 0;
    for path in ["config", "config/quickstart"]
        .map(PathBuf::from)
        .into_iter()
        .chain(fs::read_dir("config/examples").expect("examples").map(|entry| entry.expect("an entry").path()))
    {
        load(&path, &sources).unwrap_or_else(|problems| panic!("{problems}"));
        seen += 1;
    }
    assert!(seen >= 4);
}
