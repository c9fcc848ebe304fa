//! From the schema of the version before: what was there stays, and nothing of the application is taken for ours.

use portcullis::store::{ClientSource, Expected, Location, NewSession, OpenError, Opening};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use super::records::{add_client, begin, session, sign_in_again, user};
use super::{Ground, on_both};

on_both!(
    a_store_of_the_version_before_keeps_its_rows,
    whoever_only_uses_a_store_of_the_version_before_is_told_to_migrate,
    a_table_of_the_application_is_not_taken_for_ours,
    a_node_of_the_version_before_goes_on,
);

impl Ground {
    /// Takes the first step only, as the version before does.
    async fn first_step(&self) {
        let sql = match self.is_sqlite() {
            true => include_str!("../../../src/store/migrations/sqlite/0001_initial.sql"),
            false => include_str!("../../../src/store/migrations/postgres/0001_initial.sql"),
        };
        let step = Migration::new(1, "initial".into(), MigrationType::Simple, sql.into_sql_str(), true);
        let mut migrator = Migrator::with_migrations(vec![step]);
        migrator.dangerous_set_table_name("portcullis_schema");
        migrator.set_locking(false);
        match &self.settings.location {
            Location::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
                let mut connection = options.connect().await.expect("SQLite");
                migrator.run_direct(None, &mut connection, false).await.expect("the first step");
                connection.close().await.expect("SQLite");
            }
            Location::Postgres(url) => {
                let url = std::str::from_utf8(url.expose()).expect("text");
                let mut connection = sqlx::PgConnection::connect(url).await.expect("PostgreSQL");
                migrator.run_direct(None, &mut connection, false).await.expect("the first step");
            }
        }
    }
}

async fn a_store_of_the_version_before_keeps_its_rows(ground: Ground) {
    ground.first_step().await;
    ground.key("a", "acme").await;
    ground.key("b", "acme").await;
    let store = ground.open().await;
    let health = store.check().await.unwrap();
    assert_eq!((health.schema, health.problems), (2, Vec::new()));
    assert_eq!((health.rows["principals"], health.rows["api_keys"], health.rows["sessions"]), (2, 2, 0));
    let client = store.client_called("acme", "a").await.unwrap().unwrap();
    assert_eq!((client.id.as_str(), client.source, client.subject), ("own_acme_a", ClientSource::Local, None));
    let session = NewSession { realm: "acme".to_owned(), ..session(&client.id) };
    let mut write = begin(&store).await;
    assert!(write.begin_session(&session, None, &Expected::default(), None).await.unwrap());
    write.commit().await.unwrap();
    // Taken once.
    store.close().await;
    ground.open().await;
    assert_eq!(ground.number("SELECT count(*) FROM portcullis_schema").await, 2);
}

async fn whoever_only_uses_a_store_of_the_version_before_is_told_to_migrate(ground: Ground) {
    ground.first_step().await;
    let Err(OpenError::Wrong(text)) = ground.try_open(Opening::Existing).await else { panic!("opened") };
    assert!(text.contains("has schema 1") && text.contains("portcullis store migrate"), "{text}");
    assert_eq!(ground.number("SELECT count(*) FROM portcullis_schema").await, 1);
}

async fn a_table_of_the_application_is_not_taken_for_ours(ground: Ground) {
    ground.first_step().await;
    ground.sql("CREATE TABLE sessions (mine TEXT)").await;
    let Err(OpenError::Wrong(text)) = ground.try_open(Opening::Create).await else { panic!("opened") };
    assert!(text.contains("`sessions` of another program"), "{text}");
    assert_eq!(ground.number("SELECT count(*) FROM portcullis_schema").await, 1, "nothing was done");
    ground.sql("DROP TABLE sessions").await;
    ground.open().await;
}

async fn a_node_of_the_version_before_goes_on(ground: Ground) {
    let store = ground.open().await;
    // What it writes knows nothing of the new columns.
    ground.principal("a", "acme").await;
    let client = store.client("own_acme_a").await.unwrap().unwrap();
    assert_eq!((client.source, client.subject), (ClientSource::Local, None));
    // What it removes is gone with its sessions.
    let ann = add_client(&store, user("ann")).await;
    sign_in_again(&store, &ann).await;
    let foreign_keys = if ground.is_sqlite() { "PRAGMA foreign_keys = ON; " } else { "" };
    ground.sql(&format!("{foreign_keys}DELETE FROM principals WHERE id = '{ann}'")).await;
    assert_eq!(ground.number("SELECT count(*) FROM sessions").await, 0);
    assert_eq!(ground.number("SELECT count(*) FROM refresh_tokens").await, 0);
}
