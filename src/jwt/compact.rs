//! A token in the compact serialisation (RFC 7515 section 7.1), taken apart and judged by the header policy.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::json::{self, Member};
use super::{Algorithm, VerifyKey};

/// What is wrong with a token before its claims are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not three parts of strict base64url.
    Format,
    /// The header is no acceptable JSON object.
    Header,
    /// The header demands an extension.
    Crit,
    /// `alg` is none of ours.
    Alg,
    /// `kid` is no string.
    Kid,
    /// `typ` is no string.
    Typ,
    /// The payload is no JSON object, or has a member twice.
    Claims,
}

/// A protected header that passed the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The algorithm.
    pub alg: Algorithm,
    /// The key id.
    pub kid: Option<String>,
    /// The type, as written.
    pub typ: Option<String>,
}

/// A token taken apart; nothing in it is believed yet.
#[derive(Debug)]
pub struct Compact<'t> {
    /// The header.
    pub header: Header,
    payload: Vec<u8>,
    signing_input: &'t str,
    signature: &'t str,
}

/// Members that change what the signature means, bring keys of their own, or belong to encryption.
const REFUSED: &[&str] =
    &["jwk", "jku", "x5u", "x5c", "cty", "enc", "zip", "p2s", "p2c", "epk", "apu", "apv", "iv", "tag"];

impl<'t> Compact<'t> {
    /// Takes a token apart. The payload stays unread: what is wrong in it must not hide a bad signature.
    ///
    /// # Errors
    /// See [`Fault`]; never [`Fault::Claims`]. An unsecured token that lacks even its last dot is [`Fault::Alg`] as
    /// it would be with the dot.
    pub fn parse(token: &'t str) -> Result<Self, Fault> {
        let (header, rest) = token.split_once('.').ok_or(Fault::Format)?;
        let Some((payload, signature)) = rest.split_once('.') else {
            return match Header::parse(&decode(header)?) {
                Err(Fault::Alg) => Err(Fault::Alg),
                Ok(_) | Err(_) => Err(Fault::Format),
            };
        };
        if signature.contains('.') {
            return Err(Fault::Format);
        }
        let signing_input = token.get(..header.len() + 1 + payload.len()).ok_or(Fault::Format)?;
        // The header comes first: what it demands (`b64`) may be the very reason why the payload is no base64url.
        let header = Header::parse(&decode(header)?)?;
        let payload = decode(payload)?;
        BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| Fault::Format)?;
        Ok(Self { header, payload, signing_input, signature })
    }

    /// `iss` as the token says: only good for choosing whose keys shall judge it. `None`: it is missing or no string.
    ///
    /// # Errors
    /// [`Fault::Claims`]: the payload is no JSON object, or has `iss` twice.
    pub fn unverified_issuer(&self) -> Result<Option<String>, Fault> {
        match json::member(&self.payload, "iss").ok_or(Fault::Claims)? {
            Member::Text(issuer) => Ok(Some(issuer)),
            Member::Missing | Member::Other => Ok(None),
        }
    }

    /// Whether `key` made the signature by the header's algorithm.
    pub fn verified_by(&self, key: &VerifyKey) -> bool {
        key.verifies(self.header.alg, self.signing_input.as_bytes(), self.signature)
    }

    /// The claims, an object without duplicate members at any depth. Ask for them after [`Compact::verified_by`].
    ///
    /// # Errors
    /// [`Fault::Claims`].
    pub fn claims(&self) -> Result<Map<String, Value>, Fault> {
        json::object(&self.payload).ok_or(Fault::Claims)
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut members = json::object(bytes).ok_or(Fault::Header)?;
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(Fault::Crit);
        }
        if REFUSED.iter().any(|name| members.contains_key(*name)) {
            return Err(Fault::Header);
        }
        let Some(Value::String(alg)) = members.get("alg") else { return Err(Fault::Header) };
        let alg = Algorithm::by_name(alg).ok_or(Fault::Alg)?;
        let mut text = |name, fault| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(fault),
        };
        Ok(Self { alg, kid: text("kid", Fault::Kid)?, typ: text("typ", Fault::Typ)? })
    }
}

/// Header and payload: base64url as RFC 7515 section 2 has it, without padding, and without bits to spare that could be
/// flipped unnoticed; never empty.
fn decode(part: &str) -> Result<Vec<u8>, Fault> {
    if part.is_empty() {
        return Err(Fault::Format);
    }
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Fault::Format)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &[u8], payload: &[u8]) -> String {
        format!("{}.{}.c2ln", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(payload))
    }

    fn header_fault(header: &str) -> Option<Fault> {
        Compact::parse(&token(header.as_bytes(), b"{}")).err()
    }

    #[test]
    fn no_spelling_of_none_is_an_algorithm() {
        for alg in ["none", "None", "NONE", "nOnE", "", "hs256", "HS257", "RSA-OAEP", "dir"] {
            let header = BASE64URL_NOPAD.encode(format!("{{\"alg\":\"{alg}\"}}").as_bytes());
            for rest in [".e30.", ".e30", ".e30.c2ln"] {
                assert_eq!(Compact::parse(&format!("{header}{rest}")).err(), Some(Fault::Alg), "{alg:?} {rest}");
            }
        }
    }

    #[test]
    fn an_algorithm_that_is_no_string_is_a_fault_of_the_header() {
        for header in ["{}", r#"{"alg":null}"#, r#"{"alg":1}"#, r#"{"alg":["RS256"]}"#, r#"{"alg":{}}"#] {
            assert_eq!(header_fault(header), Some(Fault::Header), "{header}");
        }
    }

    #[test]
    fn every_crit_is_refused_understood_or_not() {
        for crit in
            [r#"["x"]"#, "[]", r#"["exp","exp"]"#, r#"["alg"]"#, "[1]", r#""exp""#, "null", r#"["b64"],"b64":false"#]
        {
            let header = format!("{{\"alg\":\"HS256\",\"crit\":{crit}}}");
            assert_eq!(header_fault(&header), Some(Fault::Crit), "{header}");
        }
        assert_eq!(header_fault(r#"{"alg":"HS256","b64":true}"#), Some(Fault::Crit));
        assert_eq!(header_fault(r#"{"alg":"HS256","cr\u0069t":[]}"#), Some(Fault::Crit));
    }

    #[test]
    fn embedded_keys_nesting_and_encryption_are_refused() {
        for name in REFUSED {
            for value in ["null", "\"x\"", "{}", "2147483647"] {
                let header = format!("{{\"alg\":\"HS256\",\"{name}\":{value}}}");
                assert_eq!(header_fault(&header), Some(Fault::Header), "{header}");
            }
        }
        assert_eq!(header_fault(r#"{"alg":"HS256","x5t":"a","JWK":1,"nonce":[1]}"#), None);
    }

    #[test]
    fn kid_and_typ_are_strings_or_absent() {
        for value in ["1", "null", "[\"a\"]", "{}"] {
            assert_eq!(header_fault(&format!("{{\"alg\":\"HS256\",\"kid\":{value}}}")), Some(Fault::Kid));
            assert_eq!(header_fault(&format!("{{\"alg\":\"HS256\",\"typ\":{value}}}")), Some(Fault::Typ));
        }
        let text = token(br#"{"alg":"ES256","kid":"","typ":"at+JWT"}"#, b"{}");
        let header = Compact::parse(&text).unwrap().header;
        assert_eq!(header, Header { alg: Algorithm::ES256, kid: Some(String::new()), typ: Some("at+JWT".into()) });
    }

    #[test]
    fn a_header_is_one_json_object_whatever_its_whitespace_and_escapes() {
        for good in ["{ \"alg\"\t:\r\n\"HS256\" }", r#"{"\u0061lg":"HS256"}"#, r#" {"alg":"H\u0053256"}"#] {
            assert_eq!(header_fault(good), None, "{good}");
        }
        let deep = format!("{{\"alg\":\"HS256\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for bad in [
            "\u{feff}{\"alg\":\"HS256\"}",
            "{\"alg\":\"HS256\"}x",
            "[\"alg\"]",
            "1",
            "",
            r#"{"alg":"none","alg":"HS256"}"#,
            r#"{"alg":"HS256","\u0061lg":"HS256"}"#,
            &deep,
        ] {
            let expected = if bad.is_empty() { Fault::Format } else { Fault::Header };
            assert_eq!(header_fault(bad), Some(expected), "{}", bad.get(..40).unwrap_or(bad));
        }
        assert_eq!(Compact::parse(&token(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}", b"{}")).err(), Some(Fault::Header));
    }

    #[test]
    fn base64url_is_strict_in_each_part() {
        // Each part ends with a character of which four bits belong to no byte.
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256"} "#);
        let good = [header.as_str(), "eyJhIjoxfQ", "c2lnbg"];
        assert!(Compact::parse(&good.join(".")).is_ok());
        for at in 0..3 {
            let part = good[at];
            let (start, last) = part.split_at(part.len() - 1);
            let stray = format!("{start}{}", char::from(last.as_bytes()[0] + 1));
            let mut bad = vec![stray, start.to_owned(), format!("{part}="), format!("{part}=="), format!("{part} ")];
            bad.extend(
                ["+", "/", " ", "\t", "?", "%3D", "\n", "é", "="].map(|c| format!("{}{c}{}", &part[..2], &part[3..])),
            );
            for bad in &bad {
                let mut parts = good;
                parts[at] = bad;
                assert_eq!(Compact::parse(&parts.join(".")).err(), Some(Fault::Format), "{at} {bad:?}");
            }
        }
    }

    #[test]
    fn other_serialisations_are_no_tokens() {
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#);
        for bad in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "{\"payload\":\"e30\",\"protected\":\"\",\"signature\":\"\"}",
            &format!("{header}.e30"),
            &format!("{header}..c2ln"),
            ".e30.c2ln",
            &format!("{header}.e30.c2ln.c2ln"),
            &format!("{header}.e30.c2ln.c2ln.c2ln"),
            &format!("Bearer {header}.e30.c2ln"),
        ] {
            assert_eq!(Compact::parse(bad).err(), Some(Fault::Format), "{bad:?}");
        }
    }

    #[test]
    fn faults_of_the_payload_are_told_only_when_it_is_asked_for() {
        let text = token(br#"{"alg":"HS256"}"#, br#"{"iss":"me","x":1,"x":2}"#);
        let token = Compact::parse(&text).unwrap();
        assert_eq!(token.unverified_issuer(), Ok(Some("me".into())));
        assert_eq!(token.claims(), Err(Fault::Claims));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_judged(text in "\\PC{0,80}", header in "\\{\"alg\":\"[A-Z0-9]{5}\".{0,20}\\}", payload in ".{0,40}") {
            drop(Compact::parse(&text));
            if let Ok(compact) = Compact::parse(&token(header.as_bytes(), payload.as_bytes())) {
                drop((compact.unverified_issuer(), compact.claims()));
            }
        }
    }
}
