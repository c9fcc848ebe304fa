//! Where the store is, and its secrets.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::{Settings, load_for_administration};
use crate::store::{Location, StoreSettings};

const LONG: &str = "0123456789abcdef0123456789abcdef";

fn env(name: &str) -> Option<String> {
    let text = match name {
        "STATE_DIRECTORY" => "/var/lib/portcullis:/var/lib/other",
        "DATABASE_URL" => "postgres://gate:hunter2@db.example/portcullis\n",
        "PEPPER" => LONG,
        "SEAL" => "fedcba9876543210fedcba9876543210",
        "SHORT" => "0123456789abcdef0123456789abcde",
        "NO_URL" => "gate:hunter2@db.example",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The directory of the configuration, and what came of it.
fn load_main(main: &str, env: &dyn Fn(&str) -> Option<String>, secrets: bool) -> (PathBuf, Result<Config, Problems>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("realms")).unwrap();
    fs::write(dir.path().join("portcullis.toml"), main).unwrap();
    fs::write(dir.path().join("realms/shop.toml"), shop_text(PUBLIC)).unwrap();
    (dir.path().to_owned(), load(dir.path(), &Sources { env, secrets }))
}

fn with(main: &str) -> Result<Config, Problems> {
    load_main(main, &env, true).1
}

fn store(settings: Settings) -> StoreSettings {
    settings.store.expect("a store")
}

const POSTGRES: &str =
    "[store]\nurl = { env = 'DATABASE_URL' }\npepper = { env = 'PEPPER' }\nseal_key = { env = 'SEAL' }\n";

#[test]
fn the_default_is_a_file_where_the_service_may_write() {
    let settings = store(with("").unwrap().settings);
    assert_eq!(settings.location, Location::Sqlite("/var/lib/portcullis/portcullis.db".into()));
    assert_eq!((settings.pepper, settings.seal_key, settings.audit_retention), (None, None, None));
    assert_eq!(settings.max_staleness, Duration::from_secs(30));
    assert!(crate::config::compile::is_label(&settings.node), "{}", settings.node);
    let (_, loaded) = load_main("", &|_| None, true);
    assert_eq!(store(loaded.unwrap().settings).location, Location::Sqlite("portcullis.db".into()));
}

#[test]
fn a_path_that_is_written_counts_from_the_file_that_names_it() {
    let (dir, loaded) = load_main("store.url = 'sqlite:state/p.db'\n", &env, true);
    assert_eq!(store(loaded.unwrap().settings).location, Location::Sqlite(dir.join("state/p.db")));
    let absolute = with("store.url = 'sqlite:/srv/p.db'\n").unwrap();
    assert_eq!(store(absolute.settings).location, Location::Sqlite("/srv/p.db".into()));
}

#[test]
fn none_is_no_store() {
    assert_eq!(with("store.url = 'none'\n").unwrap().settings.store, None);
}

#[test]
fn a_database_is_reached_with_the_secrets_that_all_nodes_share() {
    let more = "max_staleness = '1s'\nnode = 'gw-1'\naudit_retention = '400d'\n";
    let config = with(&format!("{POSTGRES}{more}")).unwrap();
    assert!(config.warnings.0.is_empty(), "{}", config.warnings);
    let settings = store(config.settings);
    let Location::Postgres(url) = &settings.location else { panic!("{settings:?}") };
    assert_eq!(url.expose(), b"postgres://gate:hunter2@db.example/portcullis");
    assert_eq!(settings.pepper.as_ref().map(|secret| secret.expose()), Some(LONG.as_bytes()));
    assert!(settings.seal_key.is_some());
    assert_eq!((settings.max_staleness.as_secs(), settings.node.as_str()), (1, "gw-1"));
    assert_eq!(settings.audit_retention, Some(Duration::from_secs(400 * 86_400)));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn a_database_without_its_secrets_is_refused_for_each_of_them() {
    let faults = faults(with("store.url = 'postgres://gate@db.example/p'\n"));
    assert_eq!(faults.len(), 2, "{faults:#?}");
    for (fault, key) in faults.iter().zip(["store.pepper: ", "store.seal_key: "]) {
        assert!(fault.starts_with(key) && fault.contains("openssl rand -hex 32"), "{fault}");
    }
}

#[test]
fn a_url_that_is_found_elsewhere_needs_the_secrets_too() {
    let faults = faults(with("store.url = { env = 'DATABASE_URL' }\n"));
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn secrets_of_the_store_are_long_and_differ() {
    refused(with("store.pepper = { env = 'SHORT' }\n"), "store.pepper", "shorter than 32 bytes");
    refused(with("store.seal_key = { env = 'SHORT' }\n"), "store.seal_key", "shorter than 32 bytes");
    let same = "store.pepper = { env = 'PEPPER' }\nstore.seal_key = { env = 'PEPPER' }\n";
    refused(with(same), "store.seal_key", "one of its own");
}

#[test]
fn a_password_in_the_file_is_worth_a_word() {
    let text = POSTGRES.replace("{ env = 'DATABASE_URL' }", "'postgres://gate:hunter2@db.example/p'");
    let config = with(&text).unwrap();
    let [warning] = warnings(&config)[..] else { panic!("{}", config.warnings) };
    assert!(warning.contains("{ env = \"NAME\" }") && !warning.contains("hunter2"), "{warning}");
}

#[test]
fn what_was_found_and_is_no_url_is_not_told() {
    let (_, loaded) = load_main("store.url = { env = 'NO_URL' }\n", &env, true);
    let problems = loaded.expect_err("a problem").to_string();
    assert!(problems.contains("store.url: what was found is no URL of a store"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn without_secrets_nothing_of_the_store_is_looked_up() {
    let main = POSTGRES.replace("env = '", "env = 'NOT_SET_");
    let (_, loaded) = load_main(&main, &|_| None, false);
    let settings = store(loaded.unwrap().settings);
    assert!(matches!(settings.location, Location::Postgres(_)));
    assert!(settings.pepper.is_some() && settings.seal_key.is_some());
}

#[test]
fn settings_of_the_store_are_bounded() {
    let main = "[store]\nmax_staleness = '999ms'\nnode = 'a b'\naudit_retention = '23h'\n[cache]\nkeys = '65GiB'\n";
    let faults = faults(with(main));
    let keys: Vec<_> = faults.iter().filter_map(|fault| fault.split_once(": ")).map(|(key, _)| key).collect();
    assert_eq!(keys, ["store.max_staleness", "store.node", "store.audit_retention", "cache.keys"]);
    assert_eq!(with("cache.keys = 0\n").unwrap().settings.cache_keys, 0);
    assert_eq!(with("").unwrap().settings.cache_keys, 256 << 20);
}

#[test]
fn whoever_administers_needs_the_secrets_of_the_store_and_no_others() {
    let rest = format!("{ISSUER}{PUBLIC}").replace("'SECRET'", "'NOT_SET'");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("realms")).unwrap();
    fs::write(dir.path().join("portcullis.toml"), POSTGRES).unwrap();
    fs::write(dir.path().join("realms/shop.toml"), shop_text(&rest)).unwrap();
    refused(load(dir.path(), &Sources { env: &env, secrets: true }), "issuers[0].keys.secret", "is not set");
    let settings = store(load_for_administration(dir.path(), &env).unwrap().settings);
    assert_eq!(settings.pepper.as_ref().map(|secret| secret.expose()), Some(LONG.as_bytes()));
    let without = load_for_administration(dir.path(), &|_| None);
    assert_eq!(faults(without).len(), 3, "the URL and two secrets");
}
