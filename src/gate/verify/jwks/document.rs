//! From a specification to the bytes of a key set: which URLs are acceptable, and OpenID discovery.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;
use serde::Deserialize;

use super::{Fetch, FetchRequest, Location, RemoteSpec};
use crate::clock::Stopwatch;

/// Longer URLs are refused.
const LONGEST_URL: usize = 2048;

/// Whether key sets may be fetched from `url`: https, or http when the host is this machine (`127.0.0.0/8`, `::1`,
/// `localhost`); without credentials and without a fragment.
///
/// # Errors
/// What is wrong with it, for people; the URL itself is not repeated.
pub fn acceptable_url(url: &str) -> Result<(), String> {
    if url.len() > LONGEST_URL {
        return Err(format!("the URL is longer than {LONGEST_URL} bytes"));
    }
    // Characters that URL parsers repair in different ways must not decide where a request goes.
    if let Some(odd) = url.chars().find(|c| !c.is_ascii_graphic() || *c == '\\') {
        return Err(format!("the character {odd:?} does not belong in a URL"));
    }
    if url.contains('#') {
        return Err("the URL has a fragment".to_owned());
    }
    let uri: Uri = url.parse().map_err(|_| "this is no absolute URL".to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("this is no absolute URL".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("the URL holds credentials".to_owned());
    }
    let host = authority.host();
    if host.is_empty() {
        return Err("the URL has no host".to_owned());
    }
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    let numbered = |port: &str| port.strip_prefix(':').and_then(|p| p.parse::<u16>().ok()).is_some_and(|p| p != 0);
    if !port.is_empty() && !numbered(port) {
        return Err("the port is no number from 1 to 65535".to_owned());
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_this_machine(host) => Ok(()),
        "http" => Err("http is only for hosts on this machine (127.0.0.0/8, ::1, localhost); use https".to_owned()),
        _ => Err("the URL must begin with https://".to_owned()),
    }
}

/// Where the discovery document of `issuer` is (OpenID Connect Discovery 1.0 section 4).
///
/// # Errors
/// As [`acceptable_url`]; an issuer has no query either.
pub fn discovery_url(issuer: &str) -> Result<String, String> {
    if issuer.contains('?') {
        return Err("an issuer with discovery has no query".to_owned());
    }
    let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    acceptable_url(&url)?;
    Ok(url)
}

/// Only exact spellings count: a parser that also reads `127.1` must not be led elsewhere by us.
fn is_this_machine(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

/// Fetches the key set of `spec`. Discovery and key set share one time budget.
pub(super) async fn download(spec: &RemoteSpec, fetch: &dyn Fetch) -> Result<Vec<u8>, String> {
    let request = |url, timeout| FetchRequest { url, ca: spec.ca.clone(), timeout, max_size: spec.max_size };
    match &spec.location {
        Location::Url(url) => {
            acceptable_url(url)?;
            fetch.fetch(request(url.to_string(), spec.timeout)).await
        }
        Location::Discovery(issuer) => {
            let spent = Stopwatch::start();
            let document = fetch.fetch(request(discovery_url(issuer)?, spec.timeout)).await;
            let url = document.and_then(|d| jwks_uri(&d, issuer)).map_err(|cause| format!("discovery: {cause}"))?;
            fetch.fetch(request(url, spec.timeout.saturating_sub(spent.elapsed()))).await
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Where a discovery document says the key set is. What is wrong is told without repeating the document.
fn jwks_uri(document: &[u8], issuer: &str) -> Result<String, String> {
    let metadata: Metadata = serde_json::from_slice(document).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("no JSON object with `issuer` and `jwks_uri` as texts (line {line}, column {column})")
    })?;
    // A document for somebody else would let one tenant of a provider speak for another.
    if metadata.issuer != issuer {
        return Err("the document names another issuer than the configured one".to_owned());
    }
    acceptable_url(&metadata.jwks_uri).map_err(|cause| format!("jwks_uri: {cause}"))?;
    if is_https(issuer) && !is_https(&metadata.jwks_uri) {
        return Err("jwks_uri: a document fetched by https may only name an https URL".to_owned());
    }
    Ok(metadata.jwks_uri)
}

fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn https_is_taken_and_http_only_for_this_machine() {
        for good in [
            "https://id.example/keys",
            "https://id.example:8443/keys?tenant=1",
            "https://10.0.0.1/keys",
            "http://127.0.0.1:8080/keys",
            "http://127.9.9.9",
            "http://[::1]:80/keys",
            "http://localhost:8080/keys",
            "http://LOCALHOST/keys",
        ] {
            assert_eq!(acceptable_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/keys",
            "id.example",
            "id.example:443",
            "https://",
            "https://:443/keys",
            "https://id.example:0/keys",
            "https://id.example:99999/keys",
            "https://id.example:/keys",
            "http://id.example/keys",
            "http://127.0.0.1.evil.example/keys",
            "http://127.1/keys",
            "http://2130706433/keys",
            "http://0177.0.0.1/keys",
            "http://0.0.0.0/keys",
            "http://[::]/keys",
            "http://169.254.169.254/latest",
            "http://localhost.evil.example/keys",
            "https://user:pass@id.example/keys",
            "https://user@id.example/keys",
            "http://localhost@evil.example/keys",
            "http://localhost\\@evil.example/keys",
            "https://id.example/keys#part",
            "https://id.example/ke ys",
            "https://id.example/k\u{e9}ys",
            "https://id.example/keys\n",
            "file:///etc/passwd",
            "ftp://id.example/keys",
            "gopher://127.0.0.1/keys",
        ] {
            assert!(acceptable_url(bad).is_err(), "{bad}");
        }
        assert!(acceptable_url(&format!("https://id.example/{}", "k".repeat(LONGEST_URL))).is_err());
    }

    #[test]
    fn the_discovery_document_stands_below_the_issuer() {
        let expected = Ok("https://id.example/realms/a/.well-known/openid-configuration".to_owned());
        assert_eq!(discovery_url("https://id.example/realms/a"), expected);
        assert_eq!(discovery_url("https://id.example/realms/a/"), expected);
        assert!(discovery_url("https://id.example/?realm=a").is_err());
        assert!(discovery_url("http://id.example").is_err());
        assert!(discovery_url("id.example").is_err());
    }

    #[test]
    fn a_document_must_name_the_issuer_byte_for_byte_and_an_acceptable_url_once() {
        let read = |document: &str| jwks_uri(document.as_bytes(), "https://id.example/a");
        let good = r#"{"issuer":"https://id.example/a","jwks_uri":"https://keys.example/a","other":[1]}"#;
        assert_eq!(read(good), Ok("https://keys.example/a".to_owned()));
        for bad in [
            r#"{"issuer":"https://id.example/a/","jwks_uri":"https://keys.example/a"}"#,
            r#"{"issuer":"https://ID.example/a","jwks_uri":"https://keys.example/a"}"#,
            r#"{"issuer":["https://id.example/a"],"jwks_uri":"https://keys.example/a"}"#,
            r#"{"issuer":"https://id.example/a","issuer":"https://id.example/a","jwks_uri":"https://keys.example/a"}"#,
            r#"{"issuer":"https://id.example/a","jwks_uri":"http://keys.example/a"}"#,
            r#"{"issuer":"https://id.example/a","jwks_uri":"http://127.0.0.1/a"}"#,
            r#"{"issuer":"https://id.example/a","jwks_uri":"file:///keys"}"#,
            r#"{"issuer":"https://id.example/a","jwks_uri":null}"#,
            r#"{"issuer":"https://id.example/a"}"#,
            r#"[]"#,
            r#"<html>"#,
            r#""#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_complaint_about_a_document_does_not_repeat_it() {
        let complaint = jwks_uri(br#"{"issuer":"https://id.example","jwks_uri":{"x":"hunter2"}}"#, "i").unwrap_err();
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }

    proptest! {
        #[test]
        fn plain_http_never_leaves_this_machine(url in "(http|HTTP)://[a-z0-9.:@\\[\\]%/\\\\?-]{0,24}") {
            if acceptable_url(&url).is_ok() {
                let host = url[7..].to_ascii_lowercase();
                prop_assert!(["127.", "[", "localhost"].iter().any(|start| host.starts_with(start)), "{url}");
                prop_assert!(!host.contains('@') || host.find('@') > host.find(['/', '?']));
            }
        }

        #[test]
        fn no_text_breaks_the_check(url in "\\PC{0,64}", document in proptest::collection::vec(any::<u8>(), 0..128)) {
            let checked = acceptable_url(&url);
            prop_assert!(checked.is_err() || url.to_ascii_lowercase().starts_with("http"));
            prop_assert!(jwks_uri(&document, "https://id.example").is_err());
        }
    }
}
