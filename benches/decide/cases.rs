//! What is measured.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use http::Method;
use portcullis::clock::{Clock, Stopwatch, SystemClock};
use portcullis::gate::headers::{Asked, Forwarding, apply};
use portcullis::gate::outcome::{Denial, Permit, Reason};
use portcullis::gate::request::RequestId;
use portcullis::gate::trail::Trail;
use portcullis::telemetry::{Ending, Outcome, Telemetry};

use crate::NOW;
use crate::gauge::Case;
use crate::stand::{API_KEY, Call, ISSUERS, PREFIX, Size, Stand, WORKLOAD, bearer};
use crate::token::{Token, flip_signature_bit};

const ORDER: &str = "/v1/orders/4711";

/// A token as identity providers make them.
fn token(issuer: &str) -> Token {
    ISSUERS[issuer]
        .token()
        .scope("openid profile orders:read orders:write")
        .claim("client_id", "web-frontend")
        .claim("tenant", "acme")
        .claim("plan", "growth")
        .claim("roles", vec!["clerk"])
}

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    let cached = Stand::new(Size { cache: true, routes: 10, networks: 10, ..Size::default() });
    let uncached = Stand::new(Size { routes: 10, networks: 10, ..Size::default() });
    let mut cases = allowed(cached, uncached);
    cases.extend(larger());
    cases.extend(stored());
    cases.extend(refused(cached));
    cases.extend(around(cached));
    cases
}

fn allowed(cached: &'static Stand, uncached: &'static Stand) -> Vec<Case> {
    let jwt = |name: &str, stand, issuer| decision(name, stand, ORDER, Some(token(issuer).sign()));
    let hs256 = || Some(token("HS256").sign());
    vec![
        jwt("HS256, cached", cached, "HS256"),
        jwt("RS256, cached", cached, "RS256"),
        decision("API key", cached, ORDER, Some(API_KEY.expose().to_owned())),
        certificate("certificate", cached),
        certificate("certificate, first sight", uncached),
        decision("public route", cached, "/open/a/b", None),
        decision("HS256, cached, rate limit", cached, "/v1/limited/4711", hs256()),
        jwt("HS256, first sight", uncached, "HS256"),
        jwt("RS256, first sight", uncached, "RS256"),
        jwt("ES256, first sight", uncached, "ES256"),
        jwt("EdDSA, first sight", uncached, "EdDSA"),
    ]
}

fn larger() -> Vec<Case> {
    let large = Stand::new(Size { cache: true, routes: 1000, networks: 100_000, keys: 50_000, ..Size::default() });
    let guarded = Stand::new(Size { cache: true, server: "failure_limit = \"1000000000/s\"", ..Size::default() });
    let small = Stand::new(Size { cache: true, networks: 10, ..Size::default() });
    let hs256 = || Some(token("HS256").sign());
    vec![
        decision("HS256, cached, 1000 routes", large, ORDER, hs256()),
        decision("HS256, cached, failure limit", guarded, ORDER, hs256()),
        decision("API key of 50,000", large, ORDER, Some(API_KEY.expose().to_owned())),
        decision("HS256, cached, 10 networks", small, "/v1/near/4711", hs256()),
        decision("HS256, cached, 100,000 networks", large, "/v1/near/4711", hs256()),
    ]
}

/// Keys of a store that knows a million. Under `cargo test` fewer will do.
fn stored() -> Vec<Case> {
    let (stored, hot) = if cfg!(debug_assertions) { (1000, 100) } else { (1_000_000, 100_000) };
    let stand = |stored, hot| Stand::new(Size { cache: true, routes: 10, stored, hot, ..Size::default() });
    let one = stand(1, 1);
    let in_turn = |stored, hot| in_turn(&format!("stored key, {hot} hot of {stored}"), stand(stored, hot));
    vec![
        decision("stored key", one, ORDER, Some(one.hot[0].expose().to_owned())),
        in_turn(hot, hot),
        in_turn(stored, hot),
    ]
}

/// Decisions that allow, with one stored key after the other.
fn in_turn(name: &str, stand: &'static Stand) -> Case {
    let credentials: Vec<_> = stand.hot.iter().map(|text| text.expose().to_owned()).collect();
    let headers: Vec<_> = credentials.iter().map(|text| bearer(text)).collect();
    let mut turns = (0..headers.len()).cycle();
    let (mut call, mut idle) = (Call::get(ORDER), Call::get(ORDER));
    let mut present = move |call: &mut Call| turns.next().into_iter().for_each(|turn| call.present(&headers[turn]));
    let mut present_only = present.clone();
    let run = Box::new(move || {
        present(&mut call);
        let mut trail = Trail::default();
        black_box(stand.decide(black_box(&call), &mut trail)).expect("a permit");
        black_box(&trail);
    });
    Case {
        name: name.to_owned(),
        credentials,
        overhead: Some(Box::new(move || present_only(black_box(&mut idle)))),
        run,
    }
}

fn refused(stand: &'static Stand) -> Vec<Case> {
    let bad = flip_signature_bit(&token("HS256").sign(), 7);
    let bad_rs = flip_signature_bit(&token("RS256").sign(), 7);
    let unknown = portcullis::gate::verify::api_key::PlainKey::generate(PREFIX).expect("randomness");
    let malformed = format!("{PREFIX}0123456789012345678901234567890000000");
    let denied = |name: &str, call: Call, reason| {
        let mut run = ready(stand, call, Some(reason));
        run();
        Case { name: format!("refused: {name}"), credentials: Vec::new(), overhead: None, run }
    };
    let order = || Call::get(ORDER);
    vec![
        denied("no credential", order(), Reason::MissingCredentials),
        denied("bad HS256 signature", order().bearer(&bad), Reason::TokenInvalid),
        denied("bad RS256 signature", order().bearer(&bad_rs), Reason::TokenInvalid),
        denied("no token at all", order().bearer("no-token-at-all"), Reason::TokenInvalid),
        denied("malformed key", order().bearer(&malformed), Reason::KeyMalformed),
        denied("unknown key", order().bearer(unknown.expose()), Reason::KeyUnknown),
        denied("scope lacking", order().bearer(&token("HS256").scope("profile").sign()), Reason::InsufficientScope),
        denied("unknown host", order().host("other.example.com"), Reason::UnknownHost),
        denied("no route", Call::get("/v2/orders/4711"), Reason::NoRoute),
        denied("wrong method", order().method(Method::DELETE), Reason::MethodNotAllowed),
        denied("denied address", Call::get("/v1/near/1").peer([198, 51, 100, 1]), Reason::IpDenied),
    ]
}

/// A decision that allows.
fn decision(name: &str, stand: &'static Stand, path: &str, credential: Option<String>) -> Case {
    let mut call = Call::get(path);
    if let Some(credential) = &credential {
        call = call.bearer(credential);
    }
    let run = ready(stand, call, None);
    Case { name: name.to_owned(), credentials: credential.into_iter().collect(), overhead: None, run }
}

/// A decision that allows the client of a certificate.
fn certificate(name: &str, stand: &'static Stand) -> Case {
    let call = Call::get(ORDER).certificate(&format!("uri:{WORKLOAD}"));
    Case { name: name.to_owned(), credentials: Vec::new(), overhead: None, run: ready(stand, call, None) }
}

/// Decides about `call`, after making sure that the decision is the expected one.
fn ready(stand: &'static Stand, call: Call, reason: Option<Reason>) -> Box<dyn FnMut()> {
    for _ in 0..2 {
        let decision = stand.decide(&call, &mut Trail::default());
        assert_eq!(decision.map(drop).map_err(|denial| denial.reason), reason.map_or(Ok(()), Err), "{call:?}");
    }
    Box::new(move || {
        let mut trail = Trail::default();
        black_box(stand.decide(black_box(&call), &mut trail)).ok();
        black_box(&trail);
    })
}

/// What else happens to each request.
fn around(stand: &'static Stand) -> Vec<Case> {
    let call = Call::get(ORDER).bearer(&token("HS256").sign());
    let mut trail = Trail::default();
    let permit = stand.decide(&call, &mut trail).expect("a permit");
    let case = |name: &str, run: Box<dyn FnMut()>| Case {
        name: name.to_owned(),
        credentials: Vec::new(),
        overhead: None,
        run,
    };

    let asserting = Stand::new(Size { cache: true, asserts: true, ..Size::default() });
    let asserted = asserting.decide(&call, &mut Trail::default()).expect("a permit");
    let apply = applying("headers::apply, 12 fields", &call, permit);
    let assert = applying("headers::apply, 12 fields and an assertion (ES256)", &call, asserted);

    let id = RequestId::generate(NOW);
    let denial = Denial::new(Reason::TokenInvalid);
    let dialect = &stand.snapshot.realms[0].dialect;
    let render = case("Dialect::render", Box::new(move || drop(black_box(dialect.render(black_box(&denial), &id)))));

    let trail: &'static Trail = Box::leak(Box::new(trail));
    vec![
        apply,
        assert,
        render,
        case("telemetry, metrics only", telemetry(stand, trail, false)),
        case("telemetry, metrics and access log", telemetry(stand, trail, true)),
        case("RequestId::generate", Box::new(|| drop(black_box(RequestId::generate(NOW))))),
        case("SystemClock::now", Box::new(|| _ = black_box(SystemClock.now()))),
        case("Stopwatch, start to elapsed", Box::new(|| _ = black_box(Stopwatch::start().elapsed()))),
        case("Trail::default, dropped", Box::new(|| drop(black_box(Trail::default())))),
    ]
}

fn applying(name: &str, call: &Call, permit: Permit) -> Case {
    let (headers, copied) = (call.headers.clone(), call.headers.clone());
    let (id, peer) = (RequestId::generate(NOW), Some(call.peer));
    Case {
        name: name.to_owned(),
        credentials: Vec::new(),
        overhead: Some(Box::new(move || drop(black_box(copied.clone())))),
        run: Box::new(move || {
            let mut headers = headers.clone();
            let asked = Asked { method: &Method::GET, path: ORDER, request_id: &id, now: NOW };
            let forwarding = Forwarding { peer, scheme: "http", host: "api.example.com", asked };
            apply(black_box(&permit), &forwarding, &mut headers).expect("room");
            black_box(&headers);
        }),
    }
}

fn telemetry(stand: &'static Stand, trail: &'static Trail, access_log: bool) -> Box<dyn FnMut()> {
    let telemetry = Telemetry::new(NOW, access_log.then(|| Box::new(io::sink()) as _)).expect("telemetry");
    let handles = telemetry.prepare(&stand.snapshot);
    let id = RequestId::generate(NOW);
    Box::new(move || {
        let ending = Ending {
            at: NOW,
            request_id: &id,
            trail,
            outcome: Outcome::Forwarded,
            status: 200,
            method: "GET",
            path: ORDER,
            server: Some("127.0.0.1:9"),
            bytes_in: 0,
            bytes_out: 1234,
            duration: Duration::from_micros(700),
            upstream: Some(Duration::from_micros(600)),
            http_version: "1.1",
            user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
            peer: trail.peer_ip.map(|ip| (ip, 50_000).into()),
        };
        telemetry.record(&handles, black_box(&ending));
    })
}
