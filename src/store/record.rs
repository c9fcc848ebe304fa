//! What the store keeps, as the rest of the house sees it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::id::IdKind;
use crate::clock::UnixMillis;

macro_rules! words {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The one called `name`.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }
    };
}
pub(super) use words;

words! {
    /// What a principal is.
    ClientKind {
        /// A person who signs in.
        User = "user",
        /// A machine with credentials.
        Client = "client",
        /// Whoever API keys belong to: a team, an account.
        Owner = "owner",
    }
}

words! {
    /// Whether a principal may do anything.
    ClientStatus {
        /// It may.
        Active = "active",
        /// Every credential of it is refused.
        Disabled = "disabled",
    }
}

words! {
    /// Where a principal lives.
    ClientSource {
        /// In the store.
        Local = "local",
        /// In the application, which is asked; what stands here is what it said last.
        Directory = "directory",
    }
}

words! {
    /// State of a key.
    KeyStatus {
        /// It works, unless it has expired.
        Active = "active",
        /// Switched off, and can be switched on again.
        Disabled = "disabled",
        /// Ended for good.
        Revoked = "revoked",
    }
}

words! {
    /// Whose an address list is.
    Holder {
        /// A principal's.
        Client = "client",
        /// A key's.
        Key = "key",
    }
}

words! {
    /// How something that is audited ended.
    AuditOutcome {
        /// Done.
        Ok = "ok",
        /// Refused.
        Denied = "denied",
        /// Failed.
        Error = "error",
    }
}

words! {
    /// What a row of the feed tells.
    ChangeKind {
        /// A key (`value` = its id) is not what it was.
        Key = "key",
        /// A principal (`value` = its id) is not what it was: nor are its keys.
        Client = "client",
        /// There are new keys in the realm (`value` is empty): what was unknown may be known.
        KeysAdded = "keys_added",
        /// A session (`value` = its id) is not what it was.
        Session = "session",
        /// A token that was issued (`value` = its id, or its slot when the next one took its place) is not what it was.
        Token = "token",
        /// The realm signs with other keys (`value` is empty).
        SigningKeys = "signing_keys",
        /// Everything about the realm may have changed (`value` is empty).
        Realm = "realm",
    }
}

impl ClientStatus {
    /// Whether it may do anything at all.
    pub fn may_act(self) -> bool {
        match self {
            Self::Active => true,
            Self::Disabled => false,
        }
    }
}

impl ClientKind {
    /// What its ids are.
    pub fn id_kind(self) -> IdKind {
        match self {
            Self::User => IdKind::User,
            Self::Client => IdKind::Client,
            Self::Owner => IdKind::Owner,
        }
    }
}

/// A principal: a user, a client, an owner of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// `usr_…`, `cli_…`, `own_…`.
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// What it is.
    pub kind: ClientKind,
    /// As it was given: a name, an e-mail address, an id of the application.
    pub identifier: String,
    /// What tokens call it; none = by its id.
    pub subject: Option<String>,
    /// Where it lives.
    pub source: ClientSource,
    /// Whether it may do anything.
    pub status: ClientStatus,
    /// Role names.
    pub roles: Vec<String>,
    /// Plan.
    pub plan: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// Scopes (patterns are understood). None: none of its own, and its keys are not limited by it, unless it has roles.
    pub scopes: Option<Vec<String>>,
    /// Free attributes, typed as JSON.
    pub attributes: Map<String, Value>,
    /// Whether a password is stored.
    pub has_password: bool,
    /// Logins are refused until then.
    pub locked_until: Option<UnixMillis>,
    /// Last good login.
    pub last_login_at: Option<UnixMillis>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed by somebody.
    pub updated_at: UnixMillis,
    /// Grows with every change by somebody.
    pub version: i64,
}

/// An API key, without its secret: that is shown once and kept nowhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `key_…`; stays through rotations.
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// Id of the principal it belongs to.
    pub owner_id: String,
    /// Identifier of that principal.
    pub owner: String,
    /// For people.
    pub name: String,
    /// What the text of the key starts with.
    pub prefix: String,
    /// Last four characters of the text now in force; empty when it was imported by digest.
    pub hint: String,
    /// Scopes; none = as its owner's.
    pub scopes: Option<Vec<String>>,
    /// Free attributes.
    pub attributes: Map<String, Value>,
    /// State.
    pub status: KeyStatus,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// Why it was revoked.
    pub revoke_reason: Option<String>,
    /// The text before the last rotation, if it was given an overlap: look at [`Overlap::until`], which may have passed.
    pub overlap: Option<Overlap>,
    /// Last allowed request, about (written once a minute at most).
    pub last_used_at: Option<UnixMillis>,
    /// From where.
    pub last_used_ip: Option<String>,
    /// Allowed requests, about.
    pub use_count: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed by somebody.
    pub updated_at: UnixMillis,
    /// Grows with every change by somebody.
    pub version: i64,
}

/// The old text of a rotated key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Its last four characters.
    pub hint: String,
    /// Refused from then on.
    pub until: UnixMillis,
    /// When it was last used, about.
    pub last_used_at: Option<UnixMillis>,
}

/// An entry of an address list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    /// `ip_…`.
    pub id: String,
    /// Whose list.
    pub holder: Holder,
    /// Id of the principal or key.
    pub holder_id: String,
    /// The network.
    pub network: IpNet,
    /// For people.
    pub note: Option<String>,
    /// The entry counts until then.
    pub expires_at: Option<UnixMillis>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: UnixMillis,
}

/// Everything that decides about one presented text of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyInForce {
    /// The key.
    pub key: Key,
    /// Whose it is.
    pub owner: Client,
    /// The presented text is an old one, refused from then on (1970: it has ended); none = the current one.
    pub not_after: Option<UnixMillis>,
    /// The key's list; empty = every address.
    pub key_addresses: Vec<AddressEntry>,
    /// The owner's list; empty = every address.
    pub owner_addresses: Vec<AddressEntry>,
}

/// One row of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Position; grows in the order of commits, without gaps.
    pub seq: i64,
    /// Name of the realm.
    pub realm: String,
    /// What it tells.
    pub kind: ChangeKind,
    /// Of what.
    pub value: String,
    /// When.
    pub at: UnixMillis,
}

/// Uses of one text of a key since the last writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key_id: String,
    /// Whether the old text was used (see [`Overlap`]).
    pub overlap: bool,
    /// How many requests.
    pub count: i64,
    /// The last of them.
    pub at: UnixMillis,
    /// From where.
    pub ip: Option<IpAddr>,
}

/// A token for administration, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// `adm_…`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Last four characters.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// In which realms; none = in all.
    pub realms: Option<Vec<String>>,
    /// Refused from then on.
    pub expires_at: Option<UnixMillis>,
    /// Refused since then.
    pub revoked_at: Option<UnixMillis>,
    /// Last request, about.
    pub last_used_at: Option<UnixMillis>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: UnixMillis,
}

/// What somebody did or tried, before it has its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// When.
    pub at: UnixMillis,
    /// In which realm.
    pub realm: Option<String>,
    /// `admin_token`, `cli`, `node`.
    pub actor_kind: String,
    /// Which one.
    pub actor_id: String,
    /// From where.
    pub actor_ip: Option<IpAddr>,
    /// `key.created`, `client.updated`, `admin.denied`, …
    pub action: String,
    /// `key`, `client`, `address`, …
    pub target_kind: Option<String>,
    /// Which one.
    pub target_id: Option<String>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Why it was refused or failed, or the reason that was given for it.
    pub reason: Option<String>,
    /// Of the admin request.
    pub request_id: Option<String>,
    /// What changed; never a secret.
    pub detail: Map<String, Value>,
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Position in the table.
    pub seq: i64,
    /// The node whose chain it is in.
    pub chain: String,
    /// Position in that chain, from 1.
    pub position: i64,
    /// What happened.
    pub entry: AuditEntry,
    /// SHA-256 over the hash before it, `chain`, `position` and `entry`.
    pub hash: [u8; 32],
}
