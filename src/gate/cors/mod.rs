//! Which pages of other origins may read the answers of a route, and the answer to a browser that asks beforehand (Fetch,
//! "CORS protocol"). It restrains browsers and nobody else: it lets nothing in that the rest of the gate would refuse.
//!
//! A preflight is answered here and never forwarded: it has no credential, so whoever forwarded it would let a request
//! through that nobody has proved anything for. Address lists and limits do not hold for it, for all that it tells is
//! what the configuration says to the page that asks; the request that follows meets them all.

mod origin;

use std::fmt;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::policy::Route;
use super::request::Request;
use super::route::Found;
use super::{Served, look_up};
pub use origin::{Listed, OriginPattern, Origins};

/// A list of header fields that is longer is not repeated.
const MAX_REPEATED: usize = 4096;

/// What a preflight's answer depends on.
const ASKED: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

/// A header field of an answer.
pub type Field = (HeaderName, HeaderValue);

/// Which fields a page may send.
#[derive(Clone, Debug)]
pub enum SentFields {
    /// Whichever it asks for.
    Any,
    /// These.
    Listed(Vec<HeaderName>),
}

/// What is configured for a route.
#[derive(Debug)]
pub struct CorsSpec {
    /// Whose pages.
    pub origins: Arc<Origins>,
    /// Methods that a page may use.
    pub methods: Vec<Method>,
    /// Fields that it may send.
    pub sent: SentFields,
    /// Names of fields that it may read, as they are told.
    pub expose: Vec<Box<str>>,
    /// Whether the browser may add cookies and client certificates.
    pub credentials: bool,
    /// How long a browser remembers the answer to a preflight.
    pub max_age_secs: u64,
}

/// The same with its header fields made.
#[derive(Debug)]
pub struct Cors {
    origins: Arc<Origins>,
    methods: Vec<Method>,
    sent: SentFields,
    credentials: bool,
    expose: Option<HeaderValue>,
    allow_methods: Option<HeaderValue>,
    allow_headers: Option<HeaderValue>,
    max_age: HeaderValue,
}

impl Cors {
    /// Prepares what is answered.
    pub fn new(spec: CorsSpec) -> Self {
        let CorsSpec { origins, methods, sent, expose, credentials, max_age_secs } = spec;
        let names: Vec<&str> = match &sent {
            SentFields::Any => Vec::new(),
            SentFields::Listed(names) => names.iter().map(HeaderName::as_str).collect(),
        };
        Self {
            expose: joined(&expose.iter().map(|name| &**name).collect::<Vec<_>>()),
            allow_methods: joined(&methods.iter().map(Method::as_str).collect::<Vec<_>>()),
            allow_headers: joined(&names),
            max_age: HeaderValue::from(max_age_secs),
            origins,
            methods,
            sent,
            credentials,
        }
    }

    /// What an answer to a request with these fields says to the page that sent it: nothing, if it is none of those that
    /// may read it. `*` is said to everybody, so that a kept answer is good for all.
    pub fn fields(&self, request: &HeaderMap) -> impl Iterator<Item = Field> + use<> {
        let origin = self.told(request);
        let allowed = origin.is_some();
        let credentials =
            (allowed && self.credentials).then(|| (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        let expose = self.expose.clone().filter(|_| allowed).map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names));
        [origin.map(|origin| (ACCESS_CONTROL_ALLOW_ORIGIN, origin)), credentials, expose].into_iter().flatten()
    }

    /// Whether answers differ from origin to origin: then whoever keeps one has to know (`Vary: Origin`).
    pub fn depends_on_origin(&self) -> bool {
        matches!(*self.origins, Origins::Listed(_))
    }

    /// Value of `Access-Control-Allow-Origin`.
    fn told(&self, request: &HeaderMap) -> Option<HeaderValue> {
        match &*self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => only(request, &ORIGIN).filter(|origin| listed.has(origin.as_bytes())).cloned(),
        }
    }
}

fn joined(texts: &[&str]) -> Option<HeaderValue> {
    HeaderValue::try_from(texts.join(", ")).ok().filter(|value| !value.is_empty())
}

/// The value of a field that stands there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// A preflight that the gateway answers itself. It is no right to forward anything.
#[derive(Clone, Debug)]
pub struct Preflight {
    route: Arc<Route>,
    asked: Method,
}

impl Preflight {
    /// The route that the request is asked for.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The answer's header fields, for a preflight with these: what the route allows, if the page is one of those it
    /// allows it to. It is for the browser to compare that with what it asked for.
    pub fn fields(&self, request: &HeaderMap) -> Vec<Field> {
        let mut fields = vec![(VARY, ASKED)];
        let Some(cors) = &self.route.cors else { return fields };
        fields.extend(cors.fields(request).filter(|(name, _)| *name != ACCESS_CONTROL_EXPOSE_HEADERS));
        if fields.len() == 1 {
            return fields;
        }
        let headers = match cors.sent {
            SentFields::Any => only(request, &ACCESS_CONTROL_REQUEST_HEADERS).filter(|list| is_list(list)).cloned(),
            SentFields::Listed(_) => cors.allow_headers.clone(),
        };
        fields.extend(cors.allow_methods.clone().map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        fields.extend(headers.map(|headers| (ACCESS_CONTROL_ALLOW_HEADERS, headers)));
        fields.push((ACCESS_CONTROL_MAX_AGE, cors.max_age.clone()));
        fields
    }

    /// Why the browser will not send the request after this answer; none: it will. For people: it looks at each field that
    /// is asked for.
    pub fn objection(&self, request: &HeaderMap) -> Option<Objection> {
        let cors = self.route.cors.as_ref()?;
        if cors.told(request).is_none() {
            return Some(Objection::Origin);
        }
        let safelisted = matches!(self.asked, Method::GET | Method::HEAD | Method::POST);
        if !safelisted && !cors.methods.contains(&self.asked) {
            return Some(Objection::Method(self.asked.clone()));
        }
        let lists = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let mut names = lists.flat_map(|list| list.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
        let sent = match &cors.sent {
            SentFields::Any => {
                return only(request, &ACCESS_CONTROL_REQUEST_HEADERS)
                    .is_some_and(|list| !is_list(list))
                    .then_some(Objection::Fields);
            }
            SentFields::Listed(sent) => sent,
        };
        let refused = names.find(|name| {
            !name.is_empty() && !sent.iter().any(|own| own.as_str().as_bytes().eq_ignore_ascii_case(name))
        })?;
        Some(Objection::Field(String::from_utf8_lossy(refused).into()))
    }
}

/// Whether this is a list of names and nothing else, and no longer than any page needs.
fn is_list(value: &HeaderValue) -> bool {
    let known = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, \t".contains(b);
    value.len() <= MAX_REPEATED && value.as_bytes().iter().all(known)
}

/// What a browser will hold against the request that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// The page is none of those that are allowed.
    Origin,
    /// The route does not allow this method to pages.
    Method(Method),
    /// It does not let them send this field.
    Field(Box<str>),
    /// The list of fields is too long, or none.
    Fields,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin => f.write_str("the origin is not allowed"),
            Self::Method(method) => write!(f, "pages may not use {method}"),
            Self::Field(name) => write!(f, "pages may not send the header {name:?}"),
            Self::Fields => write!(f, "the list of headers is none, or longer than {MAX_REPEATED} bytes"),
        }
    }
}

/// The answer to a full preflight (exactly one `Origin`, exactly one `Access-Control-Request-Method`) for a route with
/// CORS. None: the request goes the way of all requests.
pub(super) fn preflight(served: Served<'_>, path: &str, request: &Request<'_>) -> Option<Preflight> {
    if *request.method != Method::OPTIONS {
        return None;
    }
    only(request.headers, &ORIGIN)?;
    let asked = only(request.headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked = Method::from_bytes(asked.as_bytes()).ok()?;
    let route = find(served, path, &asked)?;
    route.cors.is_some().then(|| Preflight { route: Arc::clone(route), asked })
}

/// A route that has the path, but not the method, and has CORS, if one of them has: its pages shall be able to read that
/// the method is wrong. `allow` are the methods that the path has.
pub(super) fn neighbour(served: Served<'_>, path: &str, allow: &str) -> Option<Arc<Route>> {
    let methods = allow.split(", ").filter_map(|method| Method::from_bytes(method.as_bytes()).ok());
    let mut routes = methods.filter_map(|method| find(served, path, &method)).peekable();
    let any = routes.peek().copied();
    routes.find(|route| route.cors.is_some()).or(any).cloned()
}

fn find<'s>(served: Served<'s>, path: &str, method: &Method) -> Option<&'s Arc<Route>> {
    match look_up(served, path, method) {
        Found::Route(index, _) => served.realm.routes.get(index),
        Found::OtherMethods(_) | Found::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example.com";

    fn spec(origins: &[&str]) -> CorsSpec {
        let patterns: Vec<_> = origins.iter().map(|text| OriginPattern::parse(text).unwrap()).collect();
        CorsSpec {
            origins: Arc::new(Origins::new(&patterns)),
            methods: vec![Method::GET, Method::PUT],
            sent: SentFields::Listed(vec![http::header::AUTHORIZATION, HeaderName::from_static("x-api-key")]),
            expose: vec!["X-Request-Id".into(), "Retry-After".into()],
            credentials: false,
            max_age_secs: 600,
        }
    }

    fn request(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn told(fields: impl IntoIterator<Item = Field>) -> Vec<String> {
        fields.into_iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    fn asked(spec: CorsSpec, method: Method) -> Preflight {
        let route = Route { cors: Some(Box::new(Cors::new(spec))), ..Route::open("orders".into(), 0) };
        Preflight { route: Arc::new(route), asked: method }
    }

    #[test]
    fn a_page_that_is_allowed_is_named_and_another_learns_nothing() {
        let cors = Cors::new(CorsSpec { credentials: true, ..spec(&[APP]) });
        assert_eq!(
            told(cors.fields(&request(&[("origin", APP)]))),
            [
                "access-control-allow-origin: https://app.example.com",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: X-Request-Id, Retry-After"
            ]
        );
        for fields in
            [&[][..], &[("origin", "null")], &[("origin", "https://evil.test")], &[("origin", APP), ("origin", APP)]]
        {
            assert!(told(cors.fields(&request(fields))).is_empty(), "{fields:?}");
        }
        assert!(cors.depends_on_origin());
    }

    #[test]
    fn what_everybody_may_read_is_the_same_for_everybody() {
        let cors = Cors::new(CorsSpec { expose: Vec::new(), ..spec(&["*"]) });
        for fields in [&[][..], &[("origin", APP)], &[("origin", "null")]] {
            assert_eq!(told(cors.fields(&request(fields))), ["access-control-allow-origin: *"]);
        }
        assert!(!cors.depends_on_origin());
    }

    #[test]
    fn a_preflight_is_told_what_is_allowed_and_not_what_it_would_like_to_hear() {
        let preflight = asked(spec(&[APP]), Method::DELETE);
        let vary = "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        let headers = request(&[("origin", APP), ("access-control-request-headers", "x-evil")]);
        assert_eq!(
            told(preflight.fields(&headers)),
            [
                vary,
                "access-control-allow-origin: https://app.example.com",
                "access-control-allow-methods: GET, PUT",
                "access-control-allow-headers: authorization, x-api-key",
                "access-control-max-age: 600"
            ]
        );
        assert_eq!(told(preflight.fields(&request(&[("origin", "https://evil.test")]))), [vary]);
    }

    #[test]
    fn any_field_is_the_list_that_was_asked_for_if_it_is_one() {
        let preflight = asked(CorsSpec { sent: SentFields::Any, ..spec(&[APP]) }, Method::PUT);
        let told = |list: &str| {
            let headers = request(&[("origin", APP), ("access-control-request-headers", list)]);
            let objects = preflight.objection(&headers).is_some();
            let fields = preflight.fields(&headers).into_iter();
            let told = fields.filter(|(name, _)| *name == ACCESS_CONTROL_ALLOW_HEADERS).map(|(_, value)| value).next();
            assert_eq!(objects, told.is_none(), "{list}");
            told
        };
        assert_eq!(told("authorization, x-trace").unwrap(), "authorization, x-trace");
        for bad in ["x: y", "a\"b", "a;b", "(", &"a,".repeat(MAX_REPEATED)] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_browser_will_object_to_is_known() {
        let objection = |origin: &str, method: Method, list: &str| {
            asked(spec(&[APP]), method)
                .objection(&request(&[("origin", origin), ("access-control-request-headers", list)]))
        };
        assert_eq!(objection(APP, Method::PUT, "Authorization, x-api-key"), None);
        assert_eq!(objection(APP, Method::POST, ""), None, "browsers do not ask for it");
        assert_eq!(objection("null", Method::PUT, ""), Some(Objection::Origin));
        assert_eq!(objection(APP, Method::DELETE, ""), Some(Objection::Method(Method::DELETE)));
        assert_eq!(objection(APP, Method::PUT, "x-api-key,x-evil"), Some(Objection::Field("x-evil".into())));
        let long = "x-api-key,".repeat(1 << 16);
        assert_eq!(objection(APP, Method::PUT, &long), None);
    }
}
