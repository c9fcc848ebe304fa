//! What a proxy says of the request that it asks about. It says so in headers that a client could have sent, too: what is
//! incomplete, said twice, or said differently in two places is refused.

use std::net::IpAddr;

use http::header::{FORWARDED, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;

use crate::gate::client_ip::{self, TrustedProxies};
use crate::gate::headers;
use crate::gate::outcome::{Denial, Reason, Why};
use crate::gate::request::Request;
use crate::proxy::adapt;
use crate::proxy::front_door::{is_host, is_target};

static FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
static ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
static ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
static ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
static ORIGINAL_FOR: HeaderName = HeaderName::from_static("x-original-for");

/// The request that a proxy asks about.
#[derive(Debug)]
pub(in crate::proxy) struct Original {
    method: Method,
    host: Box<str>,
    target: Box<str>,
    /// The fields that it is judged by, where they are not those of the question.
    headers: Option<HeaderMap>,
}

impl Original {
    /// What `question` is about. `rest` is what its target has after the path of the endpoint: Envoy puts the original
    /// target there, and leaves method and host as they were.
    ///
    /// # Errors
    /// The proxy does not say, or two statements differ: one of them may be the client's. Or the request is one that must be
    /// changed on its way, which is not the gateway's.
    pub(super) fn of(
        question: &RequestHeader,
        rest: &str,
        peer: Option<IpAddr>,
        trusted: &TrustedProxies,
    ) -> Result<Self, Denial> {
        let headers = &question.headers;
        if headers.keys().any(|name| headers::is_override(name.as_str()) && !is_statement(name)) {
            return Err(Denial::because(Reason::BadRequest, Why::Override));
        }
        let told = [forwarded(headers)?, original(headers)?, after_path(question, rest)?];
        let whole = told.iter().find_map(|told| Some((told.method?, told.host?, told.target?)));
        let (method, host, target) = whole.ok_or_else(unclear)?;
        let agrees = |told: &Told<'_>| {
            told.method.is_none_or(|said| said == method)
                && told.host.is_none_or(|said| said.eq_ignore_ascii_case(host))
                && told.target.is_none_or(|said| said == target)
        };
        if !told.iter().all(agrees) || !is_host(host) || !is_target(target) {
            return Err(unclear());
        }
        // What follows in another protocol would be requests that nobody asks about. `Connection` the proxy has used up.
        let is_websocket = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        if headers.get_all(UPGRADE).iter().any(|protocol| !is_websocket(protocol) || method != "GET") {
            return Err(Denial::because(Reason::BadRequest, Why::Upgrade));
        }
        Ok(Self {
            method: Method::from_bytes(method.as_bytes()).map_err(|_| unclear())?,
            host: host.into(),
            target: target.into(),
            headers: with_address(headers, peer, trusted)?,
        })
    }

    /// Its method.
    pub(in crate::proxy) fn method(&self) -> &Method {
        &self.method
    }

    /// Its path, as it was received.
    pub(in crate::proxy) fn path(&self) -> &str {
        adapt::split_query(&self.target).0
    }

    /// The gate's view of it: `question` with what it is about.
    pub(super) fn view<'a>(&'a self, question: Request<'a>) -> Request<'a> {
        let (path, query) = adapt::split_query(&self.target);
        Request {
            method: &self.method,
            path,
            query,
            host: Some(&self.host),
            headers: self.headers.as_ref().unwrap_or(question.headers),
            // The connection is the proxy's, and so is a certificate on it.
            handshake: None,
            ..question
        }
    }
}

fn unclear() -> Denial {
    Denial::because(Reason::BadRequest, Why::Original)
}

/// Whether a name that would change a request on its way is a statement here.
fn is_statement(name: &HeaderName) -> bool {
    *name == ORIGINAL_URI || *name == ORIGINAL_URL
}

/// What one way of telling says.
#[derive(Debug, Default)]
struct Told<'a> {
    method: Option<&'a str>,
    host: Option<&'a str>,
    target: Option<&'a str>,
}

/// Traefik, Caddy.
fn forwarded(headers: &HeaderMap) -> Result<Told<'_>, Denial> {
    Ok(Told {
        method: only(headers, &FORWARDED_METHOD)?,
        host: only(headers, &FORWARDED_HOST)?,
        target: only(headers, &FORWARDED_URI)?,
    })
}

/// NGINX; its Ingress controller sends the URL as a whole.
fn original(headers: &HeaderMap) -> Result<Told<'_>, Denial> {
    let method = only(headers, &ORIGINAL_METHOD)?;
    let mut told = Told { method, host: only(headers, &ORIGINAL_HOST)?, target: only(headers, &ORIGINAL_URI)? };
    if let Some(url) = only(headers, &ORIGINAL_URL)? {
        let (host, target) = parts(url)?;
        for (said, here) in [(&mut told.host, host), (&mut told.target, Some(target))] {
            match (&said, here) {
                (Some(one), Some(other)) if *one != other => return Err(unclear()),
                (None, Some(_)) => *said = here,
                (_, _) => {}
            }
        }
    }
    Ok(told)
}

/// Host and target of a URL, or the target alone.
fn parts(url: &str) -> Result<(Option<&str>, &str), Denial> {
    if url.starts_with('/') {
        return Ok((None, url));
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or_else(unclear)?;
    match rest.find(['/', '?', '#']) {
        None => Ok((Some(rest), "/")),
        Some(at) => rest.split_at_checked(at).map(|(host, target)| (Some(host), target)).ok_or_else(unclear),
    }
}

/// Envoy.
fn after_path<'a>(question: &'a RequestHeader, rest: &'a str) -> Result<Told<'a>, Denial> {
    if !rest.starts_with('/') {
        return Ok(Told::default());
    }
    Ok(Told { method: Some(question.method.as_str()), host: adapt::host(question)?, target: Some(rest) })
}

/// The value of a field that stands there once; an empty one says nothing.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Denial> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text).filter(|text| !text.is_empty())).map_err(|_| unclear())
        }
        (Some(_), Some(_)) => Err(unclear()),
    }
}

/// The fields with the client's address where the gate looks for it; none: it is there already.
fn with_address(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trusted: &TrustedProxies,
) -> Result<Option<HeaderMap>, Denial> {
    let here = [&FORWARDED_FOR, &FORWARDED].into_iter().any(|name| names_somebody(headers, name));
    let Some(address) = only(headers, &ORIGINAL_FOR)? else {
        return if here { Ok(None) } else { Err(unclear()) };
    };
    let mut told = headers.clone();
    told.remove(FORWARDED);
    told.insert(&FORWARDED_FOR, HeaderValue::from_str(address).map_err(|_| unclear())?);
    let client = |headers| client_ip::resolve(peer, headers, trusted).ip;
    match (names_somebody(&told, &FORWARDED_FOR), here) {
        (true, false) => Ok(Some(told)),
        (true, true) if client(&told) == client(headers) => Ok(None),
        (true, true) | (false, _) => Err(unclear()),
    }
}

fn names_somebody(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut bytes = headers.get_all(name).iter().flat_map(HeaderValue::as_bytes);
    bytes.any(|byte| !matches!(byte, b',' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn question(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut header = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        header
    }

    fn told(question: &RequestHeader, rest: &str) -> Result<String, Denial> {
        let trusted: TrustedProxies = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
        let original = Original::of(question, rest, Some(PEER.parse().unwrap()), &trusted)?;
        Ok(format!("{} {} {}", original.method, original.host, original.target))
    }

    #[test]
    fn each_way_of_telling_is_understood_alone() {
        let address = ("x-forwarded-for", "203.0.113.9");
        for (fields, rest, expected) in [
            (
                vec![("x-forwarded-method", "PUT"), ("x-forwarded-host", "a.test:8080"), ("x-forwarded-uri", "/b?c")],
                "",
                "PUT a.test:8080 /b?c",
            ),
            (
                vec![("x-original-method", "PUT"), ("x-original-host", "a.test"), ("x-original-uri", "/b")],
                "?x",
                "PUT a.test /b",
            ),
            (vec![("x-original-method", "PUT"), ("x-original-url", "https://a.test/b?c=/d")], "", "PUT a.test /b?c=/d"),
            (vec![("x-original-method", "PUT"), ("x-original-url", "http://[::1]:80")], "", "PUT [::1]:80 /"),
            (vec![("host", "a.test")], "/b?c", "GET a.test /b?c"),
            (
                vec![("host", "a.test"), ("x-forwarded-host", "A.test"), ("x-forwarded-uri", "/b")],
                "/b",
                "GET a.test /b",
            ),
        ] {
            let fields: Vec<_> = fields.into_iter().chain([address]).collect();
            assert_eq!(told(&question("/", &fields), rest).as_deref(), Ok(expected), "{fields:?}");
        }
    }

    #[test]
    fn what_could_be_taken_in_two_ways_is_refused() {
        let whole = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-uri", "/b"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        assert!(told(&question("/", &whole), "").is_ok());
        for more in [
            ("x-original-url", "http://a.test?x"),
            ("x-original-url", "http://a.test#/b"),
            ("x-original-url", "HTTP://a.test/b"),
            ("x-original-uri", "/B"),
            ("x-original-method", "get"),
            ("x-forwarded-uri", "/b"),
            ("x-original-for", "203.0.113.8"),
            ("x-original-for", ","),
            ("x-http-method", "PUT"),
        ] {
            let fields: Vec<_> = whole.into_iter().chain([more]).collect();
            assert!(told(&question("/", &fields), "").is_err(), "{more:?}");
        }
        assert!(told(&question("/", &whole), "/c").is_err());
        assert!(told(&question("/", &[("x-original-method", "GET"), whole[3], ("x-original-url", "/b")]), "").is_err());
        let nowhere: Vec<_> = whole.into_iter().take(3).chain([("x-forwarded-for", " , ,")]).collect();
        assert!(told(&question("/", &nowhere), "").is_err());
    }

    proptest! {
        /// Whatever a client adds to what its proxy says: it is about the same request, or it is refused.
        #[test]
        fn nothing_that_is_added_makes_it_another_request(
            added in prop::collection::vec((0..9usize, "[ -~]{0,12}|/b|GET|a\\.test|http://a\\.test/b"), 0..4),
            rest in "|/b|/[a-z]{0,3}|\\?x",
        ) {
            let names = [
                "x-original-method", "x-original-host", "x-original-uri", "x-original-url", "x-original-for", "host",
                "x-forwarded-method", "x-forwarded-uri", "forwarded",
            ];
            let mut header = question("/", &[
                ("x-forwarded-method", "PUT"), ("x-forwarded-host", "a.test"), ("x-forwarded-uri", "/b"),
                ("x-forwarded-for", "203.0.113.9"),
            ]);
            for (name, value) in &added {
                header.append_header(names[*name], value.as_str()).unwrap();
            }
            if let Ok(told) = told(&header, &rest) {
                prop_assert_eq!(told, "PUT a.test /b");
            }
        }
    }
}
