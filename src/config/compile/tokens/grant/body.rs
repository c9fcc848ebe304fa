//! What stands in the body of a grant, and which fields it works with.

use super::Source;
use crate::config::compile::Compiler;
use crate::config::compile::tokens::{NO_WORD, is_word};
use crate::config::keys::{Grant as Raw, RequestFields};
use crate::config::problem::At;
use crate::config::value::Named;
use crate::config::value::field::FieldSpec;
use crate::config::value::issuing::GrantType;
use crate::config::walk::{Item, Slot};
use crate::tokens::policy::{Field, FieldKind};

/// The fields of a body.
#[derive(Default)]
pub(super) struct Body {
    pub(super) fields: Vec<Field>,
    /// The identifier's field.
    pub(super) identifier: Box<str>,
    /// The password's.
    pub(super) password: Box<str>,
    /// The token's; none where it stands elsewhere.
    pub(super) token: Option<Box<str>>,
}

impl Body {
    /// Fields that no answer may repeat.
    pub(super) fn secrets(&self) -> Vec<&str> {
        let password = Some(&*self.password).filter(|name| !name.is_empty());
        password.into_iter().chain(self.token.as_deref()).collect()
    }
}

/// Compiles `request` and `schema`.
pub(super) fn body(work: &mut Compiler<'_>, raw: &Raw, kind: GrantType, source: Option<&Source<'_>>) -> Body {
    let fields = raw.schema.value().map(|schema| fields(work, schema)).unwrap_or_default();
    let mut body = Body { fields, ..Body::default() };
    let request = raw.request.value();
    if let Some(request) = request {
        misplaced(work, request, kind);
    }
    let role = |slot: fn(&RequestFields) -> &Slot<String>| request.and_then(|request| slot(request).get());
    match kind {
        GrantType::Password => {
            let identifier = source.and_then(Source::identifier).unwrap_or("identifier");
            body.identifier = field(work, raw, &mut body.fields, role(|r| &r.identifier), identifier);
            body.password = field(work, raw, &mut body.fields, role(|r| &r.password), "password");
            if body.identifier == body.password
                && let Some(at) = raw.request.get().map(|item| &item.at)
            {
                work.fault(at, "identifier and password cannot be one field");
            }
        }
        GrantType::RefreshToken => {
            body.token = Some(field(work, raw, &mut body.fields, role(|r| &r.token), "refresh_token"));
        }
        GrantType::Redeem => {
            if let Some(request) = raw.request.get() {
                if request.value.token.absent().is_some() {
                    work.fault(&request.at, "which field holds the token? Write `{ token = \"FIELD\" }`");
                }
                body.token = Some(field(work, raw, &mut body.fields, role(|r| &r.token), "token"));
            }
        }
        GrantType::Renew
        | GrantType::Delegate
        | GrantType::Logout
        | GrantType::ClientCredentials
        | GrantType::Revoke
        | GrantType::Introspect => {}
    }
    body
}

fn misplaced(work: &mut Compiler<'_>, request: &RequestFields, kind: GrantType) {
    let (signs_in, takes_token) =
        (kind == GrantType::Password, matches!(kind, GrantType::RefreshToken | GrantType::Redeem));
    for (slot, fits) in [(&request.identifier, signs_in), (&request.password, signs_in), (&request.token, takes_token)]
    {
        if let Some(item) = slot.get().filter(|_| !fits && (signs_in || takes_token)) {
            let roles = if signs_in { "`identifier` and `password`" } else { "a `token`" };
            work.fault(&item.at, format!("a `{}` grant works with {roles}", kind.as_str()));
        }
    }
}

/// A field that the grant works with: required text.
fn field(
    work: &mut Compiler<'_>,
    raw: &Raw,
    fields: &mut Vec<Field>,
    given: Option<&Item<String>>,
    default: &str,
) -> Box<str> {
    let name = given.map_or(default, |item| item.value.as_str());
    if let Some(item) = given.filter(|item| !is_word(&item.value)) {
        work.fault(&item.at, NO_WORD);
    }
    match fields.iter().find(|field| *field.name == *name) {
        None => fields.push(Field { name: name.into(), kind: FieldKind::Text(None), required: true }),
        Some(Field { kind: FieldKind::Text(_) | FieldKind::Email, required: true, .. }) => {}
        Some(_) => {
            let at = raw.schema.value().and_then(|schema| schema.0.iter().find(|(known, _)| known == name));
            let at = at.map_or_else(At::default, |(_, item)| item.at.clone());
            work.fault(&at, "the grant cannot do without it: expected \"string!\" or \"email!\"");
        }
    }
    name.into()
}

fn fields(work: &mut Compiler<'_>, schema: &Named<FieldSpec>) -> Vec<Field> {
    let mut fields = Vec::with_capacity(schema.0.len());
    for (name, item) in &schema.0 {
        if !is_word(name) {
            work.fault(&item.at, NO_WORD);
        }
        let (kind, required) = match &item.value {
            FieldSpec::One(kind, required) => (kind.clone(), *required),
            FieldSpec::Table(inner) => {
                if inner.0.is_empty() {
                    work.fault(&item.at, "a table without fields; any object is \"object\"");
                }
                let inner = self::fields(work, inner);
                let required = inner.iter().any(|field| field.required);
                (FieldKind::Table(inner), required)
            }
        };
        fields.push(Field { name: name.as_str().into(), kind, required });
    }
    fields
}
