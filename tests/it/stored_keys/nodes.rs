//! What is changed on one node, or by a command on the machine, is known to the others soon; and what two do at once
//! counts once.

use serde_json::json;
use tempfile::TempDir;

use super::House;
use crate::store::{self, Ground};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;
use crate::support::realms::{api_key, key_prefix};

/// Another gateway on the same store as `house`.
fn neighbour(house: &House) -> Gateway {
    Gateway::builder().standard(&house.standard).upstream(&house.upstream).store_of(house).start()
}

fn what_one_changes_the_other_learns(house: &House, other: &Gateway) {
    let on_other = |key: &str| other.get("/me/x").header("X-API-Key", key).send();

    // What the other has refused a moment ago, it takes as soon as it has heard of it.
    let owner = house.admin().owner("team_42", &json!({}));
    let text = api_key(&key_prefix());
    on_other(&text).denied("key_unknown");
    let batch = json!({ "realm": "api", "owner_id": owner, "keys": [{ "key": text }] });
    house.admin().post("/keys/import", &batch).is(200);
    eventually("the other node knows the new key", || (on_other(&text).status == 200).then_some(()));

    let key = house.admin().key(&owner, &json!({}));
    on_other(&key.secret).ok();
    house.admin().order(format!("/keys/{}/revoke", key.id)).is(200);
    eventually("the other node knows that it is revoked", || {
        let reply = on_other(&key.secret);
        (reply.status == 401).then(|| reply.denied("key_revoked"))
    });

    other.admin().order(format!("/clients/{owner}/disable")).is(200);
    eventually("this node knows that the owner is disabled", || {
        let reply = house.present(&text);
        (reply.status == 401).then(|| reply.denied("key_disabled"))
    });
}

#[test]
fn two_gateways_on_one_file_learn_from_each_other() {
    let house = House::new();
    what_one_changes_the_other_learns(&house, &neighbour(&house));
}

#[test]
fn two_gateways_on_one_postgresql_learn_from_each_other() {
    let url = Postgres::shared().new_database();
    let house = House::with(|builder| builder.database(&url));
    let other = Gateway::builder().standard(&house.standard).upstream(&house.upstream).database(&url).start();
    what_one_changes_the_other_learns(&house, &other);
}

/// A key that works, then `sql` behind everybody's back together with the revocation of it: the row of the feed that would
/// tell of it is never written.
#[track_caller]
fn what_nobody_told_is_noticed(sql: &str) {
    let house = House::new();
    let key = house.key();
    house.present(&key.secret).ok();
    let ground = Ground { settings: house.store_settings(), directory: TempDir::new().expect("a directory") };
    let revoked = format!("UPDATE api_keys SET status = 'revoked', revoked_at = 0 WHERE id = '{}'", key.id);
    store::run(async move { ground.sql(&format!("BEGIN IMMEDIATE; {revoked}; {sql}; COMMIT")).await });
    eventually("the key is read again", || (house.present(&key.secret).status == 401).then_some(()));
    house.present(&key.secret).denied("key_revoked");

    // It goes on from there.
    let another = house.admin().owner("team_43", &json!({}));
    let another = house.admin().key(&another, &json!({}));
    house.present(&another.secret).ok();
    house.admin().order(format!("/keys/{}/revoke", another.id)).is(200);
    house.present(&another.secret).denied("key_revoked");
}

#[test]
fn after_rows_of_the_feed_were_missed_everything_is_read_again() {
    what_nobody_told_is_noticed("UPDATE feed_position SET seq = seq + 7");
}

#[test]
fn in_a_store_that_was_put_back_to_an_older_state_everything_is_read_again() {
    what_nobody_told_is_noticed("DELETE FROM revocations; UPDATE feed_position SET seq = 0");
}

#[test]
fn a_gap_in_the_middle_of_the_feed_is_noticed_too() {
    what_nobody_told_is_noticed(
        "UPDATE feed_position SET seq = seq + 3; INSERT INTO revocations (seq, realm, kind, value, at, expires_at) \
         SELECT seq, 'api', 'key', 'key_of_somebody_else', 0, 4000000000000 FROM feed_position",
    );
}

/// The last row that was seen is another one by now.
const ANOTHER_END: &str =
    "UPDATE revocations SET value = 'key_of_somebody_else' WHERE seq = (SELECT seq FROM feed_position)";

#[test]
fn in_a_store_that_was_put_back_and_has_as_many_rows_again_everything_is_read_again() {
    what_nobody_told_is_noticed(ANOTHER_END);
}

#[test]
fn in_a_store_that_was_put_back_and_has_more_rows_by_now_everything_is_read_again() {
    what_nobody_told_is_noticed(&format!(
        "{ANOTHER_END}; UPDATE feed_position SET seq = seq + 1; \
         INSERT INTO revocations (seq, realm, kind, value, at, expires_at) \
         SELECT seq, 'api', 'key', 'key_of_somebody_else', 0, 4000000000000 FROM feed_position"
    ));
}

#[test]
fn what_a_newer_version_tells_and_this_one_does_not_understand_has_everything_read_again() {
    what_nobody_told_is_noticed(
        "UPDATE feed_position SET seq = seq + 1; INSERT INTO revocations (seq, realm, kind, value, at, expires_at) \
         SELECT seq, 'api', 'of_the_future', 'x', 0, 4000000000000 FROM feed_position",
    );
}

#[test]
fn a_copy_of_the_files_holds_all_that_was_answered() {
    let house = House::new();
    let key = house.key();
    house.present(&key.secret).ok();
    let (directory, standard, upstream) = (house.directory().to_owned(), &house.standard, &house.upstream);
    let kept = TempDir::new().expect("a directory");
    for entry in std::fs::read_dir(&directory).expect("its directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), kept.path().join(entry.file_name())).expect("copied");
        }
    }
    let state = kept.path().to_str().expect("UTF-8");
    let again = Gateway::builder().standard(standard).upstream(upstream).env("STATE_DIRECTORY", state).start();
    again.get("/me/x").header("X-API-Key", &key.secret).send().ok();
}
