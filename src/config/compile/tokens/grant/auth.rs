//! What a grant takes as proof, where it looks for it, and which names its templates may use.

use super::{Around, Body};
use crate::config::compile::Compiler;
use crate::config::compile::api_key::places;
use crate::config::compile::route::{Guard, Guarded, NO_TEXT, NO_TEXTS, RealmParts, guarded as guard};
use crate::config::compile::tokens::kind::Kinds;
use crate::config::compile::tokens::template::Names;
use crate::config::keys::Grant as Raw;
use crate::config::problem::At;
use crate::config::value::issuing::GrantType;
use crate::config::value::word::AuthKind;
use crate::config::walk::{Item, Slot};
use crate::gate::policy::RoutePlace;
use crate::gate::route::Pattern;
use crate::tokens::policy::Format;

/// Kinds of credentials: those that are given, else the type's own.
pub(super) fn kinds(raw: &Raw, kind: GrantType) -> Vec<Item<AuthKind>> {
    let own = match kind {
        GrantType::Renew | GrantType::Logout => AuthKind::Jwt,
        GrantType::Delegate => AuthKind::ApiKey,
        GrantType::Password
        | GrantType::RefreshToken
        | GrantType::Redeem
        | GrantType::ClientCredentials
        | GrantType::Revoke
        | GrantType::Introspect => AuthKind::Public,
    };
    let given = raw.auth.value().cloned();
    given.unwrap_or_else(|| vec![Item { value: own, at: raw.auth.absent().cloned().unwrap_or_default(), given: false }])
}

/// What a type takes, and why.
fn fitting(kind: GrantType) -> (&'static [AuthKind], &'static str) {
    match kind {
        GrantType::Renew => (&[AuthKind::Jwt], "it takes the access token that is renewed: `[\"jwt\"]`"),
        GrantType::Logout => {
            (&[AuthKind::Jwt, AuthKind::Opaque], "it takes the token whose session ends: `[\"jwt\"]` or `[\"opaque\"]`")
        }
        GrantType::Delegate => (
            &[AuthKind::ApiKey, AuthKind::Mtls],
            "it takes the key or certificate in whose name it acts: `[\"api_key\"]` or `[\"mtls\"]`",
        ),
        GrantType::Password | GrantType::RefreshToken | GrantType::Redeem => (
            &[AuthKind::Public, AuthKind::ApiKey, AuthKind::Mtls],
            "what proves who comes is what it is about: `[\"public\"]`, or `[\"api_key\"]` or `[\"mtls\"]` of the application \
             that asks",
        ),
        GrantType::ClientCredentials | GrantType::Revoke | GrantType::Introspect => {
            (&[AuthKind::Public], "the client proves who it is as the standard has it; leave this out")
        }
    }
}

/// Who may come. None: a problem was noted.
pub(super) fn guarded(
    work: &mut Compiler<'_>,
    item: &Item<Raw>,
    kind: GrantType,
    pattern: Option<&Pattern>,
    parts: &RealmParts<'_>,
    tokens: &Kinds,
) -> Option<Guarded> {
    let raw = &item.value;
    let auth = kinds(raw, kind);
    let (fitting, why) = fitting(kind);
    if let Some(odd) = auth.iter().find(|auth| !fitting.contains(&auth.value)) {
        work.fault(&odd.at, format!("means nothing for `{}`: {why}", kind.as_str()));
        return None;
    }
    let takes_own = auth.iter().any(|auth| auth.value == AuthKind::Jwt);
    if takes_own && !tokens.has_access() {
        let text = format!("a `{}` grant is about access tokens, but there is no [tokens.access]", kind.as_str());
        work.fault(&item.at, text);
        return None;
    }
    let spends = kind == GrantType::Redeem;
    let at: &At = raw.auth.get().map_or(&item.at, |auth| &auth.at);
    let keys = Guard {
        auth: (!matches!(raw.auth, Slot::Bad)).then_some((auth.as_slice(), at)),
        token: if kind == GrantType::Logout { &raw.token } else { NO_TEXT },
        issuers: &raw.issuers,
        from: if spends { NO_TEXTS } else { &raw.from },
        scopes: &raw.scopes,
        scopes_any: NO_TEXTS,
        roles: &raw.roles,
        plan: if kind == GrantType::Password { NO_TEXTS } else { &raw.plan },
        attributes: None,
        allow_ips: (&raw.allow_ips, &raw.allow_ips_file),
        deny_ips: (&raw.deny_ips, &raw.deny_ips_file),
        limits: &raw.limits,
    };
    let mut guarded = guard(work, &keys, pattern, parts)?;
    if takes_own {
        own_only(work, raw, &mut guarded, parts);
    }
    if spends {
        guarded.places = spent(work, item, &guarded, parts, tokens)?;
    }
    Some(guarded)
}

/// Tokens of others cannot be renewed, and nothing of theirs ends here.
fn own_only(work: &mut Compiler<'_>, raw: &Raw, guarded: &mut Guarded, parts: &RealmParts<'_>) {
    let own: Vec<_> = parts.own_issuer().into_iter().collect();
    if let Some(given) = raw.issuers.get().filter(|_| guarded.issuers.iter().any(|issuer| !own.contains(issuer))) {
        work.fault(
            &given.at,
            "only tokens of the realm's own can be renewed and ended: `[\"self\"]`, which need not be said",
        );
    }
    guarded.issuers = own;
}

/// Where the token stands that is spent, if not in the body. None: a problem was noted.
fn spent(
    work: &mut Compiler<'_>,
    item: &Item<Raw>,
    guarded: &Guarded,
    parts: &RealmParts<'_>,
    tokens: &Kinds,
) -> Option<Vec<RoutePlace>> {
    let raw = &item.value;
    let from = match (&raw.from, &raw.request) {
        (Slot::Bad, _) | (_, Slot::Bad) => return None,
        (Slot::Given(from), Slot::Given(_)) => {
            work.fault(&from.at, "the token stands in one place: there is a `request`, too");
            return None;
        }
        (Slot::Absent(_), Slot::Given(_)) => return Some(guarded.places.clone()),
        (Slot::Absent(_), Slot::Absent(_)) => {
            let text =
                "where does the token stand? Write `from = [\"query:token\"]`, or `request = { token = \"token\" }`";
            work.fault(&item.at, text);
            return None;
        }
        (Slot::Given(from), Slot::Absent(_)) => from,
    };
    if !guarded.auth.public {
        work.fault(
            &from.at,
            "beside another credential the token stands in the body: `request = { token = \"token\" }`",
        );
        return None;
    }
    work.not_empty(from);
    let kind = raw.token.value().and_then(|name| tokens.get(tokens.position(name)?));
    let jwt = kind.is_some_and(|kind| matches!(kind.format, Format::Jwt { .. }));
    let places = places(work, &from.value, parts.identity);
    Some(places.into_iter().map(|place| RoutePlace { place, jwt, api_keys: Vec::new(), opaque: !jwt }).collect())
}

/// The names that have a value in a grant before anybody was asked for, and before a token was made.
pub(super) fn names(raw: &Raw, kind: GrantType, place: &str, path: &[Box<str>], body: &Body) -> Names {
    let mut names = Names::at(place).principal().group("path", path.iter().map(|name| &**name));
    names = names.body(&body.fields, &body.secrets());
    if kinds(raw, kind).iter().any(|auth| matches!(auth.value, AuthKind::ApiKey | AuthKind::Mtls)) {
        names = names.group("key", ["id", "owner"]);
    }
    match kind {
        GrantType::Delegate | GrantType::Redeem => {
            names.group("owner", ["id", "identifier", "plan", "tenant"]).every("owner")
        }
        GrantType::Password
        | GrantType::RefreshToken
        | GrantType::Renew
        | GrantType::Logout
        | GrantType::ClientCredentials
        | GrantType::Revoke
        | GrantType::Introspect => names,
    }
}

/// Those that it has once somebody was asked for, too.
pub(super) fn names_of_subject(raw: &Raw, kind: GrantType, names: Names, around: &Around<'_>) -> Names {
    let asked: Vec<_> = match kind {
        GrantType::Delegate => raw.subject.value().into_iter().collect(),
        GrantType::Redeem => askers(raw, around),
        GrantType::Password
        | GrantType::RefreshToken
        | GrantType::Renew
        | GrantType::Logout
        | GrantType::ClientCredentials
        | GrantType::Revoke
        | GrantType::Introspect => return names,
    };
    asked.into_iter().fold(names.and(["subject.id"]), |names, name| match around.subjects.fields(name) {
        Some(fields) => names.group("subject", fields),
        // That there is no such subject is said elsewhere.
        None => names.every("subject"),
    })
}

/// The subjects for whom the token may be that is spent.
fn askers<'a>(raw: &Raw, around: &Around<'a>) -> Vec<&'a String> {
    let same = |grant: &&Item<Raw>| {
        let grant = &grant.value;
        grant.r#type.value() == Some(&GrantType::Delegate) && grant.token.value() == raw.token.value()
    };
    around.realm.grants.value.iter().filter(same).filter_map(|grant| grant.value.subject.value()).collect()
}
