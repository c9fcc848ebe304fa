//! What may be granted: checks of roles, scopes, prefixes and times against a realm of the configuration, and what of a
//! grant has no effect.

use super::Refusal;
use crate::clock::UnixMillis;
use crate::gate::policy::Realm;
use crate::gate::verify::api_key::ApiKeyForm;
use crate::identifier::{canonical_identifier, is_hidden};
use crate::identity::{OwnerScopes, ScopeSet, grant_fault};
use crate::nearest;
use crate::password::Phc;
use crate::store::Client;

/// What is told about a key or token that never expires.
pub(super) const NO_END: &str = "it never expires: whoever finds it can use it until somebody revokes it";

/// So many faults are told at once.
const MAX_FAULTS: usize = 100;

/// What is wrong with the fields of a body, all of it.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(String, String)>);

impl Faults {
    pub(super) fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push((field.into(), text.into()));
        }
    }

    /// Takes the value, or notes what is wrong with the fields.
    ///
    /// # Errors
    /// What is not about fields.
    pub(super) fn take<T>(&mut self, result: Result<T, Refusal>) -> Result<Option<T>, Refusal> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Refusal::Invalid(faults)) => {
                faults.into_iter().for_each(|(field, text)| self.add(field, text));
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// The refusal, where it is known that something is wrong.
    pub(super) fn refusal(self) -> Refusal {
        Refusal::Invalid(self.0)
    }

    pub(super) fn result(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }

    /// Roles that the realm does not have.
    pub(super) fn roles(&mut self, realm: &Realm, field: &str, roles: &[String]) {
        for (n, role) in roles.iter().enumerate() {
            if !realm.roles.0.contains_key(role.as_str()) {
                let hint = nearest::hint(role, realm.roles.0.keys().map(|known| &**known));
                self.add(format!("{field}[{n}]"), format!("names no role of the realm {}: {role:?}{hint}", realm.name));
            }
        }
    }

    /// Texts that are no scopes, and scopes that the realm does not list.
    pub(super) fn scopes(&mut self, realm: &Realm, field: &str, scopes: &[String]) {
        for (n, scope) in scopes.iter().enumerate() {
            let field = || format!("{field}[{n}]");
            if let Some(fault) = grant_fault(scope) {
                self.add(field(), format!("cannot be granted: {fault}"));
            } else if let Some(listed) = &realm.view.scopes {
                let meant = ScopeSet::patterns([scope]);
                if !listed.iter().any(|(listed, _)| meant.allows(listed)) {
                    let hint = nearest::hint(scope, listed.iter().map(|(listed, _)| listed.as_str()));
                    self.add(field(), format!("names no scope of the realm {}: {scope:?}{hint}", realm.name));
                }
            }
        }
    }

    /// Identifiers that people could not tell from another one: applications and auditors go by what they read.
    pub(super) fn identifier(&mut self, field: &str, identifier: Option<&str>) {
        let Some(identifier) = identifier else { return };
        if identifier.trim() != identifier {
            self.add(field, "must not begin or end with a blank");
        }
        if let Some(hidden) = identifier.chars().find(|c| is_hidden(*c)) {
            let text = format!("holds a character that cannot be seen, {}: leave it out", hidden.escape_unicode());
            self.add(field, text);
        } else if canonical_identifier(identifier.trim())
            .is_none_or(|key| key != identifier.trim().to_ascii_lowercase())
        {
            // Nobody could sign in as this: what is given is compared in its canonical form.
            self.add(field, "must be composed (Unicode NFC), and hold no character that passes for an ASCII one");
        }
    }

    /// A hash that cannot be taken over. It is not repeated.
    pub(super) fn password_hash(&mut self, field: &str, hash: Option<&str>) -> Option<Phc> {
        let fault = match Phc::imported(hash?) {
            Ok(phc) => return Some(phc),
            Err(fault) => fault,
        };
        self.add(field, fault.to_string());
        None
    }

    /// Ends that are reached already.
    pub(super) fn end(&mut self, field: &str, end: Option<UnixMillis>, now: UnixMillis) {
        if end.is_some_and(|end| end <= now) {
            self.add(field, format!("must lie in the future; it is {now} now"));
        }
    }

    /// The form of a new key: the one that was asked for, else the only one, or the first with a checksum.
    pub(super) fn form<'r>(&mut self, realm: &'r Realm, prefix: Option<&str>) -> Option<&'r ApiKeyForm> {
        let forms = &realm.api_keys;
        let found = match prefix {
            Some(prefix) => forms.iter().find(|form| *form.prefix == *prefix),
            None => default_form(realm),
        };
        if found.is_none() {
            let known: Vec<_> = forms.iter().map(|form| &*form.prefix).collect();
            match prefix {
                Some(_) if !known.is_empty() => self.add("prefix", format!("must be one of: {}", known.join(", "))),
                Some(_) | None => {
                    let text = format!("has no [[api_keys]] ({}): none of its keys would be accepted", realm.name);
                    self.add("realm", text);
                }
            }
        }
        found
    }
}

/// The form that keys of a realm have where nobody says otherwise.
pub(super) fn default_form(realm: &Realm) -> Option<&ApiKeyForm> {
    realm.api_keys.iter().find(|form| form.checksum).or_else(|| realm.api_keys.first())
}

/// What a key with these scopes (none = as its owner's) may do.
pub(super) fn effective(realm: &Realm, owner: &Client, scopes: Option<&[String]>) -> ScopeSet {
    granted(realm, owner).of_key(scopes.map(ScopeSet::patterns))
}

fn granted(realm: &Realm, owner: &Client) -> OwnerScopes {
    let roles = (!owner.roles.is_empty()).then(|| realm.roles.expand(&owner.roles));
    OwnerScopes::new(owner.scopes.as_ref().map(ScopeSet::patterns), roles)
}

/// What of a key's scopes has no effect, for people.
pub(super) fn idle_scopes(realm: &Realm, owner: &Client, scopes: Option<&[String]>) -> Vec<String> {
    let name = &owner.identifier;
    let limits = owner.scopes.is_some() || !owner.roles.is_empty();
    match scopes {
        None if limits => Vec::new(),
        None => {
            vec![format!("neither the key nor its owner {name:?} has scopes: it passes no route that needs one")]
        }
        Some([]) => vec!["the key has an empty list of scopes: it passes no route that needs one".to_owned()],
        Some(_) if !limits => Vec::new(),
        Some(scopes) => {
            let granted = granted(realm, owner);
            scopes.iter().filter_map(|scope| idle_scope(scope, granted.granted(), name)).collect()
        }
    }
}

fn idle_scope(scope: &str, granted: &ScopeSet, owner: &str) -> Option<String> {
    let left = ScopeSet::patterns([scope]).intersection(granted);
    if left.is_empty() {
        return Some(format!("the owner {owner:?} does not have {scope:?}: the key will not have it either"));
    }
    let left: Vec<_> = left.iter().collect();
    (!left.contains(&scope))
        .then(|| format!("the owner {owner:?} has only a part of {scope:?}: the key will have {}", left.join(", ")))
}

/// The last four characters of a secret.
pub(super) fn hint(secret: &str) -> String {
    let start = secret.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    secret.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_the_last_four_characters() {
        assert_eq!(hint("sk_live_abcdef"), "cdef");
        assert_eq!(hint("abc"), "abc");
        assert_eq!(hint("ab\u{e4}\u{f6}\u{fc}\u{df}"), "\u{e4}\u{f6}\u{fc}\u{df}");
    }
}
