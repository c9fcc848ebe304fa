//! Which keys mean something for which type of grant.

use http::Method;

use crate::config::compile::Compiler;
use crate::config::keys::Grant as Raw;
use crate::config::problem::At;
use crate::config::value::issuing::GrantType::{self, Delegate, Logout, Password, Redeem, RefreshToken, Renew};
use crate::config::walk::{Item, Slot};

const BODIES: &[GrantType] = &[Password, RefreshToken, Redeem, Delegate];

/// Notes every key that means nothing for this type.
pub(super) fn misplaced(work: &mut Compiler<'_>, raw: &Raw, kind: GrantType) {
    let given: [(&str, Option<&At>, &[GrantType]); 14] = [
        ("request", place(&raw.request), &[Password, RefreshToken, Redeem]),
        ("schema", place(&raw.schema), BODIES),
        ("unknown_fields", said(&raw.unknown_fields), BODIES),
        ("strict_content_type", said(&raw.strict_content_type), BODIES),
        ("invalid", place(&raw.invalid), BODIES),
        ("status", said(&raw.status), &[Password, RefreshToken, Renew, Delegate, Redeem, Logout]),
        ("response", place(&raw.response), &[Password, RefreshToken, Renew, Delegate, Redeem, Logout]),
        ("token", place(&raw.token), &[Delegate, Redeem, Logout]),
        ("subject", place(&raw.subject), &[Delegate]),
        ("bind", said(&raw.bind), &[Delegate]),
        ("revokes", said(&raw.revokes), &[Logout]),
        ("location", place(&raw.location), &[Redeem]),
        ("cookie", place(&raw.cookie), &[Redeem]),
        ("session", place(&raw.session), &[Redeem]),
    ];
    let single = ("single_session", said(&raw.single_session), &[Password][..]);
    for (key, at, types) in given.into_iter().chain([single]) {
        let Some(at) = at.filter(|_| !types.contains(&kind)) else { continue };
        let types: Vec<_> = types.iter().map(|kind| format!("`{}`", kind.as_str())).collect();
        let text = format!("`{key}` means nothing for `{}`; it is for {}", kind.as_str(), types.join(", "));
        work.fault(at, text);
    }
    if !has_fields(raw, kind) && BODIES.contains(&kind) {
        let why = match kind {
            Delegate => "this grant reads no body: say what stands in it by `schema`",
            _ => "this grant reads no body: say which field of it holds the token by `request`",
        };
        let keys = [said(&raw.unknown_fields), said(&raw.strict_content_type), place(&raw.invalid)];
        let schema = place(&raw.schema).filter(|_| kind == Redeem);
        for at in keys.into_iter().chain([schema]).flatten() {
            work.fault(at, why);
        }
    }
}

/// Whether the body is read.
fn has_fields(raw: &Raw, kind: GrantType) -> bool {
    match kind {
        Password | RefreshToken => true,
        Delegate => raw.schema.absent().is_none(),
        Redeem => raw.request.absent().is_none(),
        Renew | Logout | GrantType::ClientCredentials | GrantType::Revoke | GrantType::Introspect => false,
    }
}

fn place<T>(slot: &Slot<T>) -> Option<&At> {
    slot.get().map(|item| &item.at)
}

fn said<T>(item: &Item<T>) -> Option<&At> {
    item.given.then_some(&item.at)
}

/// The method where none is given: GET for a token that does not stand in the body.
pub(in crate::config::compile::tokens) fn default_method(raw: &Raw) -> &'static str {
    if in_body(raw) { "POST" } else { "GET" }
}

fn in_body(raw: &Raw) -> bool {
    raw.r#type.value() != Some(&Redeem) || raw.request.absent().is_none()
}

/// The method.
pub(super) fn method(work: &mut Compiler<'_>, raw: &Raw, kind: GrantType) -> Method {
    let Some(given) = raw.method.get() else {
        return if in_body(raw) { Method::POST } else { Method::GET };
    };
    let method = given.value.method();
    let fault = match method {
        Method::GET if kind != Redeem => {
            "a GET must change nothing, for it is repeated and followed by machines; leave this out"
        }
        Method::GET if in_body(raw) => "a GET has no body, in which `request` looks for the token",
        Method::DELETE if kind != Logout => "DELETE is for a `logout` only",
        ref other if kind.is_oauth() && *other != Method::POST => "the standard has POST here; leave this out",
        _ => return method,
    };
    work.fault(&given.at, fault);
    method
}
