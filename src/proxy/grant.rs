//! Requests that the gateway answers itself: the body is read, the token service does its work, its answer is written. What
//! a grant gives is not decided here; what its refusals are called outside is.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, USER_AGENT};
use http::{HeaderName, HeaderValue, Version};
use pingora::Result;
use pingora::proxy::Session;
use zeroize::Zeroizing;

use super::exchange::Exchange;
use super::{adapt, answer, cors};
use crate::gate::credential::{self, Presented};
use crate::gate::dialect::Rendered;
use crate::gate::outcome::{Denial, Detail, Permit, Reason, Why};
use crate::tokens::policy::{Action, Grant, RealmTokens};
use crate::tokens::{Ask, Cause, Refusal, Reply, Tokens};

/// For the whole body of a grant.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Answers a request that the gate has allowed to a grant.
///
/// # Errors
/// The client broke off, or sent what cannot be read.
pub(super) async fn serve(
    tokens: Option<&Tokens>,
    session: &mut Session,
    exchange: &mut Exchange,
    permit: &Permit,
) -> Result<()> {
    let realm = exchange.live.issuing.realms.get(permit.realm().index).cloned().flatten();
    let number = permit.route().grant;
    let found = number.zip(realm.as_ref()).and_then(|(number, realm)| Some((number, realm.grants.get(number)?)));
    let (Some(tokens), Some(realm), Some((number, grant))) = (tokens, &realm, found) else {
        return answer::refuse(session, exchange, &Denial::new(Reason::StoreUnavailable)).await;
    };
    let body = match read_body(session, grant).await? {
        Ok(body) => body,
        Err(denial) => return answer::refuse(session, exchange, &denial).await,
    };
    let ask = match ask(session, exchange, permit, grant, body) {
        Ok(ask) => ask,
        Err(denial) => return answer::refuse(session, exchange, &denial).await,
    };
    match tokens.serve(Arc::clone(realm), number, ask).await {
        Ok(reply) => {
            exchange.granted(reply.subject.as_deref());
            let mut rendered = render(reply, exchange);
            cors::tell_own(&exchange.trail, &session.req_header().headers, &mut rendered.headers);
            answer::give(session, rendered).await
        }
        Err(refusal) => answer::refuse(session, exchange, &denial(refusal, realm)).await,
    }
}

/// The body, whole; empty where the grant does not look at one.
async fn read_body(session: &mut Session, grant: &Grant) -> Result<std::result::Result<Zeroizing<Vec<u8>>, Denial>> {
    if grant.fields.is_empty() && !grant.action.is_oauth() {
        return Ok(Ok(Zeroizing::default()));
    }
    let header = session.req_header();
    let waits = header.version == Version::HTTP_11 && header.headers.contains_key(EXPECT);
    if waits {
        session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    let most = usize::try_from(grant.max_body).unwrap_or(usize::MAX);
    let mut body = Zeroizing::new(Vec::new());
    let reading = async {
        while let Some(part) = session.read_request_body().await.map_err(|error| error.into_down())? {
            if part.len() > most.saturating_sub(body.len()) {
                return Ok::<_, Box<pingora::Error>>(Err(Denial::new(Reason::PayloadTooLarge)));
            }
            body.extend_from_slice(&part);
        }
        Ok(Ok(()))
    };
    let read = match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(read) => read?,
        Err(_) => {
            session.set_keepalive(None);
            Err(Denial::new(Reason::RequestTimeout))
        }
    };
    Ok(read.map(|()| body))
}

fn ask(
    session: &Session,
    exchange: &mut Exchange,
    permit: &Permit,
    grant: &Grant,
    body: Zeroizing<Vec<u8>>,
) -> std::result::Result<Ask, Denial> {
    let request_id = exchange.id().as_str().to_owned();
    let header = session.req_header();
    let text = |name: &HeaderName| Some(header.headers.get(name)?.to_str().ok()?.to_owned());
    let presented = match &grant.action {
        Action::Redeem { field: None, .. } => {
            let request = adapt::view(header, exchange.trail.peer_ip, exchange.handshake.as_deref(), exchange.at)?;
            match credential::find(&request, &permit.route().places)? {
                Presented::One { text, .. } => Some(Zeroizing::new(text.into_owned())),
                Presented::Nothing => return Err(Denial::new(Reason::MissingCredentials)),
                Presented::Malformed { why, .. } => return Err(Denial::because(Reason::TokenInvalid, why)),
            }
        }
        _ => None,
    };
    let identity = permit.identity();
    Ok(Ask {
        params: permit.params().into(),
        caller: identity.map(|identity| identity.principal.clone()),
        caller_expires: identity.and_then(|identity| identity.expires),
        presented,
        authorization: grant.action.is_oauth().then(|| text(&AUTHORIZATION).map(Zeroizing::new)).flatten(),
        content_type: text(&CONTENT_TYPE),
        content_encoding: text(&CONTENT_ENCODING),
        body,
        client_ip: permit.client_ip(),
        user_agent: text(&USER_AGENT),
        request_id,
        now: exchange.at,
    })
}

fn render(reply: Reply, exchange: &mut Exchange) -> Rendered {
    let mut headers = reply.headers;
    headers.extend(HeaderValue::from_str(exchange.id().as_str()).ok().map(|id| (answer::REQUEST_ID, id)));
    headers.push((http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    let body = reply.body.map(|mut body| std::mem::take(&mut *body)).unwrap_or_default();
    Rendered { status: reply.status, headers, body }
}

/// What a refusal of the token service is called outside.
fn denial(refusal: Refusal, realm: &RealmTokens) -> Denial {
    match refusal {
        Refusal::Syntax => Denial::new(Reason::SyntaxError),
        Refusal::Fields { problems, message } => {
            let fields = problems.into_iter().map(|problem| (problem.field, problem.message)).collect();
            detailed(Reason::ValidationFailed, Detail { fields, message, code: None })
        }
        Refusal::ContentType => Denial::new(Reason::UnsupportedMediaType),
        Refusal::InvalidCredentials(cause) => Denial::because(Reason::InvalidCredentials, why(cause)),
        Refusal::InvalidClient => Denial::new(Reason::InvalidClient),
        Refusal::TokenInvalid(cause) => Denial::because(Reason::TokenInvalid, why(cause)),
        Refusal::TokenExpired => Denial::because(Reason::TokenExpired, Why::Expired),
        Refusal::TokenRevoked(cause) => Denial::because(Reason::TokenRevoked, why(cause)),
        Refusal::RefreshInvalid(cause) => Denial::because(Reason::RefreshInvalid, why(cause)),
        Refusal::RefreshExpired => Denial::because(Reason::RefreshExpired, Why::Expired),
        Refusal::RefreshReused => Denial::because(Reason::RefreshReused, Why::Replaced),
        Refusal::SubjectNotFound => Denial::new(Reason::SubjectNotFound),
        Refusal::SubjectInactive => Denial::new(Reason::SubjectInactive),
        Refusal::AddressDenied { known } => {
            Denial::because(Reason::IpDenied, if known { Why::ClientList } else { Why::NoAddress })
        }
        Refusal::PlanDenied => Denial::new(Reason::PlanDenied),
        Refusal::NoSession => Denial::because(Reason::Forbidden, Why::TokenUse),
        Refusal::LockedOut(wait) => Denial { retry_after: Some(wait), ..Reason::LockedOut.into() },
        Refusal::RateLimited(wait) => Denial { retry_after: wait, ..Reason::RateLimited.into() },
        Refusal::Overloaded(wait) => Denial { retry_after: Some(wait), ..Reason::Overloaded.into() },
        Refusal::StoreUnavailable => Denial::because(Reason::StoreUnavailable, Why::StoreFailing),
        Refusal::KeysUnavailable => Denial::new(Reason::KeysUnavailable),
        Refusal::DirectoryUnavailable => Denial::because(Reason::DirectoryUnavailable, Why::DirectoryFailing),
        Refusal::Standard { error, text } => {
            let detail = Detail { code: Some(error), message: Some(text.into()), fields: Vec::new() };
            detailed(Reason::BadRequest, detail)
        }
        Refusal::Internal => {
            tracing::error!(realm = &*realm.realm, "a grant failed by a fault of the program or its configuration");
            Denial::new(Reason::Internal)
        }
    }
}

fn detailed(reason: Reason, detail: Detail) -> Denial {
    Denial { detail: Some(Box::new(detail)), ..reason.into() }
}

fn why(cause: Cause) -> Why {
    match cause {
        Cause::Unknown => Why::Subject,
        Cause::Password => Why::Password,
        Cause::Disabled => Why::Disabled,
        Cause::Format => Why::Format,
        Cause::Signature => Why::Signature,
        Cause::Claims => Why::Claims,
        Cause::TokenUse => Why::TokenUse,
        Cause::Revoked => Why::Revoked,
        Cause::Replaced => Why::Replaced,
        Cause::Spent => Why::Spent,
    }
}
