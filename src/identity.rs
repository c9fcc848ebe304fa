//! Who a request is: principals, the kinds of credential that prove them, and scopes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// How a request proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A signed token (RFC 7519).
    Jwt,
    /// A long-lived key.
    ApiKey,
    /// Random text that the gateway has issued.
    Opaque,
    /// A certificate that the client showed in the TLS handshake.
    Mtls,
}

impl CredentialKind {
    /// The name in configuration, logs, metrics and `X-Auth-Method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
            Self::Opaque => "opaque",
            Self::Mtls => "mtls",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A proven identity with everything decisions and identity headers need. Built once per credential and shared.
#[derive(Clone, Debug)]
pub struct Principal {
    /// What proved it.
    pub kind: CredentialKind,
    /// The subject claim, or the client of a key or certificate.
    pub subject: Arc<str>,
    /// The client on whose behalf the request comes.
    pub client: Option<Arc<str>>,
    /// `jti` of a token, id of a key, fingerprint of a certificate: safe to log.
    pub credential_id: Option<Arc<str>>,
    /// Name (not URL) of the issuer; none for keys.
    pub issuer: Option<Arc<str>>,
    /// Tenant claim or attribute.
    pub tenant: Option<Arc<str>>,
    /// Plan claim or attribute.
    pub plan: Option<Arc<str>>,
    /// Role names.
    pub roles: Vec<Arc<str>>,
    /// Effective scopes.
    pub scopes: ScopeSet,
    /// Claims of a token, attributes of a client.
    pub attributes: Arc<Map<String, Value>>,
    /// What the store knows it by: none for tokens of others and for what is declared in the configuration.
    pub account: Option<Account>,
}

/// Where a principal stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Id of the principal, or of the owner of the key: `usr_…`, `cli_…`, `own_…`.
    pub id: Arc<str>,
    /// Session of the token; none for keys.
    pub session: Option<Arc<str>>,
    /// Scopes that the token was narrowed to, joined by blanks; none: it was not.
    pub narrowed: Option<Arc<str>>,
}

/// One granted scope. Where wildcards are understood, a segment (between colons) that is `*` stands for any segment and
/// a lone `*` for every scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    text: Box<str>,
    wild: bool,
}

impl Grant {
    fn covers(&self, scope: &str) -> bool {
        if !self.wild {
            return *self.text == *scope;
        }
        if &*self.text == "*" {
            return true;
        }
        let (mut ours, mut theirs) = (self.text.split(':'), scope.split(':'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if a == "*" || a == b => {}
                (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
            }
        }
    }

    /// The grant that covers exactly what both cover, if anything.
    fn meet(&self, other: &Self) -> Option<Self> {
        if other.covers_grant(self) {
            return Some(self.clone());
        }
        if self.covers_grant(other) {
            return Some(other.clone());
        }
        if !(self.wild && other.wild) {
            return None;
        }
        let (ours, theirs): (Vec<_>, Vec<_>) = (self.text.split(':').collect(), other.text.split(':').collect());
        if ours.len() != theirs.len() {
            return None;
        }
        let mut segments = Vec::with_capacity(ours.len());
        for (&a, &b) in ours.iter().zip(&theirs) {
            segments.push(match (a, b) {
                ("*", segment) | (segment, "*") => segment,
                (a, b) if a == b => a,
                (_, _) => return None,
            });
        }
        let text: Box<str> = segments.join(":").into();
        let wild = segments.contains(&"*");
        Some(Self { text, wild })
    }

    fn covers_grant(&self, other: &Self) -> bool {
        if other.wild && !self.wild { false } else { self.covers(&other.text) }
    }
}

/// Whether `text` is a scope (RFC 6749 section 3.3) of a length that we take.
pub fn is_scope(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// What is wrong with `text` as a scope that somebody is granted, for people; none = nothing.
pub fn grant_fault(text: &str) -> Option<&'static str> {
    if !is_scope(text) {
        return Some("a scope is 1 to 128 visible characters without `\"` and `\\`");
    }
    let half_wild = text.split(':').any(|segment| segment.contains('*') && segment != "*");
    half_wild.then_some("`*` stands for a whole segment between colons, or for every scope")
}

/// A set of granted scopes; sorted, without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(Vec<Grant>);

impl ScopeSet {
    /// Scopes as somebody outside claims them: a `*` in them is an ordinary character.
    pub fn literal<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::collect(scopes.into_iter().map(|s| Grant { text: s.as_ref().into(), wild: false }))
    }

    /// Scopes as the operator grants them: `*` stands for everything, a segment `*` for any segment.
    pub fn patterns<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::collect(scopes.into_iter().map(|s| {
            let text = s.as_ref();
            Grant { text: text.into(), wild: text.split(':').any(|segment| segment == "*") }
        }))
    }

    fn collect(grants: impl Iterator<Item = Grant>) -> Self {
        let mut grants: Vec<_> = grants.collect();
        grants.sort();
        grants.dedup();
        Self(grants)
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope`, an exact scope without wildcards, is granted.
    pub fn allows(&self, scope: &str) -> bool {
        self.0.iter().any(|grant| grant.covers(scope))
    }

    /// Everything granted by either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::collect(self.0.iter().chain(&other.0).cloned())
    }

    /// Exactly what both grant.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::collect(self.0.iter().flat_map(|a| other.0.iter().filter_map(move |b| a.meet(b))))
    }

    /// The scopes as text, wildcards as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|grant| &*grant.text)
    }
}

/// Role name to the scopes it stands for.
#[derive(Clone, Debug, Default)]
pub struct Roles(pub HashMap<Box<str>, ScopeSet>);

impl Roles {
    /// The scopes of all `roles` together; unknown roles grant nothing.
    pub fn expand<S: AsRef<str>>(&self, roles: impl IntoIterator<Item = S>) -> ScopeSet {
        roles.into_iter().filter_map(|role| self.0.get(role.as_ref())).fold(ScopeSet::default(), |sum, s| sum.union(s))
    }
}

/// Stands between a token's random id and how often its session was renewed before it.
const RENEWED: char = '~';

/// The id of a session's token after `renewals` renewals: `random` alone at first. Nodes tell by it which of two tokens
/// is the newer one, whatever they know of the session.
pub fn renewed_id(random: &str, renewals: u64) -> String {
    if renewals == 0 { random.to_owned() } else { format!("{random}{RENEWED}{renewals}") }
}

/// How often the session had been renewed when the token with this id was made.
pub fn renewals(id: &str) -> u64 {
    id.rsplit_once(RENEWED).and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// What an owner hands on to its keys. The same rule for owners of the configuration and of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerScopes {
    granted: ScopeSet,
    limiting: bool,
}

impl OwnerScopes {
    /// `own`: the scopes given to it; `roles`: what its roles stand for. None of either: it grants nothing and limits
    /// nothing. A list that is there limits, even an empty one.
    pub fn new(own: Option<ScopeSet>, roles: Option<ScopeSet>) -> Self {
        let limiting = own.is_some() || roles.is_some();
        Self { granted: own.unwrap_or_default().union(&roles.unwrap_or_default()), limiting }
    }

    /// Everything granted to the owner itself.
    pub fn granted(&self) -> &ScopeSet {
        &self.granted
    }

    /// What a key may: its own scopes as far as the owner has them, or all that the owner has.
    pub fn of_key(&self, own: Option<ScopeSet>) -> ScopeSet {
        match own {
            None => self.granted.clone(),
            Some(own) if self.limiting => own.intersection(&self.granted),
            Some(own) => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_matched_exactly() {
        let set = ScopeSet::literal(["campaigns:read-all", "xcampaigns:read", "campaigns", "CAMPAIGNS:READ"]);
        assert!(!set.allows("campaigns:read"));
        assert!(ScopeSet::literal(["campaigns:read"]).allows("campaigns:read"));
    }

    #[test]
    fn a_star_in_a_claim_is_only_a_character() {
        let claimed = ScopeSet::literal(["*", "campaigns:*"]);
        assert!(!claimed.allows("campaigns:read"));
    }

    #[test]
    fn a_star_in_a_role_is_everything_and_a_segment_star_any_segment() {
        assert!(ScopeSet::patterns(["*"]).allows("a:b:c"));
        let readers = ScopeSet::patterns(["*:read"]);
        assert!(readers.allows("links:read"));
        assert!(!readers.allows("links:write"));
        assert!(!readers.allows("a:b:read"));
    }

    #[test]
    fn a_star_that_is_half_a_segment_cannot_be_granted() {
        for good in ["links:read", "*", "*:read", "links:*"] {
            assert_eq!(grant_fault(good), None, "{good}");
        }
        for bad in ["", "links:re*", "li nks", "li\"nks", "li\\nks", "l\u{ef}nks", &"a".repeat(129)] {
            assert!(grant_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_intersection_grants_what_both_grant_and_no_more() {
        let key = ScopeSet::patterns(["*:read", "links:write"]);
        let client = ScopeSet::patterns(["campaigns:*", "links:*"]);
        let both = key.intersection(&client);
        assert_eq!(both.iter().collect::<Vec<_>>(), ["campaigns:read", "links:read", "links:write"]);
        assert!(key.intersection(&ScopeSet::default()).is_empty());
        let literal_star = ScopeSet::literal(["*"]);
        assert!(!literal_star.intersection(&ScopeSet::patterns(["*"])).allows("links:read"));
    }

    #[test]
    fn a_key_has_what_its_owner_has_too_and_never_more() {
        let set = |scopes: &[&str]| Some(ScopeSet::patterns(scopes));
        let key = || set(&["links:read", "links:write"]);
        let of_key = |own, roles, key: Option<ScopeSet>| {
            OwnerScopes::new(own, roles).of_key(key).iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of_key(None, None, key()), ["links:read", "links:write"]);
        assert_eq!(of_key(set(&["*:read"]), None, key()), ["links:read"]);
        assert_eq!(of_key(set(&["*:read"]), set(&["*:write"]), key()), ["links:read", "links:write"]);
        assert_eq!(of_key(set(&["*:read"]), set(&["x"]), None), ["*:read", "x"]);
        assert!(of_key(None, None, None).is_empty());
        assert!(of_key(set(&[]), None, key()).is_empty());
        // Roles that stand for nothing (any more) limit, too.
        assert!(of_key(None, set(&[]), key()).is_empty());
    }
}
