//! Who administers.

use std::net::IpAddr;

use serde_json::Map;

use super::{Admin, Answer, Refusal};
use crate::clock::UnixMillis;
use crate::gate::verify::api_key::ApiKeyForm;
use crate::secret::CredentialDigest;
use crate::store::{AdminToken, AuditEntry, AuditOutcome, StoreError};

/// What kind of actor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// Somebody with an admin token.
    AdminToken,
    /// Somebody on the machine, on the store directly.
    Cli,
}

impl ActorKind {
    /// The stable name, as in the audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdminToken => "admin_token",
            Self::Cli => "cli",
        }
    }
}

/// Who administers, and what of it is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// Id of the token, or the name of the machine's user.
    pub id: String,
    /// From where.
    pub ip: Option<IpAddr>,
    /// What is allowed (`admin:read`, …).
    pub scopes: Vec<String>,
    /// In which realms; none = in all.
    pub realms: Option<Vec<String>>,
}

impl Actor {
    /// Somebody on the machine who can open the store: may do everything, what no token may included.
    pub fn on_the_machine(user: &str) -> Self {
        Self { kind: ActorKind::Cli, id: user.to_owned(), ip: None, scopes: Vec::new(), realms: None }
    }

    /// Whether rows of `realm` may be seen and changed.
    pub fn may_enter(&self, realm: &str) -> bool {
        self.realms.as_ref().is_none_or(|realms| realms.iter().any(|one| one == realm))
    }
}

/// Beginning of `WWW-Authenticate`.
pub(super) const CHALLENGE: &str = "Bearer realm=\"portcullis-admin\"";

/// What admin tokens start with.
pub(in crate::admin::api) const TOKEN_PREFIX: &str = "pca_";

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// Nothing was presented.
    Missing,
    /// It is no admin token that works. `why` is for the audit trail alone: to those who ask, all of these look alike.
    Invalid { why: &'static str },
    /// It worked once.
    Expired,
}

impl Unknown {
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_credentials",
            Self::Invalid { .. } => "token_invalid",
            Self::Expired => "token_expired",
        }
    }

    fn answer(self, request_id: &str) -> Answer {
        let (detail, challenge) = match self {
            Self::Missing => ("send an admin token: Authorization: Bearer pca_…", CHALLENGE.to_owned()),
            Self::Invalid { .. } => {
                ("this is no admin token in force", format!("{CHALLENGE}, error=\"invalid_token\""))
            }
            Self::Expired => ("this admin token has expired", format!("{CHALLENGE}, error=\"invalid_token\"")),
        };
        Answer { challenge: Some(challenge), ..Answer::problem(401, self.code(), detail, request_id) }
    }

    /// For the audit trail.
    fn why(self) -> &'static str {
        match self {
            Self::Invalid { why } => why,
            Self::Missing | Self::Expired => self.code(),
        }
    }
}

pub(super) async fn authenticate(
    admin: &Admin,
    authorization: Option<&str>,
    ip: Option<IpAddr>,
    request_id: &str,
) -> Result<Actor, Answer> {
    let now = admin.clock.now();
    let token = match recognize(admin, authorization, now).await {
        Ok(Ok(token)) => token,
        Ok(Err((unknown, id))) => {
            let kept = if id.is_some() { &admin.denials.of_known } else { &admin.denials.of_strangers };
            kept.write(&admin.store, denial(unknown, id, ip, request_id, now)).await;
            return Err(unknown.answer(request_id));
        }
        Err(error) => return Err(Refusal::from(error).answer(request_id)),
    };
    // Who can be let in is let in when the store takes no writes.
    if let Err(error) = admin.store.note_admin_token(&token.id, now).await {
        tracing::warn!("the use of an admin token could not be noted: {error}");
    }
    let AdminToken { id, scopes, realms, .. } = token;
    Ok(Actor { kind: ActorKind::AdminToken, id, ip, scopes, realms })
}

/// The token that is presented, or why it is none, with its id where it is known.
async fn recognize(
    admin: &Admin,
    authorization: Option<&str>,
    now: UnixMillis,
) -> Result<Result<AdminToken, (Unknown, Option<String>)>, StoreError> {
    let text = match bearer(authorization) {
        Ok(text) => text,
        Err(unknown) => return Ok(Err((unknown, None))),
    };
    let Some(token) = admin.store.admin_token(&CredentialDigest::of(text.as_bytes())).await? else {
        return Ok(Err((Unknown::Invalid { why: "token_unknown" }, None)));
    };
    Ok(if token.revoked_at.is_some() {
        Err((Unknown::Invalid { why: "token_revoked" }, Some(token.id)))
    } else if token.expires_at.is_some_and(|end| end <= now) {
        Err((Unknown::Expired, Some(token.id)))
    } else {
        Ok(token)
    })
}

/// The text of a bearer token (RFC 6750 section 2.1), if it can be an admin token at all.
fn bearer(authorization: Option<&str>) -> Result<&str, Unknown> {
    let Some(authorization) = authorization.map(|text| text.trim_matches([' ', '\t'])).filter(|text| !text.is_empty())
    else {
        return Err(Unknown::Missing);
    };
    let malformed = Unknown::Invalid { why: "token_malformed" };
    let (scheme, text) = authorization.split_once(' ').ok_or(malformed)?;
    let text = text.trim_start_matches(' ');
    let form = ApiKeyForm { prefix: TOKEN_PREFIX.into(), checksum: true, from: Vec::new() };
    if scheme.eq_ignore_ascii_case("bearer") && form.check(text).is_ok() { Ok(text) } else { Err(malformed) }
}

fn denial(unknown: Unknown, id: Option<String>, ip: Option<IpAddr>, request_id: &str, at: UnixMillis) -> AuditEntry {
    AuditEntry {
        at,
        realm: None,
        actor_kind: ActorKind::AdminToken.as_str().to_owned(),
        actor_id: id.unwrap_or_else(|| "unknown".to_owned()),
        actor_ip: ip,
        action: "admin.denied".to_owned(),
        target_kind: None,
        target_id: None,
        outcome: AuditOutcome::Denied,
        reason: Some(unknown.why().to_owned()),
        request_id: Some(request_id.to_owned()),
        detail: Map::new(),
    }
}
