//! Answers to requests that never reach the engine. The connection ends with them: where one request ends and the next
//! begins is in doubt.

use std::time::Duration;

use http::StatusCode;
use pingora::protocols::Stream;
use pingora::protocols::http::date::get_cached_date;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::window::LINGER;
use crate::gate::dialect::Rendered;

/// For writing the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the answer, ends the sending side and lets the client read: closing at once while bytes arrive would make the
/// kernel reset the connection and throw the answer away.
pub(super) async fn send(mut stream: Stream, rendered: &Rendered, head_only: bool) {
    let answer = compose(rendered, head_only);
    let written = timeout(PATIENCE, async {
        stream.write_all(&answer).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(&mut stream).await
    });
    if let Ok(Ok(())) = written.await {
        // Not on the stack: every idle connection would have room for it.
        let mut chunk = vec![0; 4096];
        let rest = async { while let Ok(1..) = stream.read(&mut chunk).await {} };
        if timeout(LINGER, rest).await.is_err() {
            tracing::debug!("a refused client did not end its side in time");
        }
    }
}

fn compose(rendered: &Rendered, head_only: bool) -> Vec<u8> {
    let reason = StatusCode::from_u16(rendered.status).ok().and_then(|status| status.canonical_reason());
    let mut answer = Vec::with_capacity(512 + rendered.body.len());
    let mut field = |parts: [&[u8]; 4]| parts.into_iter().for_each(|part| answer.extend_from_slice(part));
    field([b"HTTP/1.1 ", rendered.status.to_string().as_bytes(), b" ", reason.unwrap_or_default().as_bytes()]);
    field([b"\r\nDate", b": ", get_cached_date().as_bytes(), b"\r\n"]);
    for (name, value) in &rendered.headers {
        field([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    field([b"Content-Length", b": ", rendered.body.len().to_string().as_bytes(), b"\r\nConnection: close\r\n\r\n"]);
    if !head_only {
        answer.extend_from_slice(&rendered.body);
    }
    answer
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use tokio::io::duplex;

    use super::*;

    fn rendered() -> Rendered {
        Rendered {
            status: 431,
            headers: vec![(HeaderName::from_static("x-request-id"), HeaderValue::from_static("r1"))],
            body: b"{\"code\":\"x\"}".to_vec(),
        }
    }

    #[test]
    fn a_refusal_says_its_length_and_that_the_connection_ends() {
        let answer = String::from_utf8(compose(&rendered(), false)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nDate: "), "{answer}");
        assert!(answer.contains("\r\nx-request-id: r1\r\n"));
        assert!(answer.ends_with("\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"code\":\"x\"}"), "{answer}");
        assert!(compose(&rendered(), true).ends_with(b"close\r\n\r\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_on_sending_still_reads_the_answer() {
        let (client, server) = duplex(1024);
        let (mut reader, mut writer) = tokio::io::split(client);
        let sending = tokio::spawn(async move { writer.write_all(&vec![b'x'; 1 << 20]).await.unwrap() });
        send(Box::new(server), &rendered(), false).await;
        sending.await.unwrap();
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"{\"code\":\"x\"}"));
    }
}
