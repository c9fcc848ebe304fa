//! Opening: who makes a store, who may use it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use portcullis::secret::Secret;
use portcullis::store::{Fault, Location, OpenError, Opening, StoreSettings};

use super::{Ground, on_both};
use crate::support::postgres::{PASSWORD, Postgres};

on_both!(
    two_that_open_an_empty_store_at_once_both_succeed,
    whoever_only_uses_a_store_does_not_make_one,
    a_store_is_opened_again_with_what_it_holds,
    a_store_that_is_one_version_newer_is_used_and_left_as_it_is,
    a_store_of_a_much_newer_version_is_refused,
    a_store_that_another_build_made_is_refused,
    a_pepper_that_does_not_fit_is_refused,
    a_seal_key_that_does_not_fit_is_refused,
    a_database_with_tables_of_another_program_is_refused,
);

/// What a person has to put right.
#[track_caller]
fn wrong<T: std::fmt::Debug>(opened: Result<T, OpenError>) -> String {
    match opened {
        Err(OpenError::Wrong(text)) => {
            assert!(!text.contains(PASSWORD), "{text}");
            text
        }
        other => panic!("{other:?}"),
    }
}

async fn two_that_open_an_empty_store_at_once_both_succeed(ground: Ground) {
    let open = || ground.try_open(Opening::Create);
    let opened = tokio::join!(open(), open(), open(), open());
    let all: Result<Vec<_>, OpenError> = [opened.0, opened.1, opened.2, opened.3].into_iter().collect();
    let all = all.unwrap_or_else(|e| panic!("{e}"));
    for store in &all {
        assert_eq!(store.seal_key(), all[0].seal_key());
    }
    assert_eq!(ground.number("SELECT count(*) FROM portcullis_schema").await, 2);
}

async fn whoever_only_uses_a_store_does_not_make_one(ground: Ground) {
    let text = wrong(ground.try_open(Opening::Existing).await);
    assert!(text.contains("portcullis store migrate"), "{text}");
    assert_eq!(fs::read_dir(ground.directory.path()).unwrap().count(), 0);
    ground.open().await;
    ground.try_open(Opening::Existing).await.unwrap();
}

async fn a_store_is_opened_again_with_what_it_holds(ground: Ground) {
    let first = ground.open().await;
    ground.principal("a", "acme").await;
    let seal_key = first.seal_key().clone();
    first.close().await;
    for opening in [Opening::Create, Opening::Existing] {
        let again = ground.try_open(opening).await.unwrap();
        assert_eq!(again.seal_key(), &seal_key);
        assert_eq!(again.realms().await.unwrap()["acme"], (1, 0));
    }
}

impl Ground {
    /// Notes a step of the schema that a newer version would have taken.
    async fn newer_step(&self, version: i64) {
        let checksum = if self.is_sqlite() { "x'00'" } else { r"'\x00'" };
        self.sql(&format!(
            "INSERT INTO portcullis_schema (version, description, success, checksum, execution_time) \
             VALUES ({version}, 'later', true, {checksum}, 0)"
        ))
        .await;
    }
}

async fn a_store_that_is_one_version_newer_is_used_and_left_as_it_is(ground: Ground) {
    ground.open().await;
    ground.newer_step(3).await;
    for opening in [Opening::Create, Opening::Existing] {
        ground.try_open(opening).await.unwrap().realms().await.unwrap();
    }
    assert_eq!(ground.number("SELECT max(version) FROM portcullis_schema").await, 3);
}

async fn a_store_of_a_much_newer_version_is_refused(ground: Ground) {
    ground.open().await;
    ground.newer_step(3).await;
    ground.newer_step(4).await;
    for opening in [Opening::Create, Opening::Existing] {
        let text = wrong(ground.try_open(opening).await);
        assert!(text.contains("newer version") && text.contains("its schema is 4"), "{text}");
    }
}

async fn a_store_that_another_build_made_is_refused(ground: Ground) {
    ground.open().await;
    let checksum = if ground.is_sqlite() { "x'00'" } else { r"'\x00'" };
    ground.sql(&format!("UPDATE portcullis_schema SET checksum = {checksum}")).await;
    let text = wrong(ground.try_open(Opening::Create).await);
    assert!(text.contains("another build"), "{text}");
}

async fn a_pepper_that_does_not_fit_is_refused(mut ground: Ground) {
    ground.open().await;
    ground.settings.pepper = Some(Secret::new(vec![9; 32]));
    for opening in [Opening::Create, Opening::Existing] {
        let text = wrong(ground.try_open(opening).await);
        assert!(text.contains("store.pepper does not fit this database"), "{text}");
    }
}

async fn a_seal_key_that_does_not_fit_is_refused(mut ground: Ground) {
    ground.open().await;
    ground.settings.seal_key = Some(Secret::new(vec![9; 32]));
    let text = wrong(ground.try_open(Opening::Create).await);
    assert!(text.contains("store.seal_key does not fit this database"), "{text}");
}

async fn a_database_with_tables_of_another_program_is_refused(ground: Ground) {
    if let Location::Sqlite(path) = &ground.settings.location {
        fs::write(path, "").unwrap();
    }
    ground.sql("CREATE TABLE api_keys (mine TEXT)").await;
    let text = wrong(ground.try_open(Opening::Create).await);
    assert!(text.contains("another program") && text.contains("`api_keys`"), "{text}");
    assert_eq!(ground.number("SELECT count(*) FROM api_keys").await, 0);
}

/// Synchronous parts of a case that only SQLite has.
fn sqlite(case: impl AsyncFnOnce(Ground, &Path)) {
    let ground = Ground::sqlite();
    let file = ground.directory.path().join("portcullis.db");
    super::run(case(ground, &file));
}

#[test]
fn nobody_else_may_read_the_files_of_a_store() {
    sqlite(async |ground, file| {
        let store = ground.open().await;
        let mut names = Vec::new();
        for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        let all = ["", "-shm", "-wal", ".pepper", ".seal"].map(|ending| format!("portcullis.db{ending}"));
        assert_eq!(names, all);
        store.close().await;
    });
}

#[test]
fn a_missing_secret_of_an_old_database_is_named_and_not_made_anew() {
    sqlite(async |ground, file| {
        ground.open().await.close().await;
        for ending in ["pepper", "seal"] {
            let secret = file.with_extension(format!("db.{ending}"));
            let away = file.with_extension("away");
            fs::rename(&secret, &away).unwrap();
            for opening in [Opening::Create, Opening::Existing] {
                let text = wrong(ground.try_open(opening).await);
                assert!(text.contains(secret.to_str().unwrap()) && text.contains("backup"), "{text}");
            }
            assert!(!secret.exists());
            fs::rename(&away, &secret).unwrap();
        }
        ground.open().await;
    });
}

#[test]
fn a_pepper_of_another_database_is_refused() {
    sqlite(async |ground, file| {
        ground.open().await.close().await;
        let other = Ground::sqlite();
        other.open().await.close().await;
        fs::copy(other.directory.path().join("portcullis.db.pepper"), file.with_extension("db.pepper")).unwrap();
        let text = wrong(ground.try_open(Opening::Create).await);
        assert!(text.contains("portcullis.db.pepper does not fit this database"), "{text}");
    });
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    sqlite(async |ground, file| {
        let text = "this is a letter, and by no means a database\n".repeat(100);
        fs::write(file, &text).unwrap();
        for opening in [Opening::Create, Opening::Existing] {
            assert!(wrong(ground.try_open(opening).await).contains("is no database of SQLite"));
        }
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    });
}

#[test]
fn a_database_file_of_another_program_is_refused() {
    sqlite(async |ground, file| {
        fs::write(file, "").unwrap();
        ground.sql("CREATE TABLE bookmarks (url TEXT)").await;
        assert!(wrong(ground.try_open(Opening::Create).await).contains("`bookmarks`"));
    });
}

#[test]
fn a_place_where_no_file_can_be_made_is_named() {
    sqlite(async |mut ground, file| {
        let missing = file.with_extension("d");
        // Not even root can make a file there.
        for (directory, why) in [(missing.as_path(), "there is no directory"), (Path::new("/sys"), "cannot be made in")]
        {
            ground.settings.location = Location::Sqlite(directory.join("a.db"));
            let text = wrong(ground.try_open(Opening::Create).await);
            assert!(text.contains(why) && text.contains(directory.to_str().unwrap()), "{text}");
        }
        ground.settings.location = Location::Sqlite(file.parent().unwrap().to_owned());
        assert!(wrong(ground.try_open(Opening::Create).await).contains("is no file"));
    });
}

#[test]
fn a_name_that_looks_like_a_url_is_a_file_all_the_same() {
    sqlite(async |mut ground, file| {
        let file = file.with_file_name("file:a.db?mode=memory&b%41");
        ground.settings.location = Location::Sqlite(file.clone());
        ground.open().await;
        ground.principal("a", "acme").await;
        assert!(fs::metadata(&file).unwrap().len() > 0);
        assert_eq!(ground.open().await.realms().await.unwrap()["acme"], (1, 0));
    });
}

#[test]
fn postgres_wants_its_secrets_from_the_configuration() {
    super::run(async {
        let mut ground = Ground::postgres();
        ground.settings.seal_key = None;
        assert!(wrong(ground.try_open(Opening::Create).await).contains("store.seal_key must be given"));
        ground.settings.pepper = None;
        assert!(wrong(ground.try_open(Opening::Create).await).contains("store.pepper must be given"));
        // Nothing was made meanwhile.
        assert_eq!(ground.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await, 0);
    });
}

#[test]
fn tables_of_the_application_may_stand_beside_ours_in_postgres() {
    super::run(async {
        let ground = Ground::postgres();
        ground.sql("CREATE TABLE bookmarks (url TEXT); CREATE TABLE _sqlx_migrations (version BIGINT)").await;
        ground.open().await;
        ground.open().await;
    });
}

#[test]
fn a_schema_of_its_own_can_be_named_in_the_url() {
    super::run(async {
        let url = Postgres::shared().new_database();
        let ground = Ground::at(&format!("{url}?options=-c%20search_path%3Dgate"));
        let outside = Ground::at(&url);
        assert!(matches!(ground.try_open(Opening::Create).await, Err(OpenError::Failed(_))), "there is no such schema");
        outside.sql("CREATE SCHEMA gate").await;
        ground.open().await.realms().await.unwrap();
        assert_eq!(outside.number("SELECT count(*) FROM gate.portcullis_schema").await, 2);
        assert!(wrong(outside.try_open(Opening::Existing).await).contains("is empty"));
    });
}

#[test]
fn what_a_person_must_put_right_about_postgres_is_told_from_what_may_pass() {
    super::run(async {
        let open = async |url: &str| Ground::at(url).try_open(Opening::Create).await;
        let url = Postgres::shared().url("no_such_database");
        assert!(wrong(open(&url).await).contains("no_such_database"));
        assert!(wrong(open(&url.replace(PASSWORD, "guessed")).await).contains("password authentication failed"));
        let server = format!("127.0.0.1:{}/postgres", Postgres::shared().port());
        for unclear in [
            format!("{url}?sslmod=require"),
            format!("{url}?sslmode={PASSWORD}"),
            format!("{url}?{PASSWORD}"),
            format!("postgres://portcullis:1/{PASSWORD}@{server}"),
            format!("postgres://portcullis:1?{PASSWORD}@{server}"),
            format!("postgres://portcullis:1#{PASSWORD}@{server}"),
            format!("postgres://portcullis:1@{PASSWORD}@{server}"),
            format!("mysql://portcullis:{PASSWORD}@{server}:"),
        ] {
            assert!(wrong(open(&unclear).await).contains("store.url"));
        }
        let refused = url.replace(&format!(":{}/", Postgres::shared().port()), ":1/");
        for maybe_later in [refused, format!("{url}?sslmode=require")] {
            match open(&maybe_later).await {
                Err(OpenError::Failed(error)) => {
                    assert_eq!(error.fault, Fault::Unreachable, "{error}");
                    assert!(!error.to_string().contains(PASSWORD), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn no_password_is_told_by_a_store() {
    super::run(async {
        let ground = Ground::postgres();
        let store = ground.open().await;
        let told = format!("{store:?} {} {:?}", store.place(), ground.settings);
        assert!(told.contains("127.0.0.1") && !told.contains(PASSWORD), "{told}");
        let settings = StoreSettings { pepper: Some(Secret::new(b"pepper-text".to_vec())), ..ground.settings.clone() };
        assert!(!format!("{settings:?}").contains("pepper-text"));
    });
}
