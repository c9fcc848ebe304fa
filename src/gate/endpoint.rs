//! Where other proxies ask about requests that they forward themselves.

/// The endpoint for their questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionEndpoint {
    /// Its path, without a trailing slash.
    pub path: Box<str>,
    /// Whether listeners have nothing else to do, and so no other listener has it.
    pub apart: bool,
}

impl DecisionEndpoint {
    /// What a target has after the path of the endpoint; none: it is no question.
    pub fn rest<'t>(&self, target: &'t str) -> Option<&'t str> {
        let rest = target.strip_prefix(&*self.path)?;
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
    }

    /// Whether a target that nobody has looked at yet is the endpoint's, and no route may answer it. That of a question is,
    /// and `…/decide*`, too: Envoy puts the original target there, and `OPTIONS *` has one without a slash. A longer name is
    /// another path.
    pub fn covers(&self, target: &[u8]) -> bool {
        let of_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        target.strip_prefix(self.path.as_bytes()).is_some_and(|rest| !rest.first().is_some_and(of_a_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_covered_and_no_longer_name_is() {
        let endpoint = DecisionEndpoint { path: "/ask".into(), apart: false };
        for (target, rest) in [("/ask", ""), ("/ask/a?b", "/a?b"), ("/ask?b", "?b")] {
            assert_eq!((endpoint.rest(target), endpoint.covers(target.as_bytes())), (Some(rest), true), "{target}");
        }
        for target in ["/ask*", "/ask%2f", "/ask!"] {
            assert_eq!((endpoint.rest(target), endpoint.covers(target.as_bytes())), (None, true), "{target}");
        }
        for target in ["/asks", "/ask-me", "/ask.txt", "/as", "/", "ask", ""] {
            assert_eq!((endpoint.rest(target), endpoint.covers(target.as_bytes())), (None, false), "{target}");
        }
    }
}
