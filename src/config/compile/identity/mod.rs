//! The realm's identity headers: their names, by themselves or by a profile, and the signed assertion.

mod assertion;
mod profile;

use http::HeaderName;

pub(super) use self::assertion::document;
use self::profile::{Defaults, WHO};
use super::Compiler;
use super::header::{alias, is_gateways, name};
use super::tokens::Minting;
use crate::config::keys::{IdentityHeaders as Raw, Realm};
use crate::config::walk::Item;
use crate::gate::headers::{IdentityHeaders, IdentityNames, Join, Told};
use crate::gate::verify::jwt::ClaimPath;

/// Fields that already mean something to everybody.
const TAKEN: &[&str] =
    &["authorization", "cookie", "set_cookie", "content_type", "content_encoding", "expect", "range"];

/// The realm's identity headers.
pub(super) fn identity(work: &mut Compiler<'_>, realm: &Realm, minting: Option<&Minting>) -> IdentityHeaders {
    let raw = &realm.identity_headers.value;
    let profile = raw.profile.get().map(|item| (Defaults::of(item.value), item.at.key.as_str()));
    let mut names = Names { profile: profile.map(|(defaults, _)| defaults), told: Vec::new(), seen: Vec::new() };
    if let Some((defaults, key)) = profile {
        names.see_defaults(raw, defaults, key);
    }
    for (told, item, defaults) in keys(raw, names.profile) {
        names.add(work, told, item, defaults);
    }
    names.add_extra(work, &raw.extra.value.0);
    let assertion = raw.assertion.get().and_then(|item| assertion::assertion(work, realm, item, minting, &mut names));
    let fixed = |name: &&'static str| HeaderName::from_static(name);
    IdentityHeaders::new(IdentityNames {
        told: names.told,
        join: names.profile.map_or(Join::Blank, |profile| profile.join),
        anonymous: names.profile.and_then(|profile| profile.anonymous).as_ref().map(fixed),
        owned: names.profile.into_iter().flat_map(Defaults::all).map(HeaderName::from_static).collect(),
        assertion,
    })
}

type KeyNames<'r> = (Told, &'r Item<String>, &'static [&'static str]);

/// The keys in their order, and what they are called by the profile.
fn keys<'r>(raw: &'r Raw, profile: Option<&'static Defaults>) -> [KeyNames<'r>; 10] {
    let of = |names: fn(&'static Defaults) -> &'static [&'static str]| profile.map_or(&[][..], names);
    let of_token = profile.is_some_and(|profile| profile.subject_of_token) && !raw.subject.given;
    let subject = if of_token { Told::SubjectOfToken } else { Told::Subject };
    [
        (subject, &raw.subject, of(|names| names.subject)),
        (Told::Client, &raw.client, of(|names| names.client)),
        (Told::Realm, &raw.realm, &[]),
        (Told::Method, &raw.method, &[]),
        (Told::Credential, &raw.credential, of(|names| names.credential)),
        (Told::Issuer, &raw.issuer, &[]),
        (Told::Scopes, &raw.scopes, of(|names| names.scopes)),
        (Told::Roles, &raw.roles, of(|names| names.roles)),
        (Told::Plan, &raw.plan, &[]),
        (Told::Tenant, &raw.tenant, &[]),
    ]
}

/// Names as far as they are known.
struct Names {
    profile: Option<&'static Defaults>,
    told: Vec<(Told, HeaderName)>,
    /// Aliases, and the keys that have them.
    seen: Vec<(String, String)>,
}

impl Names {
    /// The names of the profile that hold come first: what collides with them is a key that somebody wrote.
    fn see_defaults(&mut self, raw: &Raw, profile: &'static Defaults, key: &str) {
        let given = |attribute: &str| raw.extra.value.0.iter().any(|(name, _)| name == attribute);
        let keys = keys(raw, Some(profile)).into_iter().filter(|(_, item, _)| !item.given);
        let extra = profile.extra.iter().filter(|(attribute, _)| !given(attribute)).map(|(_, names)| *names);
        let names = keys.map(|(_, _, names)| names).chain(extra).flatten().copied();
        self.seen.extend(names.chain(profile.anonymous).map(|name| (alias(name), key.to_owned())));
    }

    fn add(&mut self, work: &mut Compiler<'_>, told: Told, item: &Item<String>, defaults: &[&'static str]) {
        if item.given || self.profile.is_none() {
            let name = self.name(work, item);
            self.told.extend(name.map(|name| (told, name)));
        } else {
            self.told.extend(defaults.iter().map(|name| (told.clone(), HeaderName::from_static(name))));
        }
    }

    /// Attributes and claims: the profile's, unless they stand here, too.
    fn add_extra(&mut self, work: &mut Compiler<'_>, extra: &[(String, Item<String>)]) {
        let defaults = self.profile.map_or(&[][..], |profile| profile.extra);
        for (attribute, item) in extra {
            work.plain(&item.at, attribute);
            if item.value.is_empty() {
                if !defaults.iter().any(|(default, _)| default == attribute) {
                    work.fault(&item.at, "expected the name of a header field");
                }
            } else if let Some(name) = self.name(work, item) {
                let path = work.good(&item.at, ClaimPath::parse(attribute));
                self.told.extend(path.map(|path| (Told::Claim(path), name)));
            }
        }
        for (attribute, names) in defaults.iter().filter(|(default, _)| !extra.iter().any(|(name, _)| name == default))
        {
            let told = match *attribute {
                // Those who know the name take it for the user's own.
                "email" => Told::Email,
                _ => Told::Claim(ClaimPath::Name((*attribute).into())),
            };
            self.told.extend(names.iter().map(|name| (told.clone(), HeaderName::from_static(name))));
        }
    }

    /// The name that somebody wrote. None: it is left out, or a problem was noted.
    fn name(&mut self, work: &mut Compiler<'_>, item: &Item<String>) -> Option<HeaderName> {
        if item.value.is_empty() {
            return None;
        }
        let name = work.good(&item.at, name(&item.value))?;
        let alias = alias(&item.value);
        let gateways = is_gateways(&item.value) && !WHO.contains(&alias.as_str());
        if gateways || TAKEN.contains(&alias.as_str()) {
            work.fault(&item.at, format!("`{name}` has a meaning of its own and cannot be an identity header"));
        } else if let Some((_, key)) = self.seen.iter().find(|(earlier, _)| *earlier == alias) {
            work.fault(&item.at, format!("`{key}` has this header already"));
        }
        self.seen.push((alias, item.at.key.clone()));
        Some(name)
    }
}
