use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::gate::limit::{LimitHeaders, Quota};
use crate::gate::outcome::Why;
use std::time::Duration;

fn id() -> RequestId {
    RequestId::adopt("01981c3e-0000-7000-8000-000000000001").unwrap()
}

fn template(value: Value) -> Option<Template> {
    Some(Template::parse(&value).unwrap())
}

/// An entry as a file has it.
fn entry(value: Value) -> Entry {
    let mut entry = Entry::default();
    for (key, value) in value.as_object().unwrap() {
        let text = || value.as_str().unwrap().to_owned();
        match key.as_str() {
            "status" => entry.status = Some(u16::try_from(value.as_u64().unwrap()).unwrap()),
            "code" => entry.code = Some(text()),
            "message" => entry.message = Some(text()),
            "body" => entry.body = template(value.clone()),
            "headers" => {
                let fields = value.as_object().unwrap().iter();
                entry.headers = fields
                    .map(|(name, value)| (name.parse().unwrap(), value.as_str().unwrap().parse().unwrap()))
                    .collect();
            }
            word => entry.words.push((word.into(), value.clone())),
        }
    }
    entry
}

/// `[errors]` as a file has it.
fn spec(body: Value, status: Value, on: Value) -> DialectSpec {
    let entries = |value: &Value| {
        let table = value.as_object().unwrap().clone();
        table.into_iter().map(|(key, value)| (key, entry(value))).collect::<Vec<_>>()
    };
    DialectSpec {
        body: if body.is_null() { None } else { template(body) },
        status: entries(&status).into_iter().map(|(key, entry)| (key.parse().unwrap(), entry)).collect(),
        on: entries(&on).into_iter().map(|(key, entry)| (Reason::by_name(&key).unwrap(), entry)).collect(),
    }
}

fn problems(body: Value, status: Value, on: Value) -> Vec<String> {
    Dialect::compile("r", &spec(body, status, on)).map(drop).unwrap_err()
}

fn answer(dialect: &Dialect, reason: Reason) -> (u16, String) {
    let rendered = dialect.render(&Denial::new(reason), &id());
    (rendered.status, String::from_utf8(rendered.body).unwrap())
}

fn field(rendered: &Rendered, name: &str) -> Option<String> {
    let values: Vec<_> = rendered.headers.iter().filter(|(its_name, _)| its_name == name).collect();
    assert!(values.len() <= 1, "{name} stands twice");
    values.first().map(|(_, value)| value.to_str().unwrap().to_owned())
}

#[test]
fn every_reason_has_its_answer_in_the_builtin_dialect() {
    let dialect = Dialect::builtin("shop");
    for (at, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, at);
        let public = reason.public();
        let rendered = dialect.render(&Denial::new(*reason), &id());
        assert_eq!(rendered.status, public.status, "{reason}");
        let body: Value = serde_json::from_slice(&rendered.body).unwrap();
        assert_eq!(body["type"], format!("urn:portcullis:error:{reason}"));
        assert_eq!((&body["status"], &body["detail"]), (&json!(public.status), &json!(public.message)));
        assert_eq!((&body["code"], &body["instance"]), (&json!(reason.as_str()), &json!(format!("urn:uuid:{}", id()))));
        assert_eq!(
            body.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["type", "title", "status", "detail", "instance", "code"]
        );
        assert_eq!(field(&rendered, "content-type").unwrap(), "application/problem+json");
        assert_eq!(field(&rendered, "cache-control").unwrap(), "no-store");
        assert_eq!(field(&rendered, "x-content-type-options").unwrap(), "nosniff");
        assert_eq!(field(&rendered, "x-request-id").unwrap(), id().as_str());
        let expects_challenge =
            rendered.status == 401 || matches!(reason, Reason::AmbiguousCredential | Reason::InsufficientScope);
        assert_eq!(field(&rendered, "www-authenticate").is_some(), expects_challenge, "{reason}");
        assert_eq!(field(&rendered, "retry-after").is_some(), matches!(rendered.status, 429 | 503), "{reason}");
    }
}

#[test]
fn a_body_never_tells_the_finer_cause() {
    let dialect = Dialect::builtin("shop");
    let told = |why| dialect.render(&Denial::because(Reason::TokenInvalid, why), &id());
    for why in Why::ALL {
        assert_eq!(told(*why), told(Why::Signature), "{why}");
    }
}

#[test]
fn a_challenge_has_the_error_code_of_the_reason_and_none_without_a_credential() {
    let dialect = Dialect::builtin("sh\"o\\p\r\n");
    let challenge = |denial: Denial| field(&dialect.render(&denial, &id()), "www-authenticate");
    let realm = r#"Bearer realm="sh\"o\\p""#;
    assert_eq!(challenge(Reason::MissingCredentials.into()).unwrap(), realm);
    assert_eq!(challenge(Reason::InvalidCredentials.into()).unwrap(), realm);
    assert_eq!(challenge(Reason::TokenExpired.into()).unwrap(), format!("{realm}, error=\"invalid_token\""));
    assert_eq!(challenge(Reason::KeyUnknown.into()).unwrap(), format!("{realm}, error=\"invalid_token\""));
    assert_eq!(challenge(Reason::AmbiguousCredential.into()).unwrap(), format!("{realm}, error=\"invalid_request\""));
    for none in [Reason::IpDenied, Reason::PlanDenied, Reason::BadRequest, Reason::RateLimited] {
        assert_eq!(challenge(none.into()), None);
    }
}

#[test]
fn a_challenge_names_the_scopes_that_were_needed_quoted_and_bounded() {
    let dialect = Dialect::builtin("shop");
    let scope = |reason: Reason, scope: &str| {
        let denial = Denial { scope: Some(scope.into()), ..reason.into() };
        field(&dialect.render(&denial, &id()), "www-authenticate").unwrap()
    };
    let start = r#"Bearer realm="shop", error="insufficient_scope""#;
    let lacking = |needed: &str| scope(Reason::InsufficientScope, needed);
    assert_eq!(lacking("links:read links:write"), format!("{start}, scope=\"links:read links:write\""));
    assert_eq!(lacking("a\"b\\c\r\n"), format!("{start}, scope=\"a\\\"b\\\\c\""));
    assert_eq!(lacking(""), start);
    assert_eq!(lacking(&"x".repeat(2000)), start);
    let long = lacking(&"scope:read ".repeat(500));
    assert!(long.len() < 1200 && long.ends_with("scope:read\""));
    assert_eq!(scope(Reason::TokenInvalid, "x"), r#"Bearer realm="shop", error="invalid_token""#);
}

#[test]
fn an_answer_says_when_to_come_back_rounded_up() {
    let dialect = Dialect::builtin("shop");
    let wait = |reason: Reason, millis: Option<u64>| {
        let denial = Denial { retry_after: millis.map(Duration::from_millis), ..reason.into() };
        field(&dialect.render(&denial, &id()), "retry-after")
    };
    assert_eq!(wait(Reason::RateLimited, Some(1001)).as_deref(), Some("2"));
    assert_eq!(wait(Reason::RateLimited, Some(0)).as_deref(), Some("1"));
    assert_eq!(wait(Reason::KeysUnavailable, None).as_deref(), Some("5"));
    assert_eq!(wait(Reason::KeysUnavailable, Some(30_000)).as_deref(), Some("30"));
    assert_eq!(wait(Reason::NoRoute, None), None);
}

#[test]
fn a_limit_and_the_allowed_methods_are_told() {
    let quota = Quota {
        name: "calls".into(),
        allowed: false,
        limit: 600,
        remaining: 0,
        reset: Duration::from_secs(60),
        retry_after: Duration::from_millis(2100),
        headers: LimitHeaders::XRateLimit,
    };
    let dialect = Dialect::builtin("shop");
    let limited = dialect.render(&Denial { quota: Some(Box::new(quota)), ..Reason::RateLimited.into() }, &id());
    assert_eq!(field(&limited, "x-ratelimit-limit").unwrap(), "600");
    assert_eq!(field(&limited, "x-ratelimit-remaining").unwrap(), "0");
    assert_eq!(field(&limited, "x-ratelimit-reset").unwrap(), "60");
    assert_eq!(field(&limited, "retry-after").unwrap(), "3");
    let method = dialect.render(&Denial { allow: Some("GET, HEAD".into()), ..Reason::MethodNotAllowed.into() }, &id());
    assert_eq!(field(&method, "allow").unwrap(), "GET, HEAD");
}

#[test]
fn the_affilync_dialect_answers_as_documented() {
    let on = json!({
        "token_expired": { "code": "TOKEN_EXPIRED", "message": "Token has expired" },
        "refresh_expired": { "code": "TOKEN_EXPIRED", "message": "Token has expired" },
        "token_invalid": { "code": "TOKEN_INVALID", "message": "Invalid token" },
        "missing_credentials": { "code": "TOKEN_INVALID", "message": "Authentication required" },
        "insufficient_scope": { "code": "INSUFFICIENT_SCOPE" },
        "validation_failed": { "status": 422, "code": "VALIDATION_ERROR",
            "body": { "detail": "Validation failed", "error_code": "$code", "fields": "$fields" } },
    });
    let spec = spec(json!({ "detail": "$message", "error_code": "$code" }), json!({}), on);
    let dialect = Dialect::compile("affilync", &spec).unwrap();
    let is = |reason, status, body: &str| assert_eq!(answer(&dialect, reason), (status, body.to_owned()));
    is(Reason::TokenExpired, 401, r#"{"detail":"Token has expired","error_code":"TOKEN_EXPIRED"}"#);
    is(Reason::KeyRevoked, 401, r#"{"detail":"Invalid token","error_code":"TOKEN_INVALID"}"#);
    is(Reason::RefreshReused, 401, r#"{"detail":"Invalid token","error_code":"TOKEN_INVALID"}"#);
    is(Reason::NoRoute, 404, r#"{"detail":"Nothing is found here.","error_code":"NO_ROUTE"}"#);
    is(Reason::ValidationFailed, 422, r#"{"detail":"Validation failed","error_code":"VALIDATION_ERROR"}"#);
    let rendered = dialect.render(&Reason::MissingCredentials.into(), &id());
    assert_eq!(field(&rendered, "www-authenticate").unwrap(), r#"Bearer realm="affilync""#);
    assert_eq!(field(&rendered, "content-type").unwrap(), "application/json");
}

#[test]
fn the_convertly_dialect_answers_as_documented() {
    let body = json!({ "statusCode": "$status", "message": "$message", "error": "$reason_phrase" });
    let spec = spec(body, json!({}), json!({ "token_expired": { "message": "Token expired" } }));
    let dialect = Dialect::compile("convertly", &spec).unwrap();
    let is = |reason, status, body: &str| assert_eq!(answer(&dialect, reason), (status, body.to_owned()));
    is(Reason::TokenExpired, 401, r#"{"statusCode":401,"message":"Token expired","error":"Unauthorized"}"#);
    is(
        Reason::PlanDenied,
        403,
        r#"{"statusCode":403,"message":"The plan does not include this.","error":"Forbidden"}"#,
    );
}

#[test]
fn the_affonso_dialect_answers_as_documented() {
    let on = json!({
        "token_invalid": { "code": "INVALID_API_KEY" },
        "key_expired": { "code": "API_KEY_EXPIRED" },
        "not_found": { "code": "NOT_FOUND" },
    });
    let body = json!({ "success": false, "error": { "code": "$code", "message": "$message" } });
    let dialect = Dialect::compile("affonso", &spec(body, json!({}), on)).unwrap();
    let is = |reason, status, body: &str| assert_eq!(answer(&dialect, reason), (status, body.to_owned()));
    is(
        Reason::KeyUnknown,
        401,
        r#"{"success":false,"error":{"code":"INVALID_API_KEY","message":"The credential is not valid."}}"#,
    );
    is(
        Reason::KeyExpired,
        401,
        r#"{"success":false,"error":{"code":"API_KEY_EXPIRED","message":"The credential is not valid."}}"#,
    );
    is(Reason::NoRoute, 404, r#"{"success":false,"error":{"code":"NOT_FOUND","message":"Nothing is found here."}}"#);
}

#[test]
fn the_gift_card_dialect_answers_as_documented_and_leaves_out_what_it_has_no_word_for() {
    let status = json!({
        "400": { "name": "ValidationException", "code": "VALIDATION_FAILURE" },
        "401": { "name": "UnauthorizedError", "code": "UNAUTHORIZED" },
        "403": { "name": "ForbiddenError", "code": "FORBIDDEN" },
    });
    let on = json!({
        "syntax_error": { "name": "SyntaxError", "code": "SYNTAX_ERROR", "message": "Invalid request body" },
        "ip_denied": { "message": "IP address not authorized" },
        "refresh_invalid": { "message": "Invalid refresh token" },
    });
    let body = json!({ "error": { "name": "$name", "code": "$code", "message": "$message" } });
    let dialect = Dialect::compile("giftcards", &spec(body, status, on)).unwrap();
    let is = |reason, status, name: &str, code: &str, message: &str| {
        let body = format!(r#"{{"error":{{"name":"{name}","code":"{code}","message":"{message}"}}}}"#);
        assert_eq!(answer(&dialect, reason), (status, body));
    };
    is(Reason::IpDenied, 403, "ForbiddenError", "FORBIDDEN", "IP address not authorized");
    is(Reason::RefreshReused, 401, "UnauthorizedError", "UNAUTHORIZED", "Invalid refresh token");
    is(Reason::SyntaxError, 400, "SyntaxError", "SYNTAX_ERROR", "Invalid request body");
    let (_, body) = answer(&dialect, Reason::NoRoute);
    assert_eq!(body, r#"{"error":{"code":"NO_ROUTE","message":"Nothing is found here."}}"#);
}

#[test]
fn a_reason_goes_before_its_parent_its_parent_before_the_status_and_all_before_the_table() {
    let status =
        json!({ "401": { "code": "S", "message": "status", "headers": { "x-a": "status", "x-b": "status" } } });
    let on = json!({
        "token_invalid": { "message": "parent", "headers": { "x-a": "parent" } },
        "refresh_reused": { "code": "R" },
    });
    let dialect = Dialect::compile("r", &spec(json!(["$code", "$message"]), status, on)).unwrap();
    assert_eq!(answer(&dialect, Reason::RefreshReused).1, r#"["R","parent"]"#);
    assert_eq!(answer(&dialect, Reason::KeyUnknown).1, r#"["S","parent"]"#);
    assert_eq!(answer(&dialect, Reason::MissingCredentials).1, r#"["S","status"]"#);
    assert_eq!(answer(&dialect, Reason::RoleDenied).1, r#"["ROLE_DENIED","This role is not allowed here."]"#);
    let rendered = dialect.render(&Reason::KeyUnknown.into(), &id());
    assert_eq!(
        (field(&rendered, "x-a").unwrap(), field(&rendered, "x-b").unwrap()),
        ("parent".into(), "status".into())
    );
}

#[test]
fn a_status_is_inherited_and_serves_with_its_own_entry() {
    let status = json!({ "404": { "code": "GONE" }, "429": { "status": 403 }, "403": { "code": "NO" } });
    let on = json!({ "token_invalid": { "status": 404 }, "forbidden": { "status": 401 } });
    let dialect = Dialect::compile("r", &spec(json!({ "c": "$code", "s": "$status" }), status, on)).unwrap();
    assert_eq!(answer(&dialect, Reason::KeyUnknown), (404, r#"{"c":"GONE","s":404}"#.into()));
    assert_eq!(answer(&dialect, Reason::LockedOut), (403, r#"{"c":"NO","s":403}"#.into()));
    let challenge = |reason: Reason| field(&dialect.render(&reason.into(), &id()), "www-authenticate");
    assert_eq!(challenge(Reason::IpDenied).unwrap(), r#"Bearer realm="r""#, "every 401 has one");
    assert_eq!(challenge(Reason::KeyUnknown), None, "what looks like nothing there is not to be told apart");
}

#[test]
fn the_request_id_is_filled_in_wherever_it_stands() {
    let body = json!({ "id": "$request_id", "text": "<0>{request_id}<1>, again {request_id}", "<2>": "\"\u{1}" });
    let dialect = Dialect::compile("r", &spec(body, json!({}), json!({}))).unwrap();
    let expected = json!({ "id": id().as_str(), "text": format!("<0>{0}<1>, again {0}", id()), "<2>": "\"\u{1}" });
    assert_eq!(answer(&dialect, Reason::NoRoute).1, expected.to_string());
}

#[test]
fn a_message_cannot_break_out_of_its_body() {
    let dialect =
        Dialect::compile("r", &spec(Value::Null, json!({}), json!({ "no_route": { "message": "\"},<script>\\" } })));
    let body: Value = serde_json::from_str(&answer(&dialect.unwrap(), Reason::NoRoute).1).unwrap();
    assert_eq!(body["detail"], "\"},<script>\\");
}

#[test]
fn what_cannot_be_meant_is_a_problem_with_its_place() {
    let starts = |problems: Vec<String>, with: &[&str]| {
        assert_eq!(problems.len(), with.len(), "{problems:?}");
        for (problem, with) in problems.iter().zip(with) {
            assert!(problem.starts_with(with), "{problem:?} does not start with {with:?}");
        }
    };
    let none = || json!({});
    starts(
        problems(json!({ "n": "$nmae" }), none(), json!({ "no_route": { "name": "x" } })),
        &["body: $nmae", "on.no_route.name:"],
    );
    starts(problems(Value::Null, none(), json!({ "no_route": { "status": 200 } })), &["on.no_route.status:"]);
    starts(problems(Value::Null, json!({ "302": {} }), none()), &["status.302:"]);
    starts(problems(Value::Null, none(), json!({ "no_route": { "body": { "a": "$x" } } })), &["on.no_route.body: $x"]);
    starts(problems(json!("$fields"), none(), none()), &["body: nothing is left"]);
    starts(
        problems(
            Value::Null,
            none(),
            json!({ "no_route": { "headers": { "WWW-Authenticate": "x", "ratelimit-limit": "1" } } }),
        ),
        &["on.no_route.headers.www-authenticate:", "on.no_route.headers.ratelimit-limit:"],
    );
}

#[test]
fn the_reference_names_every_reason_and_every_cause() {
    let text = reference();
    for reason in Reason::ALL {
        assert!(text.contains(&format!("\n| `{reason}` |")), "{reason}");
    }
    for why in Why::ALL {
        assert!(text.contains(&format!("\n| `{why}` | {} |\n", why.text())), "{why}");
    }
    assert!(
        text.contains("| `key_expired` | `token_invalid` | 401 | `invalid_token` | The credential is not valid. |")
    );
}

proptest! {
    #[test]
    fn whatever_is_configured_and_asked_the_answer_is_json_with_the_id(
        message: String, realm: String, scope: String, request_id in "[A-Za-z0-9._-]{1,128}", at in 0..Reason::ALL.len(),
    ) {
        let reason = Reason::ALL[at];
        let spec = DialectSpec {
            body: template(json!({ "id": "$request_id", "message": "$message", "realm": "$realm" })),
            on: vec![(reason, Entry { message: Some(message.clone()), ..Entry::default() })],
            ..DialectSpec::default()
        };
        let dialect = Dialect::compile(&realm, &spec).unwrap();
        let denial = Denial { scope: Some(scope.into()), ..reason.into() };
        let rendered = dialect.render(&denial, &RequestId::adopt(&request_id).unwrap());
        let body: Value = serde_json::from_slice(&rendered.body).unwrap();
        prop_assert_eq!(body, json!({ "id": request_id, "message": message, "realm": realm }));
    }
}
