//! Noticing that files have changed, by their contents: a file that is touched, or swapped for an equal one, has not.
//!
//! Files are looked at again and again instead of being watched by the system: that works on every file system, with
//! swapped links and with files that are not there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::{SourceFile, realm_files};

/// Of a file no more than this is looked at; one that is larger is none that `config` would take.
const MAX_FILE: u64 = 64 << 20;

/// Digest of each file that is there and can be read.
pub(super) type Look = BTreeMap<PathBuf, [u8; 32]>;

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
    /// Watches `files`, which a configuration was just made of, and in the directory `root` (if it is one) also what is
    /// not among them yet.
    pub(super) fn new(root: PathBuf, files: &[SourceFile]) -> Self {
        let suspects = BTreeSet::new();
        let mut watch = Self { root, files: BTreeSet::new(), suspects, tried: Look::new(), unsettled: None };
        watch.attempted(Look::new(), files);
        watch
    }

    /// The files as they are now.
    pub(super) fn look(&self) -> Look {
        self.watched().into_iter().filter_map(|path| digest(&path).map(|digest| (path, digest))).collect()
    }

    fn watched(&self) -> BTreeSet<PathBuf> {
        self.files.iter().chain(&self.suspects).cloned().chain(expected_files(&self.root)).collect()
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
    pub(super) fn attempted(&mut self, before: Look, files: &[SourceFile]) {
        self.files = files.iter().map(|file| file.path.clone()).collect();
        self.suspects.clear();
        self.remember(before, files);
    }

    /// A configuration made of `suspects` was refused; a change of one of them is a reason to try again.
    pub(super) fn attempted_in_vain(&mut self, before: Look, suspects: &[SourceFile]) {
        self.suspects = suspects.iter().map(|file| file.path.clone()).collect();
        self.remember(before, suspects);
    }

    /// What was tried is what was read, whatever the files hold by now; of those that were not read, what was there
    /// before.
    fn remember(&mut self, before: Look, files: &[SourceFile]) {
        self.tried = before;
        self.tried.extend(files.iter().filter_map(|file| Some((file.path.clone(), file.digest?))));
        let watched = self.watched();
        self.tried.retain(|path, _| watched.contains(path));
        self.unsettled = None;
    }
}

/// What `config` would look for in the directory `root` now.
fn expected_files(root: &Path) -> Vec<PathBuf> {
    let mut files = realm_files(root).unwrap_or_default();
    if root.is_dir() {
        files.push(root.join("portcullis.toml"));
    }
    files
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
        let watch = Watch::new(dir.path().to_owned(), &read([&main, &realm]));
        (dir, watch, main)
    }

    fn read<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Vec<SourceFile> {
        paths.into_iter().map(|path| SourceFile { path: path.clone(), digest: digest(path) }).collect()
    }

    /// What a reload that succeeds does to the watch.
    fn reloaded(watch: &mut Watch) {
        let there: Vec<_> = watch.look().into_keys().collect();
        watch.attempted(watch.look(), &read(&there));
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
        fs::write(dir.path().join("realms/.#links.toml"), "nor do those").unwrap();
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
        watch.attempted_in_vain(watch.look(), &read([&main, &list]));
        assert!(!watch.settled_change());
        assert!(!watch.settled_change());
        fs::write(&list, "192.0.2.0/24").unwrap();
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
    }

    #[test]
    fn a_change_after_a_file_was_read_is_not_lost() {
        let (dir, mut watch, main) = configuration();
        let list = dir.path().join("list");
        fs::write(&list, "first named by what is loaded now").unwrap();
        let before = watch.look();
        watch.attempted(before.clone(), &read([&main, &list]));
        assert!(!watch.settled_change());
        for path in [&main, &list] {
            let files = read([&main, &list]);
            fs::write(path, "changed after it was read").unwrap();
            watch.attempted(before.clone(), &files);
            assert!(!watch.settled_change());
            assert!(watch.settled_change(), "{path:?}");
        }
        // What is no part of it any more does not count any more.
        watch.attempted(watch.look(), &read([&main]));
        fs::write(&list, "whatever").unwrap();
        assert!(!watch.settled_change());
        assert!(!watch.settled_change());
        // The same at the very start.
        let files = read([&main]);
        fs::write(&main, "changed once more").unwrap();
        assert_ne!(Watch::new(dir.path().to_owned(), &files).tried, watch.look());
    }

    #[test]
    fn a_realm_that_appears_while_files_are_read_is_not_lost() {
        let (dir, mut watch, main) = configuration();
        let before = watch.look();
        fs::write(dir.path().join("realms/late.toml"), "c").unwrap();
        watch.attempted(before, &read([&main]));
        assert!(!watch.settled_change());
        assert!(watch.settled_change());
        reloaded(&mut watch);
        assert!(!watch.settled_change());
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
