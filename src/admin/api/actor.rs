//! Who administers.

use std::net::IpAddr;

use super::{Admin, Answer};

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

pub(super) async fn authenticate(
    admin: &Admin,
    authorization: Option<&str>,
    ip: Option<IpAddr>,
    request_id: &str,
) -> Result<Actor, Answer> {
    let _ = (admin, authorization, ip, request_id);
    unimplemented!()
}
