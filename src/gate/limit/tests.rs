use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const START: UnixMillis = UnixMillis(1_763_682_354_007);

fn spec(rate: &str) -> LimitSpec {
    LimitSpec {
        name: "calls".into(),
        by: LimitBy::Client,
        rate: Rate::parse(rate).unwrap(),
        plans: vec![],
        burst: None,
        headers: LimitHeaders::RateLimit,
    }
}

fn id(id: &str) -> LimitKey<'_> {
    LimitKey::Id { issuer: None, id }
}

fn address(text: &str) -> LimitKey<'static> {
    LimitKey::Address(Some(text.parse::<IpAddr>().unwrap()))
}

/// How many of `attempts` requests at one moment pass.
fn passing(limiter: &Limiter, key: LimitKey<'_>, plan: Option<&str>, now: UnixMillis, attempts: usize) -> usize {
    (0..attempts).filter(|_| limiter.take(key, plan, now).allowed).count()
}

#[test]
fn a_rate_is_read_or_refused() {
    assert_eq!(Rate::parse("600/m"), Ok(Rate { count: 600, per: Duration::from_secs(60) }));
    assert_eq!(Rate::parse("1/d"), Ok(Rate { count: 1, per: Duration::from_secs(86_400) }));
    assert!(Rate::parse("1000000000/s").is_ok());
    for bad in [
        "",
        "600",
        "/m",
        "0/s",
        "600/",
        "600/min",
        "600/M",
        "-1/s",
        "+1/s",
        " 1/s",
        "1 /s",
        "1.5/s",
        "1000000001/s",
        "99999999999/s",
    ] {
        assert!(Rate::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_burst_passes_and_then_one_request_each_interval() {
    let limiter = Limiter::new(spec("60/m"));
    assert_eq!(passing(&limiter, id("a"), None, START, 100), 60);
    let refused = limiter.take(id("a"), None, START);
    assert_eq!(
        (refused.remaining, refused.retry_after, refused.reset),
        (0, Duration::from_secs(1), Duration::from_secs(60))
    );
    let later = START.plus(Duration::from_secs(1));
    assert_eq!(passing(&limiter, id("a"), None, later, 3), 1);
    assert_eq!(passing(&limiter, id("a"), None, START.plus(Duration::from_secs(61)), 100), 60);
}

#[test]
fn a_quota_says_what_is_left_after_the_request() {
    let limiter = Limiter::new(LimitSpec { burst: Some(3), ..spec("60/m") });
    let quota = limiter.take(id("a"), None, START);
    assert!(quota.allowed);
    assert_eq!((quota.limit, quota.remaining), (60, 2));
    assert_eq!((quota.reset, quota.retry_after), (Duration::from_secs(1), Duration::ZERO));
    assert_eq!(limiter.peek(id("a"), None, START).remaining, 2);
    assert_eq!(limiter.peek(id("a"), None, START).remaining, 2, "looking counts nothing");
    assert_eq!(limiter.peek(id("nobody"), None, START).remaining, 3);
    assert_eq!(passing(&limiter, id("a"), None, START, 5), 2);
}

#[test]
fn exactly_the_burst_passes_when_all_come_at_once() {
    let limiter = Limiter::new(LimitSpec { burst: Some(100), ..spec("1/d") });
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| passing(&limiter, id("a"), None, START, 200))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}

#[test]
fn keys_are_counted_apart_and_an_id_is_no_address() {
    let limiter = Limiter::new(spec("2/m"));
    assert_eq!(passing(&limiter, id("a"), None, START, 9), 2);
    assert_eq!(passing(&limiter, id("b"), None, START, 9), 2);
    assert_eq!(passing(&limiter, id("192.0.2.1"), None, START, 9), 2);
    assert_eq!(passing(&limiter, address("192.0.2.1"), None, START, 9), 2);
    assert_eq!(passing(&limiter, LimitKey::Address(None), None, START, 9), 2);
}

#[test]
fn addresses_of_one_subscriber_are_counted_together() {
    let limiter = Limiter::new(spec("2/m"));
    assert_eq!(passing(&limiter, address("2001:db8:0:1::1"), None, START, 9), 2);
    assert_eq!(passing(&limiter, address("2001:db8:0:1:ffff::9"), None, START, 9), 0);
    assert_eq!(passing(&limiter, address("2001:db8:0:2::1"), None, START, 9), 2);
    assert_eq!(passing(&limiter, address("192.0.2.1"), None, START, 9), 2);
    assert_eq!(passing(&limiter, address("::ffff:192.0.2.1"), None, START, 9), 0);
}

#[test]
fn a_plan_has_its_own_rate_and_an_unknown_plan_the_common_one() {
    let plans = vec![("Scale".into(), Rate::parse("5/m").unwrap())];
    let limiter = Limiter::new(LimitSpec { plans, ..spec("2/m") });
    assert_eq!(passing(&limiter, id("a"), Some("Scale"), START, 9), 5);
    assert_eq!(passing(&limiter, id("b"), Some("scale"), START, 9), 2);
    assert_eq!(passing(&limiter, id("c"), None, START, 9), 2);
    assert_eq!(limiter.peek(id("a"), Some("Scale"), START).limit, 5);
}

#[test]
fn a_clock_that_is_set_back_locks_nobody_out() {
    let limiter = Limiter::new(spec("60/m"));
    assert_eq!(passing(&limiter, id("a"), None, START, 100), 60);
    let hour_ago = UnixMillis(START.0 - 3_600_000);
    let refused = limiter.take(id("a"), None, hour_ago);
    assert!(!refused.allowed);
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    assert_eq!(passing(&limiter, id("a"), None, hour_ago.plus(Duration::from_secs(10)), 100), 10);
}

#[test]
fn a_request_that_was_held_up_gives_nothing_back() {
    let limiter = Limiter::new(spec("10/s"));
    assert_eq!(passing(&limiter, id("a"), None, START, 20), 10);
    assert!(!limiter.take(id("a"), None, UnixMillis(START.0 - 5_000)).allowed);
    assert!(!limiter.take(id("a"), None, START).allowed);
}

#[test]
fn a_reload_forgives_nobody_unless_the_rates_change() {
    let before = Limiter::new(spec("2/m"));
    assert_eq!(passing(&before, id("a"), None, START, 9), 2);
    let same = Limiter::new(LimitSpec { headers: LimitHeaders::Both, ..spec("2/m") }).adopting(&before);
    assert_eq!(passing(&same, id("a"), None, START, 9), 0);
    assert_eq!(passing(&same, id("b"), None, START, 1), 1);
    assert_eq!(passing(&before, id("b"), None, START, 9), 1, "requests that still run count with the new ones");
    assert_eq!(passing(&Limiter::new(spec("3/m")).adopting(&before), id("a"), None, START, 9), 3);
}

#[test]
fn the_header_fields_are_the_configured_ones_and_seconds_are_rounded_up() {
    let fields = |headers| {
        let limiter = Limiter::new(LimitSpec { headers, ..spec("7/m") });
        let fields = limiter.take(id("a"), None, START).fields();
        fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(fields(LimitHeaders::RateLimit), ["ratelimit-limit: 7", "ratelimit-remaining: 6", "ratelimit-reset: 9"]);
    assert_eq!(
        fields(LimitHeaders::XRateLimit),
        ["x-ratelimit-limit: 7", "x-ratelimit-remaining: 6", "x-ratelimit-reset: 9"]
    );
    assert_eq!(fields(LimitHeaders::Both).len(), 6);
}

#[test]
fn neither_ids_nor_counters_are_printed() {
    let limiter = Limiter::new(spec("2/m"));
    limiter.take(id("somebody"), None, START);
    assert!(!format!("{limiter:?}").contains("somebody"));
}

proptest! {
    #[test]
    fn never_more_pass_than_burst_and_rate_allow(
        count in 1..50_u32,
        burst in proptest::option::of(1..50_u32),
        steps in prop::collection::vec((0..3000_u64, 1..30_usize), 1..40),
    ) {
        let rate = Rate { count, per: Duration::from_secs(60) };
        let limiter = Limiter::new(LimitSpec { rate, burst, ..spec("1/m") });
        let (mut now, mut elapsed, mut passed) = (START, 0_u64, 0_u64);
        for (pause, attempts) in steps {
            now = now.plus(Duration::from_millis(pause));
            elapsed += pause;
            passed += passing(&limiter, id("a"), None, now, attempts) as u64;
            let most = u64::from(burst.unwrap_or(count)) + elapsed * u64::from(count) / 60_000 + 1;
            prop_assert!(passed <= most, "{passed} > {most}");
        }
    }

    #[test]
    fn waiting_as_long_as_told_is_always_enough(count in 1..2000_u32, burst in 1..100_u32, used in 1..200_usize) {
        let rate = Rate { count, per: Duration::from_secs(3600) };
        let limiter = Limiter::new(LimitSpec { rate, burst: Some(burst), ..spec("1/m") });
        passing(&limiter, id("a"), None, START, used);
        let quota = limiter.peek(id("a"), None, START);
        let wait = Duration::from_secs(quota::whole_seconds(quota.retry_after));
        prop_assert!(limiter.take(id("a"), None, START.plus(wait)).allowed);
    }

    #[test]
    fn no_time_and_no_rate_breaks_the_arithmetic(
        count: u32, per: Duration, burst: Option<u32>, times in prop::collection::vec(any::<i64>(), 1..20),
    ) {
        let limiter = Limiter::new(LimitSpec { rate: Rate { count, per }, burst, ..spec("1/m") });
        for time in times {
            limiter.take(id("a"), None, UnixMillis(time));
            limiter.peek(id("a"), None, UnixMillis(time));
        }
    }
}
