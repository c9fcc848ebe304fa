//! Principals: users, clients, owners of keys; stored ones, and those of the configuration to read. Their address lists
//! are in `addresses`, their keys in `keys`.

mod change;
mod create;
mod read;

use http::Method;

use super::endpoint::Endpoint;
use super::fields::{Field, Kind};
use super::find::{REALM, REALM_OF_ID};
use super::paging::{CURSOR, LIMIT};

const READ: Option<&str> = Some("admin:read");
const WRITE: Option<&str> = Some("admin:clients");

const KIND: Kind = Kind::Word(&["user", "client", "owner"]);
const STATUS: Kind = Kind::Word(&["active", "disabled"]);
const IDENTIFIER: Kind = Kind::Text(255);
const ROLES: Kind = Kind::Texts(255);
const SCOPES: Kind = Kind::Texts(128);
const NAME: Kind = Kind::Text(200);

const PASSWORD_HASH: Field = Field::optional(
    "password_hash",
    Kind::Text(512),
    "Hash of a password that was made elsewhere: bcrypt, or a PHC string of argon2id, argon2i, scrypt, pbkdf2-sha256 or \
     pbkdf2-sha512; at most 256 MiB and about a second to compute. Never shown; replaced at the first good login.",
);

static FILTERS: &[Field] = &[
    REALM,
    Field::optional("identifier", IDENTIFIER, "Exact, letter case (ASCII) aside."),
    Field::optional("status", STATUS, "Status."),
    Field::optional("tenant", NAME, "Tenant."),
    Field::optional("kind", KIND, "What it is."),
    Field::optional("role", Kind::Text(255), "A role that it has."),
    CURSOR,
    LIMIT,
];

static NEW: &[Field] = &[
    Field::optional("realm", Kind::Text(255), "Name of the realm; may be left out where only one can be meant."),
    Field::optional("kind", KIND, "What it is; default `client`."),
    Field::required("identifier", IDENTIFIER, "What applications know it by; unique in the realm, letter case aside."),
    Field::optional("roles", ROLES, "Names of roles of the realm."),
    Field::nullable("plan", NAME, "Plan."),
    Field::nullable("tenant", NAME, "Tenant."),
    Field::nullable("scopes", SCOPES, "Scopes, also patterns; none = its keys are not limited, unless it has roles."),
    Field::optional("attributes", Kind::Object, "Free attributes."),
    Field::optional("ip_allowlist", Kind::Networks, "Networks that its credentials may be used from; none = all."),
    PASSWORD_HASH,
];

static CHANGE: &[Field] = &[
    Field::optional("identifier", IDENTIFIER, "What applications know it by."),
    Field::optional("roles", ROLES, "Names of roles of the realm, all of them."),
    Field::nullable("plan", NAME, "Plan; null takes it away."),
    Field::nullable("tenant", NAME, "Tenant; null takes it away."),
    Field::nullable("scopes", SCOPES, "Scopes, all of them; null takes them away."),
    Field::optional("attributes", Kind::Object, "Free attributes, all of them."),
];

static PASSWORD: &[Field] = &[
    Field::optional(
        "password",
        Kind::Text(1024),
        "15 characters or more, 1024 bytes at most; without it and a hash one is made, and shown in the answer once.",
    ),
    PASSWORD_HASH,
];

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/clients",
        scope: READ,
        name: "list_clients",
        about: "Principals: stored ones by id, then those of the configuration.",
        query: FILTERS,
        body: None,
        status: 200,
        answers: "client",
        list: true,
        creates: false,
        handler: |call| Box::pin(read::list(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/clients",
        scope: WRITE,
        name: "create_client",
        about: "Makes a principal.",
        query: &[],
        body: Some(NEW),
        status: 201,
        answers: "client",
        list: false,
        creates: true,
        handler: |call| Box::pin(create::create(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/admin/v1/clients/{id}",
        scope: READ,
        name: "show_client",
        about: "A principal.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "client",
        list: false,
        creates: false,
        handler: |call| Box::pin(read::show(call)),
    },
    Endpoint {
        method: Method::PATCH,
        path: "/admin/v1/clients/{id}",
        scope: WRITE,
        name: "update_client",
        about: "Changes what is given of a principal.",
        query: &[REALM_OF_ID],
        body: Some(CHANGE),
        status: 200,
        answers: "client",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::update(call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/admin/v1/clients/{id}",
        scope: WRITE,
        name: "delete_client",
        about: "Removes a principal; its keys end with it.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "removed",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::delete(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/clients/{id}/disable",
        scope: WRITE,
        name: "disable_client",
        about: "Refuses every credential of a principal until it is enabled again.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "client",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::disable(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/clients/{id}/enable",
        scope: WRITE,
        name: "enable_client",
        about: "Takes the credentials of a principal again.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "client",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::enable(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/clients/{id}/password",
        scope: WRITE,
        name: "set_password",
        about: "Sets the password of a principal.",
        query: &[REALM_OF_ID],
        body: Some(PASSWORD),
        status: 200,
        answers: "client",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::password(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "/admin/v1/clients/{id}/unlock",
        scope: WRITE,
        name: "unlock_client",
        about: "Forgives failed logins.",
        query: &[REALM_OF_ID],
        body: None,
        status: 200,
        answers: "client",
        list: false,
        creates: false,
        handler: |call| Box::pin(change::unlock(call)),
    },
];
