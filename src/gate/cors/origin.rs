//! Origins as browsers write them (RFC 6454 section 6.2): which are allowed. They are compared byte for byte, for a browser
//! has one spelling for each; what is configured otherwise would never match, and is refused with the right spelling.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;

/// Characters of the longest name (RFC 1035 section 2.3.4, without the final dot).
const MAX_NAME: usize = 253;
/// Names of one label below which names may be given out at will: nobody can register there.
const OWN: [&str; 4] = ["internal", "local", "localhost", "test"];

/// What a configuration may say of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every page.
    Any,
    /// One origin.
    Exact(Box<str>),
    /// `https://*.example.com`: the names below it, of one or more labels, and not the name itself.
    Below {
        /// `https://`
        before: Box<str>,
        /// `.example.com`, or `.example.com:8443`.
        after: Box<str>,
    },
}

impl OriginPattern {
    /// Reads `*`, `scheme://host[:port]` or `scheme://*.host[:port]`, written as a browser writes it.
    ///
    /// # Errors
    /// A text for people, with the right spelling where there is one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let lower = text.to_ascii_lowercase();
        if lower == "null" || lower.starts_with("file:") {
            return Err(
                "`null` is the origin of every local file and sandboxed frame: whoever wants it has it, so it is \
                        never allowed"
                    .into(),
            );
        }
        let (scheme, rest) = lower.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or_else(|| {
            format!(
                "{text:?} is no origin: write scheme://host or scheme://host:port, such as \"https://app.example.com\""
            )
        })?;
        // Path, query and fragment are no part of it.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (below, authority) = authority.strip_prefix("*.").map_or((false, authority), |rest| (true, rest));
        let (host, port) = split_port(authority).ok_or_else(|| format!("{text:?} has no good port"))?;
        let host = if below { name(host).and_then(registered) } else { host_of(host) };
        let host = host.map_err(|fault| format!("{text:?}: {fault}"))?;
        let port =
            port.filter(|port| default_port(scheme) != Some(*port)).map_or(String::new(), |port| format!(":{port}"));
        let dot = if below { "*." } else { "" };
        let right = format!("{scheme}://{dot}{host}{port}");
        if right != text {
            return Err(format!("browsers never send this spelling; write {right:?}"));
        }
        Ok(if below {
            Self::Below { before: format!("{scheme}://").into(), after: format!(".{host}{port}").into() }
        } else {
            Self::Exact(right.into())
        })
    }
}

/// Whose pages may read answers.
#[derive(Debug)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those that are listed.
    Listed(Listed),
}

impl Origins {
    /// The origins of `patterns`: any, if one of them says so.
    pub fn new(patterns: &[OriginPattern]) -> Self {
        let mut listed = Listed::default();
        for pattern in patterns {
            match pattern {
                OriginPattern::Any => return Self::Any,
                OriginPattern::Exact(origin) => {
                    listed.exact.insert(origin.as_bytes().into());
                }
                OriginPattern::Below { before, after } => {
                    let (before, after) = (before.as_bytes().into(), after.as_bytes().into());
                    listed.below.push(Below { before, after });
                }
            }
        }
        Self::Listed(listed)
    }
}

/// Origins of a list.
#[derive(Debug, Default)]
pub struct Listed {
    /// Filled from the configuration only: requests cannot make its entries collide, so a fast hash is good enough.
    exact: HashSet<Box<[u8]>, RandomState>,
    below: Vec<Below>,
}

/// What stands before and behind the labels.
#[derive(Debug)]
struct Below {
    before: Box<[u8]>,
    after: Box<[u8]>,
}

impl Listed {
    /// Whether the value of an `Origin` is one of them. `null` and lists of several never are.
    pub fn has(&self, origin: &[u8]) -> bool {
        self.exact.contains(origin)
            || self.below.iter().any(|Below { before, after }| {
                let labels = origin.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after));
                labels.is_some_and(are_labels)
            })
    }
}

/// Whether these are one or more labels of a name. Nothing that ends a host is among their characters: what follows them
/// in an origin is its host, too.
fn are_labels(text: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    text.len() <= MAX_NAME && text.split(|b| *b == b'.').all(is_label)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Host and port. None: the port is none.
#[allow(clippy::option_option)] // the inner one is that there is no port
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end_of_host = authority.find(']').unwrap_or(0);
    let Some(colon) = authority.get(end_of_host..)?.find(':').map(|at| at + end_of_host) else {
        return Some((authority, None));
    };
    let (host, port) = (authority.get(..colon)?, authority.get(colon + 1..)?);
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    Some((host, Some(port)))
}

/// A host as a browser writes it.
fn host_of(host: &str) -> Result<String, String> {
    if let Some(literal) = host.strip_prefix('[') {
        let address: Option<Ipv6Addr> = literal.strip_suffix(']').and_then(|text| text.parse().ok());
        let address = address.ok_or("the address in brackets is none of IPv6")?;
        return Ok(match (address.to_ipv4_mapped(), address.segments()) {
            (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
            (None, _) => format!("[{address}]"),
        });
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        let address: Option<Ipv4Addr> = host.parse().ok();
        return address.map(|address| address.to_string()).ok_or_else(|| "this is no address of IPv4".into());
    }
    name(host)
}

fn name(host: &str) -> Result<String, String> {
    if !host.is_ascii() {
        return Err("browsers send such a name in ASCII, as `xn--…`".into());
    }
    if host.contains('@') {
        return Err("an origin names no user".into());
    }
    if host.contains('*') {
        return Err("a `*` stands for whole labels at the beginning, as in \"https://*.example.com\"".into());
    }
    if are_labels(host.as_bytes()) { Ok(host.to_owned()) } else { Err("the host is no name".into()) }
}

/// A name that somebody owns, below which `*` may stand.
fn registered(name: String) -> Result<String, String> {
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("nothing is below an address".into());
    }
    if name == last && !OWN.contains(&last) {
        return Err(format!("everybody can have a name below {name:?}: name the domain that is yours"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(patterns: &[&str]) -> Listed {
        let patterns: Vec<_> = patterns.iter().map(|text| OriginPattern::parse(text).unwrap()).collect();
        match Origins::new(&patterns) {
            Origins::Listed(listed) => listed,
            Origins::Any => panic!("a list"),
        }
    }

    #[test]
    fn an_origin_is_allowed_as_a_whole_or_not_at_all() {
        let origins = listed(&[
            "https://app.example.com",
            "https://shop.example.com:8443",
            "http://localhost:3000",
            "http://[::1]:3000",
            "capacitor://localhost",
        ]);
        for good in [
            "https://app.example.com",
            "https://shop.example.com:8443",
            "http://localhost:3000",
            "http://[::1]:3000",
            "capacitor://localhost",
        ] {
            assert!(origins.has(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "null",
            "*",
            "http://app.example.com",
            "https://app.example.com:443",
            "https://app.example.com:8443",
            "https://app.example.com/",
            "https://app.example.com.",
            "https://APP.example.com",
            "HTTPS://app.example.com",
            "https://xapp.example.com",
            "https://x.app.example.com",
            "https://app.example.com.evil.test",
            "https://app.example.com@evil.test",
            "https://evil.test/https://app.example.com",
            "https://app.example.com https://evil.test",
            "https://evil.test https://app.example.com",
            "https://app.example.com, https://app.example.com",
            " https://app.example.com",
            "https://app.example.com\0",
            "https://shop.example.com",
            "http://localhost",
            "http://localhost:30000",
            "http://127.0.0.1:3000",
            "capacitor://localhost:1",
        ] {
            assert!(!origins.has(bad.as_bytes()), "{bad:?}");
        }
        assert!(!origins.has(b"https://app.example.com\xff"));
    }

    #[test]
    fn a_wildcard_stands_for_labels_and_for_nothing_that_only_looks_so() {
        let origins = listed(&["https://*.example.com", "http://*.localhost:3000"]);
        for good in [
            "https://a.example.com",
            "https://a.b.example.com",
            "https://a-b_c.9.example.com",
            "https://xn--bcher-kva.example.com",
            "http://shop.localhost:3000",
        ] {
            assert!(origins.has(good.as_bytes()), "{good}");
        }
        let long = format!("https://{}.example.com", "a.".repeat(200) + "a");
        let wide = format!("https://{}.example.com", "a".repeat(64));
        for bad in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "https://evil-example.com",
            "https://example.com.evil.test",
            "https://a.example.com.evil.test",
            "https://evil.test/.example.com",
            "https://evil.test?.example.com",
            "https://evil.test#.example.com",
            "https://evil.test\\.example.com",
            "https://evil.test:1.example.com",
            "https://evil.test@a.example.com",
            "https://a@b.example.com",
            "https://evil.test%2f.example.com",
            "https://evil.test%00.example.com",
            "https://evil.test\0.example.com",
            "https://evil.test .example.com",
            "https://evil.test, https://a.example.com",
            "https://[::1].example.com",
            "https://a..example.com",
            "https://..example.com",
            "https://a.example.com.",
            "https://a.example.com:443",
            "https://a.example.com:8443",
            "https://A.example.com",
            "https://a.Example.com",
            "http://a.example.com",
            "https:/a.example.com",
            "https://https://a.example.com",
            "https://b\u{fc}cher.example.com",
            "https://*.example.com",
            "http://shop.localhost",
            "http://shop.localhost:30000",
            "null",
            &long,
            &wide,
        ] {
            assert!(!origins.has(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn what_a_browser_spells_otherwise_is_refused_with_its_spelling() {
        for (written, right) in [
            ("https://app.example.com/", "https://app.example.com"),
            ("https://app.example.com/login?x#y", "https://app.example.com"),
            ("https://App.Example.COM", "https://app.example.com"),
            ("HTTPS://app.example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("https://app.example.com:08443", "https://app.example.com:8443"),
            ("https://*.Example.com:443/", "https://*.example.com"),
            ("http://[::0001]:3000", "http://[::1]:3000"),
            ("http://[::FFFF:10.0.0.1]", "http://[::ffff:a00:1]"),
        ] {
            let fault = OriginPattern::parse(written).unwrap_err();
            assert!(fault.ends_with(&format!("write {right:?}")), "{written}: {fault}");
            assert!(OriginPattern::parse(right).is_ok(), "{right}");
        }
        for good in
            ["https://a.example:80", "http://a.example:443", "http://10.0.0.1:8080", "app://x", "https://intranet"]
        {
            assert_eq!(OriginPattern::parse(good), Ok(OriginPattern::Exact(good.into())));
        }
    }

    #[test]
    fn what_is_no_origin_or_everybodys_is_refused() {
        for bad in [
            "",
            "null",
            "Null",
            "file://",
            "file:///etc",
            "app.example.com",
            "//app.example.com",
            "https:app.example.com",
            "://app.example.com",
            "1s://app.example.com",
            "https://",
            "https://:443",
            "https://a.example:",
            "https://a.example:0",
            "https://a.example:65536",
            "https://a.example:1:2",
            "https://a.example.",
            "https://a..example",
            "https://user@a.example",
            "https://b\u{fc}cher.example",
            "https://a b.example",
            "https://127.1",
            "https://010.0.0.1",
            "https://a.example.1",
            "https://[::1",
            "https://[::g]",
            "https://[::1]x",
            "https://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://a*.example.com",
            "https://*example.com",
            "https://*.10.0.0.1",
            "https://*.[::1]",
            "*.example.com",
            "*://example.com",
            "**",
        ] {
            assert!(OriginPattern::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(OriginPattern::parse("*"), Ok(OriginPattern::Any));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", scheme in "(https|http|x)://") {
            for text in [text.clone(), format!("{scheme}{text}"), format!("{scheme}*.{text}")] {
                if let Ok(pattern) = OriginPattern::parse(&text) {
                    let takes_null = match Origins::new(&[pattern]) {
                        Origins::Any => false,
                        Origins::Listed(listed) => listed.has(b"null"),
                    };
                    prop_assert!(!takes_null, "{}", text);
                }
            }
        }

        #[test]
        fn what_is_below_a_domain_ends_with_it(front in "[a-z./:@\\-]{0,12}", back in "[a-z./:@\\-]{0,12}") {
            let origins = listed(&["https://*.example.com"]);
            let origin = format!("https://{front}.example.com{back}");
            if origins.has(origin.as_bytes()) {
                // The way a URL is taken apart: what stands before the first of these is user, host and port.
                let host = origin["https://".len()..].split(['/', '?', '#']).next().unwrap();
                prop_assert!(!host.contains(['@', ':']) && host.ends_with(".example.com"), "{}", origin);
            }
        }
    }
}
