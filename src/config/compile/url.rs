//! URLs of upstreams. They may hold credentials by mistake, so no problem repeats them.

use http::Uri;

use crate::config::value::address::server;
use crate::gate::policy::ServerAddress;

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether the scheme is `https`.
    pub(super) tls: bool,
    /// Host and port.
    pub(super) server: ServerAddress,
}

/// Reads the URL of an upstream: `http://host:port` or `https://host:port`, nothing else in it.
///
/// # Errors
/// A text for people.
pub(super) fn upstream(text: &str) -> Result<Target, String> {
    let (target, rest) = take_apart(text)?;
    if rest.is_empty() {
        return Ok(target);
    }
    Err(String::from("the URL of an upstream has no path and no query: only the scheme, the host and the port"))
}

fn take_apart(text: &str) -> Result<(Target, &str), String> {
    let (tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (false, rest)
    } else {
        return Err(String::from("expected a URL that starts with http:// or https://"));
    };
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(String::from("a URL here has no user name and no password"));
    }
    if after.contains('#') {
        return Err(String::from("a URL here has no fragment"));
    }
    let server = server(authority, Some(if tls { 443 } else { 80 }))
        .ok_or("the URL has no host and port that can be read: expected such as http://127.0.0.1:9000")?;
    if text.len() > 2048 || text.parse::<Uri>().is_err() {
        return Err(String::from("this is no URL"));
    }
    Ok((Target { tls, server }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(tls: bool, host: &str, port: u16) -> Result<Target, String> {
        Ok(Target { tls, server: ServerAddress { host: host.into(), port } })
    }

    #[test]
    fn the_url_of_an_upstream_is_scheme_host_and_port() {
        assert_eq!(upstream("http://127.0.0.1:9000"), target(false, "127.0.0.1", 9000));
        assert_eq!(upstream("https://api.example"), target(true, "api.example", 443));
        assert_eq!(upstream("https://[::1]:8443"), target(true, "::1", 8443));
        for bad in [
            "http://a:80/",
            "http://a:80/v1",
            "http://a:80?x",
            "http://a:80#x",
            "http://u:p@a:80",
            "http://",
            "http://a b:80",
            "HTTP://a:80",
            "ftp://a",
            "a:80",
        ] {
            assert!(upstream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_is_never_repeated_in_a_problem() {
        for bad in ["http://user:hunter2@a:80", "http://a:80/?key=hunter2", "hunter2"] {
            assert!(!upstream(bad).unwrap_err().contains("hunter2"), "{bad}");
        }
    }
}
