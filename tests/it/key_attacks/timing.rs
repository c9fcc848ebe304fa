//! K-01: how long a refusal takes does not tell how near a text is to a key.
//!
//! No limit in microseconds: a time is a property of the machine. Two kinds of texts are asked about in turns, in one
//! run, at the gate itself, where a difference would show best; Welch's t tells whether their means differ. What is
//! slowest is left out, because a machine that does something else meanwhile makes it. Another machine's work may still
//! make a difference that is none: so there are several rounds, and a difference has to show in all of them.

use http::{HeaderMap, HeaderValue, Method};
use portcullis::clock::{Clock, Stopwatch};
use portcullis::gate::outcome::Reason;
use portcullis::gate::request::Request;
use portcullis::gate::trail::Trail;
use serde_json::json;

use super::{House, Kept, on_both};
use crate::support::gateway::Gateway;
use crate::support::keys::random;
use crate::support::realms::{api_key, key_prefix};

on_both!(k01_the_time_of_a_first_look_up_does_not_tell_how_near_a_text_is_to_a_key);

/// Beyond it two kinds of texts are told apart.
const T: f64 = 4.5;
const ROUNDS: usize = 3;

/// Texts of one kind.
type Kind<'a> = (&'static str, Box<dyn FnMut() -> String + 'a>);

/// Asks about texts of two kinds in turns, so often each.
struct Duel<'g> {
    gw: &'g Gateway,
    samples: usize,
    reason: Reason,
    /// Whether each text is asked about beforehand, so that it is known already.
    known: bool,
}

impl Duel<'_> {
    #[track_caller]
    fn is_even(&self, mut first: Kind<'_>, mut second: Kind<'_>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut found = Vec::new();
        for _ in 0..ROUNDS {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for order in random(self.samples) {
                let (one, other) = (first.1(), second.1());
                if self.known {
                    runtime.block_on(async { (self.ask(&one).await, self.ask(&other).await) });
                }
                // Which comes first must not tell either.
                let (one, other) = runtime.block_on(async {
                    if order & 1 == 0 {
                        (self.ask(&one).await, self.ask(&other).await)
                    } else {
                        let other = self.ask(&other).await;
                        (self.ask(&one).await, other)
                    }
                });
                a.push(one);
                b.push(other);
            }
            let t = welch(&mut a, &mut b);
            found.push(t);
            if t.abs() < T {
                return;
            }
        }
        panic!("{} and {} differ in time: t = {found:.1?}", first.0, second.0);
    }

    /// Nanoseconds of one decision.
    async fn ask(&self, key: &str) -> f64 {
        let engine = self.gw.engine();
        let live = engine.live.load_full();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_str(key).expect("a value"));
        let request = Request {
            method: &Method::GET,
            path: "/me/x",
            query: None,
            host: Some("api.test"),
            headers: &headers,
            peer: Some([127, 0, 0, 1].into()),
            handshake: None,
            now: self.gw.clock.now(),
        };
        let mut trail = Trail::default();
        let watch = Stopwatch::start();
        let decision = engine.gate.decide(&live.snapshot, &request, &mut trail).await;
        let taken = watch.elapsed();
        assert_eq!(decision.expect_err("it is no key").reason, self.reason, "{key}");
        taken.as_nanos() as f64
    }
}

/// Welch's t of the faster nine tenths.
fn welch(a: &mut [f64], b: &mut [f64]) -> f64 {
    let moments = |samples: &mut [f64]| {
        samples.sort_unstable_by(f64::total_cmp);
        let kept = &samples[..samples.len() * 9 / 10];
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let ((mean_a, error_a), (mean_b, error_b)) = (moments(a), moments(b));
    (mean_a - mean_b) / (error_a + error_b).sqrt().max(f64::MIN_POSITIVE)
}

/// A text with a checksum of its own that shares so many random characters with `key`.
fn near(key: &str, shared: usize) -> String {
    let prefix = key_prefix().len();
    loop {
        let text = api_key(&key[..prefix + shared]);
        // `api_key` adds 32 random characters: as many as fit are kept, and the checksum is made anew.
        let body = &text[..key.len() - 6];
        let text = with_checksum(body);
        if text != key {
            return text;
        }
    }
}

fn with_checksum(body: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut sum = crc32fast::hash(body.as_bytes());
    let mut checksum = [b'0'; 6];
    for digit in checksum.iter_mut().rev() {
        *digit = DIGITS[sum as usize % 62];
        sum /= 62;
    }
    format!("{body}{}", std::str::from_utf8(&checksum).expect("ASCII"))
}

/// All but the last three random characters of a key: enough texts are left that no two are the same.
const ALMOST: usize = 27;

#[test]
fn k01_the_time_of_a_refusal_that_is_remembered_does_not_tell_how_near_a_text_is_to_a_key() {
    let house = House::on(Kept::Sqlite);
    let key = house.key().secret;
    house.call(&key).send().ok();
    let duel = Duel { gw: &house.gw, samples: 4000, reason: Reason::KeyUnknown, known: true };
    duel.is_even(
        ("texts that differ from a key at their end", Box::new(|| near(&key, ALMOST))),
        ("texts that differ from it at their beginning", Box::new(|| near(&key, 0))),
    );
}

fn k01_the_time_of_a_first_look_up_does_not_tell_how_near_a_text_is_to_a_key(kept: Kept) {
    let house = House::on(kept);
    let key = house.key().secret;
    house.call(&key).send().ok();
    let duel = Duel { gw: &house.gw, samples: 400, reason: Reason::KeyUnknown, known: false };
    duel.is_even(
        ("texts that differ from a key at their end", Box::new(|| near(&key, ALMOST))),
        ("texts that differ from it at their beginning", Box::new(|| near(&key, 0))),
    );
}

#[test]
fn k01_the_time_of_a_wrong_checksum_does_not_tell_whether_the_rest_is_a_key() {
    let house = House::on(Kept::Sqlite);
    // Many of each kind: a processor is quicker with a text that it has just seen, whatever the text is.
    let texts = || (0..1000).map(|_| api_key(&key_prefix())).collect::<Vec<_>>();
    let (keys, others) = (texts(), texts());
    let rows: Vec<_> = keys.iter().map(|key| json!({ "key": key })).collect();
    house.admin().post("/keys/import", &json!({ "realm": "api", "owner_id": house.team, "keys": rows })).is(200);
    for key in &keys[..20] {
        house.call(key).send().ok();
    }
    let spoilt = |text: &String| {
        let last = if text.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &text[..text.len() - 1])
    };
    let (mut keys, mut others) = (keys.iter().cycle().map(spoilt), others.iter().cycle().map(spoilt));
    let duel = Duel { gw: &house.gw, samples: 4000, reason: Reason::KeyMalformed, known: false };
    duel.is_even(
        ("a key with a wrong checksum", Box::new(|| keys.next().expect("they begin again"))),
        ("another text with a wrong checksum", Box::new(|| others.next().expect("they begin again"))),
    );
}

#[test]
fn k01_the_measurement_finds_a_difference_where_there_is_one() {
    let house = House::on(Kept::Sqlite);
    let known = api_key(&key_prefix());
    // What is remembered against what is looked up: the difference that there is, and that docs/security.md tells of.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let duel = Duel { gw: &house.gw, samples: 0, reason: Reason::KeyUnknown, known: false };
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let text = near(&known, 0);
        runtime.block_on(async {
            first.push(duel.ask(&text).await);
            again.push(duel.ask(&text).await);
        });
    }
    assert!(welch(&mut first, &mut again) > T);
}
