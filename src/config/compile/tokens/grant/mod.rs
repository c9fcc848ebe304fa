//! Grants: each is a route to the gate, which lets requests in, and an action to the token service, which answers them.

mod action;
mod auth;
mod body;
mod fit;

use std::sync::Arc;

use self::action::Made;
use self::body::Body;
pub(super) use self::fit::default_method;
use super::directory::Source;
use super::kind::Kinds;
use super::subject::Subjects;
use super::template::Names;
use crate::config::RouteSummary;
use crate::config::compile::route::RealmParts;
use crate::config::compile::{Compiler, cors};
use crate::config::keys::{Grant as Raw, Realm};
use crate::config::value::issuing::GrantType;
use crate::config::value::measure::size_text;
use crate::config::walk::{Item, Slot};
use crate::gate::policy::{Route, RouteView, Timeouts};
use crate::gate::route::Pattern;
use crate::reply::Template;
use crate::tokens::policy::Grant;

const LARGEST_BODY: u64 = 16 << 20;

/// What grants of a realm refer to.
pub(super) struct Around<'a> {
    pub(super) realm: &'a Realm,
    pub(super) kinds: &'a Kinds,
    pub(super) subjects: &'a Subjects<'a>,
    /// None: there is none, or it could not be read.
    pub(super) source: Option<&'a Source<'a>>,
    pub(super) responses: &'a Responses<'a>,
}

/// A grant as both sides know it.
pub(super) struct Granted {
    pub(super) route: Route,
    pub(super) grant: Grant,
}

/// What grants use, to find out what nobody uses.
#[derive(Default)]
pub(super) struct Used<'r> {
    /// Kinds that are made.
    pub(super) kinds: Vec<usize>,
    /// Subjects that are asked.
    pub(super) subjects: Vec<usize>,
    /// Names of the values that tokens of a kind are bound to, for each grant that makes them.
    pub(super) bound: Vec<(usize, Vec<&'r str>)>,
}

/// Where a grant gets its numbers and its name.
pub(super) struct Position<'n> {
    /// Its name; none where there is no path.
    pub(super) name: Option<&'n str>,
    /// Position among the routes.
    pub(super) route: usize,
    /// Position among the grants.
    pub(super) grant: usize,
}

/// Compiles a grant and enters it into the look-up.
pub(super) fn grant<'r>(
    work: &mut Compiler<'_>,
    item: &'r Item<Raw>,
    position: &Position<'_>,
    around: &Around<'_>,
    parts: &mut RealmParts<'_>,
    used: &mut Used<'r>,
) -> Option<Granted> {
    let raw = &item.value;
    let pattern = raw.path.get().and_then(|path| work.good(&path.at, Pattern::parse(&path.value)));
    let kind = *raw.r#type.value()?;
    fit::misplaced(work, raw, kind);
    let method = fit::method(work, raw, kind);
    if let Some(pattern) = &pattern {
        parts.lookup.add(work, &item.at, &raw.hosts, (pattern, std::slice::from_ref(&method)), position.route);
    }
    let path = raw.path.value().map_or("", String::as_str);
    let place = format!("the grant `{path}`");
    let params = pattern.as_ref().map(Pattern::param_names).unwrap_or_default();

    let own = std::slice::from_ref(&method);
    let cors = cors::of_route(work, &raw.cors, parts.cors.as_ref(), Some(own));
    let body = body::body(work, raw, kind, around.source);
    let guarded = auth::guarded(work, item, kind, pattern.as_ref(), parts, around.kinds);
    let before = auth::names(raw, kind, &place, params, &body);
    let names = auth::names_of_subject(raw, kind, before.clone(), around);
    let made = action::action(work, item, kind, &names, &body, around);
    if kind == GrantType::Password
        && let Some(source) = around.source
    {
        source.check_body(work, &place, &body.fields);
    }
    if let Some(made) = &made {
        note(work, raw, made, around, (&place, params, &before), used);
    }
    let response = if kind.is_oauth() { Some(None) } else { response(work, raw, made.as_ref(), names, around) };
    let (status, max_body) = (status(work, raw), max_body(work, raw));
    if let Some(invalid) = raw.invalid.get() {
        work.plain(&invalid.at, &invalid.value);
    }

    let (guarded, made) = (guarded?, made?);
    let route = Route {
        name: Arc::from(position.name?),
        index: position.route,
        cors: cors.map(|said| said.to(own, Some(&guarded))),
        view: RouteView {
            path: path.to_owned(),
            methods: vec![method.to_string()],
            auth: auth::kinds(raw, kind).iter().map(|kind| kind.value.as_str().to_owned()).collect(),
            scopes: raw.scopes.value().into_iter().flatten().map(|scope| scope.value.clone()).collect(),
            scopes_any: Vec::new(),
        },
        auth: guarded.auth,
        places: guarded.places,
        issuers: guarded.issuers,
        scopes: guarded.scopes,
        scopes_any: guarded.scopes_any,
        roles: guarded.roles,
        plans: guarded.plans,
        attributes: guarded.attributes,
        allow_ips: guarded.allow_ips,
        deny_ips: guarded.deny_ips,
        limits: guarded.limits,
        upstream: None,
        grant: Some(position.grant),
        enforce: true,
        document: None,
        standard: kind.is_oauth(),
        strip_prefix: None,
        timeouts: Timeouts::default(),
        max_body,
        forward_credential: false,
        add_headers: Vec::new(),
        remove_headers: Vec::new(),
    };
    let grant = Grant {
        path: Arc::from(path),
        params: params.to_vec(),
        action: made.action,
        fields: body.fields,
        unknown: raw.unknown_fields.value.into(),
        strict_content_type: raw.strict_content_type.value,
        max_body,
        status: made.status.unwrap_or(status),
        response: response?,
        invalid: raw.invalid.value().map(|text| text.as_str().into()),
    };
    Some(Granted { route, grant })
}

/// Notes what the grant makes and asks for, and holds what is asked against its path.
fn note<'r>(
    work: &mut Compiler<'_>,
    raw: &'r Raw,
    made: &Made,
    around: &Around<'_>,
    (place, params, names): (&str, &[Box<str>], &Names),
    used: &mut Used<'r>,
) {
    used.kinds.extend(&made.kinds);
    if let Some(subject) = made.subject {
        used.subjects.push(subject);
        around.subjects.check(work, subject, place, params, names);
        used.bound.extend(made.kinds.first().map(|kind| (*kind, raw.bind.value.names().collect())));
    }
}

/// The body of a good answer; inside, none = the grant's own. None outside: a problem was noted.
#[allow(clippy::option_option)] // the outer one is the compiler's habit, the inner one what is meant
fn response(
    work: &mut Compiler<'_>,
    raw: &Raw,
    made: Option<&Made>,
    names: Names,
    around: &Around<'_>,
) -> Option<Option<Template>> {
    let name = match &raw.response {
        Slot::Given(name) => name,
        Slot::Absent(_) => return Some(None),
        Slot::Bad => return None,
    };
    let (item, template) = around.responses.named(work, name)?;
    let kinds = made?.kinds.iter().filter_map(|kind| around.kinds.name(*kind));
    let names = kinds.fold(names, Names::token);
    names.check(work, &item.at, template);
    Some(Some(template.clone()))
}

fn status(work: &mut Compiler<'_>, raw: &Raw) -> u16 {
    let status = u16::try_from(raw.status.value).ok().filter(|status| (200..=299).contains(status));
    match status {
        None => work.fault(&raw.status.at, "expected a status of good answers, from 200 to 299"),
        Some(204 | 205) if raw.response.get().is_some() => {
            work.fault(&raw.status.at, "an answer with this status has no body, but there is a `response`");
        }
        Some(_) => {}
    }
    status.unwrap_or(200)
}

fn max_body(work: &mut Compiler<'_>, raw: &Raw) -> u64 {
    let size = raw.max_body.value.0;
    if !(1..=LARGEST_BODY).contains(&size) {
        work.fault(&raw.max_body.at, format!("expected a size from \"1B\" to \"{}\"", size_text(LARGEST_BODY)));
    }
    size
}

/// What `check` tells of a grant.
pub(super) fn summary(realm: &str, raw: &Raw, granted: &Granted) -> RouteSummary {
    let told = [("hosts", &raw.hosts), ("issuers", &raw.issuers), ("plan", &raw.plan)];
    RouteSummary::of(realm, &granted.route, format!("grant {}", granted.grant.action.as_str()), told)
}

/// Bodies of good answers by name.
pub(super) struct Responses<'r>(Vec<(&'r str, &'r Item<crate::config::value::Any>, Option<Template>)>);

impl<'r> Responses<'r> {
    /// Reads `[responses]`.
    pub(super) fn new(work: &mut Compiler<'_>, raw: &'r Realm) -> Self {
        let each = raw.responses.value.0.iter().map(|(name, item)| {
            if !item.value.0.is_object() {
                work.fault(&item.at, "a body is a table");
            }
            (name.as_str(), item, work.good(&item.at, Template::parse(&item.value.0)))
        });
        let responses = Self(each.collect());
        for (name, item, _) in &responses.0 {
            let used = |grant: &Item<Raw>| grant.value.response.value().is_some_and(|used| used == name);
            if !raw.grants.value.iter().any(used) {
                work.warn(&item.at, "no grant has this as its `response`");
            }
        }
        responses
    }

    /// The one that is meant. None: a problem was noted.
    fn named(
        &self,
        work: &mut Compiler<'_>,
        name: &Item<String>,
    ) -> Option<(&'r Item<crate::config::value::Any>, &Template)> {
        match self.0.iter().find(|(known, ..)| *known == name.value) {
            Some((_, item, template)) => template.as_ref().map(|template| (*item, template)),
            None => {
                work.unknown(&name.at, "response", &name.value, self.0.iter().map(|(known, ..)| *known));
                None
            }
        }
    }
}
