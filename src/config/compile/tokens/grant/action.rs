//! What a grant does.

use serde_json::Value;

use super::{Around, Body, Names};
use crate::config::compile::Compiler;
use crate::config::compile::route::one_of;
use crate::config::compile::tokens::{NO_WORD, is_word};
use crate::config::keys::{Grant as Raw, GrantCookie};
use crate::config::problem::At;
use crate::config::value::issuing::GrantType;
use crate::config::walk::{Item, Slot};
use crate::gate::verify::jwks::acceptable_url;
use crate::reply::Template;
use crate::tokens::policy::{Action, Format};

/// Claims that every token has: nothing else may be bound under these names.
const CLAIMS: [&str; 14] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "sid",
    "token_use",
    "scope",
    "act",
    "realm",
    "subject",
];

/// An action with what it needs.
pub(super) struct Made {
    pub(super) action: Action,
    /// Kinds of the tokens that it makes.
    pub(super) kinds: Vec<usize>,
    /// Whom it asks for.
    pub(super) subject: Option<usize>,
    /// Its status, where that is not for the configuration to say.
    pub(super) status: Option<u16>,
}

impl Made {
    fn of(action: Action, kinds: Vec<usize>) -> Self {
        Self { action, kinds, subject: None, status: None }
    }
}

/// Compiles the action. None: a problem was noted.
pub(super) fn action(
    work: &mut Compiler<'_>,
    item: &Item<Raw>,
    kind: GrantType,
    names: &Names,
    body: &Body,
    around: &Around<'_>,
) -> Option<Made> {
    let raw = &item.value;
    match kind {
        GrantType::Password => {
            let access = of_use(work, item, kind, "access", around);
            needs_directory(work, item, kind, around);
            let refresh = around.kinds.of_use("refresh");
            let access = access?;
            let action = Action::Password {
                identifier: body.identifier.clone(),
                password: body.password.clone(),
                access,
                refresh,
                plans: one_of(work, &raw.plan),
                single_session: raw.single_session.value,
            };
            Some(Made::of(action, [access].into_iter().chain(refresh).collect()))
        }
        GrantType::RefreshToken => {
            let access = of_use(work, item, kind, "access", around);
            let refresh = of_use(work, item, kind, "refresh", around);
            needs_directory(work, item, kind, around);
            let (access, refresh) = (access?, refresh?);
            let token = body.token.clone()?;
            Some(Made::of(Action::Refresh { token, access, refresh }, vec![access, refresh]))
        }
        GrantType::Renew => {
            needs_directory(work, item, kind, around);
            let access = around.kinds.of_use("access")?;
            Some(Made::of(Action::Renew { access }, vec![access]))
        }
        GrantType::ClientCredentials => {
            needs_directory(work, item, kind, around);
            let access = of_use(work, item, kind, "access", around)?;
            Some(Made::of(Action::ClientCredentials { access }, vec![access]))
        }
        GrantType::Delegate => delegate(work, item, names, around),
        GrantType::Redeem => redeem(work, item, body, around),
        GrantType::Logout => Some(Made::of(Action::Logout { revokes: raw.revokes.value.into() }, Vec::new())),
        GrantType::Revoke => Some(Made::of(Action::Revoke, Vec::new())),
        GrantType::Introspect => Some(Made::of(Action::Introspect, Vec::new())),
    }
}

/// The kind with a known use. None: there is none, which is noted.
fn of_use(
    work: &mut Compiler<'_>,
    item: &Item<Raw>,
    kind: GrantType,
    token_use: &str,
    around: &Around<'_>,
) -> Option<usize> {
    let position = around.kinds.of_use(token_use);
    if position.is_none() && around.kinds.complete() {
        let text =
            format!("a `{}` grant makes {token_use} tokens, but there is no [tokens.{token_use}]", kind.as_str());
        work.fault(&item.at, text);
    }
    position
}

fn needs_directory(work: &mut Compiler<'_>, item: &Item<Raw>, kind: GrantType, around: &Around<'_>) {
    let what = kind.as_str();
    let fault = match around.source {
        None if around.realm.directory.absent().is_some() => {
            format!("a `{what}` grant needs [directory], which says where users and clients come from")
        }
        Some(source) if kind == GrantType::Password && source.only_looks_up() => {
            String::from("nobody can sign in: [directory] has no `verify`")
        }
        Some(source) if kind == GrantType::ClientCredentials && source.is_local() == Some(false) => {
            format!("a `{what}` grant needs a [directory] of `type = \"local\"`: the store knows the clients' secrets")
        }
        None | Some(_) => return,
    };
    work.fault(&item.at, fault);
}

/// A key of a grant that it cannot do without. None: it is not there, which is noted.
fn needed<'r, T>(work: &mut Compiler<'_>, slot: &'r Slot<T>, kind: GrantType, why: &str) -> Option<&'r Item<T>> {
    if let Slot::Absent(at) = slot {
        work.fault(at, format!("is required for a `{}` grant: {why}", kind.as_str()));
    }
    slot.get()
}

fn delegate(work: &mut Compiler<'_>, item: &Item<Raw>, names: &Names, around: &Around<'_>) -> Option<Made> {
    let raw = &item.value;
    let token = needed(work, &raw.token, GrantType::Delegate, "the kind of token that is made");
    let token = token.and_then(|name| {
        let position = around.kinds.named(work, name)?;
        let kind = around.kinds.get(position)?;
        if matches!(&*kind.token_use, "access" | "refresh") {
            work.fault(&name.at, "access and refresh tokens are for who signs in; give others a kind of their own");
        }
        Some(position)
    });
    let subject = needed(work, &raw.subject, GrantType::Delegate, "for whom the token is, one of [subjects]");
    let subject = subject.and_then(|name| around.subjects.named(work, name));
    let mut bind = Vec::new();
    for (name, item) in &raw.bind.value.0 {
        if !is_word(name) {
            work.fault(&item.at, NO_WORD);
        } else if CLAIMS.contains(&name.as_str()) {
            work.fault(&item.at, format!("every token has `{name}` already; choose another name"));
        }
        if let Some(template) = work.good(&item.at, Template::parse(&Value::String(item.value.clone()))) {
            names.check(work, &item.at, &template);
            bind.push((Box::from(name.as_str()), template));
        }
    }
    let (subject, token) = (subject?, token?);
    let made = Made::of(Action::Delegate { subject, token, bind }, vec![token]);
    Some(Made { subject: Some(subject), ..made })
}

fn redeem(work: &mut Compiler<'_>, item: &Item<Raw>, body: &Body, around: &Around<'_>) -> Option<Made> {
    let raw = &item.value;
    let token = needed(work, &raw.token, GrantType::Redeem, "the kind of token that is spent");
    let token = token.and_then(|name| {
        let position = around.kinds.named(work, name)?;
        if !around.kinds.get(position)?.once {
            work.fault(&name.at, "only tokens with `uses = 1` can be spent");
        }
        Some(position)
    });
    let location = raw.location.get().map(|item| location(work, item));
    if location.is_some() {
        let given = [raw.status.given.then_some(&raw.status.at), raw.response.get().map(|item| &item.at)];
        for at in given.into_iter().flatten() {
            work.fault(at, "with a `location` the answer is 303, and has no body");
        }
    }
    let cookie = raw.cookie.get().map(|item| cookie(work, &item.value, around));
    let session = raw.session.get().map(|name| session(work, name, around));
    if let (Some(_), Some(name)) = (raw.cookie.get(), raw.session.get()) {
        work.fault(&name.at, "the token for the session stands in the `cookie`; leave one of them out");
    }
    let (cookie, session) = match (cookie, session) {
        (Some(cookie), _) => cookie.map(|(name, kind)| (Some(name), Some(kind)))?,
        (None, Some(session)) => (None, Some(session?)),
        (None, None) => (None, None),
    };
    let status = location.is_some().then_some(303);
    let action = Action::Redeem { token: token?, field: body.token.clone(), session, cookie, location };
    Some(Made { status, ..Made::of(action, session.into_iter().collect()) })
}

/// What is handed out for a token that was spent.
fn session(work: &mut Compiler<'_>, name: &Item<String>, around: &Around<'_>) -> Option<usize> {
    let position = around.kinds.named(work, name)?;
    let kind = around.kinds.get(position)?;
    if kind.once || matches!(&*kind.token_use, "access" | "refresh") {
        work.fault(
            &name.at,
            "a session has tokens of a kind of its own: not `access`, not `refresh`, and good until they expire",
        );
        return None;
    }
    Some(position)
}

/// Name and kind of a cookie.
fn cookie(work: &mut Compiler<'_>, raw: &GrantCookie, around: &Around<'_>) -> Option<(Box<str>, usize)> {
    if let Some(name) = raw.name.get() {
        cookie_name(work, &name.at, &name.value);
    }
    let token = raw.token.get()?;
    let position = session(work, token, around)?;
    if matches!(around.kinds.get(position)?.format, Format::Jwt { .. }) {
        work.fault(&token.at, "a cookie holds an opaque token: `format = \"opaque\"`");
    }
    Some((raw.name.value()?.as_str().into(), position))
}

/// RFC 6265 section 4.1.1; browsers check what two beginnings promise, in any letter case.
fn cookie_name(work: &mut Compiler<'_>, at: &At, name: &str) {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(token) {
        work.fault(at, "expected the name of a cookie: 1 to 64 letters, digits and such, no blanks");
    } else if name.starts_with("__") && !name.starts_with("__Host-") && !name.starts_with("__Secure-") {
        work.fault(
            at,
            "names that begin with `__` are for browsers to check: `__Host-` or `__Secure-`, in this spelling",
        );
    }
}

/// Where a browser is sent: fixed, for whoever could choose it would send it elsewhere.
fn location(work: &mut Compiler<'_>, item: &Item<String>) -> Box<str> {
    let text = item.value.as_str();
    let clean = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let path = text.starts_with('/') && !text.starts_with("//");
    let url = text.starts_with("https://") && acceptable_url(text).is_ok();
    if !clean || !(path || url) {
        work.fault(&item.at, "expected a path such as \"/\", or an https URL");
    }
    text.into()
}
