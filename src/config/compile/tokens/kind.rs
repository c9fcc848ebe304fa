//! Kinds of tokens.

use std::sync::Arc;
use std::time::Duration;

use crate::config::compile::Compiler;
use crate::config::compile::issuer::media_type;
use crate::config::keys::{TokenKind as Raw, Tokens};
use crate::config::problem::At;
use crate::config::value::issuing::TokenFormat;
use crate::config::value::measure::{LONGEST, duration_text};
use crate::config::walk::{Item, Slot};
use crate::gate::policy::OpaqueForm;
use crate::jwt::{ASSERTION_TYP, Algorithm};
use crate::tokens::policy::{Encoding, Format, Kind};

const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(400 * 24 * 3600);
const LONGEST_GRACE: Duration = Duration::from_secs(300);
const LONGEST_LEEWAY: Duration = Duration::from_secs(3600);

/// The kinds of a realm, in the order of the file; grants name them by position.
#[derive(Debug, Default)]
pub(in crate::config::compile) struct Kinds(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    at: At,
    /// Names in `one_per`, for the grants that bind them; none where it means nothing.
    one_per: Vec<Item<String>>,
    /// None: it could not be read.
    kind: Option<Kind>,
}

impl Kinds {
    /// Compiles them; `audience` is that of the realm.
    pub(super) fn new(work: &mut Compiler<'_>, raw: &Tokens, audience: &str) -> Self {
        let has_refresh =
            raw.kinds.iter().any(|(name, slot)| slot.get().is_some_and(|kind| used(name, kind) == "refresh"));
        let mut kinds = Self::default();
        for (name, slot) in &raw.kinds {
            let (at, one_per, kind) = match slot {
                Slot::Given(item) => {
                    let kind = kind(work, name, item, audience, has_refresh);
                    kinds.used_once(work, item, kind.as_ref());
                    let known = known_one_by_one(&item.value);
                    let one_per = item.value.one_per.value.iter().filter(|_| known).cloned().collect();
                    (item.at.clone(), one_per, kind)
                }
                Slot::Absent(at) => (at.clone(), Vec::new(), None),
                Slot::Bad => (At::default(), Vec::new(), None),
            };
            kinds.0.push(Entry { name: Arc::from(name.as_str()), at, one_per, kind });
        }
        kinds
    }

    /// Two kinds with the same `token_use` could not be told apart.
    fn used_once(&self, work: &mut Compiler<'_>, item: &Item<Raw>, kind: Option<&Kind>) {
        let Some(kind) = kind else { return };
        let same = |entry: &&Entry| entry.kind.as_ref().is_some_and(|other| other.token_use == kind.token_use);
        if let Some(other) = self.0.iter().find(same) {
            let at = item.value.r#use.get().map_or(&item.at, |item| &item.at);
            let text =
                format!("`tokens.{}` has the use {:?}, too: they could not be told apart", other.name, kind.token_use);
            work.fault(at, text);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| &*entry.name)
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.names().position(|known| known == name)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Kind> {
        self.0.get(index)?.kind.as_ref()
    }

    pub(super) fn name(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(|entry| &*entry.name)
    }

    /// Position of the kind with this `token_use`.
    pub(super) fn of_use(&self, token_use: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.kind.as_ref().is_some_and(|kind| *kind.token_use == *token_use))
    }

    /// Whether each of them could be read: else one that is missing may be among the others.
    pub(super) fn complete(&self) -> bool {
        self.0.iter().all(|entry| entry.kind.is_some())
    }

    /// Whether there are access tokens, as far as is known.
    pub(in crate::config::compile) fn has_access(&self) -> bool {
        self.of_use("access").is_some() || !self.complete()
    }

    /// The kind that is meant. None: a problem was noted.
    pub(super) fn named(&self, work: &mut Compiler<'_>, name: &Item<String>) -> Option<usize> {
        let position = self.position(&name.value);
        if position.is_none() {
            work.unknown(&name.at, "kind of tokens", &name.value, self.names());
        }
        position
    }

    /// The position among the opaque kinds of the one that a route takes. None: a problem was noted.
    pub(in crate::config::compile) fn for_routes(&self, work: &mut Compiler<'_>, name: &Item<String>) -> Option<usize> {
        let position = self.named(work, name)?;
        let kind = self.get(position)?;
        let fault = match &kind.format {
            _ if kind.once => "a token with `uses = 1` is spent by a `redeem` grant, and shown nowhere else",
            _ if *kind.token_use == *"refresh" => {
                "a refresh token is shown to a `refresh_token` grant, and nowhere else"
            }
            Format::Jwt { .. } => "these tokens are JWTs; `opaque` in `auth` takes those with `format = \"opaque\"`",
            Format::Opaque { .. } => return Some(self.opaque().take_while(|form| *form.kind != *kind.name).count()),
        };
        work.fault(&name.at, fault);
        None
    }

    /// What the opaque kinds look like.
    pub(super) fn opaque(&self) -> impl Iterator<Item = OpaqueForm> {
        self.0.iter().filter_map(|entry| entry.kind.as_ref()).filter_map(|kind| match kind.format {
            Format::Opaque { encoding, bytes } => Some(OpaqueForm {
                kind: Arc::clone(&kind.name),
                length: encoding.chars(bytes),
                hex: encoding == Encoding::Hex,
            }),
            Format::Jwt { .. } => None,
        })
    }

    /// The algorithms of those that are signed, each once.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let kinds = self.0.iter().filter_map(|entry| entry.kind.as_ref());
        let mut algorithms: Vec<_> = kinds.filter_map(Kind::algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    }

    /// Holds `one_per` against what grants bind: for each grant the kind and the names.
    pub(super) fn check_bound(&self, work: &mut Compiler<'_>, bound: &[(usize, Vec<&str>)]) {
        for (position, entry) in self.0.iter().enumerate().filter(|(_, entry)| !entry.one_per.is_empty()) {
            let mut grants = bound.iter().filter(|(kind, _)| *kind == position).peekable();
            if grants.peek().is_none() {
                let text = "`one_per` counts tokens of `delegate` grants, but none makes these";
                work.fault(&entry.at.inside("one_per"), text);
            }
            for (_, names) in grants {
                let unbound = entry.one_per.iter().filter(|item| item.value != "subject");
                for item in unbound.filter(|item| !names.contains(&item.value.as_str())) {
                    work.unknown(
                        &item.at,
                        "value bound by `bind`",
                        &item.value,
                        names.iter().copied().chain(["subject"]),
                    );
                }
            }
        }
    }

    /// Notes those that nothing makes: `made` holds positions.
    pub(super) fn check_made(&self, work: &mut Compiler<'_>, made: &[usize]) {
        for (_, entry) in self.0.iter().enumerate().filter(|(n, entry)| entry.kind.is_some() && !made.contains(n)) {
            work.warn(&entry.at, "no grant makes tokens of this kind");
        }
    }

    /// The kinds. None: a problem was noted.
    pub(super) fn into_list(self) -> Option<Vec<Kind>> {
        self.0.into_iter().map(|entry| entry.kind).collect()
    }
}

/// Its `token_use`.
fn used<'r>(name: &'r str, item: &'r Item<Raw>) -> &'r str {
    item.value.r#use.value().map_or(name, String::as_str)
}

fn kind(work: &mut Compiler<'_>, name: &str, item: &Item<Raw>, audience: &str, has_refresh: bool) -> Option<Kind> {
    let raw = &item.value;
    if !super::is_word(name) {
        work.fault(&item.at, super::NO_WORD);
    }
    if let Some(token_use) = raw.r#use.get() {
        work.label(&token_use.at, &token_use.value);
    }
    let token_use = used(name, item);
    let format = format(work, raw, token_use);
    let ttl = raw.ttl.get()?;
    if !TTL.contains(&ttl.value) {
        work.fault(&ttl.at, "expected a duration from \"1s\" to \"400d\"");
    }
    let once = raw.uses.get().is_some();
    if let Some(uses) = raw.uses.get() {
        if uses.value != 1 {
            work.fault(&uses.at, "expected 1: a token is spent on first use, or good until it expires");
        } else if matches!(token_use, "access" | "refresh") {
            work.fault(&uses.at, format!("{token_use} tokens are not spent; leave this out"));
        }
    }
    work.distinct(&raw.one_per.value);
    if raw.one_per.given && !known_one_by_one(raw) {
        let text = "only opaque tokens and those with `uses = 1` are known one by one, so that one can replace another";
        work.fault(&raw.one_per.at, text);
    }
    if raw.revocable.given && token_use != "access" {
        work.fault(&raw.revocable.at, "only means something for access tokens: all others are asked for in the store");
    }
    if let Some(audience) = raw.audience.get() {
        work.plain(&audience.at, &audience.value);
    }
    let (reuse_grace, reuse_leeway) = reuse(work, raw, token_use);
    max_session(work, raw, token_use, has_refresh);
    Some(Kind {
        name: Arc::from(name),
        token_use: token_use.into(),
        format,
        audience: raw.audience.value().map_or(audience, String::as_str).into(),
        ttl: ttl.value,
        once,
        one_per: raw.one_per.value.iter().map(|item| item.value.as_str().into()).collect(),
        revocable: raw.revocable.value,
        rotate: raw.rotate.value,
        reuse_grace,
        reuse_leeway,
        max_session: raw.max_session.value().copied(),
    })
}

/// Whether the store has a row for each.
fn known_one_by_one(raw: &Raw) -> bool {
    raw.uses.get().is_some() || raw.format.value == TokenFormat::Opaque
}

fn format(work: &mut Compiler<'_>, raw: &Raw, token_use: &str) -> Format {
    match raw.format.value {
        TokenFormat::Jwt => {
            for (given, at) in [(raw.encoding.given, &raw.encoding.at), (raw.bytes.given, &raw.bytes.at)] {
                if given {
                    work.fault(at, "only means something with `format = \"opaque\"`");
                }
            }
            let default = if token_use == "access" { "at+jwt" } else { "JWT" };
            if let Some(typ) = raw.typ.get()
                && (!(1..=64).contains(&typ.value.len()) || !typ.value.bytes().all(|b| b.is_ascii_graphic()))
            {
                work.fault(&typ.at, "expected a media type such as \"JWT\" or \"at+jwt\"");
            }
            if let Some(typ) = raw.typ.get()
                && *media_type(&typ.value) == *ASSERTION_TYP
            {
                work.fault(&typ.at, "is what gateways assert to upstreams: such a token would be no credential");
            }
            let typ = raw.typ.value().map_or(default, String::as_str).into();
            Format::Jwt { alg: raw.alg.value.0, typ, kid: raw.kid.value }
        }
        TokenFormat::Opaque => {
            if token_use == "access" {
                let text = "access tokens are JWTs; give opaque tokens for routes a kind and a use of their own";
                work.fault(&raw.format.at, text);
            }
            let given = [
                raw.alg.given.then_some(("alg", &raw.alg.at)),
                raw.typ.get().map(|item| ("typ", &item.at)),
                raw.kid.given.then_some(("kid", &raw.kid.at)),
                raw.audience.get().map(|item| ("audience", &item.at)),
            ];
            for (key, at) in given.into_iter().flatten() {
                work.fault(at, format!("an opaque token is random text and has no `{key}`"));
            }
            let bytes = usize::try_from(raw.bytes.value).unwrap_or(usize::MAX);
            if !(16..=64).contains(&bytes) {
                work.fault(&raw.bytes.at, "expected a number from 16 to 64");
            }
            Format::Opaque { encoding: raw.encoding.value.into(), bytes: bytes.clamp(16, 64) }
        }
    }
}

/// Grace and leeway of a refresh token.
fn reuse(work: &mut Compiler<'_>, raw: &Raw, token_use: &str) -> (Duration, Duration) {
    let keys = [
        (raw.rotate.given, &raw.rotate.at),
        (raw.reuse_grace.given, &raw.reuse_grace.at),
        (raw.reuse_leeway.given, &raw.reuse_leeway.at),
    ];
    let (grace, mut leeway) = (raw.reuse_grace.value, raw.reuse_leeway.value);
    if token_use != "refresh" {
        for (_, at) in keys.into_iter().filter(|(given, _)| *given) {
            work.fault(at, "only means something for refresh tokens");
        }
        return (grace, leeway);
    }
    if !raw.rotate.value {
        for (_, at) in keys.into_iter().skip(1).filter(|(given, _)| *given) {
            work.fault(at, "with `rotate = false` there is no token before");
        }
    }
    work.at_most(&raw.reuse_grace, LONGEST_GRACE);
    work.at_most(&raw.reuse_leeway, LONGEST_LEEWAY);
    if !grace.is_zero() && !is_repeatable(raw) {
        let text = "must be \"0s\": the same successor cannot be made again. Its text is only the same every time for JWTs \
                    by HS256, HS384, HS512, RS256 or EdDSA";
        work.fault(&raw.reuse_grace.at, text);
    }
    if leeway < grace {
        if raw.reuse_leeway.given {
            let text = format!("at least `reuse_grace`, which is \"{}\"", duration_text(grace));
            work.fault(&raw.reuse_leeway.at, text);
        }
        leeway = grace;
    }
    (grace, leeway)
}

/// Whether the same claims make the same text.
fn is_repeatable(raw: &Raw) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let by = match raw.alg.value.0 {
        HS256 | HS384 | HS512 | RS256 | RS384 | RS512 | EdDSA => true,
        ES256 | ES384 | PS256 | PS384 | PS512 => false,
    };
    raw.format.value == TokenFormat::Jwt && by
}

/// The end of a session stands at what renews it.
fn max_session(work: &mut Compiler<'_>, raw: &Raw, token_use: &str, has_refresh: bool) {
    let Some(most) = raw.max_session.get() else { return };
    match token_use {
        "refresh" => {}
        "access" if !has_refresh => {}
        "access" => work.fault(&most.at, "stands at the refresh tokens: they are what makes a session last"),
        _ => work.fault(&most.at, "only means something for refresh tokens, or for access tokens that are renewed"),
    }
    work.positive(most, LONGEST);
}
