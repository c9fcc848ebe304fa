//! A directory that is the application's: asked for a sign-in and for how a subject stands. Its password is never
//! remembered, and nothing that it does not say clearly is taken for a yes.

use http::Method;
use serde_json::{Map, Value, json};

use super::{Attributes, roles_or};
use crate::clock::UnixMillis;
use crate::tokens::callback::{CallbackReply, CallbackRequest};
use crate::tokens::policy::{CallbackUrl, HttpDirectory, Translation, UrlPart};
use crate::tokens::refusal::{Cause, Refusal};
use crate::tokens::{Inner, Service};

/// A sign-in that is passed on.
pub(in crate::tokens) struct SignIn<'a> {
    pub(in crate::tokens) identifier: &'a str,
    pub(in crate::tokens) password: &'a str,
    /// Fields of the request, for a body of the application's own form.
    pub(in crate::tokens) fields: &'a Map<String, Value>,
}

impl Service<'_> {
    /// Asks the application whether identifier and password belong together, and whose they are.
    ///
    /// # Errors
    /// [`Refusal::InvalidCredentials`] when they do not, or when whoever it is may not sign in.
    pub(in crate::tokens) async fn sign_in_upstream(
        self,
        directory: &HttpDirectory,
        sign_in: &SignIn<'_>,
    ) -> Result<Attributes, Refusal> {
        let verify = directory.verify.as_ref().ok_or(Refusal::InvalidCredentials(Cause::Unknown))?;
        let body = match &directory.body {
            Some(template) => template
                .render(&|name| match name {
                    "identifier" => Some(json!(sign_in.identifier)),
                    "password" => Some(json!(sign_in.password)),
                    name => sign_in.fields.get(name.strip_prefix("request.")?).cloned(),
                })
                .unwrap_or_default(),
            None => json!({
                "realm": &*self.realm.realm,
                "identifier": sign_in.identifier,
                "password": sign_in.password,
                "client_ip": self.ask.client_ip.map(|ip| ip.to_string()),
                "request_id": self.ask.request_id,
            }),
        };
        let url = verify.render(&|_| None).ok_or(Refusal::Internal)?;
        let request = CallbackRequest {
            method: Method::POST,
            url,
            body: Some(body.to_string().into_bytes()),
            secret: directory.secret.clone(),
            timeout: directory.timeout,
            request_id: self.ask.request_id.clone(),
            at: self.ask.now,
        };
        let reply = call(self.inner, request).await?;
        let attributes = match reply.status {
            200..=299 => read(directory, &reply)?,
            401 | 404 => return Err(Refusal::InvalidCredentials(Cause::Password)),
            400 | 422 if directory.translate.is_some() => {
                return Err(Refusal::InvalidCredentials(Cause::Password));
            }
            403 => return Err(Refusal::InvalidCredentials(Cause::Disabled)),
            429 => return Err(Refusal::RateLimited(reply.retry_after)),
            status => return Err(unexpected(status)),
        };
        if attributes.active { Ok(attributes) } else { Err(Refusal::InvalidCredentials(Cause::Disabled)) }
    }
}

/// How a subject stands; none: nobody is called so any more.
///
/// # Errors
/// The directory does not answer, or not clearly.
pub(super) async fn look_up(
    inner: &Inner,
    directory: &HttpDirectory,
    lookup: &CallbackUrl,
    subject: &str,
    now: UnixMillis,
) -> Result<Option<Attributes>, Refusal> {
    let url = lookup.render(&|name| (name == "subject").then(|| subject.to_owned())).ok_or(Refusal::Internal)?;
    let request = CallbackRequest {
        method: Method::GET,
        url,
        body: None,
        secret: directory.secret.clone(),
        timeout: directory.timeout,
        request_id: crate::store::random_id()?,
        at: now,
    };
    let reply = call(inner, request).await?;
    match reply.status {
        200 => {
            let attributes = read(directory, &reply)?;
            if attributes.subject != subject {
                tracing::error!("the directory answered for another subject than it was asked for");
                return Err(Refusal::DirectoryUnavailable);
            }
            Ok(Some(attributes))
        }
        404 | 410 => Ok(None),
        status => Err(unexpected(status)),
    }
}

/// Makes a call; an outage is told to the operator here.
pub(in crate::tokens) async fn call(inner: &Inner, request: CallbackRequest) -> Result<CallbackReply, Refusal> {
    inner.callback.call(request).await.map_err(|outage| {
        tracing::warn!(%outage, "an application does not answer a callback");
        Refusal::DirectoryUnavailable
    })
}

fn unexpected(status: u16) -> Refusal {
    tracing::warn!(status, "an application answers a callback as nobody asked it to");
    Refusal::DirectoryUnavailable
}

fn unclear(what: &str) -> Refusal {
    tracing::warn!(what, "an application's answer to a callback is not understood");
    Refusal::DirectoryUnavailable
}

/// Who and how, by the contract or by the translation.
fn read(directory: &HttpDirectory, reply: &CallbackReply) -> Result<Attributes, Refusal> {
    let body: Value = serde_json::from_slice(&reply.body).map_err(|_| unclear("it is no JSON"))?;
    let mut attributes = match &directory.translate {
        Some(translation) => translate(translation, &body)?,
        None => contract(&body)?,
    };
    attributes.roles = roles_or(attributes.roles, &directory.default_roles);
    Ok(attributes)
}

fn contract(body: &Value) -> Result<Attributes, Refusal> {
    let body = body.as_object().ok_or_else(|| unclear("it is no object"))?;
    let mut roles: Vec<String> = texts(body.get("roles")).ok_or_else(|| unclear("roles"))?;
    roles.extend(text(body.get("role")).ok_or_else(|| unclear("role"))?);
    let mut addresses = Vec::new();
    for entry in texts(body.get("ip_allowlist")).ok_or_else(|| unclear("ip_allowlist"))? {
        addresses.push(network(&entry).ok_or_else(|| unclear("ip_allowlist"))?);
    }
    let attributes = match body.get("attributes") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(attributes)) => attributes.clone(),
        Some(_) => return Err(unclear("attributes")),
    };
    Ok(Attributes {
        // The contract says text; a number could be read as another one by the next reader.
        subject: subject(body.get("subject").filter(|subject| subject.is_string()))?,
        active: active(body.get("status"))?,
        roles,
        plan: text(body.get("plan")).ok_or_else(|| unclear("plan"))?,
        tenant: text(body.get("tenant")).ok_or_else(|| unclear("tenant"))?,
        attributes,
        addresses,
    })
}

fn translate(translation: &Translation, body: &Value) -> Result<Attributes, Refusal> {
    let at = |pointer: &Option<Box<str>>| pointer.as_ref().and_then(|pointer| body.pointer(pointer));
    let role = at(&translation.role);
    let roles = match role {
        Some(Value::Array(_)) => texts(role),
        role => text(role).map(|role| role.into_iter().collect()),
    };
    let further = translation.attributes.iter();
    Ok(Attributes {
        subject: subject(body.pointer(&translation.subject))?,
        active: active(at(&translation.status))?,
        roles: roles.ok_or_else(|| unclear("role"))?,
        plan: text(at(&translation.plan)).ok_or_else(|| unclear("plan"))?,
        tenant: text(at(&translation.tenant)).ok_or_else(|| unclear("tenant"))?,
        attributes: further
            .filter_map(|(name, pointer)| Some((name.to_string(), body.pointer(pointer)?.clone())))
            .collect(),
        addresses: Vec::new(),
    })
}

/// Longest subject: it becomes a header field and a key of tables.
const LONGEST: usize = 256;

fn subject(value: Option<&Value>) -> Result<String, Refusal> {
    let subject = text(value).flatten().ok_or_else(|| unclear("subject"))?;
    let clean = subject.len() <= LONGEST && !subject.chars().any(char::is_control);
    if clean { Ok(subject) } else { Err(unclear("subject")) }
}

/// A status that is left out is active: the callback has said yes.
fn active(value: Option<&Value>) -> Result<bool, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(active)) => Ok(*active),
        Some(Value::String(status)) => Ok(status.eq_ignore_ascii_case("active")),
        Some(_) => Err(unclear("status")),
    }
}

/// A text, or a whole number as its text; absent, null and empty are none. None of these: it is something else.
fn text(value: Option<&Value>) -> Option<Option<String>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Some(Some(number.to_string())),
        Some(_) => None,
    }
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from))
}

impl CallbackUrl {
    /// The URL with each value as one encoded segment; none: a value is missing, or could be read as another path.
    pub(in crate::tokens) fn render(&self, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                UrlPart::Text(text) => url.push_str(text),
                UrlPart::Name(name) => {
                    let value = value(name)?;
                    if value.is_empty() || value.chars().all(|c| c == '.') {
                        return None;
                    }
                    encode(&value, &mut url);
                }
            }
        }
        Some(url)
    }
}

/// Everything but unreserved characters (RFC 3986 section 2.3) is percent-encoded.
fn encode(value: &str, url: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_segment_whatever_stands_in_it() {
        let url = CallbackUrl(vec![
            UrlPart::Text("http://127.0.0.1/users/".into()),
            UrlPart::Name("subject".into()),
            UrlPart::Text("/x".into()),
        ]);
        let render = |value: &str| url.render(&|name| (name == "subject").then(|| value.to_owned()));
        assert_eq!(
            render("a/../b?c#d e\u{e9}").as_deref(),
            Some("http://127.0.0.1/users/a%2F..%2Fb%3Fc%23d%20e%C3%A9/x")
        );
        for bad in ["", ".", "..", "..."] {
            assert_eq!(render(bad), None, "{bad:?}");
        }
        assert_eq!(url.render(&|_| None), None);
    }

    #[test]
    fn an_answer_that_is_not_clear_is_an_outage_and_never_a_yes() {
        for bad in [
            json!([]),
            json!({}),
            json!({ "subject": "" }),
            json!({ "subject": ["a"] }),
            json!({ "subject": 7 }),
            json!({ "subject": "a\nb" }),
            json!({ "subject": "a", "status": 1 }),
            json!({ "subject": "a", "ip_allowlist": "10.0.0.0/8" }),
            json!({ "subject": "a", "ip_allowlist": ["ten"] }),
            json!({ "subject": "a", "roles": "admin" }),
        ] {
            assert_eq!(contract(&bad), Err(Refusal::DirectoryUnavailable), "{bad}");
        }
        let good = contract(&json!({ "subject": "7", "status": "Active", "role": "r", "plan": null })).unwrap();
        assert_eq!((good.subject.as_str(), good.active, good.roles), ("7", true, vec!["r".to_owned()]));
        assert!(!contract(&json!({ "subject": "a", "status": "suspended" })).unwrap().active);
    }

    #[test]
    fn an_existing_login_is_read_by_pointers() {
        let translation = Translation {
            subject: "/user/id".into(),
            status: None,
            role: Some("/user/role".into()),
            plan: Some("/account/plan".into()),
            tenant: Some("/account/id".into()),
            attributes: vec![("email".into(), "/user/email".into())],
        };
        let body = json!({ "user": { "id": "u1", "role": "admin", "email": "a@b.example" }, "account": { "id": 9 } });
        let found = translate(&translation, &body).unwrap();
        assert_eq!((found.subject.as_str(), found.tenant.as_deref(), found.plan), ("u1", Some("9"), None));
        assert_eq!(found.attributes["email"], "a@b.example");
        assert_eq!(translate(&translation, &json!({})), Err(Refusal::DirectoryUnavailable));
    }
}
