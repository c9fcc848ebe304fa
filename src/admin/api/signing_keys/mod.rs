//! Keys that realms sign their tokens with: which there are, which one signs, and the change from one to the next. A secret
//! half is never among what is told.

mod change;
mod rotate;
mod state;

use http::Method;

use super::call::Call;
use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::find::REALM;
use super::{Answer, Refusal, find};
use crate::store::{SigningKeyRecord, Write};

const READ: Option<&str> = Some("admin:read");
const WRITE: Option<&str> = Some("admin:signing");

/// Thirty days.
const MAX_DELAY: i64 = 30 * 24 * 60 * 60;

const ALG: Kind = Kind::Word(&[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
]);

static ROTATION: &[Field] = &[
    Field::optional("realm", Kind::Text(255), "Name of the realm; may be left out where only one can be meant."),
    Field::optional("alg", ALG, "Signature algorithm; may be left out where the realm signs by one only."),
    Field::optional(
        "activate_in_seconds",
        Kind::Integer(0, MAX_DELAY),
        "The new key signs after so long; default 60 for secrets, 600 for key pairs, whose public halves others keep.",
    ),
];

static RETIREMENT: &[Field] =
    &[Field::optional("at", Kind::Time, "It verifies no more from then on; default now. Not in the past.")];

static SWITCH: &[Field] = &[Field::optional(
    "force",
    Kind::Boolean,
    "Also if it is the only key that signs: then a new one is made, which signs at once.",
)];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/signing-keys",
        scope: READ,
        name: "list_signing_keys",
        about: "Keys that tokens are signed with, in the order of their activation; without their secret halves.",
        query: &[REALM],
        body: None,
        status: 200,
        answers: "signing_key",
        list: true,
        creates: false,
        handler: |call| Box::pin(list(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/signing-keys/rotate",
        scope: WRITE,
        name: "rotate_signing_key",
        about: "Makes the next key of a realm; the one in force verifies until its last token has expired.",
        query: &[],
        body: Some(ROTATION),
        status: 200,
        answers: "signing_key",
        list: false,
        creates: true,
        handler: |call| Box::pin(rotate::rotate(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/signing-keys/{kid}/activate",
        scope: WRITE,
        name: "activate_signing_key",
        about: "Lets a key sign from now on, without an end.",
        query: &[],
        body: None,
        status: 200,
        answers: "signing_key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::activate(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/signing-keys/{kid}/retire",
        scope: WRITE,
        name: "retire_signing_key",
        about: "Ends a key: what it signed is refused from then on.",
        query: &[],
        body: Some(RETIREMENT),
        status: 200,
        answers: "signing_key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::retire(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/signing-keys/{kid}/disable",
        scope: WRITE,
        name: "disable_signing_key",
        about: "Ends a key at once and for good, because somebody else may have it.",
        query: &[],
        body: Some(SWITCH),
        status: 200,
        answers: "signing_key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::disable(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let realms = find::realm_filter(call)?;
    let mut keys = call.store().signing_keys(call.query.text("realm")).await?;
    keys.retain(|key| realms.as_ref().is_none_or(|realms| realms.contains(&key.realm)));
    Ok(Answer::list(keys.iter().map(|key| state::to_json(key, &keys, call.now)).collect(), None))
}

/// Begins to change keys: nobody else does until the end, nor makes any.
async fn begin(call: &Call<'_>) -> Result<(Write, Vec<SigningKeyRecord>), Refusal> {
    let mut write = call.store().begin_alone().await?;
    let keys = write.signing_keys(None).await?;
    Ok((write, keys))
}

/// The key that the path names.
fn meant<'k>(call: &Call<'_>, keys: &'k [SigningKeyRecord]) -> Result<&'k SigningKeyRecord, Refusal> {
    let kid = call.id(0);
    let found = keys.iter().find(|key| key.kid == kid && call.actor.may_enter(&key.realm));
    found.ok_or_else(|| Refusal::NotFound(format!("there is no signing key {kid:?}")))
}

fn wrong_state(key: &SigningKeyRecord, text: &str) -> Refusal {
    Refusal::Conflict { code: "wrong_state", text: format!("{} {text}", key.kid), target: Some(key.kid.clone()) }
}
