use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::frames::HEADER;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const SETTINGS: [u8; HEADER] = [0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0];

fn follow(room: usize) -> (Follower, DuplexStream, Arc<OnceLock<Breach>>) {
    let (client, server) = duplex(room);
    let breach = Arc::new(OnceLock::new());
    let held = BytesMut::from(&b"preface"[..]);
    (Follower::new(Box::new(server), held, 7, PATIENCE, Arc::clone(&breach)), client, breach)
}

/// Reads as the engine does, to the end or an error.
async fn read_all(follower: &mut Follower) -> (Vec<u8>, Option<io::ErrorKind>) {
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match follower.read(&mut chunk).await {
            Ok(0) => return (all, None),
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) => return (all, Some(error.kind())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_byte_passes_in_both_directions() {
    let (mut follower, mut client, breach) = follow(1 << 16);
    client.write_all(&SETTINGS).await.unwrap();
    follower.write_all(&SETTINGS).await.unwrap();
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    let (read, error) = read_all(&mut follower).await;
    assert_eq!((read, error), ([&b"preface"[..], &SETTINGS].concat(), None));
    drop(follower);
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, SETTINGS, "nothing is said to a client that has left");
    assert_eq!(breach.get(), None);
}

#[tokio::test(start_paused = true)]
async fn a_head_must_be_complete_in_time_however_steadily_it_arrives() {
    let (mut follower, mut client, breach) = follow(1 << 16);
    let task = tokio::spawn(async move { read_all(&mut follower).await });
    client.write_all(&SETTINGS).await.unwrap();
    sleep(Duration::from_secs(60)).await; // between frames there is no hurry
    let begun = Instant::now();
    let mut head = vec![0, 0, 200, kind::HEADERS, 4, 0, 0, 0, 1];
    head.extend([0; 200]);
    let mut farewell = Vec::new();
    for byte in head {
        client.write_all(&[byte]).await.unwrap();
        sleep(Duration::from_millis(500)).await;
        if breach.get().is_some() {
            break;
        }
    }
    assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE + Duration::from_secs(2));
    client.read_to_end(&mut farewell).await.unwrap();
    assert_eq!(farewell, frames::goaway(1, 11));
    assert_eq!(breach.get(), Some(&Breach::Slow));
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    assert_eq!(task.await.unwrap().1, Some(io::ErrorKind::ConnectionAborted));
}

#[tokio::test(start_paused = true)]
async fn settings_must_come_in_time() {
    let (mut follower, mut client, breach) = follow(1 << 16);
    let begun = Instant::now();
    let task = tokio::spawn(async move { read_all(&mut follower).await });
    let mut farewell = Vec::new();
    client.read_to_end(&mut farewell).await.unwrap();
    assert_eq!((begun.elapsed(), breach.get()), (PATIENCE, Some(&Breach::Slow)));
    drop(client);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flood_ends_with_a_word_and_nothing_of_it_is_kept() {
    let (mut follower, mut client, breach) = follow(1 << 16);
    let task = tokio::spawn(async move { read_all(&mut follower).await });
    client.write_all(&SETTINGS).await.unwrap();
    let pings = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(100_000);
    let (mut reader, mut writer) = tokio::io::split(client);
    let flood = tokio::spawn(async move { drop(writer.write_all(&pings).await) });
    let mut farewell = Vec::new();
    reader.read_to_end(&mut farewell).await.unwrap();
    assert_eq!(farewell, frames::goaway(0, 11));
    flood.await.unwrap();
    drop(reader);
    let (read, error) = task.await.unwrap();
    assert_eq!((breach.get(), error), (Some(&Breach::Flood), Some(io::ErrorKind::ConnectionAborted)));
    assert!(read.len() < 17 * 1100, "{} bytes reached the engine", read.len());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_flooding_is_listened_to_for_a_moment_only() {
    let (mut follower, mut client, _) = follow(1 << 10);
    let task = tokio::spawn(async move { read_all(&mut follower).await.1 });
    client.write_all(&[SETTINGS; 200].concat()).await.unwrap();
    let begun = Instant::now();
    let flooding = tokio::spawn(async move {
        while client.write_all(&SETTINGS).await.is_ok() && begun.elapsed() < 2 * LINGER {
            sleep(Duration::from_millis(1)).await
        }
    });
    assert_eq!(task.await.unwrap(), Some(io::ErrorKind::ConnectionAborted));
    assert!(begun.elapsed() <= LINGER + Duration::from_millis(10));
    flooding.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let (mut follower, client, breach) = follow(1 << 10);
    let begun = Instant::now();
    let error = follower.write_all(&[0; 1 << 12]).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, CLIENT_TAKES_NOTHING));
    assert_eq!(breach.get(), Some(&Breach::Stalled));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_ends_a_connection_for_is_known() {
    for (code, known) in [(0, None), (1, Some(Breach::Malformed)), (11, Some(Breach::Flood))] {
        let (mut follower, mut client, breach) = follow(1 << 16);
        for byte in frames::goaway(7, code) {
            follower.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(breach.get(), known.as_ref());
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        AsyncWriteExt::shutdown(&mut follower).await.unwrap();
        drop(follower);
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, frames::goaway(7, code), "it was said once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_idle_says_so() {
    let (follower, mut client, _) = follow(1 << 16);
    drop(follower);
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, frames::goaway(0, 0));
}
