//! What is wrong with a configuration, told without its text: a source line may hold a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many problems are told: nobody reads more, and a log has to take them.
const MAX_TOLD: usize = 1000;

/// One problem of a configuration. Never holds a source line: that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1, where known.
    pub position: Option<(usize, usize)>,
    /// Path of the key: `routes[2].scopes`.
    pub key: String,
    /// What is wrong, what was expected, what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    /// `file:line:column: key: text`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.text)
    }
}

/// All problems of a configuration, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Sorted by place; what was found twice is told once, and of very many the first with the number of the others.
    pub(crate) fn collect(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        let more = problems.len().saturating_sub(MAX_TOLD);
        problems.truncate(MAX_TOLD);
        if let (1.., Some(last)) = (more, problems.last()) {
            let (file, text) = (last.file.clone(), format!("and {more} more"));
            problems.push(Problem { file, position: None, key: String::new(), text });
        }
        Self(problems)
    }
}

impl fmt::Display for Problems {
    /// One problem a line, each with its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}

/// Where something stands: the file, the position in it, the path of its key.
#[derive(Clone, Debug)]
pub(crate) struct At {
    /// The file.
    pub(crate) file: Arc<Path>,
    /// Line and column, from 1.
    pub(crate) position: Option<(usize, usize)>,
    /// Path of the key.
    pub(crate) key: String,
}

impl Default for At {
    fn default() -> Self {
        Self::file(Arc::from(Path::new("")))
    }
}

impl At {
    /// A file as a whole.
    pub(crate) fn file(file: Arc<Path>) -> Self {
        Self { file, position: None, key: String::new() }
    }

    /// A problem here. Control characters of quoted names are escaped: a problem is one line, and harmless to terminals.
    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        let mut text = text.into();
        if text.contains(char::is_control) {
            let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            text = text.chars().map(escape).collect();
        }
        Problem { file: self.file.to_path_buf(), position: self.position, key: self.key.clone(), text }
    }

    /// The same position, for a key inside this one.
    pub(crate) fn inside(&self, key: &str) -> Self {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) };
        Self { key, ..self.clone() }
    }

    /// `path` as it is meant in this file: relative paths count from the directory of the file that names them.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_an_editor_can_follow() {
        let mut at = At::file(Arc::from(Path::new("a/b.toml")));
        assert_eq!(at.problem("cannot be read").to_string(), "a/b.toml: cannot be read");
        at.position = Some((3, 7));
        assert_eq!(at.inside("routes[2]").inside("path").problem("no").to_string(), "a/b.toml:3:7: routes[2].path: no");
    }

    #[test]
    fn relative_paths_count_from_the_file_that_names_them() {
        let at = At::file(Arc::from(Path::new("conf/realms/a.toml")));
        assert_eq!(at.resolve("ca.pem"), Path::new("conf/realms/ca.pem"));
        assert_eq!(at.resolve("/etc/ca.pem"), Path::new("/etc/ca.pem"));
    }

    #[test]
    fn problems_are_sorted_by_place_and_told_once() {
        let problem = |line: usize, text: &str| Problem {
            file: PathBuf::from("a"),
            position: Some((line, 1)),
            key: String::new(),
            text: text.into(),
        };
        let problems = Problems::collect(vec![problem(10, "x"), problem(2, "y"), problem(10, "x")]);
        assert_eq!(problems.to_string(), "a:2:1: y\na:10:1: x\n");
    }
}
