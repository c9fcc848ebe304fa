//! Forms as the OAuth endpoints take them (RFC 6749 appendix B).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use zeroize::Zeroizing;

use super::BodyFault;
use super::fields::{Problems, TWICE};

/// Parameters of a form, each of them once and none of them empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(BTreeMap<String, Zeroizing<String>>);

impl Form {
    /// A parameter. One without a value counts as left out (RFC 6749 section 3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Form {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads a form: `application/x-www-form-urlencoded`, where a type is stated.
///
/// # Errors
/// [`BodyFault::ContentType`]; [`BodyFault::Syntax`]: an escape is none, or what it means is not UTF-8;
/// [`BodyFault::Fields`]: a parameter stands there twice, known or not, with a value or without.
pub fn read_form(content_type: Option<&str>, body: &[u8]) -> Result<Form, BodyFault> {
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    if !essence.is_none_or(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
        return Err(BodyFault::ContentType);
    }
    let (mut form, mut problems) = (BTreeMap::new(), Problems::default());
    for part in body.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        let end = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let (name, value) = part.split_at_checked(end).unwrap_or_default();
        let name = decode(name).ok_or(BodyFault::Syntax)?;
        let value = decode(value.get(1..).unwrap_or_default()).ok_or(BodyFault::Syntax)?;
        match form.entry(name) {
            Entry::Vacant(place) => drop(place.insert(Zeroizing::new(value))),
            Entry::Occupied(place) => problems.add(place.key(), TWICE),
        }
    }
    problems.none_or().map(|()| Form(form))
}

/// Undoes the encoding of a name or a value: `+` is a blank, `%XX` a byte, and everything else itself. None: it is broken,
/// or no UTF-8.
pub(in crate::tokens) fn decode(text: &[u8]) -> Option<String> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => rest.next().and_then(digit)? << 4 | rest.next().and_then(digit)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
