//! Scopes: those that are granted, those that are needed, and the list of those that exist.

use std::collections::BTreeSet;

use super::Compiler;
use crate::config::problem::At;
use crate::config::value::Named;
use crate::config::walk::{Item, Slot, shorten};
use crate::gate::policy::{Roles, ScopePart, ScopeTemplate};
use crate::identity::{ScopeSet, grant_fault, is_scope};
use crate::nearest::hint;

/// The scopes that exist, if the realm lists them.
pub(super) struct Scopes {
    listed: Option<Vec<String>>,
}

impl Scopes {
    /// Reads `[scopes]`.
    pub(super) fn new(work: &mut Compiler<'_>, table: Option<&Named<String>>) -> Self {
        for (scope, item) in table.iter().flat_map(|table| &table.0) {
            if !is_scope(scope) || scope.contains('*') {
                work.fault(&item.at, "a scope is 1 to 128 visible characters without `\"`, `\\` and `*`");
            }
        }
        Self { listed: table.map(|table| table.names().map(str::to_owned).collect()) }
    }

    /// Scopes that are granted: patterns are understood.
    pub(super) fn granted(&self, work: &mut Compiler<'_>, list: &[Item<String>]) -> ScopeSet {
        work.distinct(list);
        for item in list {
            let scope = item.value.as_str();
            if let Some(fault) = grant_fault(scope) {
                work.fault(&item.at, fault);
            } else {
                self.exists(work, &item.at, scope, |listed| ScopeSet::patterns([scope]).allows(listed));
            }
        }
        ScopeSet::patterns(list.iter().map(|item| item.value.as_str()))
    }

    /// Scopes that are needed: `{name}` comes from the path, `{access}` from the method.
    pub(super) fn needed(
        &self,
        work: &mut Compiler<'_>,
        slot: &Slot<Vec<Item<String>>>,
        names: &[Box<str>],
    ) -> Vec<ScopeTemplate> {
        let Some(list) = slot.get() else { return Vec::new() };
        work.not_empty(list);
        work.distinct(&list.value);
        list.value.iter().filter_map(|item| self.template(work, item, names)).collect()
    }

    fn template(&self, work: &mut Compiler<'_>, item: &Item<String>, names: &[Box<str>]) -> Option<ScopeTemplate> {
        let text = item.value.as_str();
        if text.contains('*') {
            work.fault(&item.at, "a required scope has no `*`: patterns are for those who grant");
            return None;
        }
        let parts = work.good(&item.at, parse(text, names))?;
        if !is_scope(text) {
            work.fault(&item.at, "a scope is 1 to 128 visible characters without `\"` and `\\`");
            return None;
        }
        self.exists(work, &item.at, text, |listed| could_be(&parts, listed));
        Some(ScopeTemplate(parts))
    }

    /// Where scopes are listed, one of them must be meant.
    fn exists(&self, work: &mut Compiler<'_>, at: &At, scope: &str, meant: impl Fn(&str) -> bool) {
        let Some(listed) = &self.listed else { return };
        if !listed.iter().any(|listed| meant(listed)) {
            let hint = hint(scope, listed.iter().map(String::as_str));
            work.fault(at, format!("{:?} is not in [scopes]{hint}", shorten(scope)));
        }
    }
}

/// The realm's roles.
pub(super) fn roles(work: &mut Compiler<'_>, table: &Named<Vec<Item<String>>>, scopes: &Scopes) -> Roles {
    let each = table.0.iter().map(|(role, item)| {
        work.plain(&item.at, role);
        (role.as_str().into(), scopes.granted(work, &item.value))
    });
    Roles(each.collect())
}

fn parse(text: &str, names: &[Box<str>]) -> Result<Vec<ScopePart>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("`{` is not closed")?;
        if literal.contains('}') {
            return Err(String::from("`}` is not opened"));
        }
        if !literal.is_empty() {
            parts.push(ScopePart::Text(literal.into()));
        }
        let param = names.iter().position(|known| **known == *name);
        parts.push(match (name, param) {
            ("access", Some(_)) => {
                return Err(String::from("`{access}` is built in; call the path's `{access}` otherwise"));
            }
            ("access", None) => ScopePart::Access,
            (_, Some(index)) => ScopePart::Param(index),
            (_, None) => {
                let hint = hint(name, names.iter().map(|name| &**name).chain(["access"]));
                return Err(format!("the path has no `{{{}}}`{hint}", shorten(name)));
            }
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err(String::from("`}` is not opened"));
    }
    if !rest.is_empty() {
        parts.push(ScopePart::Text(rest.into()));
    }
    Ok(parts)
}

/// Whether some path and method make these parts the listed scope. Goes over the places that a part can end at, so that
/// many parts in a row cost no more than one after the other.
fn could_be(parts: &[ScopePart], listed: &str) -> bool {
    let mut ends = BTreeSet::from([0]);
    for part in parts {
        let from = |at: &usize| listed.get(*at..).unwrap_or_default();
        ends = match part {
            ScopePart::Text(text) => {
                ends.iter().filter(|at| from(at).starts_with(&**text)).map(|at| at + text.len()).collect()
            }
            ScopePart::Access => ends
                .iter()
                .flat_map(|at| ["read", "write"].into_iter().filter(|w| from(at).starts_with(w)).map(|w| *at + w.len()))
                .collect(),
            ScopePart::Param(_) => ends
                .iter()
                .flat_map(|at| {
                    let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
                    let longest = from(at).bytes().take_while(name).count();
                    (1..=longest).map(|length| *at + length)
                })
                .collect(),
        };
    }
    ends.contains(&listed.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Vec<Box<str>> {
        vec!["resource".into(), "id".into()]
    }

    #[test]
    fn a_template_takes_names_of_the_path_and_the_access() {
        let parts = parse("x:{id}:{resource}:{access}", &names()).unwrap();
        let expected = [
            ScopePart::Text("x:".into()),
            ScopePart::Param(1),
            ScopePart::Text(":".into()),
            ScopePart::Param(0),
            ScopePart::Text(":".into()),
            ScopePart::Access,
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn a_name_that_the_path_lacks_is_refused() {
        assert!(parse("{resourc}:read", &names()).unwrap_err().ends_with("did you mean `resource`?"));
        for bad in ["{id", "id}", "{}", "a}{id}", "{id}}"] {
            assert!(parse(bad, &names()).is_err(), "{bad}");
        }
        assert!(parse("{access}", &["access".into()]).is_err());
    }

    #[test]
    fn a_template_must_be_able_to_become_a_listed_scope() {
        let parts = parse("{resource}:{access}", &names()).unwrap();
        assert!(could_be(&parts, "orders:read"));
        assert!(!could_be(&parts, "a:b:write"), "a segment has no colon");
        assert!(!could_be(&parts, "orders:delete"));
        assert!(!could_be(&parts, ":read"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}a:*]{0,12}|\\PC{0,20}", listed in "\\PC{0,12}") {
            if let Ok(parts) = parse(&text, &names()) {
                could_be(&parts, &listed);
            }
        }
    }
}
