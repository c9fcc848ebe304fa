//! From host to realm, and from path and method to route.

use http::Method;

use super::outcome::Why;

/// How many `{name}` segments a pattern may have.
pub const MAX_PARAMS: usize = 8;

/// Hosts to realms: exact beats `*.wildcard` (one label) beats `*`.
#[derive(Debug, Default)]
pub struct HostTable {}

impl HostTable {
    /// Adds `host` as configured: a name, `*.name` or `*`.
    ///
    /// # Errors
    /// A text for people: malformed, or already taken.
    pub fn insert(&mut self, _host: &str, _realm: usize) -> Result<(), String> {
        unimplemented!()
    }

    /// The realm of a `Host` value. `Ok(None)`: nobody's.
    ///
    /// # Errors
    /// The value is no host (RFC 9110 section 7.2).
    pub fn find(&self, _host: &str) -> Result<Option<usize>, Why> {
        unimplemented!()
    }
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {}

impl Pattern {
    /// Reads `/orders/{id}/**`.
    ///
    /// # Errors
    /// A text for people that says what is wrong.
    pub fn parse(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }

    /// Names in the order of the path.
    pub fn param_names(&self) -> &[Box<str>] {
        unimplemented!()
    }
}

/// What was found for a path and a method.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'p> {
    /// A route, with the values of its `{name}` segments.
    Route(usize, Params<'p>),
    /// The path exists; these are its methods, joined for `Allow`.
    OtherMethods(Box<str>),
    /// No pattern has this path.
    Nothing,
}

/// Values of the `{name}` segments in the order of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'p> {
    values: [&'p str; MAX_PARAMS],
    count: usize,
}

impl<'p> Params<'p> {
    /// The values.
    pub fn as_slice(&self) -> &[&'p str] {
        &self.values[..self.count]
    }
}

/// Patterns as a tree of segments: literal before `{name}` before `**`.
#[derive(Debug, Default)]
pub struct RouteTable {}

impl RouteTable {
    /// Adds a route for `methods` (empty = all) of `pattern`.
    ///
    /// # Errors
    /// A text for people: another route takes the same requests.
    pub fn insert(&mut self, _pattern: &Pattern, _methods: &[Method], _route: usize) -> Result<(), String> {
        unimplemented!()
    }

    /// The route of `path` (in normal form) and `method`. TRACE and CONNECT are never found.
    pub fn find<'p>(&self, _path: &'p str, _method: &Method) -> Found<'p> {
        unimplemented!()
    }
}
