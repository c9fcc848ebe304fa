//! Where header fields of CORS are put and taken away. What they say is the gate's word; on routes that have it an
//! upstream's own say nothing any more.

use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::answer;
use super::exchange::Exchange;
use crate::gate::cors::{Cors, Field, Preflight};
use crate::gate::dialect::Rendered;
use crate::gate::trail::Trail;

const ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// Answers a preflight.
///
/// # Errors
/// The client could not be written to.
pub(super) async fn answer(session: &mut Session, exchange: &mut Exchange, preflight: &Preflight) -> Result<()> {
    let mut headers = preflight.fields(&session.req_header().headers);
    headers.extend(HeaderValue::from_str(exchange.id().as_str()).ok().map(|id| (answer::REQUEST_ID, id)));
    let rendered = Rendered { status: StatusCode::NO_CONTENT.as_u16(), headers, body: Vec::new() };
    answer::give(session, rendered).await
}

/// Whether a field of an answer is the gateway's on routes with CORS.
pub(super) fn owns(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

/// Tells on an upstream's answer, out of which all of that was taken, who may read it.
///
/// # Errors
/// There are more fields than a head takes.
pub(super) fn tell(cors: &Cors, request: &HeaderMap, response: &mut ResponseHeader) -> Result<()> {
    for (name, value) in cors.fields(request) {
        response.insert_header(name, value)?;
    }
    if cors.depends_on_origin() && !response.headers.get_all(VARY).iter().any(names_origin) {
        response.append_header(VARY, ORIGIN)?;
    }
    Ok(())
}

/// The same on an answer of the gateway's own.
pub(super) fn tell_own(trail: &Trail, request: &HeaderMap, headers: &mut Vec<Field>) {
    let Some(cors) = trail.cors() else { return };
    headers.retain(|(name, _)| !owns(name));
    headers.extend(cors.fields(request));
    if cors.depends_on_origin() && !headers.iter().any(|(name, value)| *name == VARY && names_origin(value)) {
        headers.push((VARY, ORIGIN));
    }
}

/// Whether a `Vary` says already what has to be said.
fn names_origin(vary: &HeaderValue) -> bool {
    let mut names = vary.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
    names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vary_that_says_so_already_is_left_alone() {
        for said in ["Origin", "Accept-Encoding, origin", "ORIGIN ,Cookie", "*"] {
            assert!(names_origin(&HeaderValue::from_static(said)), "{said}");
        }
        for silent in ["", "Accept", "Origin-Agent-Cluster", "X-Origin"] {
            assert!(!names_origin(&HeaderValue::from_static(silent)), "{silent}");
        }
    }
}
