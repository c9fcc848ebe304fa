//! The audit trail as a stream of server-sent events.
//!
//! Each event has its `seq` as id; a client that comes back says the last one it has (`Last-Event-ID`), and nothing
//! after it is missed. Nodes write at the same time, so that an event may become visible after one with a greater `seq`:
//! what was read lately is read again, and what was sent already is left out. After a return an event may come twice.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, header};
use http_body::Frame;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::sleep;

use super::{Connection, Refused, Served, Visitor, refuse, response, single};
use crate::admin::api::{Answer, Ask};

pub(super) const PATH: &str = "/admin/v1/audit/stream";

const LAST_EVENT_ID: http::HeaderName = http::HeaderName::from_static("last-event-id");

/// Between two looks into the store.
const EVERY: Duration = Duration::from_secs(1);

/// Something is sent at least so often: proxies on the way take a silent connection for a dead one.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Events read at once.
const PAGE: usize = 200;

/// Parts read in one look.
const MAX_PAGES: usize = 5;

/// For so many looks, what was read is read again.
const LOOKS: usize = 5;

/// What is sent to the client.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Begins a stream: the first look decides whether there is one.
pub(super) async fn open(served: &Served, parts: &Parts, visitor: Visitor, ask: Ask) -> Result<Response, Refused> {
    let request_id = ask.request_id.clone();
    let last = single(&parts.headers, &LAST_EVENT_ID, &request_id)?;
    let begin = match &last {
        Some(last) => Ask { query: behind(&ask.query, last), ..ask.clone() },
        None => ask.clone(),
    };
    let first = served.dispatch(begin, visitor.actor.clone()).await;
    let Some(after) = first.body.as_ref().filter(|_| first.status == 200).and_then(next_cursor) else {
        return Ok(response(first));
    };
    let Ok(permit) = std::sync::Arc::clone(&served.streams).try_acquire_owned() else {
        let problem = refuse(503, "too_many_streams", "too many streams are open: try again later", &request_id);
        return Ok(response(Answer { retry_after: Some(5), ..*problem }));
    };
    let (sender, receiver) = mpsc::channel(4);
    let stopping = parts.extensions.get::<Connection>().map(|connection| connection.stopping.clone());
    let mut follower = Follower::after(first.body.as_ref().map_or(after, |body| before_first(body, after)));
    let opening = format!("retry: 2000\n\n{}", follower.take(first.body.as_ref()));
    let stream = Stream { served: served.clone(), visitor, ask, follower, sender, _permit: permit };
    served.runtime.spawn(stream.run(opening, stopping));
    let mut response = Response::new(Body::new(Events(receiver)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

struct Stream {
    served: Served,
    visitor: Visitor,
    ask: Ask,
    follower: Follower,
    sender: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// Looks and sends until the client goes, the gateway stops, or the token has ended.
    async fn run(mut self, opening: String, stopping: Option<watch::Receiver<bool>>) {
        let stop = async move {
            match stopping {
                // An error means that nobody is left who could say so: the server is gone.
                Some(mut stopping) => drop(stopping.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
        };
        let gone = self.sender.clone();
        tokio::select! {
            () = stop => {}
            () = gone.closed() => {}
            () = self.send_all(opening) => {}
        }
    }

    async fn send_all(&mut self, mut text: String) {
        let mut silent = Duration::ZERO;
        loop {
            if silent >= HEARTBEAT {
                text.push_str(": nothing new\n\n");
            }
            if text.is_empty() {
                silent += EVERY;
            } else {
                silent = Duration::ZERO;
                // A client that takes nothing is gone soon: its connection ends, and this with it.
                if self.sender.send(Bytes::from(std::mem::take(&mut text))).await.is_err() {
                    return;
                }
            }
            sleep(EVERY).await;
            match self.look().await {
                Some(news) => text = news,
                None => return,
            }
        }
    }

    /// What is new; none = the token has ended. A store out of reach has nothing new.
    async fn look(&mut self) -> Option<String> {
        let Visitor { authorization, ip, .. } = &self.visitor;
        let actor = match self.served.authenticate(authorization.clone(), *ip, &self.ask.request_id).await {
            Ok(actor) => actor,
            Err(refused) if refused.status >= 500 => return Some(String::new()),
            Err(_) => return None,
        };
        let mut news = String::new();
        let mut after = self.follower.start();
        for page in 1..=MAX_PAGES {
            let query = behind(&self.ask.query, &after.to_string());
            let answer = self.served.dispatch(Ask { query, ..self.ask.clone() }, actor.clone()).await;
            match answer.status {
                200 => {}
                500.. => break,
                _ => return None,
            }
            let full = answer.body.as_ref().is_some_and(|body| events(body).count() >= PAGE);
            news.push_str(&self.follower.take(answer.body.as_ref()));
            if !full {
                self.follower.looked();
                break;
            }
            after = answer.body.as_ref().and_then(next_cursor).unwrap_or(after);
            if page == MAX_PAGES {
                // There is more than can be read again: go on from here.
                self.follower.skip();
            }
        }
        Some(news)
    }
}

/// The query with another beginning.
fn behind(query: &str, after: &str) -> String {
    let own = |pair: &&str| !matches!(pair.split('=').next(), Some("after" | "limit"));
    let mut query: String =
        query.split('&').filter(|pair| !pair.is_empty()).filter(own).flat_map(|p| [p, "&"]).collect();
    // What stands in a header is no part of a query before it is encoded.
    let after: String = after.chars().map(|c| if c.is_ascii_digit() { c } else { 'x' }).collect();
    query.push_str(&format!("after={after}&limit={PAGE}"));
    query
}

fn next_cursor(body: &Value) -> Option<i64> {
    body["next_cursor"].as_str()?.parse().ok()
}

fn events(body: &Value) -> impl Iterator<Item = &Value> {
    body["data"].as_array().into_iter().flatten()
}

/// Where to begin so that what `body` holds is new.
fn before_first(body: &Value, otherwise: i64) -> i64 {
    events(body).next().and_then(|event| event["seq"].as_i64()).map_or(otherwise, |seq| seq - 1)
}

/// What was sent, as far as it is read again.
#[derive(Debug)]
struct Follower {
    /// The greatest `seq` at the end of each of the last looks.
    looks: VecDeque<i64>,
    greatest: i64,
    /// What was sent behind the first of `looks`.
    sent: BTreeSet<i64>,
}

impl Follower {
    fn after(seq: i64) -> Self {
        Self { looks: VecDeque::from([seq]), greatest: seq, sent: BTreeSet::new() }
    }

    /// Behind this `seq` to read.
    fn start(&self) -> i64 {
        self.looks.front().copied().unwrap_or(self.greatest)
    }

    /// The events of `body` that were not sent before, as text of the stream.
    fn take(&mut self, body: Option<&Value>) -> String {
        let mut text = String::new();
        for event in body.into_iter().flat_map(events) {
            let Some(seq) = event["seq"].as_i64() else { continue };
            if self.sent.insert(seq) {
                self.greatest = self.greatest.max(seq);
                let action =
                    event["action"].as_str().filter(|action| !action.contains(['\r', '\n'])).unwrap_or("event");
                // Writing to a text cannot fail.
                writeln!(text, "id: {seq}\nevent: {action}\ndata: {event}\n").ok();
            }
        }
        text
    }

    /// A look has ended: what was read before the oldest one that counts is not read again.
    fn looked(&mut self) {
        self.looks.push_back(self.greatest);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        self.sent = self.sent.split_off(&self.start().saturating_add(1));
    }

    fn skip(&mut self) {
        *self = Self::after(self.greatest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(seqs: &[i64]) -> Value {
        let data: Vec<_> = seqs.iter().map(|seq| json!({ "seq": seq, "action": "key.created" })).collect();
        json!({ "data": data, "next_cursor": seqs.last().map(|seq| seq.to_string()) })
    }

    fn ids(text: &str) -> Vec<i64> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
    }

    #[test]
    fn an_event_that_becomes_visible_late_is_sent_and_none_twice() {
        let mut follower = Follower::after(10);
        assert_eq!(ids(&follower.take(Some(&page(&[11, 13])))), [11, 13]);
        follower.looked();
        assert!(follower.start() < 12, "{follower:?}");
        assert_eq!(ids(&follower.take(Some(&page(&[11, 12, 13, 14])))), [12, 14]);
        for _ in 0..LOOKS {
            follower.looked();
        }
        assert_eq!(follower.start(), 14);
        assert!(follower.sent.is_empty());
    }

    #[test]
    fn an_event_is_one_event_of_the_stream_whatever_stands_in_it() {
        let body = json!({ "data": [{ "seq": 1, "action": "a\nevent: b", "reason": "x\n\ndata: y\r" }] });
        let text = Follower::after(0).take(Some(&body));
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("data: ")).count(), 1, "{text}");
        assert!(!text.contains('\r') && !text.contains("event: b\n"), "{text}");
    }

    #[test]
    fn a_stream_goes_on_behind_the_last_event_and_keeps_its_filters() {
        assert_eq!(behind("realm=shop&after=3&action=key.&limit=1", "77"), "realm=shop&action=key.&after=77&limit=200");
        assert_eq!(behind("", "7&realm=x"), "after=7xxxxxxxx&limit=200");
    }
}
