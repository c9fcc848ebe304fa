//! What a grant does, and with which fields of a body.

use std::sync::Arc;

use crate::reply::Template;

/// `[[grants]]`
#[derive(Debug)]
pub struct Grant {
    /// Its path: metric label.
    pub path: Arc<str>,
    /// Names of the path's `{name}` segments, in their order.
    pub params: Vec<Box<str>>,
    /// What it does.
    pub action: Action,
    /// Fields of the body.
    pub fields: Vec<Field>,
    /// What becomes of members that are no fields.
    pub unknown: UnknownFields,
    /// Whether a body of another type than JSON is refused with 415.
    pub strict_content_type: bool,
    /// Largest body, in bytes.
    pub max_body: u64,
    /// Status of a good answer.
    pub status: u16,
    /// Body of a good answer; none: the grant's own.
    pub response: Option<Template>,
    /// Text of a refusal of the fields, instead of the dialect's.
    pub invalid: Option<Box<str>>,
    /// Header fields of every answer.
    pub cors: Option<Arc<HeaderFields>>,
}

/// Names and values of header fields.
pub type HeaderFields = [(Box<str>, Box<str>)];

/// What a grant does.
#[derive(Debug)]
pub enum Action {
    /// Identifier and password for tokens.
    Password {
        /// Field with the identifier.
        identifier: Box<str>,
        /// Field with the password.
        password: Box<str>,
        /// Kind of the access token.
        access: usize,
        /// Kind of the refresh token, if there is one.
        refresh: Option<usize>,
        /// Plans that may sign in; empty = all.
        plans: Vec<Box<str>>,
        /// Whether a new session ends the others of the principal.
        single_session: bool,
    },
    /// A refresh token for new tokens.
    Refresh {
        /// Field with the token.
        token: Box<str>,
        /// Kind of the access token.
        access: usize,
        /// Kind of the refresh token.
        refresh: usize,
    },
    /// The access token of the request for a new one; the old one ends.
    Renew {
        /// Kind of the access token.
        access: usize,
    },
    /// The caller's key for a token of somebody else.
    Delegate {
        /// Who.
        subject: usize,
        /// Kind of the token.
        token: usize,
        /// Further values that the token is bound to: name and template.
        bind: Vec<(Box<str>, Template)>,
    },
    /// A token that is spent.
    Redeem {
        /// Kind of the token.
        token: usize,
        /// Field with the token; none: it stands in the places of the gate's route.
        field: Option<Box<str>>,
        /// What is handed out for it.
        session: Option<usize>,
        /// Name of the cookie that holds it.
        cookie: Option<Box<str>>,
        /// Where the browser is sent.
        location: Option<Box<str>>,
    },
    /// Ends what the request's token belongs to.
    Logout {
        /// How much.
        revokes: Revokes,
    },
    /// Client credentials for a token (RFC 6749 section 4.4).
    ClientCredentials {
        /// Kind of the token.
        access: usize,
    },
    /// Ends a token (RFC 7009).
    Revoke,
    /// Tells of a token (RFC 7662).
    Introspect,
    /// The public keys (RFC 7517).
    Jwks,
    /// Where everything is (RFC 8414).
    Metadata,
}

impl Action {
    /// Its type, as configured.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Password { .. } => "password",
            Self::Refresh { .. } => "refresh_token",
            Self::Renew { .. } => "renew",
            Self::Delegate { .. } => "delegate",
            Self::Redeem { .. } => "redeem",
            Self::Logout { .. } => "logout",
            Self::ClientCredentials { .. } => "client_credentials",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::Jwks => "jwks",
            Self::Metadata => "metadata",
        }
    }

    /// Whether it speaks the standard's form encoding and its refusals (RFC 6749 section 5.2).
    pub fn is_oauth(&self) -> bool {
        matches!(self, Self::ClientCredentials { .. } | Self::Revoke | Self::Introspect)
    }
}

/// What a logout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revokes {
    /// The token of the request.
    Token,
    /// Its session.
    Session,
    /// Every session of its subject.
    Subject,
}

/// What becomes of members of a body that are no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are passed over.
    #[default]
    Ignore,
    /// They are refused.
    Refuse,
}

/// A field of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Box<str>,
    /// What stands there.
    pub kind: FieldKind,
    /// Whether it must be there.
    pub required: bool,
}

/// What stands in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Text; not empty where the field is required. At most so many characters.
    Text(Option<usize>),
    /// An e-mail address; blanks at both ends are cut off.
    Email,
    /// An absolute http or https URL.
    HttpUrl,
    /// A JSON object.
    Object,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// An object with these fields.
    Table(Vec<Field>),
}
