//! Reading a line of `Forwarded` (RFC 7239), and the addresses in it. Whom to believe does not belong here.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Splits a line of `Forwarded` at its commas from the right. Quoted strings are recognised from the right as well, so
/// that nothing a client left standing at the beginning, an open quote for instance, changes what proxies appended.
pub(super) struct ElementsFromRight<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> ElementsFromRight<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self { rest: Some(line) }
    }
}

impl<'a> Iterator for ElementsFromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.rest.take()?;
        let mut quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if quoted && is_escaped(line, at) => {}
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    self.rest = line.get(..at);
                    return line.get(at + 1..);
                }
                _ => {}
            }
        }
        Some(line)
    }
}

/// Whether an odd number of backslashes stands before `at`.
fn is_escaped(line: &[u8], at: usize) -> bool {
    line.iter().take(at).rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in the one `for` parameter of an element; none without one, and when anything in the element is wrong.
pub(super) fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let mut rest = std::str::from_utf8(element).ok()?;
    let mut address = None;
    loop {
        rest = rest.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(';') {
            let (name, after) = rest.split_once('=')?;
            let (value, after) = parse_value(after)?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            if name.eq_ignore_ascii_case("for") && address.replace(parse_node(&value)?).is_some() {
                return None;
            }
            rest = after.trim_ascii_start();
        }
        match rest.strip_prefix(';') {
            Some(next) => rest = next,
            None if rest.is_empty() => return address,
            None => return None,
        }
    }
}

/// The value at the beginning of `text`, and what follows it. Addresses with colons and brackets are also read without
/// quotes: proxies write them so, and they cannot be taken for anything else.
fn parse_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|b| !is_token(b) && !b":[]".contains(&b)).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).filter(|_| end > 0)?;
        return Some((Cow::Borrowed(value), rest));
    };
    let mut unescaped: Option<String> = None;
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let value = unescaped.map_or(Cow::Borrowed(quoted.get(..at)?), Cow::Owned);
                return Some((value, characters.as_str()));
            }
            '\\' => {
                let escaped = characters.next()?.1;
                unescaped.get_or_insert_with(|| quoted.get(..at).unwrap_or_default().to_owned()).push(escaped);
            }
            plain => {
                if let Some(text) = &mut unescaped {
                    text.push(plain);
                }
            }
        }
    }
    None
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address with or without a port (RFC 7239 section 6; IPv6 also without brackets, as `X-Forwarded-For` has it).
pub(super) fn parse_node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let fits = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return fits.then(|| IpAddr::from(address).to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    let address: Ipv4Addr = address.parse().ok()?;
    is_port(port).then_some(address.into())
}

/// A number, or a name that hides it (RFC 7239 section 6.2).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
        None => text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address in the last element that is not empty.
    fn last(line: &str) -> Option<IpAddr> {
        ElementsFromRight::of(line.as_bytes()).find(|element| !element.trim_ascii().is_empty()).and_then(parse_element)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        for (value, address) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=192.0.2.43, for=10.0.0.2;by=10.0.0.1", "10.0.0.2"),
            ("by=10.0.0.1; FOR=\"1.2.3.4:_port-1\" ;proto=https;", "1.2.3.4"),
            ("for=1.2.3.4;host=\"a, for=6.6.6.6\"", "1.2.3.4"),
            ("for=1.2.3.4;host=\"a\\\", for=6.6.6.6;b=\\\"\"", "1.2.3.4"),
            ("for=\"1.2.3\\.4\"", "1.2.3.4"),
            ("for=1.2.3.4:80", "1.2.3.4"),
            (",for=1.2.3.4,, ,", "1.2.3.4"),
        ] {
            assert_eq!(last(value), ip(address), "{value}");
        }
    }

    #[test]
    fn an_element_of_forwarded_that_is_wrong_or_names_nobody_leaves_the_address_unknown() {
        for value in [
            "proto=https",
            ";",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=\"\"",
            "for=1.2.3.4;for=1.2.3.4",
            "for =1.2.3.4",
            "for= 1.2.3.4",
            "for=1.2.3.4 proto=http",
            "for=1.2.3.4;=x",
            "for=1.2.3.4;proto",
            "for=\"1.2.3.4",
            "for=\"1.2.3.4\"x",
            "for=1.2.3.4\"",
            "for=1.2.3.4;a=\"\\",
            "1.2.3.4",
            "for=\"[fe80::1%eth0]\"",
            "for=1.2.3.4;x=\"é\"; y=é",
        ] {
            assert_eq!(last(&format!("for=203.0.113.9, {value}")), None, "{value}");
        }
    }

    #[test]
    fn an_open_quote_from_the_client_does_not_hide_what_a_proxy_appended() {
        for forged in ["for=\"", "for=6.6.6.6;x=\"", "\"\\", "for=\"\\\""] {
            for appended in ["for=203.0.113.9", "for=\"203.0.113.9:1\"", "host=\"a,\\\"b\\\\\";for=203.0.113.9"] {
                assert_eq!(last(&format!("{forged}, {appended}")), ip("203.0.113.9"), "{forged}, {appended}");
            }
        }
    }
}
