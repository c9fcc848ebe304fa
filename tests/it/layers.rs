//! The rules of the house that can be checked by reading the source: who may use what, and what modules look like.
//! Comments and string literals are blanked out first, so that only code counts.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Which top-level modules each top-level module may import. A new one has to be entered here: that is the moment to
/// ask where it stands.
const ROOMS: &[(&str, &[&str])] = &[
    // words: each other, and nothing else
    ("identity", WORDS),
    ("identifier", WORDS),
    ("secret", WORDS),
    ("jwt", WORDS),
    ("clock", WORDS),
    ("reply", WORDS),
    ("nearest", WORDS),
    ("password", WORDS),
    ("tls", WORDS),
    // memory
    ("store", WORDS),
    // core: what decides and what issues; neither names the other
    ("gate", &["store"]),
    ("tokens", &["store"]),
    // edges: the core, the store's records, and telemetry's; telemetry is set up by what `config` read
    ("config", &["gate", "store", "tokens"]),
    ("telemetry", &["gate", "config"]),
    ("proxy", &["gate", "telemetry", "tokens"]),
    ("admin", &["gate", "store", "telemetry", "tokens"]),
    ("outbound", &["gate", "tokens"]),
    ("explain", &["gate", "outbound"]),
    // assembly and the command line
    ("server", &["gate", "store", "tokens", "config", "telemetry", "proxy", "admin", "outbound", "explain", "reload"]),
    ("reload", &["gate", "store", "tokens", "config", "telemetry", "proxy", "admin", "outbound"]),
    ("demo", &[]),
    (
        "cli",
        &[
            "gate",
            "config",
            "telemetry",
            "proxy",
            "admin",
            "outbound",
            "explain",
            "store",
            "tokens",
            "server",
            "reload",
            "demo",
        ],
    ),
];

const WORDS: &[&str] = &["identity", "identifier", "secret", "jwt", "clock", "reply", "nearest", "password", "tls"];

/// What only certain files may name; in tests too.
const RESERVED: &[(&str, &[&str])] = &[
    ("pingora", &["proxy/", "admin/mod.rs", "server.rs", "server/"]),
    ("toml", &["config/"]),
    ("sqlx", &["store/"]),
    ("argon2", &["password/"]),
    ("bcrypt", &["password/"]),
    ("scrypt", &["password/"]),
    ("pbkdf2", &["password/"]),
    ("unicode_normalization", &["identifier.rs"]),
    ("jsonwebtoken", &["jwt.rs", "jwt/"]),
    ("reqwest", &["outbound.rs", "outbound/"]),
    ("prometheus", &["telemetry/"]),
    ("env::var", &["config/", "cli/"]),
    ("env::var_os", &["config/", "cli/"]),
    ("env::vars", &["config/", "cli/"]),
    ("env::vars_os", &["config/", "cli/"]),
    ("unsafe", &[]),
];

/// Clock reads. Tests may: the time of a paused runtime is no clock.
const CLOCKS: [&str; 2] = ["SystemTime::now", "Instant::now"];

/// Names that say nothing: what would go there belongs to something that has a name.
const NO_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "manager", "common", "core", "misc"];

/// Lines of a file before its tests.
const MAX_LINES: usize = 400;

struct Source {
    /// Relative to `src`, with slashes.
    path: String,
    text: String,
    /// The text with comments and literals blanked, line for line.
    code: String,
}

impl Source {
    /// `gate/verify/jwt.rs` -> `["gate", "verify", "jwt"]`; `gate/mod.rs` -> `["gate"]`; `lib.rs` -> `[]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        path.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }

    /// Files that hold nothing but tests.
    fn is_tests(&self) -> bool {
        self.module().iter().any(|part| matches!(*part, "tests" | "test")) || self.path.ends_with("_tests.rs")
    }

    /// Where the file's own tests begin.
    fn tests_begin(&self) -> usize {
        if self.is_tests() { 0 } else { self.code.find("#[cfg(test)]\nmod ").unwrap_or(self.code.len()) }
    }

    fn line_of(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }
}

fn sources() -> Vec<Source> {
    fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "where is the source? {files:?}");
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let path = file.strip_prefix(&root).expect("below src").to_str().expect("UTF-8").replace('\\', "/");
        let code = blank(&text);
        Source { path, text, code }
    };
    files.into_iter().map(read).collect()
}

/// Blanks comments, strings and characters; keeps line breaks, so that positions stay true.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if !word_before && let Some(length) = raw_string(rest) {
            length
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skip == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skip].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skip..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of `r"…"`, `r#"…"#` and their kin at the start of `text`.
fn raw_string(text: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after.bytes().take_while(|&b| b == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Offsets where `name` stands as a whole path: not a part of a longer word.
fn occurrences<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

/// Offsets where a crate is named: `name::…`, `use name;`, `use name as …` and crates that begin with `name_`.
fn crate_occurrences<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).map(|(at, _)| at).filter(move |&at| {
        let before = &code[..at];
        let (after, own_path) = (&code[at + name.len()..], before.trim_end_matches(is_word));
        let family = if after.starts_with('_') { after.trim_start_matches(is_word) } else { after };
        let names_a_crate =
            family.starts_with("::") || own_path.trim_end().ends_with("use") && !after.starts_with(is_word);
        own_path.len() == before.len() && !is_path_tail(before) && names_a_crate
    })
}

/// Whether what follows `before` is the tail of a path inside our own crate.
fn is_path_tail(before: &str) -> bool {
    before.ends_with("::") && !before.ends_with(" ::")
}

/// Top-level modules named by `crate::…`, `crate::{…}` and `super::…` that reaches the root, with their offsets.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let mut found = Vec::new();
    for at in occurrences(code, "crate") {
        if let Some(rest) = code[at + "crate".len()..].strip_prefix("::") {
            found.extend(names_after(rest).into_iter().map(|name| (at, name)));
        }
    }
    let depth = source.module().len();
    let mut seen = 0;
    for at in occurrences(code, "super") {
        if at < seen {
            continue;
        }
        let mut rest = &code[at..];
        let mut ups = 0;
        while let Some(up) = rest.strip_prefix("super::") {
            (rest, ups) = (up, ups + 1);
        }
        seen = code.len() - rest.len();
        if ups >= depth {
            found.extend(names_after(rest).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// The first segment of a path, or those of a group in braces.
fn names_after(path: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut names = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn report(faults: &[String]) {
    let mut text = String::new();
    for fault in faults {
        writeln!(text, "  src/{fault}").expect("memory");
    }
    assert!(faults.is_empty(), "against the rules of the house:\n{text}");
}

fn breaches(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for (name, allowed) in RESERVED {
            if allowed
                .iter()
                .any(|place| source.path == *place || place.ends_with('/') && source.path.starts_with(place))
            {
                continue;
            }
            let is_crate = !name.contains("::") && *name != "unsafe";
            let found: Vec<usize> = match is_crate {
                true => crate_occurrences(&source.code, name).collect(),
                false => occurrences(&source.code, name).collect(),
            };
            for at in found {
                faults.push(format!("{}:{}: names `{name}`, allowed in {allowed:?}", source.path, source.line_of(at)));
            }
        }
        if source.path != "clock.rs" {
            let code = &source.code[..source.tests_begin()];
            for at in CLOCKS.iter().flat_map(|name| occurrences(code, name)) {
                faults.push(format!("{}:{}: reads a clock, allowed in clock.rs", source.path, source.line_of(at)));
            }
        }
        let module = source.module();
        let Some(room) = module.first() else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| name == room) else {
            faults.push(format!("{}:1: `{room}` has no place in ROOMS of tests/it/layers.rs", source.path));
            continue;
        };
        for (at, import) in imports(source) {
            let known = ROOMS.iter().any(|(name, _)| *name == import);
            if known && import != *room && !allowed.contains(&&*import) && !WORDS.contains(&&*import) {
                faults.push(format!("{}:{}: `{room}` may not use `{import}`", source.path, source.line_of(at)));
            }
        }
    }
    faults
}

#[test]
fn arrows_point_at_what_is_used_and_never_upward() {
    report(&breaches(&sources()));
}

#[test]
fn every_directory_opens_with_what_belongs_there() {
    let faults: Vec<_> = sources()
        .iter()
        .filter(|source| source.path.ends_with("mod.rs") || source.path == "lib.rs")
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{}:1: does not open with a `//!` text", source.path))
        .collect();
    report(&faults);
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let faults: Vec<_> = sources()
        .iter()
        .flat_map(|source| {
            source
                .module()
                .into_iter()
                .filter(|part| NO_NAMES.contains(part))
                .map(|part| format!("{}:1: `{part}` says nothing", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    report(&faults);
}

#[test]
fn a_file_fits_in_the_head() {
    let faults: Vec<_> = sources()
        .iter()
        .filter_map(|source| {
            let lines = source.code[..source.tests_begin()].lines().count();
            (lines > MAX_LINES)
                .then(|| format!("{}:{lines}: more than {MAX_LINES} lines before its tests", source.path))
        })
        .collect();
    report(&faults);
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
}

#[test]
fn only_code_counts() {
    let text =
        "// pingora::a\n/* toml::b /* */ unsafe */ \"reqwest::c\\\"\" r#\"unsafe \" \"# b'\\'' 'x' fn f<'a>() {}\n";
    let code = blank(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["b", "fn", "f<'a>()", "{}"]);
    assert!(breaches(&[source("gate/a.rs", text)]).is_empty());
}

#[test]
fn a_breach_is_found_with_its_place() {
    let cases = [
        ("gate/a.rs", "\nuse pingora_core::b;", "names `pingora`"),
        ("gate/a.rs", "\nuse pingora as p;", "names `pingora`"),
        ("proxy/a.rs", "\nlet a = toml::from_str(b);", "names `toml`"),
        ("gate/a.rs", "\nuse jsonwebtoken::{decode};", "names `jsonwebtoken`"),
        ("server.rs", "\nlet a = std::env::var(b);", "names `env::var`"),
        ("gate/a.rs", "\nlet a = std::time::Instant::now();", "reads a clock"),
        ("clock.rs", "\nunsafe {}", "names `unsafe`"),
        ("gate/verify/a.rs", "\nuse crate::config::Config;", "`gate` may not use `config`"),
        ("gate/verify/a.rs", "\nuse crate::{clock::Clock, admin::{a, b}};", "`gate` may not use `admin`"),
        ("gate/verify/a.rs", "\nuse super::super::super::proxy::a;", "`gate` may not use `proxy`"),
        ("secret.rs", "\nuse crate::gate::Gate;", "`secret` may not use `gate`"),
        ("tokens/a.rs", "\nuse crate::gate::Gate;", "`tokens` may not use `gate`"),
        ("gate/a.rs", "\nuse crate::tokens::policy;", "`gate` may not use `tokens`"),
        ("telemetry/mod.rs", "\nuse crate::proxy::Gateway;", "`telemetry` may not use `proxy`"),
        ("config/mod.rs", "\nuse crate::server::Server;", "`config` may not use `server`"),
    ];
    for (path, text, expected) in cases {
        let found = breaches(&[source(path, text)]);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}:2: {expected}")), "{found:?}");
    }
    assert_eq!(breaches(&[source("lobby.rs", "")]).len(), 1);
}

#[test]
fn what_is_allowed_is_not_a_breach() {
    for (path, text) in [
        ("proxy/mod.rs", "use pingora::proxy::Session; use crate::gate::Gate; use crate::telemetry::Telemetry;"),
        ("config/keys.rs", "use toml::Spanned; let a = std::env::var(b); use crate::gate::policy;"),
        ("gate/verify/mod.rs", "use super::policy; use crate::secret::Secret; use crate::gate::route;"),
        ("gate/verify/jwt.rs", "use super::super::outcome; use crate::jwt::Algorithm;"),
        ("gate/a.rs", "fn unsafely() { self.toml.pingora(); crate::gate::reqwest::x(); }"),
        ("telemetry/metrics.rs", "use prometheus::Registry;"),
        ("clock.rs", "SystemTime::now()"),
        ("gate/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { tokio::time::Instant::now(); } }"),
        ("gate/a_tests.rs", "fn b() { Instant::now(); }"),
    ] {
        assert_eq!(breaches(&[source(path, text)]), Vec::<String>::new());
    }
}
