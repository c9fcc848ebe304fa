//! What callers send, and what is made of it.

mod suite;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tokens::policy::{Action, Field, FieldKind, Revokes, UnknownFields};

fn field(name: &str, kind: FieldKind, required: bool) -> Field {
    Field { name: name.into(), kind, required }
}

/// A grant with these fields. What it does plays no part here.
fn grant(fields: Vec<Field>) -> Grant {
    Grant {
        path: "/login".into(),
        params: Vec::new(),
        action: Action::Logout { revokes: Revokes::Session },
        fields,
        unknown: UnknownFields::Ignore,
        strict_content_type: false,
        max_body: 64 * 1024,
        status: 200,
        response: None,
        invalid: None,
    }
}

fn login() -> Grant {
    grant(vec![field("email", FieldKind::Email, true), field("password", FieldKind::Text(None), true)])
}

/// One of everything.
fn embed() -> Grant {
    let partner = vec![
        field("email", FieldKind::Email, true),
        field("name", FieldKind::Text(None), false),
        field("image", FieldKind::HttpUrl, false),
    ];
    grant(vec![
        field("programId", FieldKind::Text(None), true),
        field("partner", FieldKind::Table(partner), true),
        field("externalUserId", FieldKind::Text(Some(5)), false),
        field("metadata", FieldKind::Object, false),
        field("count", FieldKind::Integer, false),
        field("yes", FieldKind::Boolean, false),
    ])
}

fn read(grant: &Grant, body: impl AsRef<[u8]>) -> Result<Map<String, Value>, BodyFault> {
    read_json(grant, Some("application/json"), None, body.as_ref())
}

/// What is told of a body that does not fit: `field message` each.
fn problems(grant: &Grant, body: impl AsRef<[u8]>) -> Vec<String> {
    match read(grant, &body) {
        Err(BodyFault::Fields(problems)) => {
            assert!(!problems.is_empty());
            problems.iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()
        }
        other => panic!("{}: {other:?}", String::from_utf8_lossy(body.as_ref())),
    }
}

#[test]
fn declared_fields_arrive_in_their_order_and_nothing_else_does() {
    let body = r#" {"yes":true,"__proto__":{"admin":true},"count":-7,"metadata":{"b":[1,null],"a":{}},
        "partner":{"image":"https://example.org/a.png?x=1","email":" Ann@Example.org\n","role":"admin"},
        "externalUserId":"\u00fc\u00fc\u00fc\u00fc\u00fc","ProgramId":"x","programId":"p 1"} "#;
    let read = read(&embed(), body).unwrap();
    let expected = json!({
        "programId": "p 1",
        "partner": { "email": "Ann@Example.org", "image": "https://example.org/a.png?x=1" },
        "externalUserId": "üüüüü",
        "metadata": { "b": [1, null], "a": {} },
        "count": -7,
        "yes": true,
    });
    assert_eq!(Value::Object(read).to_string(), expected.to_string());
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let body = r#"{"programId":"","partner":{"email":"nope","name":5,"image":"javascript:alert(1)"},
        "externalUserId":"123456","metadata":[],"count":1.5,"yes":"true"}"#;
    let expected = [
        "programId must not be empty",
        "partner.email must be an e-mail address",
        "partner.name must be a string",
        "partner.image must be an absolute http or https URL",
        "externalUserId must have at most 5 characters",
        "metadata must be an object",
        "count must be a whole number",
        "yes must be true or false",
    ];
    assert_eq!(problems(&embed(), body), expected);
    assert_eq!(problems(&embed(), "{}"), ["programId is required", "partner is required"]);
    assert_eq!(problems(&embed(), r#"{"programId":"p","partner":{}}"#), ["partner.email is required"]);
    assert_eq!(problems(&embed(), r#"{"programId":"p","partner":[]}"#), ["partner must be an object"]);
}

#[test]
fn json_that_is_no_object_does_not_fit() {
    for body in ["[]", "[\"ann@example.org\",\"p\"]", "\"x\"", "1", "null", "true", "[{\"email\":1,\"email\":2}]"] {
        assert!(problems(&login(), body).contains(&" must be a JSON object".to_owned()), "{body}");
    }
    assert_eq!(problems(&grant(Vec::new()), "[]"), [" must be a JSON object"]);
}

#[test]
fn a_password_is_text_and_is_there() {
    for (password, expected) in [
        ("null", "password is required"),
        ("1", "password must be a string"),
        ("true", "password must be a string"),
        ("[\"p\"]", "password must be a string"),
        ("{}", "password must be a string"),
        ("\"\"", "password must not be empty"),
    ] {
        assert_eq!(problems(&login(), format!("{{\"email\":\"a@b.c\",\"password\":{password}}}")), [expected]);
    }
    for member in ["", ",\"Password\":\"p\"", ",\"password \":\"p\""] {
        assert_eq!(problems(&login(), format!("{{\"email\":\"a@b.c\"{member}}}")), ["password is required"]);
    }
    for password in ["\" \"", "\"\\u0000\"", "\"  blanks stay  \"", "\"\u{202e}\""] {
        let body = format!("{{\"email\":\"a@b.c\",\"password\":{password}}}");
        let expected: Value = serde_json::from_str(password).unwrap();
        assert_eq!(read(&login(), body).unwrap()["password"], expected);
    }
}

#[test]
fn a_member_that_stands_there_twice_does_not_fit_whatever_it_is() {
    let good = r#""email":"a@b.c","password":"p""#;
    for (members, expected) in [
        (format!(r#"{good},"email":"a@b.c""#), "email must be given once"),
        (format!(r#"{good},"\u0065mail":"x""#), "email must be given once"),
        (format!(r#"{good},"x":1,"x":1"#), "x must be given once"),
        (format!(r#"{good},"x":{{"y":[{{"z":1,"z":2}}]}}"#), "x.y.z must be given once"),
        (format!(r#"{good},"a\u202e\n":1,"a\u202e\n":1"#), "a?? must be given once"),
    ] {
        assert_eq!(problems(&login(), format!("{{{members}}}")), [expected]);
    }
    let several = problems(&login(), r#"{"email":1,"email":2,"password":"p","password":"q"}"#);
    assert_eq!(several, ["email must be given once", "password must be given once", "email must be a string"]);
    let long = format!("{{{good},\"{0}\":1,\"{0}\":1}}", "n".repeat(1000));
    assert_eq!(problems(&login(), long)[0].len(), 100 + " must be given once".len());
    // What is wrong behind it makes no JSON of it.
    assert_eq!(read(&login(), format!("{{{good},\"x\":1,\"x\":2,}}")), Err(BodyFault::Syntax));
    assert_eq!(read(&login(), format!("{{{good},\"x\":1,\"x\":2}}}}")), Err(BodyFault::Syntax));
}

#[test]
fn members_that_are_no_fields_are_passed_over_or_refused() {
    let body = r#"{"x":1,"email":"a@b.c","password":"p","Email":"b"}"#;
    assert_eq!(read(&login(), body).unwrap().keys().collect::<Vec<_>>(), ["email", "password"]);
    let strict = Grant { unknown: UnknownFields::Refuse, ..login() };
    assert_eq!(problems(&strict, body), ["x is not known", "Email is not known"]);
    let strict = Grant { unknown: UnknownFields::Refuse, ..embed() };
    let body = r#"{"programId":"p","partner":{"email":"a@b.c","role":"admin"},"metadata":{"any":1}}"#;
    assert_eq!(problems(&strict, body), ["partner.role is not known"]);
    let many: Vec<_> = (0..1000).map(|n| format!("\"n{n}\":1")).collect();
    assert_eq!(problems(&strict, format!("{{{}}}", many.join(","))).len(), 64);
}

#[test]
fn fields_that_may_be_left_out_are_as_they_should_be_where_they_are_given() {
    let optional = grant(vec![
        field("text", FieldKind::Text(Some(3)), false),
        field("email", FieldKind::Email, false),
        field("url", FieldKind::HttpUrl, false),
        field("number", FieldKind::Integer, false),
    ]);
    assert_eq!(read(&optional, "{}").unwrap(), Map::new());
    let empty = read(&optional, r#"{"text":"","email":" ","url":""}"#).unwrap();
    assert_eq!(Value::from(empty), json!({ "text": "", "email": "", "url": "" }));
    assert_eq!(problems(&optional, r#"{"text":null,"number":null}"#).len(), 2);
    for number in ["0", "-1", "9223372036854775807", "18446744073709551615"] {
        assert_eq!(read(&optional, format!("{{\"number\":{number}}}")).unwrap()["number"].to_string(), number);
    }
    for number in ["1.0", "1e2", "18446744073709551616", "\"1\"", "true"] {
        assert_eq!(problems(&optional, format!("{{\"number\":{number}}}")), ["number must be a whole number"]);
    }
    // Characters, not bytes.
    assert!(read(&optional, "{\"text\":\"\u{1f600}\u{1f600}\u{1f600}\"}").is_ok());
    assert_eq!(problems(&optional, r#"{"text":"abcd"}"#), ["text must have at most 3 characters"]);
}

#[test]
fn urls_lead_where_they_say() {
    let grant = grant(vec![field("url", FieldKind::HttpUrl, true)]);
    let sent = |url: &str| read(&grant, json!({ "url": url }).to_string());
    for good in [
        "http://a",
        "https://example.org",
        "HTTPS://example.org:8443/a/b?c=d#e",
        "http://192.0.2.1/",
        "http://[2001:db8::1]/",
        "https://b\u{fc}cher.example/\u{fc}?q=%20",
        "https://example.org/@ann?b@c",
    ] {
        assert_eq!(sent(good).unwrap()["url"], good);
    }
    for bad in [
        "example.org",
        "//example.org",
        "http:example.org",
        "http:/example.org",
        "http://",
        "http:///a",
        "http://?a",
        "https://user@example.org",
        "https://user:pw@example.org",
        "https://@example.org",
        "ftp://example.org",
        "javascript:alert(1)",
        "javascript://example.org/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        " https://example.org",
        "https://example.org ",
        "https://exa mple.org",
        "https://exam\tple.org",
        "https://a\nb.c",
        "https:\\\\example.org",
        "https://example.org\\@evil.example",
        "https://example.org/\u{202e}",
        "https://ex\u{200b}.org",
        "https://example.org/<script>",
        "https://example.org/\"",
        "http://a:99999",
        "http://a b",
        "http://[::1",
        "http://%00",
    ] {
        assert!(matches!(sent(bad), Err(BodyFault::Fields(_))), "{bad}");
    }
    assert!(matches!(sent(&format!("https://example.org/{}", "a".repeat(2048))), Err(BodyFault::Fields(_))));
}

#[test]
fn the_type_of_a_body_matters_where_it_should_and_compression_always() {
    let body = br#"{"email":"a@b.c","password":"p"}"#;
    let (lax, strict) = (login(), Grant { strict_content_type: true, ..login() });
    let asked = |grant: &Grant, kind: Option<&str>| read_json(grant, kind, None, body).map(|read| read.len());
    for json in [
        None,
        Some("application/json"),
        Some("Application/JSON; Charset=\"UTF-8\""),
        Some("application/json;charset=utf-8;x=y"),
        Some("application/vnd.api+json"),
        Some("application/problem+json ; charset=utf8"),
    ] {
        assert_eq!((asked(&lax, json), asked(&strict, json)), (Ok(2), Ok(2)), "{json:?}");
    }
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "application/jsonp",
        "json",
        "",
        "application/json; charset=utf-16",
        "text/json",
        "/+json",
        "application/+json",
        "application/json, text/plain",
    ] {
        assert_eq!(
            (asked(&lax, Some(other)), asked(&strict, Some(other))),
            (Ok(2), Err(BodyFault::ContentType)),
            "{other}"
        );
    }
    for (encoding, fine) in
        [("identity", true), ("Identity ", true), ("", true), ("gzip", false), ("identity, gzip", false), ("br", false)]
    {
        for grant in [&lax, &strict] {
            let read = read_json(grant, None, Some(encoding), body);
            assert_eq!(read.is_ok(), fine, "{encoding}");
            assert!(fine || read == Err(BodyFault::ContentType));
        }
    }
}

#[test]
fn where_no_field_is_declared_there_may_be_no_body() {
    let none = grant(Vec::new());
    assert_eq!(read(&none, ""), Ok(Map::new()));
    assert_eq!(read(&none, "{\"a\":1}"), Ok(Map::new()));
    assert_eq!(read(&none, " "), Err(BodyFault::Syntax));
    let optional = grant(vec![field("a", FieldKind::Integer, false)]);
    assert_eq!(read(&optional, ""), Err(BodyFault::Syntax));
}

#[test]
fn a_form_has_every_parameter_once() {
    let form = |body: &str| read_form(Some("application/x-www-form-urlencoded"), body.as_bytes());
    let read = form("grant_type=client_credentials&scope=a+b%20c%2Bd&empty=&bare&&%C3%BC=%C3%bc&eq=a=b&=x").unwrap();
    let expected = [
        ("grant_type", Some("client_credentials")),
        ("scope", Some("a b c+d")),
        ("empty", None),
        ("bare", None),
        ("\u{fc}", Some("\u{fc}")),
        ("eq", Some("a=b")),
        ("Scope", None),
        ("", Some("x")),
    ];
    for (name, value) in expected {
        assert_eq!(read.get(name), value, "{name}");
    }
    assert_eq!(form("").unwrap(), Form::default());
    assert!(!format!("{read:?}").contains("credentials"));
    for twice in ["a=1&a=1", "a=1&a=", "a&a", "a=1&b=2&%61=3", "resource=x&resource=y"] {
        let Err(BodyFault::Fields(problems)) = form(twice) else { panic!("{twice}") };
        assert_eq!(problems.len(), 1, "{twice}");
        assert_eq!(problems[0].message, "must be given once");
    }
    for bad in ["a=%", "a=%4", "a=%4g", "%zz=1", "a=%ff", "a=%ed%a0%80", "a=%+1"] {
        assert_eq!(form(bad), Err(BodyFault::Syntax), "{bad}");
    }
    assert_eq!(read_form(None, b"a=\xff"), Err(BodyFault::Syntax));
    for (kind, fine) in [
        (None, true),
        (Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"), true),
        (Some("application/json"), false),
        (Some("multipart/form-data; boundary=x"), false),
        (Some(""), false),
    ] {
        assert_eq!(read_form(kind, b"a=1").is_ok(), fine, "{kind:?}");
    }
}

/// JSON of any shape, with members that are fields now and then.
fn anything() -> impl Strategy<Value = Value> {
    let name = "(email|password|partner|programId|name|image|metadata|x|\\PC{0,3})";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "a@b\\.c|https://a|\\PC{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_are_more_than_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a1eE.+-]{0,30}") {
        for grant in [login(), embed(), grant(Vec::new())] {
            drop((read(&grant, &bytes), read(&grant, &text)));
        }
        drop((read_form(None, &bytes), read_form(None, text.as_bytes())));
    }

    #[test]
    fn nothing_comes_out_that_was_not_declared(body in anything(), refuse in any::<bool>()) {
        fn within(fields: &[Field], read: &Map<String, Value>) -> bool {
            read.iter().all(|(name, value)| {
                let field = fields.iter().find(|field| *field.name == **name);
                field.is_some_and(|field| match (&field.kind, value) {
                    (FieldKind::Table(fields), Value::Object(read)) => within(fields, read),
                    (FieldKind::Table(_), _) => false,
                    (FieldKind::Text(_) | FieldKind::Email | FieldKind::HttpUrl, value) => value.is_string(),
                    (FieldKind::Object, value) => value.is_object(),
                    (FieldKind::Integer, value) => value.is_i64() || value.is_u64(),
                    (FieldKind::Boolean, value) => value.is_boolean(),
                })
            })
        }
        let unknown = if refuse { UnknownFields::Refuse } else { UnknownFields::Ignore };
        for grant in [login(), embed()] {
            let grant = Grant { unknown, ..grant };
            match read(&grant, body.to_string()) {
                Ok(read) => prop_assert!(within(&grant.fields, &read)),
                Err(fault) => prop_assert!(matches!(fault, BodyFault::Fields(_)), "{fault:?}"),
            }
        }
    }

    #[test]
    fn a_form_survives_its_encoding(pairs in prop::collection::btree_map("\\PC{1,6}", "\\PC{1,9}", 0..5)) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let form = read_form(None, body.as_bytes()).unwrap();
        for (name, value) in &pairs {
            prop_assert_eq!(form.get(name), Some(&**value));
        }
    }
}
