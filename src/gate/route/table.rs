//! From path and method to route.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use http::Method;

use super::super::path::is_unreserved;
use super::pattern::{MAX_PARAMS, Pattern, Segment};

/// What `Allow` lists where every method is taken.
const COMMON_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

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
        self.values.get(..self.count).unwrap_or_default()
    }

    /// False when there is no room.
    fn push(&mut self, value: &'p str) -> bool {
        let Some(free) = self.values.get_mut(self.count) else { return false };
        *free = value;
        self.count += 1;
        true
    }

    fn pop(&mut self) {
        self.count = self.count.saturating_sub(1);
        if let Some(last) = self.values.get_mut(self.count) {
            *last = "";
        }
    }
}

/// Patterns as a tree of segments: literal before `{name}` before `**`. The path is chosen first, then the method: a
/// less specific pattern never answers for one whose methods do not fit. Methods are compared exactly, so that a route
/// of GET does not take HEAD.
#[derive(Debug, Default)]
pub struct RouteTable {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// Filled from the configuration only: requests cannot make its entries collide, so a fast hash is good enough.
    literals: HashMap<Box<str>, Node, RandomState>,
    name: Option<Box<Node>>,
    /// Where the path ends here.
    end: Option<Endpoint>,
    /// Where `**` follows.
    rest: Option<Endpoint>,
}

/// The routes whose patterns have the same shape.
#[derive(Debug, Default)]
struct Endpoint {
    entries: Vec<Entry>,
    allow: Box<str>,
}

#[derive(Debug)]
struct Entry {
    /// Empty = all.
    methods: Vec<Method>,
    route: usize,
    pattern: Box<str>,
}

impl RouteTable {
    /// Adds a route for `methods` (empty = all) of `pattern`. After an error the table is as it was.
    ///
    /// # Errors
    /// A text for people: another route takes the same requests, or a method is never served.
    pub fn insert(&mut self, pattern: &Pattern, methods: &[Method], route: usize) -> Result<(), String> {
        if let Some(method) = methods.iter().find(|method| is_never_served(method)) {
            return Err(format!("{method} is never served"));
        }
        let endpoint = self.endpoint(pattern);
        if let Some((other, method)) = endpoint.overlap(methods) {
            let what = method.map_or("the same requests".to_owned(), |method| format!("{method} of the same paths"));
            return Err(format!("`{pattern}` takes {what} as `{}`", other.pattern));
        }
        endpoint.entries.push(Entry { methods: methods.to_vec(), route, pattern: pattern.to_string().into() });
        endpoint.allow = endpoint.allowed();
        Ok(())
    }

    /// The route of `path` (in normal form) and `method`. TRACE and CONNECT are never found.
    pub fn find<'p>(&self, path: &'p str, method: &Method) -> Found<'p> {
        let mut params = Params::default();
        let relative = path.strip_prefix('/');
        let Some(endpoint) = relative.and_then(|path| self.root.best(Some(path), &mut params)) else {
            return Found::Nothing;
        };
        match endpoint.entries.iter().find(|entry| entry.takes(method)) {
            Some(entry) => Found::Route(entry.route, params),
            None => Found::OtherMethods(endpoint.allow.clone()),
        }
    }

    fn endpoint(&mut self, pattern: &Pattern) -> &mut Endpoint {
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Name => node.name.get_or_insert_default(),
                Segment::Rest => return node.rest.get_or_insert_default(),
            };
        }
        node.end.get_or_insert_default()
    }
}

impl Node {
    /// The best pattern below this node for the segments in `rest` (none = the path ended), comparing segment by segment.
    /// The depth of the recursion is that of the tree, not of the path.
    fn best<'t, 'p>(&'t self, rest: Option<&'p str>, params: &mut Params<'p>) -> Option<&'t Endpoint> {
        let Some(path) = rest else { return self.end.as_ref().or(self.rest.as_ref()) };
        let (segment, rest) = path.split_once('/').map_or((path, None), |(segment, rest)| (segment, Some(rest)));
        if let Some(found) = self.literals.get(segment).and_then(|node| node.best(rest, params)) {
            return Some(found);
        }
        if let Some(node) = &self.name
            && is_value(segment)
            && params.push(segment)
        {
            if let Some(found) = node.best(rest, params) {
                return Some(found);
            }
            params.pop();
        }
        self.rest.as_ref()
    }
}

impl Endpoint {
    /// An entry that takes one of `methods`, and which.
    fn overlap<'a>(&'a self, methods: &'a [Method]) -> Option<(&'a Entry, Option<&'a Method>)> {
        self.entries.iter().find_map(|entry| match (entry.methods.as_slice(), methods) {
            ([], []) => Some((entry, None)),
            ([], some) | (some, []) => Some((entry, some.first())),
            (_, some) => some.iter().find(|method| entry.methods.contains(method)).map(|method| (entry, Some(method))),
        })
    }

    fn allowed(&self) -> Box<str> {
        if self.entries.iter().any(|entry| entry.methods.is_empty()) {
            return COMMON_METHODS.into();
        }
        let mut methods: Vec<_> = self.entries.iter().flat_map(|entry| &entry.methods).map(Method::as_str).collect();
        methods.sort_unstable();
        methods.dedup();
        methods.join(", ").into()
    }
}

impl Entry {
    fn takes(&self, method: &Method) -> bool {
        if self.methods.is_empty() { !is_never_served(method) } else { self.methods.contains(method) }
    }
}

/// TRACE would send credentials back; CONNECT would make a tunnel.
fn is_never_served(method: &Method) -> bool {
    matches!(*method, Method::TRACE | Method::CONNECT)
}

/// Whether `{name}` may stand for this segment.
fn is_value(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(is_unreserved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(patterns: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for (route, text) in patterns.iter().enumerate() {
            table.insert(&Pattern::parse(text).unwrap(), &[], route).unwrap();
        }
        table
    }

    fn add(table: &mut RouteTable, pattern: &str, methods: &[Method], route: usize) -> Result<(), String> {
        table.insert(&Pattern::parse(pattern).unwrap(), methods, route)
    }

    fn found<'p>(table: &RouteTable, path: &'p str) -> Option<(usize, Vec<&'p str>)> {
        match table.find(path, &Method::GET) {
            Found::Route(route, params) => Some((route, params.as_slice().to_vec())),
            Found::OtherMethods(_) | Found::Nothing => None,
        }
    }

    fn route(table: &RouteTable, path: &str) -> Option<usize> {
        found(table, path).map(|(route, _)| route)
    }

    #[test]
    fn paths_are_compared_byte_for_byte() {
        let table = table(&["/", "/admin", "/orders/", "/a%3Bb"]);
        assert_eq!(route(&table, "/"), Some(0));
        assert_eq!(route(&table, "/admin"), Some(1));
        assert_eq!(route(&table, "/orders/"), Some(2));
        assert_eq!(route(&table, "/a%3Bb"), Some(3));
        for other in
            ["", "admin", "/ADMIN", "/admin/", "/admin/x", "/adm", "/orders", "/a%3bb", "/admin;x", "/admin%2Fx", "//"]
        {
            assert_eq!(table.find(other, &Method::GET), Found::Nothing, "{other}");
        }
    }

    #[test]
    fn a_name_stands_for_one_whole_plain_segment() {
        let table = table(&["/orders/{id}/lines/{line}"]);
        assert_eq!(found(&table, "/orders/7/lines/a.B_c~d-9"), Some((0, vec!["7", "a.B_c~d-9"])));
        for other in [
            "/orders//lines/1",
            "/orders/7/lines/",
            "/orders/7/8/lines/1",
            "/orders/a%20b/lines/1",
            "/orders/a@b/lines/1",
            "/orders/a:b/lines/1",
            "/orders/a;b/lines/1",
            "/orders/a%2Fb/lines/1",
            "/orders/7/lines/1/",
        ] {
            assert_eq!(found(&table, other), None, "{other}");
        }
    }

    #[test]
    fn the_rest_is_zero_or_more_segments() {
        let orders = table(&["/orders/**"]);
        for path in ["/orders", "/orders/", "/orders/a", "/orders/a/b%20c/"] {
            assert_eq!(found(&orders, path), Some((0, vec![])), "{path}");
        }
        for path in ["/", "/ordersx", "/order", "/x/orders"] {
            assert_eq!(found(&orders, path), None, "{path}");
        }
        assert_eq!(route(&table(&["/**"]), "/"), Some(0));
        assert_eq!(found(&table(&["/{a}/**"]), "/x"), Some((0, vec!["x"])));
        assert_eq!(found(&table(&["/{a}/**"]), "/"), None);
    }

    #[test]
    fn literal_beats_name_beats_rest_segment_by_segment() {
        let table = table(&["/**", "/a/**", "/a/{x}", "/a/b", "/{x}/b/c", "/a/{x}/d/**", "/a/", "/a"]);
        for (path, expected) in [
            ("/a/b", 3),
            ("/a/z", 2),
            ("/a/z%20", 1),
            ("/a/", 6),
            ("/a", 7),
            ("/a/b/c", 1), // `a` is a literal, and with it `/a/**` fits: `/{x}/b/c` is never asked
            ("/z/b/c", 4),
            ("/a/b/d/e", 5),
            ("/a/b/d", 5),
            ("/z", 0),
            ("/", 0),
        ] {
            assert_eq!(route(&table, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_dead_end_is_left_again_and_its_names_are_forgotten() {
        let table = table(&["/a/{x}/{y}/end", "/{p}/b/c/{q}"]);
        assert_eq!(found(&table, "/a/b/c/end"), Some((0, vec!["b", "c"])));
        assert_eq!(found(&table, "/a/b/c/other"), Some((1, vec!["a", "other"])));
        assert_eq!(found(&table, "/a/x/c/other"), None);
    }

    #[test]
    fn a_known_path_with_another_method_never_falls_through() {
        let mut table = table(&["/**"]);
        add(&mut table, "/orders/{id}", &[Method::POST, Method::GET], 1).unwrap();
        add(&mut table, "/orders/{key}", &[Method::DELETE], 2).unwrap();
        assert!(matches!(table.find("/orders/7", &Method::DELETE), Found::Route(2, _)));
        assert!(matches!(table.find("/orders/7", &Method::GET), Found::Route(1, _)));
        for method in ["PUT", "HEAD", "get", "OPTIONS", "TRACE", "CONNECT", "PURGE"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(table.find("/orders/7", &method), Found::OtherMethods("DELETE, GET, POST".into()), "{method}");
        }
    }

    #[test]
    fn trace_and_connect_are_never_found() {
        let mut table = table(&["/**"]);
        for method in [Method::TRACE, Method::CONNECT] {
            assert_eq!(table.find("/x", &method), Found::OtherMethods(COMMON_METHODS.into()));
            assert!(add(&mut table, "/y", &[method], 1).is_err());
        }
        assert!(matches!(table.find("/y", &Method::from_bytes(b"get").unwrap()), Found::Route(0, _)));
        assert_eq!(RouteTable::default().find("/x", &Method::TRACE), Found::Nothing);
    }

    #[test]
    fn two_routes_never_take_the_same_requests() {
        let mut table = RouteTable::default();
        add(&mut table, "/a/{x}", &[Method::GET], 0).unwrap();
        let text = add(&mut table, "/a/{y}", &[Method::POST, Method::GET], 1).unwrap_err();
        assert!(text.contains("/a/{x}") && text.contains("/a/{y}") && text.contains("GET"), "{text}");
        assert!(add(&mut table, "/a/{y}", &[], 1).is_err());
        assert_eq!(table.find("/a/b", &Method::POST), Found::OtherMethods("GET".into()));
        add(&mut table, "/a/**", &[], 2).unwrap();
        assert!(add(&mut table, "/a/**", &[], 3).is_err());
        assert!(add(&mut table, "/a/**", &[Method::GET], 3).is_err());
        add(&mut table, "/a/", &[], 4).unwrap();
    }

    #[test]
    fn a_path_far_deeper_than_every_pattern_is_walked_no_deeper_than_they_are() {
        let table = table(&["/a/a/a", "/{x}/a/b"]);
        assert_eq!(route(&table, &"/a".repeat(500_000)), None);
    }

    /// What decides between two patterns that fit: by position 0 = literal, 1 = name, 2 = rest; none = it does not fit.
    fn rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
        let (mut parts, mut segments) = (pattern[1..].split('/'), path[1..].split('/'));
        let mut rank = Vec::new();
        loop {
            let kind = match (parts.next(), segments.next()) {
                (Some("**"), _) => return Some([rank, vec![2]].concat()),
                (None, None) => return Some([rank, vec![0]].concat()),
                (Some(part), Some(segment)) if part == segment => 0,
                (Some(part), Some(segment)) if part.starts_with('{') && is_value(segment) => 1,
                (_, _) => return None,
            };
            rank.push(kind);
        }
    }

    proptest! {
        #[test]
        fn the_best_of_all_patterns_that_fit_is_found(
            patterns in prop::collection::btree_set("(/(a|b|\\{n\\})){0,4}(/|/\\*\\*|/a)", 0..12),
            paths in prop::collection::vec("(/(a|b|c|%20)){0,5}(/|/a)", 1..8),
        ) {
            let patterns: Vec<String> = patterns
                .into_iter()
                .map(|text| text.split("{n}").enumerate().map(|(n, part)| if n == 0 { part.into() } else { format!("{{n{n}}}{part}") }).collect())
                .collect();
            let table = table(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
            for path in &paths {
                let best = patterns.iter().enumerate().filter_map(|(n, p)| Some((rank(p, path)?, n))).min().map(|(_, n)| n);
                prop_assert_eq!(route(&table, path), best, "{}", path);
            }
        }

        #[test]
        fn no_path_makes_it_panic(path in any::<String>()) {
            table(&["/**", "/{a}/b"]).find(&path, &Method::GET);
        }
    }
}
