//! What is asked: a request that nobody sent.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::clock::UnixMillis;
use crate::gate::request::{ClientCertificate, Handshake, Request};
use crate::gate::verify::certificate::CertificateName;

/// Where a request comes from when nobody says.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Members of a question in JSON.
const MEMBERS: [&str; 6] = ["method", "url", "headers", "ip", "at", "certificate"];

/// A request to be judged, its address and its time.
#[derive(Debug)]
pub struct Question {
    /// As it was asked, for the heading of the answer.
    pub(super) url: String,
    method: Method,
    path: String,
    query: Option<String>,
    host: String,
    headers: HeaderMap,
    peer: IpAddr,
    handshake: Option<Handshake>,
    now: UnixMillis,
}

impl Question {
    /// A request for `url`: a whole one, or a path when a `Host` is among the headers, which are lines `Name: value`.
    /// Without an address it comes from this machine.
    ///
    /// # Errors
    /// What is wrong, for people; values of headers are not repeated.
    pub fn new(
        method: &str,
        url: &str,
        lines: &[Zeroizing<String>],
        ip: Option<IpAddr>,
        now: UnixMillis,
    ) -> Result<Self, String> {
        let named = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("{method:?} is no method; write it first, as in: explain GET https://…"))?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("a header is written as 'Name: value'")?;
            add(&mut headers, name, value)?;
        }
        Self::whole(named, url, headers, ip, now)
    }

    /// Reads `{ method, url, headers, ip, at, certificate }`, of which only `url` must be there. `headers` is a list of lines
    /// `Name: value`, or an object whose values are texts or lists of texts; `certificate` is a list of names. `now`: where `at` is not given.
    ///
    /// # Errors
    /// As [`Question::new`].
    pub fn from_json(question: &Value, now: UnixMillis) -> Result<Self, String> {
        let members = question.as_object().ok_or("a question is an object")?;
        if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(format!("{unknown:?} is unknown; known are {}", MEMBERS.join(", ")));
        }
        let method = text(members, "method")?.unwrap_or("GET");
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method"))?;
        let url = text(members, "url")?.ok_or("url is missing")?;
        let ip = text(members, "ip")?.map(|ip| ip.parse().map_err(|_| format!("{ip:?} is no address"))).transpose()?;
        let at = text(members, "at")?.map(time).transpose()?;
        let mut headers = HeaderMap::new();
        read_headers(&mut headers, members.get("headers").unwrap_or(&Value::Null))?;
        let names = names(members.get("certificate").unwrap_or(&Value::Null))?;
        Self::whole(method, url, headers, ip, at.unwrap_or(now))?.with_certificate(&names)
    }

    /// The same over a connection on which the client has shown a good certificate with these names: `uri:…`, `dns:…`,
    /// `email:…`, `cn:…`; `sha256:…` is its fingerprint. None: it has shown none.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn with_certificate<S: AsRef<str>>(self, names: &[S]) -> Result<Self, String> {
        if names.is_empty() {
            return Ok(self);
        }
        let mut certificate =
            ClientCertificate { names: Box::default(), fingerprint: Box::default(), not_after: UnixMillis(i64::MAX) };
        let mut listed = Vec::with_capacity(names.len());
        for name in names {
            match CertificateName::parse(name.as_ref()).map_err(|fault| format!("certificate: {fault}"))? {
                CertificateName::Name(name) => listed.push(name),
                CertificateName::Fingerprint(fingerprint) => certificate.fingerprint = fingerprint,
            }
        }
        certificate.names = listed.into();
        let handshake = Handshake { server_name: None, certificate: Some(Arc::new(certificate)) };
        Ok(Self { handshake: Some(handshake), ..self })
    }

    fn whole(
        method: Method,
        url: &str,
        headers: HeaderMap,
        ip: Option<IpAddr>,
        now: UnixMillis,
    ) -> Result<Self, String> {
        let (authority, target) = split_url(url)?;
        let named = || headers.get(http::header::HOST).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let host = authority.or_else(named).ok_or("the host is missing: give a whole URL, or -H 'Host: …'")?;
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Ok(Self {
            url: url.to_owned(),
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            host,
            headers,
            peer: ip.unwrap_or(LOOPBACK),
            handshake: None,
            now,
        })
    }

    /// The time of the question.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// From where it comes.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: Some(&self.host),
            headers: &self.headers,
            peer: Some(self.peer),
            handshake: self.handshake.as_ref(),
            now: self.now,
        }
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is a text")),
    }
}

fn names(given: &Value) -> Result<Vec<&str>, String> {
    const FORM: &str = "certificate is a list of the certificate's names";
    match given {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(|name| name.as_str().ok_or_else(|| FORM.to_owned())).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Err(FORM.to_owned()),
    }
}

fn time(text: &str) -> Result<UnixMillis, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "at is a time with its offset, such as 2026-01-31T12:00:00Z".to_owned())?;
    Ok(UnixMillis(time.as_millisecond()))
}

fn read_headers(headers: &mut HeaderMap, given: &Value) -> Result<(), String> {
    const FORM: &str = "headers are a list of 'Name: value', or an object of texts";
    let texts = |value: &Value| match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => {
            list.iter().map(|one| one.as_str().map(str::to_owned).ok_or(FORM)).collect::<Result<Vec<_>, _>>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(FORM),
    };
    match given {
        Value::Null => {}
        Value::Array(_) => {
            for line in texts(given)? {
                let (name, value) = line.split_once(':').ok_or(FORM)?;
                add(headers, name, value)?;
            }
        }
        Value::Object(members) => {
            for (name, values) in members {
                for value in texts(values)? {
                    add(headers, name, &value)?;
                }
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(FORM.to_owned()),
    }
    Ok(())
}

/// The value is not repeated in a fault: it may be a credential.
fn add(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
    let value =
        HeaderValue::from_str(value.trim()).map_err(|_| format!("the value of {name} cannot be sent in a header"))?;
    headers.try_append(name, value).map_err(|_| "these are too many headers".to_owned())?;
    Ok(())
}

/// Authority and target of a URL; the target is kept byte for byte.
fn split_url(url: &str) -> Result<(Option<String>, &str), String> {
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        None if url.starts_with('/') => return Ok((None, url)),
        Some(_) | None => return Err(format!("{url:?} is neither an http(s) URL nor a path")),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    match target {
        "" => Ok((Some(authority.to_owned()), "/")),
        target if target.starts_with('/') => Ok((Some(authority.to_owned()), target)),
        _ => Err("a URL with a query needs a path: write /?…".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_682_354_000);

    #[test]
    fn a_url_is_taken_apart_without_touching_its_path() {
        assert_eq!(split_url("https://a.test/x%2e/../y?q#f").unwrap(), (Some("a.test".into()), "/x%2e/../y?q#f"));
        assert_eq!(split_url("http://a.test:8080").unwrap(), (Some("a.test:8080".into()), "/"));
        assert_eq!(split_url("/only/path").unwrap(), (None, "/only/path"));
        for bad in ["ftp://a/", "a.test/x", "https://a.test?x"] {
            assert!(split_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_question_in_json_says_the_same_as_one_on_the_command_line() {
        let asked = json!({
            "method": "POST", "url": "https://a.test/x?y", "ip": "192.0.2.1", "at": "2026-01-31T12:00:00+01:00",
            "headers": { "X-One": "1", "X-Two": ["2", "3"] },
        });
        let question = Question::from_json(&asked, NOW).unwrap();
        let request = question.request();
        assert_eq!((request.method.as_str(), request.path, request.query), ("POST", "/x", Some("y")));
        assert_eq!((request.host, request.now), (Some("a.test"), UnixMillis(1_769_857_200_000)));
        assert_eq!(request.peer, Some([192, 0, 2, 1].into()));
        assert_eq!(request.headers.get_all("x-two").iter().count(), 2);

        let lines = json!({ "url": "/x", "headers": ["Host: b.test", "X-One: 1"] });
        let question = Question::from_json(&lines, NOW).unwrap();
        assert_eq!((question.request().host, question.now()), (Some("b.test"), NOW));
    }

    #[test]
    fn a_question_may_come_over_a_connection_with_a_certificate() {
        let digest = "ab".repeat(32);
        let names = ["uri:spiffe://prod/billing".to_owned(), "dns:A.internal".to_owned(), format!("sha256:{digest}")];
        let question = Question::from_json(&json!({ "url": "http://a/", "certificate": names }), NOW).unwrap();
        let certificate = question.request().handshake.unwrap().certificate.as_ref().unwrap();
        assert_eq!(*certificate.names, [names[0].clone().into(), "dns:a.internal".into()]);
        assert_eq!(*certificate.fingerprint, *digest);
        for none in [json!({ "url": "http://a/" }), json!({ "url": "http://a/", "certificate": [] })] {
            assert!(Question::from_json(&none, NOW).unwrap().request().handshake.is_none());
        }
        for bad in [json!("cn:a"), json!(["a"]), json!([1]), json!(["dns:*.internal"])] {
            let fault = Question::from_json(&json!({ "url": "http://a/", "certificate": bad }), NOW).unwrap_err();
            assert!(fault.starts_with("certificate"), "{fault}");
        }
    }

    #[test]
    fn a_question_that_cannot_be_one_is_refused_without_repeating_what_may_be_a_secret() {
        for bad in [
            json!([]),
            json!({ "url": "/x" }),
            json!({ "url": "http://a/", "path": "/" }),
            json!({ "url": "http://a/", "method": "G T" }),
            json!({ "url": "http://a/", "ip": "1.2.3" }),
            json!({ "url": "http://a/", "at": "yesterday" }),
            json!({ "url": "http://a/", "headers": "X: 1" }),
            json!({ "url": "http://a/", "headers": { "X": 1 } }),
            json!({ "url": "http://a/", "headers": { "X": "sec\nret" } }),
        ] {
            let fault = Question::from_json(&bad, NOW).unwrap_err();
            assert!(!fault.contains("ret"), "{fault}");
        }
    }
}
