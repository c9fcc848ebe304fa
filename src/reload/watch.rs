//! Noticing that files have changed, by their contents: a file that is touched, or swapped for an equal one, has not.
//!
//! Files are looked at again and again instead of being watched by the system: that works on every file system, with
//! swapped links and with files that are not there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Of a file no more than this is looked at; one that is larger is none that `config` would take.
const MAX_FILE: u64 = 64 << 20;

/// Digest of each file; none for what is no readable file.
pub(super) type Look = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// The files of a configuration, and what they held when they were last tried.
#[derive(Debug)]
pub(super) struct Watch {
    root: PathBuf,
    /// Files of the configuration in force.
    files: BTreeSet<PathBuf>,
    /// Files that a refused configuration has asked for.
    suspects: BTreeSet<PathBuf>,
    tried: Look,
    /// What differed from `tried` at the last look.
    unsettled: Option<Look>,
}

impl Watch {
    /// Watches `files`, and in the directory `root` (if it is one) also what is not among them yet.
    pub(super) fn new(root: PathBuf, files: &[PathBuf]) -> Self {
        let files = files.iter().cloned().collect();
        let mut watch = Self { root, files, suspects: BTreeSet::new(), tried: Look::new(), unsettled: None };
        watch.tried = watch.look();
        watch
    }

    /// The files as they are now.
    pub(super) fn look(&self) -> Look {
        let expected = expected_files(&self.root);
        let all: BTreeSet<&PathBuf> = self.files.iter().chain(&self.suspects).chain(&expected).collect();
        all.into_iter().map(|path| (path.clone(), digest(path))).collect()
    }

    /// Whether the files differ from what was tried last, and have been the same at two looks.
    pub(super) fn settled_change(&mut self) -> bool {
        let now = self.look();
        if now == self.tried {
            self.unsettled = None;
            return false;
        }
        if self.unsettled.as_ref() == Some(&now) {
            return true;
        }
        self.unsettled = Some(now);
        false
    }

    /// A configuration made of `files` is in force; `before` is what was there before it was read.
    pub(super) fn attempted(&mut self, before: Look, files: impl Iterator<Item = PathBuf>) {
        self.files = files.collect();
        self.suspects.clear();
        self.remember(&before);
    }

    /// A configuration made of `suspects` was refused; a change of one of them is a reason to try again.
    pub(super) fn attempted_in_vain(&mut self, before: Look, suspects: impl Iterator<Item = PathBuf>) {
        self.suspects = suspects.collect();
        self.remember(&before);
    }

    fn remember(&mut self, before: &Look) {
        let then = |(path, now): (PathBuf, _)| {
            let known = before.get(&path).copied().unwrap_or(now);
            (path, known)
        };
        self.tried = self.look().into_iter().map(then).collect();
        self.unsettled = None;
    }
}

/// What `config` would look for in the directory `root` now. Hidden files are none of it: editors leave them behind.
fn expected_files(root: &Path) -> Vec<PathBuf> {
    if !root.is_dir() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(root.join("realms")).into_iter().flatten();
    let realms = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let visible = !entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        (visible && path.extension().is_some_and(|extension| extension == "toml")).then_some(path)
    });
    realms.chain([root.join("portcullis.toml")]).collect()
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None; // opening a pipe could wait for ever
    }
    let mut file = File::open(path).ok()?.take(MAX_FILE);
    let mut digest = Sha256::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return Some(digest.finalize().into()),
            n => digest.update(chunk.get(..n)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn configuration() -> (TempDir, Watch, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("realms")).unwrap();
        let (main, realm) = (dir.path().join("portcullis.toml"), dir.path().join("realms/shop.toml"));
        fs::write(&main, "a").unwrap();
        fs::write(&realm, "b").unwrap();
        let watch = Watch::new(dir.path().to_owned(), &[main.clone(), realm]);
        (dir, watch, main)
    }

    /// What a reload that succeeds does to the watch.
    fn reloaded(watch: &mut Watch) {
        let files = watch.files.clone();
        watch.attempted(watch.look(), files.into_iter());
    }

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let (_dir, mut watch, main) = configuration();
        assert!(!watch.settled_change());
        fs::write(&main, "half").unwrap();
        assert!(!watch.settled_change(), "it may still be being written");
        fs::write(&main, "whole").unwrap();
        assert!(!watch.settled_change(), "it was");
        assert!(watch.settled_change());
        reloaded(&mut watch);
        assert!(!watch.settled_change());
        assert!(!watch.settled_change());
    }

    #[test]
    fn what_only_looks_changed_does_not_count() {
        let (dir, mut watch, main) = configuration();
        let copy = dir.path().join("copy");
        fs::write(&copy, "a").unwrap();
        fs::rename(&copy, &main).unwrap();
        fs::write(dir.path().join("notes.txt"), "other files beside them do not count").unwrap();
        fs::write(dir.path().join("realms/shop.toml.swp"), "nor do those").unwrap();
        fs::write(dir.path().join("realms/.shop.toml"), "nor this").unwrap();
        assert!(!watch.settled_change());
        assert!(!watch.settled_change());
    }

    #[test]
    fn a_new_realm_and_a_removed_one_count() {
        let (dir, mut watch, _) = configuration();
        fs::write(dir.path().join("realms/links.toml"), "c").unwrap();
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
        reloaded(&mut watch);
        fs::remove_file(dir.path().join("realms/links.toml")).unwrap();
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
    }

    #[test]
    fn a_refused_configuration_is_tried_again_when_it_changes_and_not_before() {
        let (dir, mut watch, main) = configuration();
        let list = dir.path().join("deny.txt");
        fs::write(&main, "names a list that is not there").unwrap();
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
        watch.attempted_in_vain(watch.look(), [list.clone()].into_iter());
        assert!(!watch.settled_change());
        assert!(!watch.settled_change());
        fs::write(&list, "192.0.2.0/24").unwrap();
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
    }

    #[test]
    fn a_change_while_the_files_are_read_is_not_lost() {
        let (_dir, mut watch, main) = configuration();
        let before = watch.look();
        fs::write(&main, "changed while it was read").unwrap();
        let files = watch.files.clone();
        watch.attempted(before, files.into_iter());
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
    }

    #[test]
    fn a_realm_that_is_swapped_by_links_counts() {
        let (dir, mut watch, main) = configuration();
        fs::write(dir.path().join("v2"), "a2").unwrap();
        fs::remove_file(&main).unwrap();
        std::os::unix::fs::symlink("v2", &main).unwrap();
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
    }
}
