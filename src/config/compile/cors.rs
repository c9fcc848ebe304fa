//! `cors` of realms, routes and grants: what is said of pages of other origins becomes what the gate answers them.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, Method};

use super::Compiler;
use super::header;
use super::route::{Guarded, methods};
use crate::config::keys::{Cors as Raw, OwnCors};
use crate::config::problem::At;
use crate::config::walk::{Item, Slot, shorten};
use crate::gate::cors::{Cors, CorsSpec, OriginPattern, Origins, SentFields};
use crate::gate::credential::Place;
use crate::gate::limit::{LimitHeaders, Limiter};
use crate::gate::policy::RoutePlace;

/// A browser may remember a preflight that long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What pages may read of every answer where nothing else is said.
const READ: [&str; 3] = ["X-Request-Id", "WWW-Authenticate", "Retry-After"];

/// What is said, as far as it does not depend on the route.
#[derive(Debug)]
pub(super) struct Said {
    origins: Arc<Origins>,
    /// None: those of the route.
    methods: Option<Vec<Method>>,
    /// None: what its credentials need.
    sent: Option<SentFields>,
    /// None: what the gateway itself says.
    expose: Option<Vec<Box<str>>>,
    credentials: bool,
    max_age_secs: u64,
}

/// Of a realm. None: it says nothing, or a problem was noted.
pub(super) fn of_realm(work: &mut Compiler<'_>, slot: &Slot<Raw>) -> Option<Arc<Said>> {
    let raw = slot.get()?;
    said(work, &raw.value, "leave the table out if there are none").map(Arc::new)
}

/// Of a route or grant with these methods (empty: all): its own, or the realm's. None: neither says anything, or a problem
/// was noted.
pub(super) fn of_route(
    work: &mut Compiler<'_>,
    slot: &Slot<OwnCors>,
    realm: Option<&Arc<Said>>,
    methods: Option<&[Method]>,
) -> Option<Arc<Said>> {
    match slot {
        Slot::Given(Item { value: OwnCors::Table(raw), .. }) => {
            not_the_routes(work, raw, methods.unwrap_or_default());
            said(work, raw, "write `cors = false` if there are none").map(Arc::new)
        }
        Slot::Given(Item { value: OwnCors::Off, .. }) | Slot::Bad => None,
        Slot::Absent(_) => realm.cloned(),
    }
}

fn not_the_routes(work: &mut Compiler<'_>, raw: &Raw, methods: &[Method]) {
    // What is no method has its own fault.
    let good = |text: &str| text != "*" && !text.bytes().any(|b| b.is_ascii_lowercase());
    for method in raw.methods.value().into_iter().flatten().filter(|method| good(&method.value)) {
        if !methods.is_empty() && !methods.iter().any(|own| own.as_str() == method.value) {
            work.fault(&method.at, format!("{:?} is none of the methods here", shorten(&method.value)));
        }
    }
}

fn said(work: &mut Compiler<'_>, raw: &Raw, none: &str) -> Option<Said> {
    let origins = origins(work, raw, none);
    let methods = match raw.methods.value().and_then(|list| list.iter().find(|method| method.value == "*")) {
        Some(any) => {
            work.fault(&any.at, "leave `methods` out: then they are those of each route");
            None
        }
        None => methods(work, &raw.methods).map(|methods| raw.methods.get().map(|_| methods)),
    };
    let sent = names(work, &raw.headers).map(|names| {
        names.map(|names| match names {
            Names::Any => SentFields::Any,
            Names::These(names) => SentFields::Listed(names.into_iter().map(|(name, _)| name).collect()),
        })
    });
    let expose = expose(work, raw);
    work.at_most(&raw.max_age, LONGEST);
    if raw.max_age.value.subsec_nanos() > 0 {
        work.fault(&raw.max_age.at, "expected whole seconds: browsers know no others");
    }
    Some(Said {
        origins: origins?,
        methods: methods?,
        sent: sent?,
        expose: expose?,
        credentials: raw.credentials.value,
        max_age_secs: raw.max_age.value.as_secs(),
    })
}

fn origins(work: &mut Compiler<'_>, raw: &Raw, none: &str) -> Option<Arc<Origins>> {
    let list = raw.origins.get()?;
    if list.value.is_empty() {
        work.fault(&list.at, format!("the list is empty; {none}"));
        return None;
    }
    work.distinct(&list.value);
    let mut patterns = Vec::new();
    for item in &list.value {
        let pattern = work.good(&item.at, OriginPattern::parse(&item.value));
        if pattern == Some(OriginPattern::Any) {
            any(work, raw, &item.at, list.value.len());
        }
        if is_open(&item.value) {
            work.warn(&item.at, "whoever is on the way of a page without TLS can speak as this origin");
        }
        patterns.push(pattern);
    }
    let patterns: Vec<_> = patterns.into_iter().collect::<Option<_>>()?;
    Some(Arc::new(Origins::new(&patterns)))
}

fn any(work: &mut Compiler<'_>, raw: &Raw, at: &At, count: usize) {
    if count > 1 {
        work.fault(at, "`*` stands alone: it is every origin");
    }
    if raw.credentials.value {
        let text = "must be false for every origin (`*`): any page could act in the name of whoever looks at it; name the \
                    origins that may";
        work.fault(&raw.credentials.at, text);
    }
}

/// Whether pages of this origin come over a network without TLS.
fn is_open(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://") else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    };
    !(matches!(name, "localhost" | "[::1]") || name.ends_with(".localhost") || name.starts_with("127."))
}

/// Names of header fields.
enum Names {
    Any,
    /// Each as it is compared, and as it was written.
    These(Vec<(HeaderName, Box<str>)>),
}

/// None outside: a problem was noted; inside: nothing is said.
#[allow(clippy::option_option)] // the outer one is the compiler's habit, the inner one what is meant
fn names(work: &mut Compiler<'_>, slot: &Slot<Vec<Item<String>>>) -> Option<Option<Names>> {
    let list = match slot {
        Slot::Given(list) => &list.value,
        Slot::Absent(_) => return Some(None),
        Slot::Bad => return None,
    };
    if let [one] = list.as_slice()
        && one.value == "*"
    {
        return Some(Some(Names::Any));
    }
    let mut names: Vec<(HeaderName, Box<str>)> = Vec::new();
    for item in list {
        if item.value == "*" {
            work.fault(&item.at, "`*` stands alone: it is every header field");
        } else if let Some(name) = work.good(&item.at, header::name(&item.value)) {
            if names.iter().any(|(earlier, _)| *earlier == name) {
                work.fault(&item.at, format!("{:?} stands here twice", item.value));
            }
            names.push((name, item.value.as_str().into()));
        }
    }
    Some(Some(Names::These(names)))
}

#[allow(clippy::option_option)] // as above
fn expose(work: &mut Compiler<'_>, raw: &Raw) -> Option<Option<Vec<Box<str>>>> {
    Some(match names(work, &raw.expose)? {
        None => None,
        Some(Names::These(names)) => Some(names.into_iter().map(|(_, written)| written).collect()),
        Some(Names::Any) => {
            if let Some(list) = raw.expose.get().filter(|_| raw.credentials.value) {
                work.fault(&list.at, "with `credentials` browsers take `*` for a name: list the names");
            }
            Some(vec!["*".into()])
        }
    })
}

impl Said {
    /// What it means for a route with these methods (empty: all), and what it takes as proof; none: nothing, or there is no
    /// route.
    pub(super) fn to(&self, methods: &[Method], guarded: Option<&Guarded>) -> Box<Cors> {
        let (places, limits) = guarded.map_or((&[][..], &[][..]), |guarded| (&guarded.places, &guarded.limits));
        Box::new(Cors::new(CorsSpec {
            origins: Arc::clone(&self.origins),
            methods: self.methods_of(methods),
            sent: self.sent.clone().unwrap_or_else(|| SentFields::Listed(sent(places))),
            expose: self.expose.clone().unwrap_or_else(|| exposed(limits)),
            credentials: self.credentials,
            max_age_secs: self.max_age_secs,
        }))
    }

    /// Never one that the route does not take: what another route does with it is for that one to say.
    fn methods_of(&self, own: &[Method]) -> Vec<Method> {
        let usual = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        match &self.methods {
            None if own.is_empty() => usual.into(),
            None => own.to_vec(),
            Some(said) => said.iter().filter(|method| own.is_empty() || own.contains(method)).cloned().collect(),
        }
    }
}

/// What a page has to send to whoever looks for credentials there.
fn sent(places: &[RoutePlace]) -> Vec<HeaderName> {
    let mut names = vec![AUTHORIZATION, CONTENT_TYPE];
    for place in places {
        match &place.place {
            Place::Header(name) if !names.contains(name) => names.push(name.clone()),
            Place::Header(_) | Place::Query(_) | Place::Cookie(_) => {}
        }
    }
    names
}

/// What the gateway itself says in answers.
fn exposed(limits: &[Arc<Limiter>]) -> Vec<Box<str>> {
    let told: Vec<_> = limits.iter().map(|limit| limit.spec().headers).collect();
    let mut names: Vec<Box<str>> = READ.map(Box::from).into();
    let tells = |one: LimitHeaders| told.iter().any(|headers| *headers == one || *headers == LimitHeaders::Both);
    for (prefix, wanted) in
        [("RateLimit", tells(LimitHeaders::RateLimit)), ("X-RateLimit", tells(LimitHeaders::XRateLimit))]
    {
        let each = ["Limit", "Remaining", "Reset"].iter().filter(|_| wanted);
        names.extend(each.map(|what| format!("{prefix}-{what}").into_boxed_str()));
    }
    names
}
