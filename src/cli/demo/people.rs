//! Who appears in the demos of the documented APIs. The names are those of the documents.

use serde_json::{Value, json};

use crate::cli::admin::{Asker, Stop};

/// Everybody's password: whoever reads this can run the demo.
pub(super) const PASSWORD: &str = "a password for the demo";
/// A user.
pub(super) const EMAIL: &str = "you@yourbrand.com";
/// The same, as the application knows them.
pub(super) const USER: &str = "abc123";
/// The credentials of a client.
pub(super) const USERNAME: &str = "your_api_username";
/// An owner of keys.
pub(super) const TEAM: &str = "team_42";
/// An affiliate of that team.
pub(super) const AFFILIATE: &str = "cmj8q1wau0003sb01lpvka478";
/// Another, who is suspended.
pub(super) const SUSPENDED: &str = "suspended";
/// A programme of that team.
pub(super) const PROGRAMME: &str = "cm7xutqbb0001yfkcrnpextmp";

/// What was made for one run.
#[derive(Default)]
pub(super) struct Made {
    /// Text of an API key.
    pub(super) key: String,
}

/// Makes whoever the demo of this realm needs, as an administrator would.
///
/// # Errors
/// The admin API refuses, or the store fails.
pub(super) async fn make(realm: &str, asker: &Asker) -> Result<Made, Stop> {
    let mut made = Made::default();
    match realm {
        "affilync" => {
            with_password(asker, json!({ "realm": realm, "kind": "user", "identifier": EMAIL })).await?;
            made.key = key(asker, realm, &json!({}), &["campaigns:read"]).await?;
        }
        "affonso" => {
            let attributes = json!({ "subdomain": "yourcompany" });
            made.key = key(asker, realm, &attributes, &["write:affiliates"]).await?;
        }
        "giftcards" => {
            let attributes = json!({ "client_id": 123_456 });
            let client = json!({ "realm": realm, "identifier": USERNAME, "attributes": attributes });
            with_password(asker, client).await?;
        }
        _ => {} // the application keeps its own
    }
    Ok(made)
}

async fn with_password(asker: &Asker, client: Value) -> Result<(), Stop> {
    let made = asker.post(&["clients"], &client).await?;
    let id = made["id"].as_str().unwrap_or_default();
    asker.post(&["clients", id, "password"], &json!({ "password": PASSWORD })).await.map(drop)
}

async fn key(asker: &Asker, realm: &str, attributes: &Value, scopes: &[&str]) -> Result<String, Stop> {
    let owner = json!({ "realm": realm, "kind": "owner", "identifier": TEAM, "attributes": attributes });
    let owner = asker.post(&["clients"], &owner).await?;
    let key = json!({ "realm": realm, "owner_id": owner["id"], "name": "demo", "scopes": scopes });
    let made = asker.post(&["keys"], &key).await?;
    Ok(made["secret"].as_str().unwrap_or_default().to_owned())
}
