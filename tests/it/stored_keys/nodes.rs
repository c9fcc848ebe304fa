//! What is changed on one node, or by a command on the machine, is known to the others soon; and what two do at once
//! counts once.

use serde_json::json;

use super::House;
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

#[test]
fn a_copy_of_the_files_holds_all_that_was_answered() {
    let house = House::new();
    let key = house.key();
    house.present(&key.secret).ok();
    let (directory, standard, upstream) = (house.directory().to_owned(), &house.standard, &house.upstream);
    let kept = tempfile::TempDir::new().expect("a directory");
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
