//! The PROXY protocol, versions 1 and 2: the header by which a proxy that passes on bytes says for whom
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Read strictly; whose header is believed is not judged
//! here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A header of version 1 has at most so many bytes, CRLF included (section 2.1).
const LONGEST_V1: usize = 107;

/// What begins a header of version 1.
const V1: &[u8] = b"PROXY ";

/// What begins a header of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of a header of version 2.
const FIXED_V2: usize = 16;

/// What may follow it: addresses, and extensions (TLVs), which are not looked at.
const LONGEST_V2: usize = 4096;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This client's.
    Client(SocketAddr),
    /// That of a client without an address, or of whom the proxy does not know it.
    Unknown,
    /// The proxy's own: it looks how the gateway is.
    Peer,
}

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// It is the first `length` bytes.
    Complete { origin: Origin, length: usize },
    /// This many bytes more, at most, have to be read.
    More(usize),
}

/// It is no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Looks at what has arrived so far.
///
/// # Errors
/// It cannot become a header, whatever follows.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, Malformed> {
    if begins(bytes, V1) && !bytes.is_empty() {
        scan_v1(bytes)
    } else if begins(bytes, V2) {
        scan_v2(bytes)
    } else {
        Err(Malformed)
    }
}

/// Whether `bytes` agree with `start` as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, expected)| byte == expected)
}

fn scan_v1(bytes: &[u8]) -> Result<Scan, Malformed> {
    let bounded = bytes.get(..LONGEST_V1).unwrap_or(bytes);
    let Some(end) = bounded.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        // The last two bytes are the end of the line.
        return if bounded.len() < LONGEST_V1 - 1 {
            Ok(Scan::More(LONGEST_V1 - bounded.len()))
        } else {
            Err(Malformed)
        };
    };
    match bounded.get(end..).unwrap_or_default() {
        [b'\r'] if bounded.len() < LONGEST_V1 => Ok(Scan::More(1)),
        [b'\r', b'\n', ..] => {
            let line = std::str::from_utf8(bounded.get(..end).unwrap_or_default()).map_err(|_| Malformed)?;
            Ok(Scan::Complete { origin: v1(line)?, length: end + 2 })
        }
        _ => Err(Malformed),
    }
}

/// `PROXY TCP4 203.0.113.7 192.0.2.1 4711 443`, with single spaces; of `UNKNOWN` the rest of the line says nothing.
fn v1(line: &str) -> Result<Origin, Malformed> {
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Malformed);
    word()?; // PROXY
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(Origin::Unknown);
    }
    let source = match family {
        "TCP4" => {
            let source = IpAddr::V4(word()?.parse().map_err(|_| Malformed)?);
            word()?.parse::<Ipv4Addr>().map_err(|_| Malformed)?;
            source
        }
        "TCP6" => {
            let source = IpAddr::V6(word()?.parse().map_err(|_| Malformed)?);
            word()?.parse::<Ipv6Addr>().map_err(|_| Malformed)?;
            source
        }
        _ => return Err(Malformed),
    };
    let (port, _) = (v1_port(word()?)?, v1_port(word()?)?);
    if words.next().is_some() {
        return Err(Malformed);
    }
    Ok(Origin::Client(SocketAddr::new(source.to_canonical(), port)))
}

/// Digits only, without leading zeros.
fn v1_port(text: &str) -> Result<u16, Malformed> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().map_err(|_| Malformed) } else { Err(Malformed) }
}

fn scan_v2(bytes: &[u8]) -> Result<Scan, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_V2>() else {
        return Ok(Scan::More(FIXED_V2 - bytes.len()));
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed),
    };
    // Checked before what is announced is waited for.
    let addresses = match family {
        _ if local => 0, // to be ignored, whatever it is (section 2.2)
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(Malformed), // datagrams, and what is not known
    };
    if length > LONGEST_V2 || length < addresses {
        return Err(Malformed);
    }
    let Some(body) = rest.get(..length) else { return Ok(Scan::More(length - rest.len())) };
    let origin = if local { Origin::Peer } else { v2(family, body)? };
    Ok(Scan::Complete { origin, length: FIXED_V2 + length })
}

fn v2(family: u8, body: &[u8]) -> Result<Origin, Malformed> {
    let port = |at: usize| match body.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Malformed),
    };
    let (source, port) = match family {
        0x11 => (IpAddr::from(*body.first_chunk::<4>().ok_or(Malformed)?), port(8)?),
        0x21 => (IpAddr::from(*body.first_chunk::<16>().ok_or(Malformed)?), port(32)?),
        _ => return Ok(Origin::Unknown),
    };
    Ok(Origin::Client(SocketAddr::new(source.to_canonical(), port)))
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
