use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::clock::UnixMillis;

fn places(texts: &[&str]) -> Vec<RoutePlace> {
    texts
        .iter()
        .map(|text| RoutePlace { place: Place::parse(text).unwrap(), jwt: true, api_keys: vec![], opaque: false })
        .collect()
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

/// `ok TEXT`, `bad WHY`, `400 WHY` or `nothing`; with the place where there are several.
fn look(from: &[&str], lines: &[(&str, &str)], query: Option<&str>) -> String {
    let map = headers(lines);
    let request = Request {
        method: &Method::GET,
        path: "/",
        query,
        host: None,
        headers: &map,
        peer: None,
        handshake: None,
        now: UnixMillis(0),
    };
    let places = places(from);
    let position = |place: &RoutePlace| places.iter().position(|own| std::ptr::eq(own, place)).unwrap();
    match find(&request, &places) {
        Ok(Presented::Nothing) => "nothing".into(),
        Ok(Presented::One { place, text }) => format!("ok {} {text}", position(place)),
        Ok(Presented::Malformed { place, why }) => format!("bad {} {why}", position(place)),
        Err(denial) => {
            assert_eq!(denial.reason, Reason::AmbiguousCredential);
            format!("400 {}", denial.why.unwrap())
        }
    }
}

const AUTHORIZATION: &[&str] = &["header:authorization"];

fn bearer(value: &str) -> String {
    look(AUTHORIZATION, &[("authorization", value)], None)
}

#[test]
fn the_scheme_is_compared_without_case_and_blanks_may_follow_it() {
    for value in ["Bearer x", "bearer x", "BEARER x", "Bearer   x", " Bearer x "] {
        assert_eq!(bearer(value), "ok 0 x", "{value:?}");
    }
}

#[test]
fn basic_and_an_empty_bearer_are_no_credential() {
    for value in ["", "  ", "Basic YTpi", "basic", "Bearer", "Bearer ", "bearer    "] {
        assert_eq!(bearer(value), "nothing", "{value:?}");
    }
}

#[test]
fn what_is_no_bearer_token_is_malformed() {
    for value in ["Bearer\tx", "Bearer x y", "Bearer \"x\"", "Bearer=x", "Bearer ü", "Bearer x\ty"] {
        assert_eq!(bearer(value), "bad 0 format", "{value:?}");
    }
    for value in ["DPoP x", "Digest x", "eyJhbGciOiJub25lIn0.e30.", "Bearerx y"] {
        assert_eq!(bearer(value), "bad 0 scheme", "{value:?}");
    }
}

#[test]
fn two_lines_of_one_header_are_ambiguous_even_when_equal() {
    for (first, second) in
        [("Bearer x", "Bearer y"), ("Bearer x", "Bearer x"), ("Basic a", "Bearer x"), ("rot", "Bearer x")]
    {
        assert_eq!(look(AUTHORIZATION, &[("authorization", first), ("authorization", second)], None), "400 repeated");
    }
    for (first, second) in [("Bearer x", ""), ("", "Bearer x")] {
        assert_eq!(look(AUTHORIZATION, &[("authorization", first), ("authorization", second)], None), "ok 0 x");
    }
}

#[test]
fn joined_lines_are_ambiguous() {
    for value in ["Bearer x, Bearer y", "Bearer x,Bearer x", "Basic YTpi, Bearer x"] {
        assert_eq!(bearer(value), "400 repeated", "{value:?}");
    }
    assert_eq!(look(&["header:x-api-key"], &[("x-api-key", "k1,k2")], None), "400 repeated");
    assert_eq!(bearer("Bearer x, {\"a\":1}"), "400 repeated");
}

#[test]
fn a_signature_in_json_is_one_malformed_credential() {
    let json = r#"{"payload":"e30","protected":"e30","signature":"c2ln"}"#;
    for line in [format!("Bearer {json}"), format!("bearer   {json}"), format!("Bearer {json}, Bearer x")] {
        assert_eq!(bearer(&line), "bad 0 format", "{line}");
    }
    assert_eq!(bearer(json), "bad 0 format");
    assert_eq!(look(&["header:x-api-key"], &[("x-api-key", json)], None), "ok 0 ".to_owned() + json);
}

#[test]
fn two_filled_places_are_ambiguous_even_with_equal_values() {
    let from = ["header:authorization", "header:x-api-key", "query:token", "cookie:sid"];
    let header = ("authorization", "Bearer x");
    assert_eq!(look(&from, &[header, ("x-api-key", "x")], None), "400 two_places");
    assert_eq!(look(&from, &[header], Some("token=x")), "400 two_places");
    assert_eq!(look(&from, &[header, ("cookie", "sid=x")], None), "400 two_places");
    assert_eq!(look(&from, &[("authorization", "DPoP x"), ("x-api-key", "k")], None), "400 two_places");
    assert_eq!(look(&from, &[("authorization", "Basic YTpi"), ("x-api-key", "k")], None), "ok 1 k");
    assert_eq!(look(&from, &[header, ("x-api-key", " ")], Some("token=")), "ok 0 x");
}

#[test]
fn a_place_that_is_not_declared_is_not_looked_at() {
    let lines = [("authorization", "Bearer x"), ("x-api-key", "k"), ("cookie", "sid=c")];
    assert_eq!(look(&["header:x-api-key"], &lines, Some("token=q")), "ok 0 k");
    assert_eq!(look(&[], &lines, Some("token=q")), "nothing");
}

#[test]
fn another_header_holds_the_bare_text() {
    let key = |value| look(&["header:x-api-key"], &[("x-api-key", value)], None);
    assert_eq!(key("  k1 "), "ok 0 k1");
    assert_eq!(key(""), "nothing");
    assert_eq!(key("Bearer k1"), "bad 0 format");
    assert_eq!(key("kü"), "bad 0 format");
}

#[test]
fn a_query_parameter_is_found_by_its_decoded_name_and_decoded_once() {
    let token = |query| look(&["query:token"], &[], Some(query));
    assert_eq!(token("a=1&token=x%2Ey&b"), "ok 0 x.y");
    assert_eq!(token("tok%65n=x"), "ok 0 x");
    assert_eq!(token("token=%2541"), "ok 0 %41");
    assert_eq!(token("token=a=b"), "ok 0 a=b");
    for nothing in ["", "token", "token=", "Token=x", "tokenx=y", "token%ZZ=x", "a=token", "xtoken=y"] {
        assert_eq!(token(nothing), "nothing", "{nothing:?}");
    }
    for twice in ["token=x&token=x", "token=x&tok%65n=y", "token=%zz&token=x"] {
        assert_eq!(token(twice), "400 repeated", "{twice:?}");
    }
    for bad in ["token=%", "token=%4", "token=%zz", "token=%ff", "token=a+b", "token=a%00", "token=%C3%BC"] {
        assert_eq!(token(bad), "bad 0 format", "{bad:?}");
    }
}

#[test]
fn a_cookie_is_found_over_all_lines_by_its_exact_name() {
    let sid =
        |lines: &[&str]| look(&["cookie:sid"], &lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>(), None);
    assert_eq!(sid(&["a=1; sid=x; b=2"]), "ok 0 x");
    assert_eq!(sid(&["a=1", "b=2;sid=\"x\""]), "ok 0 x");
    assert_eq!(sid(&["a=ü; sid=x=="]), "ok 0 x==");
    for nothing in ["", "sid", "sid=", "sid=\"\"", "SID=x", "xsid=x", "a=sid"] {
        assert_eq!(sid(&[nothing]), "nothing", "{nothing:?}");
    }
    assert_eq!(sid(&["sid=x; sid=x"]), "400 repeated");
    assert_eq!(sid(&["sid=x", " sid =y"]), "400 repeated");
    for bad in ["sid=a b", "sid=a,b", "sid=\"a", "sid=ü", "sid=a\\b"] {
        assert_eq!(sid(&[bad]), "bad 0 format", "{bad:?}");
    }
}

#[test]
fn text_is_borrowed_where_nothing_had_to_be_decoded() {
    let map = headers(&[("authorization", "Bearer abc")]);
    let request = Request {
        method: &Method::GET,
        path: "/",
        query: Some("t=q"),
        host: None,
        headers: &map,
        peer: None,
        handshake: None,
        now: UnixMillis(0),
    };
    for from in ["header:authorization", "query:t"] {
        let places = places(&[from]);
        let Ok(Presented::One { text, .. }) = find(&request, &places) else { panic!("{from}") };
        assert!(matches!(text, Cow::Borrowed(_)), "{from}");
    }
}

#[test]
fn stripping_leaves_everything_else_byte_for_byte() {
    let from = places(&["query:token", "cookie:sid", "header:authorization"]);
    let query = |query| strip_query(query, &from);
    assert_eq!(query("a=1&b=%2f&&c"), None);
    assert_eq!(query("a=%7e&token=x&b=+"), Some("a=%7e&b=+".into()));
    assert_eq!(query("tok%65n=x&&a"), Some("&a".into()));
    assert_eq!(query("token=x&token&a;b"), Some("a;b".into()));
    assert_eq!(query("token=%zz"), Some(String::new()));
    let cookies = |cookies: &str| strip_cookies(cookies.as_bytes(), &from).map(|kept| String::from_utf8(kept).unwrap());
    assert_eq!(cookies("a=1; b=2"), None);
    assert_eq!(cookies("sid=x; a=\"1\";b=ü"), Some("a=\"1\";b=ü".into()));
    assert_eq!(cookies("a=1; sid=x;  b=2; sid"), Some("a=1;  b=2".into()));
    assert_eq!(cookies("sid=x"), Some(String::new()));
}

#[test]
fn a_place_is_read_or_refused() {
    assert_eq!(Place::parse("header:X-API-Key"), Ok(Place::Header(HeaderName::from_static("x-api-key"))));
    assert_eq!(Place::parse("query:token"), Ok(Place::Query("token".into())));
    assert_eq!(Place::parse("cookie:__Host-sid"), Ok(Place::Cookie("__Host-sid".into())));
    for bad in [
        "",
        "token",
        "header:",
        "header:a b",
        "header:cookie",
        "header:Host",
        "query:a b",
        "cookie:a=b",
        "body:x",
        "Query:a",
    ] {
        assert!(Place::parse(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_line_is_judged_and_a_text_is_always_visible(line in "(Bearer|Basic|[ -~]{0,6})[ -~\t]{0,20}") {
        let map = headers(&[("authorization", &line)]);
        let request =
            Request { method: &Method::GET, path: "/", query: None, host: None, headers: &map, peer: None, handshake: None, now: UnixMillis(0) };
        let places = places(AUTHORIZATION);
        if let Ok(Presented::One { text, .. }) = find(&request, &places) {
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(!text.is_empty());
            prop_assert!(line.to_ascii_lowercase().trim().starts_with("bearer "));
        }
    }

    #[test]
    fn a_stripped_query_holds_no_declared_parameter_and_all_others(
        pairs in prop::collection::vec("[a-c%+]{0,2}(=[a-c%&+]{0,3})?|token(=[a-c]{0,3})?|tok%65n=x", 0..8),
    ) {
        let query = pairs.join("&");
        let from = places(&["query:token"]);
        let stripped = strip_query(&query, &from).unwrap_or_else(|| query.clone());
        prop_assert_eq!(strip_query(&stripped, &from), None);
        let others = |query: &str| query.split('&').filter(|p| !p.starts_with("tok")).map(String::from).collect::<Vec<_>>();
        let (before, after) = (others(&query), others(&stripped));
        prop_assert!(before == after || (before.is_empty() && after == [""]));
    }

    #[test]
    fn stripped_cookies_hold_no_declared_cookie(cookies in "((sid|a|b| )=?[a-z\"]{0,3}[; ]{0,2}){0,6}") {
        let from = places(&["cookie:sid"]);
        if let Some(stripped) = strip_cookies(cookies.as_bytes(), &from) {
            prop_assert_eq!(strip_cookies(&stripped, &from), None);
        }
    }
}
