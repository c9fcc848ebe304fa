//! API keys; stored ones, and those of the configuration to read. A key's text is shown when it is made or rotated, and
//! never again. Their address lists are in `addresses`.

mod change;
mod create;
mod import;
mod read;
mod verify;

use http::Method;

pub(super) use verify::judge;

use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::find::{REALM, REALM_OF_ID};
use super::paging::{CURSOR, LIMIT};

const READ: Option<&str> = Some("admin:read");
const WRITE: Option<&str> = Some("admin:keys");

const ID: Kind = Kind::Text(300);
const IDENTIFIER: Kind = Kind::Text(255);
const NAME: Kind = Kind::Text(200);
const SCOPES: Kind = Kind::Texts(128);
/// No key is longer; what is longer is no key.
const TEXT: Kind = Kind::Text(4096);
/// Thirty days.
const MAX_OVERLAP: i64 = 30 * 24 * 60 * 60;

static FILTERS: &[Field] = &[
    REALM,
    Field::optional("owner", IDENTIFIER, "Identifier of the owner, in one realm."),
    Field::optional("owner_id", ID, "Id of the owner."),
    Field::optional("hint", Kind::Text(4), "The last four characters of the text in force, or of the one before it."),
    Field::optional("status", Kind::Word(&["active", "disabled", "revoked"]), "Status."),
    Field::optional("unused_since", Kind::Time, "Neither used nor made since then."),
    Field::optional("expiring_before", Kind::Time, "Active, and expiring before then."),
    Field::optional("in_overlap", Kind::Boolean, "Rotated, and the text before still works."),
    CURSOR,
    LIMIT,
];

static NEW: &[Field] = &[
    Field::optional("realm", Kind::Text(255), "Name of the realm; may be left out where only one can be meant."),
    Field::optional("owner_id", ID, "Id of the client that it belongs to; this or `owner`."),
    Field::optional("owner", IDENTIFIER, "Identifier of the client that it belongs to."),
    Field::required("name", NAME, "For people."),
    Field::optional("prefix", Kind::Text(64), "What it starts with: one of the realm's `[[api_keys]]`."),
    Field::nullable(
        "scopes",
        SCOPES,
        "Scopes, also patterns; none = as its owner's. It never has more than its owner.",
    ),
    Field::optional("attributes", Kind::Object, "Free attributes; they go before the owner's of the same name."),
    Field::nullable("expires_at", Kind::Time, "Refused from then on; default in 90 days, null = never."),
    Field::optional("ip_allowlist", Kind::Networks, "Networks that it may be used from; none = all."),
];

static CHANGE: &[Field] = &[
    Field::optional("name", NAME, "For people."),
    Field::nullable("scopes", SCOPES, "Scopes, all of them; null = as its owner's."),
    Field::optional("attributes", Kind::Object, "Free attributes, all of them."),
    Field::nullable("expires_at", Kind::Time, "Refused from then on; null = never."),
];

static ROTATION: &[Field] = &[Field::optional(
    "overlap_seconds",
    Kind::Integer(0, MAX_OVERLAP),
    "The old text works so much longer; default a day, 0 = it ends now.",
)];

static REASON: &[Field] = &[Field::optional("reason", Kind::Text(500), "Why, for the audit trail.")];

static QUESTION: &[Field] = &[
    Field::required("key", TEXT, "The key; neither logged nor audited nor answered."),
    Field::optional("realm", Kind::Text(255), "Name of the realm; may be left out where only one can be meant."),
    Field::optional("ip", Kind::Address, "Where it is used; without it, address lists are not looked at."),
];

static BATCH: &[Field] = &[
    Field::optional("realm", Kind::Text(255), "Name of the realm; may be left out where only one can be meant."),
    Field::optional("owner_id", ID, "Id of the client that they belong to, where a row does not say."),
    Field::optional("format", Kind::Word(&["sha256", "plain"]), "What every row must have: a digest, or a text."),
    Field::required("keys", Kind::Objects(1000, ROW), "The keys."),
];

static ROW: &[Field] = &[
    Field::optional("sha256", Kind::Text(64), "SHA-256 of the text as 64 hexadecimal digits; this or `key`."),
    Field::optional("key", TEXT, "The text; it is hashed at once."),
    Field::optional("owner_id", ID, "Id of the client that it belongs to."),
    Field::optional("owner", IDENTIFIER, "Identifier of the client that it belongs to."),
    Field::optional("name", NAME, "For people; default `imported`."),
    Field::nullable("scopes", SCOPES, "Scopes; none = as its owner's."),
    Field::optional("attributes", Kind::Object, "Free attributes."),
    Field::nullable("expires_at", Kind::Time, "Refused from then on; default never, because it is in use already."),
];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/keys",
        scope: READ,
        name: "list_keys",
        about: "API keys: stored ones by id, then those of the configuration.",
        query: FILTERS,
        body: None,
        status: 200,
        answers: "key",
        list: true,
        creates: false,
        handler: |call| Box::pin(read::list(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys",
        scope: WRITE,
        name: "create_key",
        about: "Makes an API key. Its text is in this answer and nowhere else.",
        query: &[],
        body: Some(NEW),
        status: 201,
        answers: "key",
        list: false,
        creates: true,
        handler: |call| Box::pin(create::create(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys/verify",
        scope: READ,
        name: "verify_key",
        about: "What the gate would say to a key. Counts no use.",
        query: &[],
        body: Some(QUESTION),
        status: 200,
        answers: "key_verification",
        list: false,
        creates: false,
        handler: |call| Box::pin(verify::verify(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys/import",
        scope: WRITE,
        name: "import_keys",
        about: "Takes keys over that exist already: all of a batch or none. Keys that are known stay as they are.",
        query: &[],
        body: Some(BATCH),
        status: 200,
        answers: "import_result",
        list: false,
        creates: false,
        handler: |call| Box::pin(import::import(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/keys/{id}",
        scope: READ,
        name: "show_key",
        about: "An API key, without its text.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "key",
        list: false,
        creates: false,
        handler: |call| Box::pin(read::show(call)),
    },
    Endpoint {
        method: Method::PATCH,
        path: "/admin/v1/keys/{id}",
        scope: WRITE,
        name: "update_key",
        about: "Changes what is given of an API key.",
        query: &[REALM_OF_ID],
        body: Some(CHANGE),
        status: 200,
        answers: "key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::update(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys/{id}/rotate",
        scope: WRITE,
        name: "rotate_key",
        about: "Gives an API key a new text under the same id; the old one works a while longer.",
        query: &[REALM_OF_ID],
        body: Some(ROTATION),
        status: 200,
        answers: "key",
        list: false,
        creates: true,
        handler: |call| Box::pin(change::rotate(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys/{id}/revoke",
        scope: WRITE,
        name: "revoke_key",
        about: "Ends an API key for good.",
        query: &[REALM_OF_ID],
        body: Some(REASON),
        status: 200,
        answers: "key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::revoke(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys/{id}/disable",
        scope: WRITE,
        name: "disable_key",
        about: "Refuses an API key until it is enabled again.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::disable(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/keys/{id}/enable",
        scope: WRITE,
        name: "enable_key",
        about: "Takes an API key again.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "key",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::enable(call)),
    },
];
