//! Names in templates: each must be one that has a value where the template is used. A typo is told here, and never
//! found out by somebody who signs in.

use crate::config::compile::Compiler;
use crate::config::problem::At;
use crate::config::walk::shorten;
use crate::nearest::hint;
use crate::reply::Template;
use crate::tokens::policy::{Field, FieldKind};

/// What is there in every request.
const EVERYWHERE: [&str; 3] = ["realm", "request_id", "client_ip"];

/// The names that have a value at one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// For messages: whose place it is.
    place: String,
    known: Vec<String>,
    /// Beginnings after which every name is good.
    open: Vec<String>,
    /// Names that exist, but must not be told.
    secret: Vec<String>,
}

impl Names {
    /// At `place`, what is there for every request.
    pub(super) fn at(place: impl Into<String>) -> Self {
        Self { place: place.into(), known: EVERYWHERE.map(str::to_owned).into(), ..Self::default() }
    }

    /// Adds names.
    pub(super) fn and<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.known.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Adds `GROUP.NAME` for each.
    pub(super) fn group<'n>(mut self, group: &str, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.known.extend(names.into_iter().map(|name| format!("{group}.{name}")));
        self
    }

    /// Lets every `GROUP.NAME` be good.
    pub(super) fn every(mut self, group: &str) -> Self {
        self.open.push(format!("{group}."));
        self
    }

    /// Adds a token of this kind with its times.
    pub(super) fn token(mut self, kind: &str) -> Self {
        self.known.push(format!("token.{kind}"));
        self.group(&format!("token.{kind}"), ["expires_at", "expires_in", "issued_at"])
    }

    /// Who signs in, or whose token or key it is; further names are attributes.
    pub(super) fn principal(self) -> Self {
        let names = ["subject", "id", "client", "identifier", "plan", "tenant", "role", "roles", "scopes"];
        self.group("principal", names).every("principal")
    }

    /// The body's fields, and the body as a whole; those of `secret` are never told.
    pub(super) fn body(mut self, fields: &[Field], secret: &[&str]) -> Self {
        if fields.is_empty() {
            return self;
        }
        if secret.is_empty() {
            self.known.push(String::from("request"));
        } else {
            self.secret.push(String::from("request"));
            self.secret.extend(secret.iter().map(|name| format!("request.{name}")));
        }
        self.fields("request", fields);
        self
    }

    fn fields(&mut self, group: &str, fields: &[Field]) {
        for field in fields {
            let name = format!("{group}.{}", field.name);
            match &field.kind {
                FieldKind::Table(inner) => self.fields(&name, inner),
                FieldKind::Object => self.open.push(format!("{name}.")),
                FieldKind::Text(_)
                | FieldKind::Email
                | FieldKind::HttpUrl
                | FieldKind::Integer
                | FieldKind::Boolean => {}
            }
            self.known.push(name);
        }
    }

    /// What is wrong with a name, if anything.
    fn fault(&self, name: &str) -> Option<String> {
        if self.secret.iter().any(|secret| secret == name) {
            return Some(format!("`{name}` holds a secret of the caller, which is never told again"));
        }
        let open =
            || self.open.iter().any(|start| name.strip_prefix(start.as_str()).is_some_and(|rest| !rest.is_empty()));
        if self.known.iter().any(|known| known == name) || open() {
            return None;
        }
        let hint = hint(name, self.known.iter().map(String::as_str));
        Some(format!("nothing is called `{}` in {}{hint}", shorten(name), self.place))
    }

    /// Notes every name of `template` that has no value.
    pub(super) fn check(&self, work: &mut Compiler<'_>, at: &At, template: &Template) {
        for name in template.names() {
            if let Some(fault) = self.fault(name) {
                work.fault(at, fault);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let text = |name: &str| Field { name: name.into(), kind: FieldKind::Text(None), required: true };
        let fields = [
            text("email"),
            text("password"),
            Field { name: "extra".into(), kind: FieldKind::Object, required: false },
            Field { name: "partner".into(), kind: FieldKind::Table(vec![text("name")]), required: true },
        ];
        Names::at("the grant `/x`").token("access").principal().body(&fields, &["password"])
    }

    #[test]
    fn a_name_has_a_value_or_is_told_with_the_nearest() {
        for good in [
            "token.access",
            "token.access.expires_in",
            "principal.tenant",
            "principal.client_id",
            "request.email",
            "request.partner",
            "request.partner.name",
            "request.extra.any.thing",
            "client_ip",
        ] {
            assert_eq!(names().fault(good), None, "{good}");
        }
        for bad in ["token", "token.refresh", "principal", "principal.", "owner.id", "request.partner.id", "email", "x"]
        {
            assert!(names().fault(bad).is_some_and(|fault| fault.contains("the grant `/x`")), "{bad}");
        }
        assert!(names().fault("token.acess").unwrap().ends_with("did you mean `token.access`?"));
    }

    #[test]
    fn a_secret_of_the_caller_is_never_told() {
        for name in ["request", "request.password"] {
            assert!(names().fault(name).unwrap().contains("secret"), "{name}");
        }
    }
}
