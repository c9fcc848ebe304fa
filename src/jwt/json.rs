//! JSON as two readers cannot read it differently: one object, no member twice at any depth, nothing behind it. Names
//! count as what their escapes mean. Nesting beyond 127, numbers out of range, lone surrogates and a byte order mark are
//! refused by the parser underneath.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The object in `bytes`; none when it is anything else.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    strict_object(bytes).ok()
}

/// The same, for those who must be told what is wrong and where. The error may quote a text that stands in the place of
/// the object, and no other.
///
/// # Errors
/// `bytes` are anything else.
pub(crate) fn strict_object(bytes: &[u8]) -> serde_json::Result<Map<String, Value>> {
    read(bytes, Object)
}

/// The value in `bytes`, whatever it is, and the members that stand there twice: the names of the objects around each and
/// its own, from the outside in. The first of two counts.
///
/// # Errors
/// `bytes` are no JSON: a member that stands there twice does not hide what is wrong behind it.
pub(crate) fn any_value(bytes: &[u8]) -> serde_json::Result<(Value, Vec<Vec<String>>)> {
    let found = RefCell::default();
    let value = read(bytes, Any(Twice::Noted(&found, &Place { around: None, name: "" })))?;
    Ok((value, found.into_inner()))
}

/// One member of the object in `bytes`, looked for without keeping or believing anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// It is not there.
    Missing,
    /// It is no string.
    Other,
    /// A string.
    Text(String),
}

/// The member called `name`; none when `bytes` is no object or has the member twice.
pub(super) fn member(bytes: &[u8], name: &str) -> Option<Member> {
    read(bytes, Find(name)).ok()
}

/// The elements of the list called `name` in the object in `bytes`, each as it is written: what is wrong within one of
/// them, a number out of range say, stays its own affair.
///
/// # Errors
/// [`serde_json::error::Category::Data`]: it is no object with exactly one such list. Else it is no JSON.
pub(super) fn elements<'b>(bytes: &'b [u8], name: &str) -> serde_json::Result<Vec<&'b RawValue>> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let elements = json.deserialize_map(Elements(name))?;
    json.end()?;
    Ok(elements)
}

fn read<S: for<'de> DeserializeSeed<'de, Value = T>, T>(bytes: &[u8], seed: S) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// What becomes of a member that stands there twice.
#[derive(Clone, Copy)]
enum Twice<'p> {
    /// It is an error.
    Refused,
    /// It is noted, with where it is.
    Noted(&'p RefCell<Vec<Vec<String>>>, &'p Place<'p>),
}

/// An object, or the member that holds it.
struct Place<'p> {
    around: Option<&'p Place<'p>>,
    name: &'p str,
}

/// So many members are noted; those who make mistakes make few.
const MOST_NOTED: usize = 16;

impl Place<'_> {
    /// The names on the way to the member called `name`.
    fn way(&self, name: &str) -> Vec<String> {
        let mut way = vec![name.to_owned()];
        let mut place = self;
        while let Some(around) = place.around {
            way.push(place.name.to_owned());
            place = around;
        }
        way.reverse();
        way
    }
}

/// The members of an object.
fn members<'de, A: MapAccess<'de>>(mut access: A, twice: Twice<'_>) -> Result<Map<String, Value>, A::Error> {
    let mut members = Map::new();
    while let Some(name) = access.next_key::<String>()? {
        if members.contains_key(&name) {
            match twice {
                Twice::Refused => return Err(A::Error::custom("a member stands there twice")),
                Twice::Noted(found, place) if found.borrow().len() < MOST_NOTED => {
                    found.borrow_mut().push(place.way(&name));
                }
                Twice::Noted(..) => {}
            }
        }
        let value = match twice {
            Twice::Refused => access.next_value_seed(Any(Twice::Refused))?,
            Twice::Noted(found, place) => {
                let within = Place { around: Some(place), name: &name };
                access.next_value_seed(Any(Twice::Noted(found, &within)))?
            }
        };
        members.entry(name).or_insert(value);
    }
    Ok(members)
}

struct Object;

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        members(access, Twice::Refused)
    }
}

#[derive(Clone, Copy)]
struct Any<'p>(Twice<'p>);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("the number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        members(access, self.0).map(Value::Object)
    }
}

struct Find<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Member, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Member, A::Error> {
        let mut found = Member::Missing;
        while let Some(wanted) = access.next_key_seed(NameIs(self.0))? {
            if !wanted {
                access.next_value::<IgnoredAny>()?;
            } else if found == Member::Missing {
                found = access.next_value_seed(TextOrNot)?;
            } else {
                return Err(A::Error::custom("the member stands there twice"));
            }
        }
        Ok(found)
    }
}

struct Elements<'n>(&'n str);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = access.next_key_seed(NameIs(self.0))? {
            if !wanted {
                access.next_value::<IgnoredAny>()?;
            } else if found.is_none() {
                found = Some(access.next_value()?);
            } else {
                return Err(A::Error::custom("the member stands there twice"));
            }
        }
        found.ok_or_else(|| A::Error::custom("the member is missing"))
    }
}

struct NameIs<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

struct TextOrNot;

impl<'de> DeserializeSeed<'de> for TextOrNot {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Member, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextOrNot {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Member, E> {
        Ok(Member::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Member, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Member, A::Error> {
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_one_object_and_nothing_else_is_read() {
        assert!(object(b" {\"a\" : [1, {\"b\": null}]}\r\n").is_some());
        for bad in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{}{}",
            "{}x",
            "\u{feff}{}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":NaN}",
            "{\"a\":01}",
        ] {
            assert_eq!(object(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None);
        assert_eq!(object(br#"{"a":"\ud800"}"#), None);
        assert_eq!(object(&[0xff, 0xfe, b'{', 0, b'}', 0]), None);
    }

    #[test]
    fn a_member_that_stands_there_twice_is_refused_at_any_depth() {
        for bad in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(object(bad.as_bytes()), None, "{bad}");
        }
        assert!(object(br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#).is_some());
    }

    #[test]
    fn members_that_stand_there_twice_are_noted_and_hide_nothing() {
        let noted = |text: &str| any_value(text.as_bytes()).map_err(|fault| fault.classify());
        let (value, twice) = noted(r#"{"a":1,"b":{"c":[{"d":1,"\u0064":2}],"e":0,"e":1},"a":{"x":1,"x":2}}"#).unwrap();
        assert_eq!(value, json!({"a":1,"b":{"c":[{"d":1}],"e":0}}));
        assert_eq!(twice.iter().map(|way| way.join(".")).collect::<Vec<_>>(), ["b.c.d", "b.e", "a", "a.x"]);
        assert_eq!(noted(" [1, null] ").unwrap(), (json!([1, null]), Vec::new()));
        assert_eq!(noted("-0").unwrap(), (json!(-0.0), Vec::new()));
        for behind in ["x", "}", "\"\\ud800\"", "1e400", "[01]", &"[".repeat(200)] {
            let fault = noted(&format!("{{\"a\":1,\"a\":2,\"b\":{behind}}}")).unwrap_err();
            assert_ne!(fault, serde_json::error::Category::Data, "{behind}");
        }
        assert_eq!(noted(&format!("{{{}\"b\":1}}", "\"a\":1,".repeat(100))).unwrap().1.len(), MOST_NOTED);
    }

    #[test]
    fn depth_and_numbers_are_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(object(nested(127).as_bytes()).is_some());
        for depth in [128, 129, 10_000] {
            assert_eq!(object(nested(depth).as_bytes()), None, "{depth}");
        }
        for number in ["1e400", "-1e400", "1e999999999", &"9".repeat(100_000)] {
            assert_eq!(object(format!("{{\"a\":{number}}}").as_bytes()), None);
        }
        assert_eq!(object(b"{\"a\":18446744073709551615}").unwrap()["a"], json!(u64::MAX));
    }

    #[test]
    fn one_member_is_found_without_reading_the_rest() {
        assert_eq!(member(br#"{"a":[{"x":1,"x":2}],"iss":"me"}"#, "iss"), Some(Member::Text("me".into())));
        assert_eq!(member(br#"{"\u0069ss":"me"}"#, "iss"), Some(Member::Text("me".into())));
        assert_eq!(member(br#"{"ISS":"me"}"#, "iss"), Some(Member::Missing));
        for other in ["null", "true", "1", "-1", "1.5", "[\"me\"]", "{\"a\":1}"] {
            assert_eq!(member(format!("{{\"iss\":{other}}}").as_bytes(), "iss"), Some(Member::Other), "{other}");
        }
        for bad in [r#"{"iss":"me","iss":"you"}"#, r#"["me"]"#, r#"{"iss":"me"}x"#, r#"{"iss":1,"iss":"me"}"#] {
            assert_eq!(member(bad.as_bytes(), "iss"), None, "{bad}");
        }
        let deep = format!("{{\"a\":{}{},\"iss\":\"me\"}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(member(deep.as_bytes(), "iss"), Some(Member::Text("me".into())));
    }

    #[test]
    fn elements_are_taken_as_they_are_written() {
        let texts = |json: &str| {
            let elements = elements(json.as_bytes(), "keys").map_err(|fault| fault.classify())?;
            Ok(elements.iter().map(|element| element.get().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            texts(r#"{"a":1e999,"k\u0065ys":[ {"n": 1e999} ,[[]], "x"],"b":[]}"#).unwrap(),
            [r#"{"n": 1e999}"#, "[[]]", "\"x\""]
        );
        for no_list in ["[]", "[[]]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "1", "null"] {
            assert_eq!(texts(no_list), Err(serde_json::error::Category::Data), "{no_list}");
        }
        for no_json in ["{\"keys\":[]}x", "{\"keys\":[1,]}", "{\"keys\":[01]}", "<html>"] {
            assert_eq!(texts(no_json), Err(serde_json::error::Category::Syntax), "{no_json}");
        }
        assert_eq!(texts("{\"keys\":["), Err(serde_json::error::Category::Eof));
    }

    proptest! {
        #[test]
        fn elements_are_those_that_the_whole_reader_finds(
            inside in "(\\[\\]|\\{\\}|[-,:\\[\\]{}\" a1.e]|\"a\"){0,12}",
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            drop(elements(&bytes, "keys"));
            let text = format!("{{\"a\":[1],\"keys\":[{inside}]}}");
            let whole: Option<Value> = serde_json::from_str(&text).ok();
            if let Some(whole) = whole.filter(|whole| whole.as_object().is_some_and(|all| all.len() == 2)) {
                let each: Vec<Value> = elements(text.as_bytes(), "keys").unwrap().iter()
                    .map(|element| serde_json::from_str(element.get()).unwrap()).collect();
                prop_assert_eq!(Value::Array(each), whole["keys"].clone());
            }
        }

        #[test]
        fn both_readers_agree_about_every_object(bytes in "\\{(\"(a|iss|b)\":(1|\"x\"|\\[\\]|\\{\\}),?){0,4}\\}") {
            if let Some(all) = object(bytes.as_bytes()) {
                let expected = match all.get("iss") {
                    None => Member::Missing,
                    Some(Value::String(text)) => Member::Text(text.clone()),
                    Some(_) => Member::Other,
                };
                prop_assert_eq!(member(bytes.as_bytes(), "iss"), Some(expected));
            }
        }

        #[test]
        fn no_bytes_make_the_readers_fail_otherwise_than_by_refusing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (object(&bytes), member(&bytes, "iss"));
        }
    }
}
