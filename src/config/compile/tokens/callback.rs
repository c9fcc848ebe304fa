//! Where the application is asked, and with which secret.

use std::time::Duration;

use crate::config::compile::Compiler;
use crate::config::compile::secret::{Found, secret as find, stand_in};
use crate::config::problem::At;
use crate::config::value::secret::SecretRef;
use crate::config::walk::{Item, Slot, shorten};
use crate::gate::verify::jwks::acceptable_url;
use crate::nearest::hint;
use crate::secret::Secret;
use crate::tokens::policy::{CallbackUrl, UrlPart};

const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_CACHE: Duration = Duration::from_secs(3600);
/// A shorter secret can be guessed by whoever may ask often.
const SECRET_BYTES: usize = 16;

/// Reads a URL with `{name}`s in it.
pub(super) fn url(work: &mut Compiler<'_>, item: &Item<String>) -> Option<CallbackUrl> {
    let url = parse(&item.value);
    let url = work.good(&item.at, url)?;
    // As it may look when it is called: a name is one segment or one value, so that it cannot change the rest.
    let example: String = url.0.iter().map(|part| if let UrlPart::Text(text) = part { text } else { "x" }).collect();
    work.good(&item.at, acceptable_url(&example))?;
    Some(url)
}

fn parse(text: &str) -> Result<CallbackUrl, String> {
    const WHOLE: &str = "a `{name}` is one whole segment of the path, or one whole value of the query";
    let mut parts = Vec::new();
    let (mut before, mut rest) = (String::new(), text);
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("`{` is not closed")?;
        if literal.contains('}') {
            return Err(String::from("`}` is not opened"));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(format!("`{{{}}}` is no name", shorten(name)));
        }
        before.push_str(literal);
        let in_query = before.contains('?');
        let begins = if in_query { before.ends_with('=') } else { before.ends_with('/') && in_path(&before) };
        let ends = after.is_empty() || after.starts_with(if in_query { &['&'][..] } else { &['/', '?'][..] });
        if !begins || !ends {
            return Err(String::from(WHOLE));
        }
        if !literal.is_empty() {
            parts.push(UrlPart::Text(literal.into()));
        }
        // As long as it is there, its place is taken.
        before.push('x');
        let name = name.strip_prefix("path.").unwrap_or(name);
        parts.push(UrlPart::Name(name.into()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(String::from("`}` is not opened"));
    }
    if !rest.is_empty() {
        parts.push(UrlPart::Text(rest.into()));
    }
    Ok(CallbackUrl(parts))
}

/// Whether what comes next stands behind the host.
fn in_path(before: &str) -> bool {
    before.split_once("://").is_some_and(|(_, after)| after.contains('/'))
}

/// The names in a URL.
pub(super) fn names(url: &CallbackUrl) -> impl Iterator<Item = &str> {
    url.0.iter().filter_map(|part| match part {
        UrlPart::Name(name) => Some(&**name),
        UrlPart::Text(_) => None,
    })
}

/// Notes every name of a URL that is not among those of `place`.
pub(super) fn check_names(work: &mut Compiler<'_>, at: &At, url: &CallbackUrl, place: &str, known: &[&str]) {
    for name in names(url).filter(|name| !known.contains(name)) {
        let hint = hint(name, known.iter().copied());
        work.fault(at, format!("`{{{}}}` has no value in {place}{hint}", shorten(name)));
    }
}

/// Reads a secret that goes into a header field; inside, none = it was left out. None outside: a problem was noted.
#[allow(clippy::option_option)] // the outer one is the compiler's habit, the inner one what is meant
pub(super) fn secret(work: &mut Compiler<'_>, slot: &Slot<SecretRef>) -> Option<Option<Secret>> {
    let reference = match slot {
        Slot::Given(reference) => reference,
        Slot::Absent(_) => return Some(None),
        Slot::Bad => return None,
    };
    let secret = match find(work, reference) {
        Found::Bytes(secret) => secret,
        Found::StandIn => return stand_in(work, &reference.at).map(Some),
        Found::Nothing => return None,
    };
    if !secret.expose().iter().all(u8::is_ascii_graphic) {
        work.fault(
            &reference.at,
            "the secret is sent in a header field: expected visible ASCII characters without blanks",
        );
    } else if secret.expose().len() < SECRET_BYTES {
        let text = format!("the secret is shorter than {SECRET_BYTES} characters; `openssl rand -hex 32` makes one");
        work.fault(&reference.at, text);
    }
    Some(Some(secret))
}

/// How long is waited, and how long an answer is believed.
pub(super) fn times(work: &mut Compiler<'_>, timeout: &Item<Duration>, cache: &Item<Duration>) {
    work.positive(timeout, LONGEST_TIMEOUT);
    work.at_most(cache, LONGEST_CACHE);
}

/// Reads a JSON pointer (RFC 6901) to something inside an answer.
pub(super) fn pointer(work: &mut Compiler<'_>, item: &Item<String>) -> Box<str> {
    let escaped = |rest: &str| rest.starts_with(['0', '1']);
    if !item.value.starts_with('/') || !item.value.split('~').skip(1).all(escaped) {
        work.fault(
            &item.at,
            "expected a JSON pointer such as \"/user/id\"; `~` in a name is written `~0`, `/` is written `~1`",
        );
    }
    item.value.as_str().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> UrlPart {
        UrlPart::Text(text.into())
    }

    fn name(text: &str) -> UrlPart {
        UrlPart::Name(text.into())
    }

    #[test]
    fn a_name_stands_for_one_segment_or_one_value() {
        let url = parse("http://127.0.0.1:1/teams/{key.owner}/{path.id}?a={b}&c=d").unwrap();
        let parts = [
            text("http://127.0.0.1:1/teams/"),
            name("key.owner"),
            text("/"),
            name("id"),
            text("?a="),
            name("b"),
            text("&c=d"),
        ];
        assert_eq!(url.0, parts);
        for bad in [
            "https://{host}/a",
            "https://a.{host}/a",
            "https:/{a}",
            "{a}",
            "/{a}",
            "https://h/a{b}",
            "https://h/{a}b",
            "https://h/{a}{b}",
            "https://h/?{a}",
            "https://h/?a=b{c}",
            "https://h/?a={b}/c",
            "https://h/{}",
            "https://h/{a b}",
            "https://h/{a",
            "https://h/a}",
            "https://h/{a}/b}/{c}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z{}/?=&:.#]{0,24}|\\PC{0,20}") {
            if let Ok(url) = parse(&text) {
                names(&url).count();
            }
        }
    }
}
