//! What a realm issues itself: kinds of tokens, whom they are for, and the grants that hand them out.
//!
//! To the gate the realm is one more issuer, `self`, and its grants are routes without an upstream; the token service gets
//! the rest. Both sides hold the same handle of the realm's keys.

mod callback;
mod directory;
mod discovery;
mod grant;
mod kind;
mod subject;
mod template;

use std::sync::Arc;
use std::time::Duration;

use self::directory::Source;
use self::grant::{Around, Granted, Position, Responses, Used};
pub(in crate::config::compile) use self::kind::Kinds;
use self::subject::Subjects;
use super::Compiler;
use super::issuer::media_type;
use super::route::{Named, RealmParts};
use crate::config::RouteSummary;
use crate::config::keys::{Grant as RawGrant, Realm as Raw};
use crate::config::problem::At;
use crate::config::value::issuing::{GrantType, IpCheck};
use crate::config::walk::{Item, Slot};
use crate::gate::policy::{OwnTokens, Roles, Route};
use crate::gate::verify::jwt::{ClaimMap, ClaimPath, Issuer, KeySource};
use crate::jwt::OwnKeys;
use crate::tokens::policy::{Directory, Format, Grant, RealmTokens, Subject};

/// What is wrong with a name that templates could not use.
const NO_WORD: &str = "expected a name of 1 to 64 letters, digits, `_` or `-`";

/// Whether a name can stand between the dots of a template's names.
fn is_word(name: &str) -> bool {
    super::is_label(name) && !name.contains('.')
}

/// What routes and grants need to know of `[tokens]`.
pub(in crate::config::compile) struct Minting {
    /// Kinds of tokens.
    pub(in crate::config::compile) kinds: Kinds,
    pub(in crate::config::compile) issuer: Box<str>,
    audience: Box<str>,
    keys: Arc<OwnKeys>,
    /// Where discovery is switched on.
    discovery: Option<At>,
}

/// Compiles `[tokens]`. None: the realm issues nothing, or what it is could not be read.
pub(in crate::config::compile) fn minting(work: &mut Compiler<'_>, realm: &str, raw: &Raw) -> Option<Minting> {
    let item = match &raw.tokens {
        Slot::Given(item) => item,
        Slot::Absent(at) => {
            needed(work, raw, at);
            return None;
        }
        Slot::Bad => return None,
    };
    let keys = &item.value.keys;
    for text in [keys.issuer.get(), keys.audience.get()].into_iter().flatten() {
        work.plain(&text.at, &text.value);
    }
    let issuer = issuer(work, raw, &keys.issuer);
    let audience = keys.audience.value().map_or(realm, String::as_str);
    let kinds = Kinds::new(work, &item.value, audience);
    if item.value.kinds.is_empty() {
        work.fault(&item.at, "there is no kind of tokens: write one as [tokens.access]");
    }
    let discovery = keys.discovery.value.then(|| keys.discovery.at.clone());
    if let Some(at) = &discovery {
        discovery::check(work, at, &issuer, &kinds);
    }
    Some(Minting { kinds, issuer, audience: audience.into(), keys: Arc::default(), discovery })
}

/// Tables that only mean something together with `[tokens]`.
fn needed(work: &mut Compiler<'_>, raw: &Raw, at: &At) {
    let given = [
        (!raw.grants.value.is_empty()).then_some("[[grants]]"),
        raw.directory.get().map(|_| "[directory]"),
        (!raw.subjects.value.0.is_empty()).then_some("[subjects]"),
        (!raw.responses.value.0.is_empty()).then_some("[responses]"),
    ];
    let names: Vec<_> = given.into_iter().flatten().collect();
    if !names.is_empty() {
        let text = format!("is required for {}: it says what is issued", names.join(", "));
        work.fault(at, text);
    }
}

/// The `iss` claim.
pub(in crate::config::compile) fn issuer(work: &mut Compiler<'_>, raw: &Raw, slot: &Slot<String>) -> Box<str> {
    match slot {
        Slot::Given(issuer) => issuer.value.as_str().into(),
        Slot::Absent(at) => {
            let hosts = raw.hosts.value().map_or(&[][..], Vec::as_slice);
            let exact = hosts.iter().find(|host| !host.value.starts_with('*'));
            if exact.is_none() && !hosts.is_empty() {
                work.fault(at, "is required: the realm has no exact host to be named by, only wildcards");
            }
            let host = exact.map(|host| host.value.strip_suffix('.').unwrap_or(&host.value).to_ascii_lowercase());
            format!("https://{}", host.unwrap_or_default()).into()
        }
        Slot::Bad => Box::default(),
    }
}

impl Minting {
    /// The realm as an issuer, at the end of its list.
    pub(in crate::config::compile) fn gate_issuer(&self, index: usize, clock_skew: Duration) -> Issuer {
        let access = self.kinds.of_use("access").and_then(|position| self.kinds.get(position));
        let mut typ = vec![media_type("JWT"), media_type("at+jwt")];
        if let Some(Format::Jwt { typ: own, .. }) = access.map(|kind| &kind.format)
            && !typ.contains(&media_type(own))
        {
            typ.push(media_type(own));
        }
        let path = |name: &str| ClaimPath::Name(name.into());
        Issuer {
            name: Arc::from("self"),
            index,
            issuer: self.issuer.clone(),
            audience: vec![access.map_or_else(|| self.audience.clone(), |kind| kind.audience.clone())],
            algorithms: self.kinds.algorithms(),
            keys: KeySource::Own(Arc::clone(&self.keys)),
            leeway: Duration::ZERO,
            max_ttl: access.map_or(Duration::ZERO, |kind| kind.ttl).saturating_add(clock_skew),
            typ,
            required_claims: ["exp", "iss", "aud", "sub", "jti"].map(Box::from).into(),
            claims: ClaimMap {
                subject: path("sub"),
                client: Some(path("client_id")),
                scopes: Some(path("scope")),
                roles: Some(path("roles")),
                tenant: Some(path("tenant")),
                plan: Some(path("plan")),
            },
        }
    }

    /// What the gate knows of the realm's tokens.
    pub(in crate::config::compile) fn own(&self, issuer: usize) -> OwnTokens {
        let access = self.kinds.of_use("access").and_then(|position| self.kinds.get(position));
        OwnTokens {
            issuer,
            token_use: access.map_or("access", |kind| &kind.token_use).into(),
            revocable: access.is_none_or(|kind| kind.revocable),
            opaque: self.kinds.opaque().collect(),
        }
    }
}

/// What came of the grants, until the rest of the realm is known.
pub(in crate::config::compile) struct Service {
    /// The routes of the grants, behind those of the realm; none where a problem was noted.
    pub(in crate::config::compile) routes: Vec<Option<Arc<Route>>>,
    grants: Vec<Option<Grant>>,
    /// Inside, none = there is none. None outside: a problem was noted.
    directory: Option<Option<Directory>>,
    subjects: Option<Vec<Subject>>,
}

/// The grants, as things with names.
pub(in crate::config::compile) fn named(grants: &[Item<RawGrant>]) -> impl Iterator<Item = Named<'_>> {
    grants.iter().map(|item| {
        let RawGrant { name, path, method, .. } = &item.value;
        let method = method.value().map_or_else(|| grant::default_method(&item.value), |method| method.as_str());
        Named { at: &item.at, name, path, methods: Some(vec![method]) }
    })
}

/// Compiles everything around the grants. `names` are theirs; their routes are numbered from `first` on.
pub(in crate::config::compile) fn service(
    work: &mut Compiler<'_>,
    (realm, raw): (&str, &Raw),
    minting: &Minting,
    (names, first): (&[Option<String>], usize),
    parts: &mut RealmParts<'_>,
    roles: &Roles,
) -> Service {
    let source = raw.directory.get().map(|item| Source::new(work, item, roles));
    let subjects = Subjects::new(work, &raw.subjects.value);
    let responses = Responses::new(work, raw);
    let kinds = &minting.kinds;
    let around = Around { realm: raw, kinds, subjects: &subjects, source: source.as_ref(), responses: &responses };
    let mut used = Used::default();
    let mut granted = Vec::new();
    for (number, (item, name)) in raw.grants.value.iter().zip(names).enumerate() {
        let position = Position { name: name.as_deref(), route: first + number, grant: number };
        let made = grant::grant(work, item, &position, &around, parts, &mut used);
        work.routes.extend(made.as_ref().map(|made| grant::summary(realm, &item.value, made)));
        granted.push(made);
    }
    if let Some(at) = &minting.discovery {
        let built_in = discovery::grants(work, at, (first + granted.len(), granted.len()), parts);
        let told =
            |made: &Granted| RouteSummary::of(realm, &made.route, format!("grant {}", made.grant.action.as_str()), []);
        work.routes.extend(built_in.iter().map(told));
        granted.extend(built_in.into_iter().map(Some));
    }
    kinds.check_bound(work, &used.bound);
    // What is not known to be made may be made by what could not be read.
    if granted.iter().all(Option::is_some) {
        kinds.check_made(work, &used.kinds);
        subjects.check_asked(work, &used.subjects);
    }
    let (routes, grants) = granted
        .into_iter()
        .map(|made| made.map_or((None, None), |Granted { route, grant }| (Some(Arc::new(route)), Some(grant))))
        .unzip();
    let directory = match source {
        Some(source) => source.directory.map(Some),
        None => raw.directory.absent().map(|_| None),
    };
    Service { routes, grants, directory, subjects: subjects.into_list() }
}

impl Minting {
    /// What the token service works with. None: a problem was noted.
    pub(in crate::config::compile) fn finish(
        self,
        realm: &str,
        raw: &Raw,
        service: Service,
        roles: &Roles,
    ) -> Option<RealmTokens> {
        let grants: Vec<_> = service.grants.into_iter().collect::<Option<_>>()?;
        let scopes = raw.scopes.value().into_iter().flat_map(|scopes| scopes.names());
        let metadata = discovery::metadata(&grants, scopes.map(Box::from).collect());
        let check = raw.directory.value().map_or(IpCheck::BeforePassword, |directory| directory.ip_check.value);
        Some(RealmTokens {
            realm: Arc::from(realm),
            issuer: self.issuer,
            keys: self.keys,
            kinds: self.kinds.into_list()?,
            directory: service.directory?,
            subjects: service.subjects?,
            grants,
            roles: Arc::new(roles.clone()),
            timestamps: raw.timestamps.value,
            addresses_first: check == IpCheck::BeforePassword,
            address_exempt: raw.ip_allowlist_exempt.value.iter().map(|item| item.value.as_str()).collect(),
            metadata,
        })
    }
}

/// Grants that are free of address lists: each once, and each of a type that the realm has.
pub(in crate::config::compile) fn check_exempt(work: &mut Compiler<'_>, raw: &Raw) {
    let list = &raw.ip_allowlist_exempt;
    let has = |kind: GrantType| {
        raw.grants.value.iter().any(|grant| grant.value.r#type.value().is_none_or(|own| *own == kind))
    };
    for (number, item) in list.value.iter().enumerate() {
        if list.value.iter().take(number).any(|earlier| earlier.value == item.value) {
            work.fault(&item.at, format!("{:?} stands here twice", item.value.as_str()));
        } else if !has(item.value) {
            work.warn(&item.at, format!("the realm has no `{}` grant", item.value.as_str()));
        }
    }
}

/// The attribute of owners that holds a host of theirs.
pub(in crate::config::compile) fn hosts_from(work: &mut Compiler<'_>, raw: &Raw) -> Option<Box<str>> {
    let item = raw.hosts_from.get()?;
    let attribute = item.value.strip_prefix("owner.").filter(|attribute| is_word(attribute));
    if attribute.is_none() {
        work.fault(
            &item.at,
            "expected \"owner.ATTRIBUTE\": the attribute of stored owners that holds a host of theirs",
        );
    }
    attribute.map(Box::from)
}
