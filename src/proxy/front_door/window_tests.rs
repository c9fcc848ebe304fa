use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;

fn window(sent: &[u8], head: usize, shape: Shape) -> (Window, DuplexStream) {
    let (client, server) = duplex(256 * 1024);
    (Window::new(Box::new(server), BytesMut::from(sent), head, shape, Stopwatch::start()), client)
}

fn plain(length: u64) -> Shape {
    Shape { length: Some(length), upgrade: false }
}

async fn silent(window: &mut Window) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(1), window.read(&mut byte)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn the_engine_sees_its_own_request_and_not_the_next() {
    let (mut window, mut client) = window(b"HEADbod", 4, plain(5));
    client.write_all(b"y!NEXT").await.unwrap();
    let mut seen = [0; 9];
    window.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"HEADbody!");
    assert!(silent(&mut window).await);
    let (_, held) = window.close().unwrap();
    assert_eq!(&held[..], b"NEXT");
}

#[tokio::test(start_paused = true)]
async fn bytes_held_beyond_the_request_stay_held() {
    let (mut window, _client) = window(b"HEADNEXT", 4, plain(0));
    let mut seen = [0; 64];
    assert_eq!(window.read(&mut seen).await.unwrap(), 4);
    assert!(silent(&mut window).await);
    assert_eq!(&window.close().unwrap().1[..], b"NEXT");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_side_may_read_for_a_while_and_is_gone_then() {
    let (mut window, mut client) = window(b"HEAD", 4, plain(0));
    let mut seen = [0; 64];
    assert_eq!(window.read(&mut seen).await.unwrap(), 4);
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    let begun = Instant::now();
    assert!(silent(&mut window).await);
    assert_eq!(window.read(&mut seen).await.unwrap(), 0);
    assert_eq!(begun.elapsed(), FAREWELL);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_gone_while_an_answer_is_sent_to_it() {
    let (mut window, mut client) = window(b"HEAD", 4, plain(0));
    let mut seen = [0; 64];
    assert_eq!(window.read(&mut seen).await.unwrap(), 4);
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    assert!(silent(&mut window).await);
    sleep(FAREWELL - Duration::from_millis(10)).await;
    assert!(silent(&mut window).await);
    window.write_all(b"a part of the answer").await.unwrap();
    let begun = Instant::now();
    assert_eq!(window.read(&mut seen).await.unwrap(), 0);
    assert_eq!(begun.elapsed(), FAREWELL);
}

#[tokio::test(start_paused = true)]
async fn a_chunked_body_ends_where_it_ends() {
    let chunked = Shape { length: None, upgrade: false };
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for held in 4..4 + body.len() + 4 {
        let sent = format!("HEAD{body}NEXT");
        let (mut window, mut client) = window(&sent.as_bytes()[..held], 4, chunked);
        client.write_all(&sent.as_bytes()[held..]).await.unwrap();
        let mut seen = vec![0; 4 + body.len()];
        window.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, format!("HEAD{body}").as_bytes());
        assert!(silent(&mut window).await);
        assert_eq!(&window.close().unwrap().1[..], b"NEXT");
    }
}

#[tokio::test]
async fn a_chunked_body_that_is_malformed_or_unread_ends_the_connection() {
    let chunked = Shape { length: None, upgrade: false };
    let (mut malformed, _client) = window(b"HEAD5\nhello", 4, chunked);
    assert_eq!(malformed.read(&mut [0; 64]).await.unwrap(), 4);
    let error = malformed.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(malformed.close().is_none());
    let (mut unread, _client) = window(b"HEAD5\r\nhello\r\n", 4, chunked);
    unread.read_exact(&mut [0; 14]).await.unwrap();
    assert!(unread.close().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_ahead_is_bounded() {
    let (mut window, mut client) = window(b"HEAD", 4, plain(0));
    let mut seen = [0; 4];
    window.read_exact(&mut seen).await.unwrap();
    client.write_all(&vec![b'x'; 200 * 1024]).await.unwrap();
    assert!(silent(&mut window).await);
    let (_, held) = window.close().unwrap();
    assert!((AHEAD..AHEAD + 4096).contains(&held.len()), "{}", held.len());
}

#[tokio::test]
async fn a_request_that_was_not_read_ends_the_connection() {
    let (mut window, _client) = window(b"HEADbo", 4, plain(4));
    let mut seen = [0; 6];
    window.read_exact(&mut seen).await.unwrap();
    assert!(window.close().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_within_its_body_may_send_the_rest_before_the_connection_is_closed() {
    let (mut window, mut client) = window(b"HEADbody", 4, plain(1 << 20));
    let begun = Instant::now();
    let ending = tokio::spawn(async move { AsyncWriteExt::shutdown(&mut window).await.unwrap() });
    assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0);
    client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    drop(client);
    ending.await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_held_for_a_client_that_never_ends() {
    for (length, patience) in [(100, LINGER), (0, Duration::ZERO)] {
        let (mut window, _client) = window(b"HEAD", 4, plain(length));
        assert_eq!(window.read(&mut [0; 64]).await.unwrap(), 4);
        let begun = Instant::now();
        AsyncWriteExt::shutdown(&mut window).await.unwrap();
        assert!(begun.elapsed().abs_diff(patience) < Duration::from_millis(2), "{length}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_opens_with_the_answer_that_agrees() {
    let (mut window, mut client) = window(b"HEADearly", 4, Shape { length: Some(0), upgrade: true });
    let mut seen = [0; 4];
    window.read_exact(&mut seen).await.unwrap();
    assert!(silent(&mut window).await);
    window.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
    client.write_all(b" and late").await.unwrap();
    let mut seen = [0; 14];
    window.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"early and late");
}

#[tokio::test(start_paused = true)]
async fn no_tunnel_opens_for_a_request_that_did_not_ask_or_an_answer_that_declined() {
    for (upgrade, answer) in [(false, "HTTP/1.1 101 Switching Protocols\r\n\r\n"), (true, "HTTP/1.1 200 OK\r\n\r\n")] {
        let (mut window, _client) = window(b"HEADNEXT", 4, Shape { length: Some(0), upgrade });
        let mut seen = [0; 4];
        window.read_exact(&mut seen).await.unwrap();
        window.write_all(answer.as_bytes()).await.unwrap();
        assert!(silent(&mut window).await);
    }
}

/// A tunnel that has an end, the other side of it, and the end.
async fn tunnel() -> (Window, DuplexStream, Arc<End>) {
    let (mut window, mut client) = window(b"HEAD", 4, Shape { length: Some(0), upgrade: true });
    let end = Arc::<End>::default();
    let mut head = [0; 4];
    window.read_exact(&mut head).await.unwrap();
    let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    window.write_all(answer).await.unwrap();
    client.read_exact(&mut [0; 36]).await.unwrap();
    window.ends_with(&end);
    (window, client, end)
}

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_ends_at_once_when_it_is_over_and_says_so() {
    let (mut window, mut client, end) = tunnel().await;
    window.write_all(b"\x81\x05hello").await.unwrap();
    let later = Arc::clone(&end);
    let declaring = async move {
        sleep(Duration::from_secs(1)).await;
        later.declare(crate::gate::outcome::Reason::TokenExpired.into());
    };
    let mut byte = [0];
    let begun = Instant::now();
    let (read, ()) = tokio::join!(window.read(&mut byte), declaring);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    assert!(window.write_all(b"\x81\x01x").await.is_err() && window.read(&mut byte).await.is_err());
    drop(window);
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, [b"\x81\x05hello".as_slice(), &CLOSE].concat());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_within_a_frame() {
    let (mut window, mut client, end) = tunnel().await;
    window.write_all(b"\x81\x05hel").await.unwrap();
    end.declare(crate::gate::outcome::Reason::TokenExpired.into());
    assert!(window.write_all(b"lo").await.is_err());
    drop(window);
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, b"\x81\x05hel");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_over_ends_where_it_is_even_if_nobody_takes_it() {
    let (mut window, client) = window(b"HEAD", 4, plain(0));
    let end = Arc::<End>::default();
    window.ends_with(&end);
    window.read_exact(&mut [0; 4]).await.unwrap();
    // More than the client takes.
    let writing = window.write_all(&[b'x'; 512 * 1024]);
    let declaring = async {
        sleep(Duration::from_secs(1)).await;
        end.declare(crate::gate::outcome::Reason::TokenExpired.into());
    };
    let (written, ()) = tokio::join!(writing, declaring);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    drop(client);
}
