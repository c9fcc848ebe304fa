//! Requests for what the gateway gives to everybody.

use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use pingora::Result;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::{answer, cors};
use crate::gate::dialect::Rendered;
use crate::gate::document::Document;

/// For so long nobody needs to ask again.
const CACHED: &str = "public, max-age=300";

/// Answers a request with a document that the gate has allowed to it; with 304 where the client has it already.
///
/// # Errors
/// The client could not be written to.
pub(super) async fn give(session: &mut Session, exchange: &mut Exchange, document: &Document) -> Result<()> {
    let asked = session.req_header().headers.get_all(IF_NONE_MATCH);
    let had = asked.iter().filter_map(|value| value.to_str().ok()).any(|tags| document.is_had(tags));
    exchange.granted(None);
    let mut rendered = render(document, had, exchange);
    cors::tell_own(&exchange.trail, &session.req_header().headers, &mut rendered.headers);
    answer::give(session, rendered).await
}

fn render(document: &Document, had: bool, exchange: &mut Exchange) -> Rendered {
    let Document { media_type, body, etag } = document;
    let mut headers = vec![(CACHE_CONTROL, HeaderValue::from_static(CACHED))];
    headers.extend(HeaderValue::from_str(etag).ok().map(|etag| (ETAG, etag)));
    headers.extend(HeaderValue::from_str(exchange.id().as_str()).ok().map(|id| (answer::REQUEST_ID, id)));
    if had {
        return Rendered { status: 304, headers, body: Vec::new() };
    }
    headers.push((CONTENT_TYPE, HeaderValue::from_static(media_type)));
    headers.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    Rendered { status: 200, headers, body: body.to_vec() }
}
