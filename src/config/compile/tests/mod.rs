//! Whole configurations through the real loader: what they mean, and what is refused.

mod assertion;
mod certificate;
mod client;
mod cors;
mod documented;
mod issuer;
mod realm;
mod route;
mod store;
mod tls;
mod tokens;

use std::fs;
use std::path::Path;

use crate::config::{Config, Problems, Sources, load};

/// An HMAC secret of the right length, for `{ env = "SECRET" }`.
const SECRET: &str = "a secret of enough bytes for every hash: 64 of them, and some to spare";

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(String::from(SECRET)),
        "SHORT" => Some(String::from("secret")),
        "HEX_SECRET" => Some("0123456789abcdef".repeat(5)),
        "DIGEST" => Some(crate::secret::CredentialDigest::of(b"demo_key").to_hex() + "\n"),
        _ => None,
    }
}

/// Loads a directory of files.
fn load_files(files: &[(&str, &str)], secrets: bool) -> Result<Config, Problems> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    load(dir.path(), &Sources { env: &env, secrets })
}

/// Loads a realm `shop` with an upstream and `rest`.
fn shop(rest: &str) -> Result<Config, Problems> {
    load_files(&[("realms/shop.toml", &shop_text(rest))], true)
}

fn shop_text(rest: &str) -> String {
    format!("realm = 'shop'\nhosts = ['shop.example']\nupstream = 'http://127.0.0.1:9000'\n{rest}")
}

const PUBLIC: &str = "[[routes]]\npath = '/'\nauth = ['public']\n";
const ISSUER: &str = "[[issuers]]\nname = 'idp'\nissuer = 'https://idp.example'\naudience = ['shop']\nalgorithms = ['HS256']\nkeys = { secret = { env = 'SECRET' } }\n";
const FORM: &str = "[[api_keys]]\nprefix = 'demo_'\n";

/// Key path and text of every problem.
fn faults(loaded: Result<Config, Problems>) -> Vec<String> {
    let problems = loaded.expect_err("problems").0;
    problems.into_iter().map(|problem| format!("{}: {}", problem.key, problem.text)).collect()
}

/// Expects exactly one problem, at this key, with this in its text.
#[track_caller]
fn refused(loaded: Result<Config, Problems>, key: &str, text: &str) {
    let faults = faults(loaded);
    let [fault] = faults.as_slice() else { panic!("expected one problem, found {faults:#?}") };
    assert!(fault.starts_with(&format!("{key}: ")) && fault.contains(text), "{fault}");
}

/// The texts of the warnings.
fn warnings(config: &Config) -> Vec<&str> {
    config.warnings.0.iter().map(|problem| problem.text.as_str()).collect()
}

#[test]
fn a_directory_needs_no_main_file() {
    let config = shop(PUBLIC).unwrap();
    let addresses: Vec<_> = config.settings.listen.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["0.0.0.0:8080"]);
    assert_eq!(config.settings.admin_listen.to_string(), "127.0.0.1:9901");
    assert_eq!(config.settings.header_timeout.as_secs(), 10);
    assert_eq!(config.settings.cache_tokens, 64 << 20);
    assert_eq!(config.snapshot.sizes.headers, 32 << 10);
    assert_eq!(config.snapshot.clock_skew.as_secs(), 60);
    assert!(config.snapshot.failure_limit.is_none());
    assert!(config.warnings.0.is_empty());
}

#[test]
fn a_single_file_says_the_same_as_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.toml");
    let text = "[server]\nfailure_limit = '600/m'\n[realms.shop]\nhosts = ['shop.example']\nupstream = 'http://127.0.0.1:9000'\n[[realms.shop.routes]]\npath = '/'\nauth = ['public']\n";
    fs::write(&path, text).unwrap();
    let config = load(&path, &Sources { env: &env, secrets: true }).unwrap();
    assert_eq!(config.files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&path]);
    assert_eq!(&*config.snapshot.realms[0].name, "shop");
    let limiter = config.snapshot.failure_limit.unwrap();
    assert_eq!((&*limiter.spec().name, limiter.spec().rate.count), ("failure_limit", 600));
}

#[test]
fn http_2_without_tls_is_spoken_where_a_listener_says_so() {
    let with = |main: &str| load_files(&[("portcullis.toml", main), ("realms/shop.toml", &shop_text(PUBLIC))], true);
    let listen = "listen = [{ address = '127.0.0.1:1', http2 = true }, { address = '127.0.0.1:2' }]";
    assert_eq!(
        with(&format!("[server]\n{listen}\n"))
            .unwrap()
            .settings
            .listen
            .iter()
            .map(|listener| listener.http2)
            .collect::<Vec<_>>(),
        [true, false]
    );
    let admin = with("[admin]\nlisten = { address = '127.0.0.1:9901', http2 = true }\n");
    refused(admin, "admin.listen.http2", "speaks HTTP/1 only");
}

#[test]
fn every_problem_of_every_file_is_told_at_once() {
    let files = [
        ("portcullis.toml", "[server]\nthreds = 2\nidle_timeout = '10'\n"),
        (
            "realms/a.toml",
            "realm = 'a'\nhosts = ['a.example']\n[[routes]]\npath = '/'\nauth = ['jwt']\nlimits = ['nope']\n",
        ),
        ("realms/b.toml", "realm = 'b\n"),
    ];
    let problems = load_files(&files, true).expect_err("problems").0;
    let places: Vec<_> = problems
        .iter()
        .map(|problem| {
            let file = problem.file.file_name().unwrap().to_str().unwrap();
            format!("{file} {} {}", problem.position.unwrap().0, problem.key)
        })
        .collect();
    let expected = [
        "portcullis.toml 2 server.threds",
        "portcullis.toml 3 server.idle_timeout",
        "a.toml 3 routes[0].upstream",
        "a.toml 5 routes[0].auth",
        "a.toml 6 routes[0].limits[0]",
        "b.toml 1 ",
    ];
    assert_eq!(places, expected, "{problems:#?}");
}

#[test]
fn a_syntax_error_never_shows_the_line() {
    for text in ["realm = 'shop'\nx = { inline = 'hunter2'\n", "hunter2", "x = hunter2\n", "hunter2 = 1\nhunter2 = 2\n"]
    {
        let problems = load_files(&[("realms/shop.toml", text)], true).expect_err("problems");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
        assert!(problems.to_string().contains("not TOML"), "{problems}");
    }
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.toml");
    fs::write(&path, b"a = 1\n\xff\n").unwrap();
    let problems = load(&path, &Sources { env: &env, secrets: true }).expect_err("problems");
    assert!(problems.to_string().ends_with("is not UTF-8 (line 2)\n"), "{problems}");
}

#[test]
fn a_configuration_without_a_realm_is_refused() {
    refused(load_files(&[("portcullis.toml", "[log]\nlevel = 'debug'\n")], true), "", "there is no realm");
}

#[test]
fn a_realm_has_one_name_in_one_place() {
    refused(
        load_files(
            &[("realms/a.toml", "hosts = ['a']\nupstream = 'http://a:1'\n[[routes]]\npath = '/'\nauth = ['public']\n")],
            true,
        ),
        "realm",
        "is required",
    );
    let table = "[realms.a]\nrealm = 'a'\nhosts = ['a']\nupstream = 'http://a:1'\n[[realms.a.routes]]\npath = '/'\nauth = ['public']\n";
    refused(load_files(&[("portcullis.toml", table)], true), "realms.a.realm", "the table's name");
    let other = shop_text(PUBLIC).replace("shop.example", "b.example");
    refused(
        load_files(&[("realms/a.toml", &shop_text(PUBLIC)), ("realms/b.toml", &other)], true),
        "realm",
        "another realm is called",
    );
}

#[test]
fn every_file_that_was_read_is_named() {
    let rest = "[[routes]]\npath = '/'\nauth = ['public']\nallow_ips_file = '../lists/office'\n";
    let files = [("portcullis.toml", ""), ("realms/shop.toml", &shop_text(rest)), ("lists/office", "10.0.0.0/8\n")];
    let config = load_files(&files, true).unwrap();
    let names: Vec<_> = config.files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["portcullis.toml", "shop.toml", "office"]);
}

#[test]
fn settings_are_bounded() {
    let main = "[server]\nlisten = []\nthreads = 5000\nmax_target = 0\nmax_headers = '2GiB'\nheader_timeout = '0s'\nidle_timeout = '2h'\nclock_skew = '1h'\n[admin]\nlisten = { address = '0.0.0.0:9901' }\n";
    let faults = faults(load_files(&[("portcullis.toml", main), ("realms/shop.toml", &shop_text(PUBLIC))], true));
    let keys: Vec<_> = faults.iter().filter_map(|fault| fault.split_once(": ")).map(|(key, _)| key).collect();
    let expected = [
        "server.listen",
        "server.threads",
        "server.max_target",
        "server.max_headers",
        "server.header_timeout",
        "server.idle_timeout",
        "server.clock_skew",
        "admin.listen.address",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn keys_of_later_versions_say_so() {
    let shop = shop_text(&format!("store = {{}}\n{PUBLIC}"));
    let faults = faults(load_files(&[("portcullis.toml", ""), ("realms/shop.toml", &shop)], true));
    assert_eq!(faults, ["store: not available in this version"]);
}

#[test]
fn the_place_of_a_hand_over_is_a_whole_path_whoever_looks_for_it() {
    let config = load_files(&[("portcullis.toml", ""), ("realms/shop.toml", &shop_text(PUBLIC))], true).unwrap();
    let place = config.settings.upgrade_socket;
    assert!(place.is_absolute() && place.ends_with("portcullis-handover/upgrade.sock"), "{}", place.display());
}

#[test]
fn the_configurations_that_come_along_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["quickstart", "examples/oidc.toml"] {
        let loaded = load(&root.join(name), &Sources { env: &env, secrets: false });
        assert!(loaded.as_ref().is_ok_and(|config| config.warnings.0.is_empty()), "{name}: {loaded:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(128))]

    #[test]
    fn a_damaged_file_is_refused_or_read_but_never_a_panic(at in 0.0..1.0_f64, length in 0_usize..40, by in "\\PC{0,6}") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/oidc.toml");
        let text: Vec<char> = fs::read_to_string(path).unwrap().chars().collect();
        let from = (text.len() as f64 * at) as usize;
        let rest = text.iter().skip(from + length);
        let damaged: String = text.iter().take(from).copied().chain(by.chars()).chain(rest.copied()).collect();
        if let Err(problems) = load_files(&[("portcullis.toml", &damaged)], true) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }

    #[test]
    fn a_damaged_realm_that_issues_is_never_a_panic_either(which in 0..4_usize, at in 0.0..1.0_f64, length in 0_usize..60, by in "\\PC{0,6}") {
        let text: Vec<char> = documented::ALL[which].chars().collect();
        let from = (text.len() as f64 * at) as usize;
        let rest = text.iter().skip(from + length);
        let damaged: String = text.iter().take(from).copied().chain(by.chars()).chain(rest.copied()).collect();
        if let Err(problems) = load_files(&[("realms/one.toml", &damaged)], true) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }
}
