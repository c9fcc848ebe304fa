//! Which files a configuration is made of, and reading them: bounded, and noted for those who watch for changes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::problem::{At, Problem};
use super::value::address::network;
use super::walk::Source;

/// Largest configuration file.
const MAX_CONFIG: u64 = 8 << 20;
/// Largest list of networks.
const MAX_LIST: u64 = 64 << 20;
/// Largest file of keys or certificates.
pub(crate) const MAX_KEYS: u64 = 1 << 20;
/// Largest secret file.
pub(crate) const MAX_SECRET: u64 = 64 << 10;
/// So many bad lines of one list are told.
const MAX_TOLD: usize = 20;

/// A file that a configuration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of what was read; none where nothing could be: its appearance is a change.
    pub digest: Option<[u8; 32]>,
}

/// Every file that was asked for, the configuration first.
#[derive(Debug, Default)]
pub(crate) struct Files {
    order: Vec<SourceFile>,
}

impl Files {
    /// The files, each once.
    pub(crate) fn list(&self) -> &[SourceFile] {
        &self.order
    }

    /// Reads a file of up to `limit` bytes.
    ///
    /// # Errors
    /// A text for people, without the file's name.
    pub(crate) fn read(&mut self, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, String> {
        let read = read(path, limit);
        if !self.order.iter().any(|known| known.path == path) {
            let digest = read.as_ref().ok().map(|bytes| Sha256::digest(bytes).into());
            self.order.push(SourceFile { path: path.to_path_buf(), digest });
        }
        read
    }

    /// Reads a configuration file.
    pub(crate) fn read_source(&mut self, path: &Path, problems: &mut Vec<Problem>) -> Option<Source> {
        let at = At::file(Arc::from(path));
        let mut bytes = self.read(path, MAX_CONFIG).map_err(|fault| problems.push(at.problem(fault))).ok()?;
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => Some(Source::new(at.file, Zeroizing::new(text))),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let bytes = Zeroizing::new(error.into_bytes());
                let before = bytes.get(..valid).unwrap_or_default();
                let line = before.iter().filter(|b| **b == b'\n').count() + 1;
                problems.push(at.problem(format!("is not UTF-8 (line {line})")));
                None
            }
        }
    }

    /// Reads a list of networks: one a line, `#` begins a comment. `at` names the file in the configuration.
    pub(crate) fn read_networks(&mut self, at: &At, name: &str, problems: &mut Vec<Problem>) -> Option<Vec<IpNet>> {
        let path = at.resolve(name);
        let mut fault = |text: String| problems.push(at.problem(format!("the file {} {text}", path.display())));
        let bytes = self.read(&path, MAX_LIST).map_err(&mut fault).ok()?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            fault(String::from("is not UTF-8"));
            return None;
        };
        // Some editors begin every file with it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut networks, mut bad) = (Vec::new(), 0);
        let file: Arc<Path> = Arc::from(path.as_path());
        for (number, line) in text.lines().enumerate() {
            let content = line.split_once('#').map_or(line, |(content, _)| content);
            let entry = content.trim();
            if entry.is_empty() {
                continue;
            }
            match network(entry) {
                Ok(network) => networks.push(network),
                Err(fault) if bad < MAX_TOLD => {
                    bad += 1;
                    let column = content.chars().take_while(|c| c.is_whitespace()).count() + 1;
                    let position = Some((number + 1, column));
                    let place = At { file: Arc::clone(&file), position, key: String::new() };
                    problems.push(place.problem(fault));
                }
                Err(_) => bad += 1,
            }
        }
        if bad > MAX_TOLD {
            let rest = bad_rest(bad);
            problems.push(At::file(file).problem(rest));
        } else if bad == 0 && networks.is_empty() {
            problems.push(at.problem(format!("the file {} holds no network", path.display())));
        }
        (bad == 0 && !networks.is_empty()).then_some(networks)
    }
}

fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    // Before it is opened: opening a pipe waits for somebody who writes into it.
    match fs::metadata(path).map_err(|error| cause(&error))? {
        meta if meta.is_dir() => return Err(String::from("is a directory")),
        meta if !meta.is_file() => return Err(String::from("is no regular file")),
        _ => {}
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(|error| cause(&error))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| cause(&error))?;
    if bytes.len() as u64 > limit {
        return Err(format!("is larger than {limit} bytes"));
    }
    Ok(bytes)
}

fn bad_rest(bad: usize) -> String {
    format!("has {} more lines that are no networks", bad - MAX_TOLD)
}

/// What a configuration at some path is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `portcullis.toml`, or the single file.
    pub(crate) main: Option<PathBuf>,
    /// `realms/*.toml`, sorted by name.
    pub(crate) realms: Vec<PathBuf>,
}

impl Layout {
    /// Looks at `path`: a directory, or a file.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        if !fs::metadata(path).map_err(|error| cause(&error))?.is_dir() {
            return Ok(Self { main: Some(path.to_path_buf()), realms: Vec::new() });
        }
        let main = path.join("portcullis.toml");
        let main = fs::symlink_metadata(&main).is_ok().then_some(main);
        let realms = realm_files(path).map_err(|error| format!("realms/ {}", cause(&error)))?;
        if main.is_none() && realms.is_empty() {
            return Err(String::from("holds neither portcullis.toml nor realms/*.toml"));
        }
        Ok(Self { main, realms })
    }

    /// The directory of the configuration at `path`.
    pub(crate) fn root(&self, path: &Path) -> PathBuf {
        let is_file = self.main.as_deref() == Some(path);
        if is_file { path.parent().unwrap_or(Path::new("")).to_path_buf() } else { path.to_path_buf() }
    }
}

/// `realms/*.toml` in the directory of a configuration, sorted by name. Editors leave hidden files behind, and mounted
/// volumes have hidden directories: those do not count.
///
/// # Errors
/// The directory cannot be listed; that there is none is no error.
pub fn realm_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root.join("realms")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = PathBuf::from(entry?.file_name());
        let visible = !name.as_os_str().as_encoded_bytes().starts_with(b".");
        if visible && name.extension().is_some_and(|extension| extension == "toml") {
            files.push(root.join("realms").join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// Why a file could not be read, in words that are the same everywhere.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => String::from("does not exist"),
        io::ErrorKind::PermissionDenied => String::from("may not be read by this user"),
        kind => format!("cannot be read: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_main_file_and_its_realms_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Layout::of(dir.path()).is_err());
        fs::create_dir(dir.path().join("realms")).unwrap();
        for name in ["realms/b.toml", "realms/a.toml", "realms/.hidden.toml", "realms/a.toml~", "realms/notes.md"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let realms = vec![dir.path().join("realms/a.toml"), dir.path().join("realms/b.toml")];
        assert_eq!(Layout::of(dir.path()), Ok(Layout { main: None, realms }));
        assert_eq!(Layout::of(&dir.path().join("none")), Err(String::from("does not exist")));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_and_each_file_is_noted_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "12345").unwrap();
        let mut files = Files::default();
        assert_eq!(files.read(&path, 4).unwrap_err(), "is larger than 4 bytes");
        assert_eq!(files.read(&path, 5).unwrap().as_slice(), b"12345");
        assert!(files.read(dir.path(), 5).is_err());
        assert_eq!(files.list().iter().map(|file| &file.path).collect::<Vec<_>>(), [&path, dir.path()]);
    }

    #[test]
    fn every_bad_line_of_a_list_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("list"), "# ours\n10.0.0.0/8 # office\n\n  nonsense\n10.0.0.1/8\n").unwrap();
        let at = At::file(Arc::from(dir.path().join("p.toml").as_path())).inside("routes[0].allow_ips_file");
        let mut problems = Vec::new();
        assert_eq!(Files::default().read_networks(&at, "list", &mut problems), None);
        assert_eq!(problems.iter().map(|p| p.position).collect::<Vec<_>>(), [Some((4, 3)), Some((5, 1))]);
        assert!(problems[1].text.contains("10.0.0.0/8"), "{}", problems[1]);
    }

    #[test]
    fn an_empty_list_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("list"), "# nobody\n").unwrap();
        let at = At::file(Arc::from(dir.path().join("p.toml").as_path()));
        let mut problems = Vec::new();
        assert_eq!(Files::default().read_networks(&at, "list", &mut problems), None);
        assert_eq!(problems.len(), 1);
    }
}
