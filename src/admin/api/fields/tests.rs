//! What is read, and what is said of what is not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const FIELDS: &[Field] = &[
    Field::required("name", Kind::Text(5), "A name."),
    Field::optional("status", Kind::Word(&["active", "disabled"]), "A word."),
    Field::nullable("scopes", Kind::Texts(10), "Texts."),
    Field::optional("networks", Kind::Networks, "Networks."),
    Field::optional("network", Kind::Network, "A network."),
    Field::optional("ip", Kind::Address, "An address."),
    Field::nullable("expires_at", Kind::Time, "A time."),
    Field::optional("seconds", Kind::Integer(0, 60), "A number."),
    Field::optional("confirm", Kind::Boolean, "A truth value."),
    Field::optional("attributes", Kind::Object, "An object."),
    Field::optional("keys", Kind::Objects(2, KEY), "Objects."),
    Field::optional("headers", Kind::Headers, "Headers."),
];

const KEY: &[Field] =
    &[Field::required("sha256", Kind::Text(64), "A digest."), Field::nullable("until", Kind::Time, "A time.")];

fn faults(refusal: Result<Values, Refusal>) -> Vec<(String, String)> {
    match refusal {
        Err(Refusal::Invalid(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

/// What is wrong with one member, beside a good name.
fn fault(name: &str, value: &Value) -> Option<String> {
    let body = json!({ "name": "a", name: value }).to_string();
    match Values::from_json(body.as_bytes(), FIELDS) {
        Ok(_) => None,
        Err(Refusal::Invalid(faults)) => Some(faults.iter().map(|(at, text)| format!("{at}: {text};")).collect()),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_body_is_read_as_it_was_declared() {
    let body = json!({
        "name": "änne", "status": "active", "scopes": ["a:*", "b"], "networks": ["203.0.113.0/24", "2001:DB8::/32"],
        "network": "10.0.0.1", "ip": "::ffff:10.0.0.2", "expires_at": "2027-01-31T13:00:00+01:00", "seconds": 60,
        "confirm": true, "attributes": { "seats": 7, "on": [null] }, "keys": [{ "sha256": "ab", "until": null }],
        "headers": { "X-A": "1", "X-B": ["2", "3"] },
    });
    let values = Values::from_json(body.to_string().as_bytes(), FIELDS).unwrap();
    assert_eq!(values.text("name"), Some("änne"));
    assert_eq!(values.texts("scopes").unwrap(), ["a:*", "b"]);
    let networks: Vec<_> = values.networks("networks").unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["203.0.113.0/24", "2001:db8::/32"]);
    assert_eq!(values.network("network").unwrap().to_string(), "10.0.0.1/32");
    assert_eq!(values.address("ip").unwrap().to_string(), "10.0.0.2");
    assert_eq!(values.time("expires_at"), Some(UnixMillis(1_801_396_800_000)));
    assert_eq!((values.integer("seconds"), values.boolean("confirm")), (Some(60), Some(true)));
    assert_eq!(values.object("attributes").unwrap()["seats"], 7);
    let keys = values.objects("keys").unwrap();
    assert_eq!((keys.len(), keys[0].text("sha256"), keys[0].has("until")), (1, Some("ab"), true));
    assert_eq!(values.headers("headers").unwrap(), [("X-A", "1"), ("X-B", "2"), ("X-B", "3")]);
}

#[test]
fn null_is_told_from_what_is_not_there() {
    let values = Values::from_json(br#"{"name":"a","scopes":null}"#, FIELDS).unwrap();
    assert!(values.has("scopes") && values.texts("scopes").is_none());
    assert!(!values.has("expires_at"));
    assert!(fault("seconds", &Value::Null).is_some(), "null stands for nothing here");
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let body = json!({
        "nam": "x", "status": "activ", "seconds": 61, "networks": ["10.0.0.1/8", "10.0.0.0/8", "10.0.0.0/8", 7],
        "keys": [{ "sha265": "x" }, 3],
    });
    let told = faults(Values::from_json(body.to_string().as_bytes(), FIELDS));
    let places: Vec<_> = told.iter().map(|(at, _)| at.as_str()).collect();
    let expected = [
        "nam",
        "status",
        "seconds",
        "networks[0]",
        "networks[2]",
        "networks[3]",
        "keys[0].sha265",
        "keys[0].sha256",
        "keys[1]",
        "name",
    ];
    assert_eq!(places, expected, "{told:?}");
    let of = |at: &str| told.iter().find(|(place, _)| place == at).unwrap().1.as_str();
    assert!(of("nam").contains("did you mean `name`?"), "{}", of("nam"));
    assert!(of("status").contains("active, disabled") && of("status").contains("`active`"), "{}", of("status"));
    assert!(of("networks[0]").contains("write 10.0.0.0/8"), "{}", of("networks[0]"));
    assert_eq!(of("name"), "is required");
}

#[test]
fn what_does_not_fit_its_kind_is_refused() {
    let long = "x".repeat(17 * 1024);
    let deep = (0..9).fold(json!(1), |inner, _| json!({ "a": inner }));
    for (name, value) in [
        ("name", json!("")),
        ("name", json!("sixsix")),
        ("name", json!("a\u{0}b")),
        ("name", json!(7)),
        ("status", json!("Active")),
        ("scopes", json!("a")),
        ("scopes", json!([""])),
        ("scopes", json!(["a", "a"])),
        ("scopes", json!(vec!["a"; 257])),
        ("networks", json!(["10.0.0.0/33"])),
        ("network", json!("010.0.0.0/8")),
        ("ip", json!("10.0.0.0/8")),
        ("ip", json!(" 10.0.0.1")),
        ("expires_at", json!("2027-01-31")),
        ("expires_at", json!("2027-01-31T12:00:00")),
        ("expires_at", json!(1_801_396_800_000_i64)),
        ("seconds", json!(-1)),
        ("seconds", json!(1.0)),
        ("seconds", json!("1")),
        ("confirm", json!("true")),
        ("attributes", json!([])),
        ("attributes", json!({ "a": long })),
        ("attributes", deep),
        ("keys", json!([{ "sha256": "a" }, { "sha256": "b" }, { "sha256": "c" }])),
        ("headers", json!(["no colon"])),
        ("headers", json!({ "a": 1 })),
    ] {
        let fault = if name == "name" {
            let body = json!({ "name": value }).to_string();
            faults(Values::from_json(body.as_bytes(), FIELDS)).first().map(|(at, text)| format!("{at}: {text}"))
        } else {
            fault(name, &value)
        };
        let shown: String = value.to_string().chars().take(50).collect();
        assert!(fault.as_ref().is_some_and(|text| text.starts_with(name)), "{name} {shown}: {fault:?}");
    }
}

#[test]
fn what_is_no_object_of_json_is_refused_with_the_place() {
    for (body, expected) in [
        (&b"[]"[..], "must be a JSON object"),
        (b"\"name\"", "must be a JSON object"),
        (b"{\"name\":\"a\"", "is not JSON"),
        (b"{\"name\":\"a\"}x", "is not JSON"),
        (b"{\"name\":\"\xff\"}", "is not JSON"),
        (b"{\"name\":\"a\",\"name\":\"b\"}", "twice"),
        (b"{\"name\":\"a\",\"attributes\":{\"x\":1,\"\\u0078\":2}}", "twice"),
        (b"\xef\xbb\xbf{}", "must be a JSON object"),
    ] {
        let told = faults(Values::from_json(body, FIELDS));
        assert!(told[0].0 == "body" && told[0].1.contains(expected), "{}: {told:?}", String::from_utf8_lossy(body));
    }
    let deep = format!("{{\"attributes\":{}{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(faults(Values::from_json(deep.as_bytes(), FIELDS))[0].0, "body");
}

#[test]
fn no_body_stands_for_an_empty_object() {
    assert_eq!(faults(Values::from_json(b"", FIELDS)), [("name".to_owned(), "is required".to_owned())]);
    assert_eq!(Values::from_json(b" \r\n", &FIELDS[1..]), Ok(Values::default()));
}

#[test]
fn a_query_is_read_as_its_kinds_say() {
    let query =
        "name=a%2Bb+c&scopes=a:*,b&seconds=7&confirm=false&expires_at=2027-01-31T13:00:00%2B01:00&networks=10.0.0.0/8";
    let values = Values::from_query(query, FIELDS).unwrap();
    assert_eq!(values.text("name"), Some("a+b c"));
    assert_eq!(values.texts("scopes").unwrap(), ["a:*", "b"]);
    assert_eq!((values.integer("seconds"), values.boolean("confirm")), (Some(7), Some(false)));
    assert_eq!(values.time("expires_at"), Some(UnixMillis(1_801_396_800_000)));
    assert_eq!(values.networks("networks").unwrap().len(), 1);
}

#[test]
fn a_query_that_is_not_clear_is_refused() {
    for (query, at, expected) in [
        ("name=a&name=b", "name", "twice"),
        ("name=a&%6eame=b", "name", "twice"),
        ("name=a&nmae=b", "nmae", "`name`"),
        ("name=%ff", "query", "percent-encoded"),
        ("name=%4", "query", "percent-encoded"),
        ("name=a&seconds=+7", "seconds", "whole number"),
        ("name=a&seconds=7e0", "seconds", "whole number"),
        ("name=a&confirm=1", "confirm", "true or false"),
        ("name=", "name", "1 to 5"),
        ("name", "name", "1 to 5"),
        ("name=a&expires_at=2027-01-31T13:00:00+01:00", "expires_at", "offset"),
    ] {
        let told = faults(Values::from_query(query, FIELDS));
        assert!(told.iter().any(|(place, text)| place == at && text.contains(expected)), "{query}: {told:?}");
    }
    assert_eq!(faults(Values::from_query(&"a".repeat(9000), FIELDS))[0].0, "query");
}

#[test]
fn a_thousand_faults_are_counted_and_not_all_told() {
    let body: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("unknown_{n}"), json!(1))).collect();
    let told = faults(Values::from_json(Value::Object(body).to_string().as_bytes(), FIELDS));
    assert_eq!(told.len(), 101);
    assert!(told[100].1.contains("901 more"), "{:?}", told[100]);
}

#[test]
fn no_value_of_a_refused_body_is_repeated() {
    let secret = "hunter2hunter2";
    for name in
        ["name", "status", "networks", "ip", "expires_at", "seconds", "confirm", "attributes", "keys", "headers"]
    {
        for value in [json!(secret), json!([secret]), json!({ "x": secret })] {
            let body = json!({ name: value }).to_string();
            if let Err(refusal) = Values::from_json(body.as_bytes(), FIELDS) {
                assert!(!format!("{refusal:?}").contains(secret), "{name}: {refusal:?}");
            }
        }
    }
    assert!(!format!("{:?}", Values::from_json(format!("\"{secret}\"").as_bytes(), FIELDS)).contains(secret));
}

#[test]
fn the_schema_says_what_the_reader_takes() {
    let schema = object_schema(FIELDS);
    assert_eq!(schema["required"], json!(["name"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["properties"]["name"]["maxLength"], 5);
    assert_eq!(schema["properties"]["scopes"]["anyOf"][1]["type"], "null");
    assert_eq!(schema["properties"]["keys"]["items"]["required"], json!(["sha256"]));
    for field in FIELDS {
        assert_eq!(schema["properties"][field.name]["description"], field.about);
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_the_reader_fail_otherwise_than_by_refusing(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        query in "[a-z=&%+0-9A-F,.:/ä\\x00-\\x1f]{0,80}",
    ) {
        drop(Values::from_json(&bytes, FIELDS));
        drop(Values::from_query(&query, FIELDS));
    }

    #[test]
    fn what_is_encoded_is_decoded(text in "\\PC{0,40}") {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(decode(&encoded, true), Some(text.clone()));
        prop_assert_eq!(decode(&encoded, false), Some(text));
    }
}
