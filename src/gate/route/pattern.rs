//! What may stand as `path` of a route.

use std::fmt;

use super::super::path::{PathRules, normalize};

/// How many `{name}` segments a pattern may have.
pub const MAX_PARAMS: usize = 8;

/// Bytes of the longest pattern: keeps the tree, and the walk through it, shallow.
const MAX_LENGTH: usize = 2048;

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Vec<Segment>,
    names: Vec<Box<str>>,
    literal: usize,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// These bytes. Empty only at the end: a trailing slash.
    Literal(Box<str>),
    /// `{name}`: one segment of unreserved characters.
    Name,
    /// `**`: whatever follows, also nothing. Only at the end.
    Rest,
}

impl Pattern {
    /// Reads `/orders/{id}/**`. Literals are compared byte for byte with the normal form of a path and so must be in
    /// normal form themselves; encoded slashes and parameters may stand in them for realms that tolerate those.
    ///
    /// # Errors
    /// A text for people that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let relative = text.strip_prefix('/').ok_or("a pattern starts with `/`")?;
        if text.len() > MAX_LENGTH {
            return Err(format!("a pattern has at most {MAX_LENGTH} bytes"));
        }
        let mut pattern = Self { text: text.into(), segments: Vec::new(), names: Vec::new(), literal: 1 };
        let mut parts = relative.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let segment = if part == "**" {
                if !last {
                    return Err("`**` stands at the end of a pattern only".into());
                }
                Segment::Rest
            } else if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                pattern.add_name(name)?;
                Segment::Name
            } else {
                check_literal(part, last)?;
                Segment::Literal(part.into())
            };
            pattern.segments.push(segment);
        }
        let literals = pattern.segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(text.len() + 1),
            Segment::Name | Segment::Rest => None,
        });
        pattern.literal = (1 + literals.sum::<usize>()).min(text.len());
        Ok(pattern)
    }

    /// Names in the order of the path.
    pub fn param_names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The text before the first `{name}` or `**`; all of it where there is none. Every path that matches starts with
    /// it, but for `/orders` under `/orders/**`, which lacks the last slash.
    pub fn literal_prefix(&self) -> &str {
        self.text.get(..self.literal).unwrap_or(&self.text)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn add_name(&mut self, name: &str) -> Result<(), String> {
        let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(format!("`{{{name}}}`: a name starts with a letter a-z and goes on with a-z, 0-9 and `_`"));
        }
        if name == "access" {
            return Err("`{access}` stands for read or write in scopes; choose another name".into());
        }
        if self.names.iter().any(|other| **other == *name) {
            return Err(format!("`{{{name}}}` stands twice in the pattern"));
        }
        if self.names.len() == MAX_PARAMS {
            return Err(format!("a pattern has at most {MAX_PARAMS} names"));
        }
        self.names.push(name.into());
        Ok(())
    }
}

impl fmt::Display for Pattern {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_literal(part: &str, last: bool) -> Result<(), String> {
    if part.is_empty() {
        return if last { Ok(()) } else { Err("a pattern has no empty segment".into()) };
    }
    if part.contains(['{', '}']) {
        return Err(format!("`{part}`: `{{name}}` is a whole segment"));
    }
    if part.contains('*') {
        return Err(format!("`{part}`: one segment is `{{name}}`, and all that follows is `**` at the end"));
    }
    let rules = PathRules { encoded_slash: true, parameters: true };
    let path = format!("/{part}");
    match normalize(&path, rules) {
        Ok(normal) if normal == path => Ok(()),
        Ok(normal) => Err(format!("`{part}` must be written `{}`", normal.trim_start_matches('/'))),
        Err(why) => Err(format!("`{part}` never occurs: such a request is refused. {}", why.text())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> String {
        Pattern::parse(text).expect_err(text)
    }

    #[test]
    fn a_pattern_is_read_and_shown_as_it_was_written() {
        for text in
            ["/", "/**", "/orders", "/orders/", "/orders/{id}/lines/{line_2}/**", "/a%20b/%C3%A9", "/a%2Fb;x", "/a.b/~"]
        {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
        let names = Pattern::parse("/a/{b}/{c}").unwrap();
        assert_eq!(names.param_names(), [Box::from("b"), Box::from("c")]);
    }

    #[test]
    fn the_literal_prefix_ends_where_the_first_variable_part_begins() {
        for (text, prefix) in [
            ("/", "/"),
            ("/**", "/"),
            ("/{a}", "/"),
            ("/orders", "/orders"),
            ("/orders/", "/orders/"),
            ("/orders/**", "/orders/"),
            ("/v1/orders/{id}/lines", "/v1/orders/"),
        ] {
            assert_eq!(Pattern::parse(text).unwrap().literal_prefix(), prefix, "{text}");
        }
    }

    #[test]
    fn a_literal_that_no_path_can_have_is_refused_with_the_right_form() {
        assert!(fault("/%61dmin").contains("`admin`"));
        assert!(fault("/x/%7Euser").contains("`~user`"));
        for text in [
            "/a/../b", "/a/.", "/%2e%2e", "/a#b", "/a?b", "/a b", "/é", "/a\\\\b", "/%5c", "/%00", "/%zz", "/%ff",
            "/..;x",
        ] {
            assert!(fault(text).contains("never occurs"), "{text}");
        }
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        for text in [
            "",
            "orders",
            "*",
            "//",
            "/a//b",
            "/**/a",
            "/**/",
            "/a**",
            "/*",
            "/a/*/b",
            "/*.txt",
            "/{}",
            "/{A}",
            "/{1a}",
            "/{a-b}",
            "/{a b}",
            "/{_a}",
            "/{é}",
            "/x{a}",
            "/{a}x",
            "/{a}{b}",
            "/{a",
            "/a}",
            "/{{a}}",
            "/{a}/{a}",
            "/{access}",
            "/{a*}",
        ] {
            fault(text);
        }
    }

    #[test]
    fn names_and_length_are_bounded() {
        let names = |count: usize| (0..count).map(|n| format!("/{{p{n}}}")).collect::<String>();
        assert!(Pattern::parse(&names(MAX_PARAMS)).is_ok());
        assert!(fault(&names(MAX_PARAMS + 1)).contains("at most"));
        assert!(fault(&"/a".repeat(MAX_LENGTH)).contains("at most"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_literals_are_normal_forms(text in "\\PC{0,10}|(/|[a-z.%0-9{}*;]{1,3}){0,8}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(text.starts_with(pattern.literal_prefix()));
                let lax = PathRules { encoded_slash: true, parameters: true };
                prop_assert_eq!(normalize(pattern.literal_prefix(), lax).unwrap(), pattern.literal_prefix());
            }
        }
    }
}
