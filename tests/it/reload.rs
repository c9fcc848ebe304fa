//! A changed configuration while requests run: what takes effect and from when, what stays, what is refused whole.

use std::fs;
use std::os::unix::fs::symlink;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis::clock::Stopwatch;

use super::support::caller::{Call, Reply};
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::issuer::{Issuer, JWKS};
use super::support::keys::Key;
use super::support::realms::{Standard, key_digest};
use super::support::token::{Issues, Signer};
use super::support::upstream::{Respond, Upstream};

const REALM: &str = "realms/realm0.toml";

/// How often the watching gateways of these tests look at their files.
const OFTEN: Duration = Duration::from_millis(10);

struct House {
    gw: Gateway,
    upstream: Upstream,
    standard: Standard,
}

impl House {
    fn start() -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        Self { gw: Gateway::standard(&standard, &upstream), upstream, standard }
    }

    fn watching() -> Self {
        let (upstream, standard) = (Upstream::start(), Standard::new());
        let gw = Gateway::builder().standard(&standard).upstream(&upstream).watch_every(OFTEN).start();
        Self { gw, upstream, standard }
    }

    /// Replaces `from` by `to` in the realm's file.
    #[track_caller]
    fn edit(&self, from: &str, to: &str) {
        let text = self.gw.realm_file();
        assert!(text.contains(from), "{from} is not in\n{text}");
        self.gw.rewrite(REALM, &text.replace(from, to));
    }

    fn alice(&self) -> String {
        self.standard.alice().sign()
    }

    fn me(&self) -> Call {
        self.gw.get("/me/x").bearer(&self.alice())
    }
}

/// Another realm in a file of its own.
fn realm(name: &str, upstream: &Upstream) -> String {
    let address = upstream.addr();
    format!(
        "realm = \"{name}\"\nhosts = [\"{name}.test\"]\nupstream = \"http://{address}\"\n\n\
         [[routes]]\npath = \"/**\"\nauth = [\"public\"]\n"
    )
}

#[test]
fn thirty_seconds_of_load_with_a_reload_every_second_fail_no_request() {
    const SECONDS: u64 = 30;
    let (upstream, issuer) = (Upstream::start(), Issuer::start());
    let standard = Standard::new().with_jwks(&issuer);
    let gw = Gateway::standard(&standard, &upstream);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let foreign = issuer.signer().token().sign();
    let calls = [
        (gw.get("/me/house").bearer(&standard.alice().sign()), 200),
        (gw.get("/me/foreign").bearer(&foreign), 200),
        (gw.get("/campaigns/key").header("x-api-key", &standard.partner_key), 200),
        (gw.call("POST", "/public/body").body("some text"), 200),
        (gw.get("/me/nobody"), 401),
        (gw.get("/admin/scope").bearer(&foreign), 403),
        (gw.get("/me/forged").bearer(&standard.alice().signed_with(&Key::hmac(32), standard.house.alg).sign()), 401),
    ];
    let check = |reply: Option<Reply>, status: u16, call: &Call| {
        let reply = reply.unwrap_or_else(|| panic!("no answer to {call:?}"));
        assert_eq!(reply.status, status, "{call:?}: {reply:?}");
        count.fetch_add(1, Ordering::Relaxed);
        reply
    };
    let stopped = || stop.load(Ordering::Relaxed);
    let kept = |turn: usize| {
        let mut connection = gw.caller().connect();
        for (call, status) in calls.iter().cycle().skip(turn).take_while(|_| !stopped()) {
            let reply = check(connection.try_send_raw(call.bytes()), *status, call);
            assert!(!reply.says_close(), "a reload is no reason to close: {reply:?}");
        }
    };
    let anew = |turn: usize| {
        for (call, status) in calls.iter().cycle().skip(turn).take_while(|_| !stopped()) {
            check(gw.caller().try_send_raw(call.bytes()), *status, call);
        }
    };
    let text = gw.realm_file();
    std::thread::scope(|scope| {
        let mut loads: Vec<_> = (0..4).map(|turn| scope.spawn(move || kept(turn))).collect();
        loads.extend((0..2).map(|turn| scope.spawn(move || anew(turn))));
        // What fails here must not leave the load running.
        let reloads = scope.spawn(|| {
            for second in 1..=SECONDS {
                std::thread::sleep(Duration::from_secs(1)); // the measure of this test, nothing is waited for
                gw.rewrite(REALM, &format!("{text}\n[[routes]]\npath = \"/v{second}\"\nauth = [\"public\"]\n"));
                assert_eq!(gw.reload_from_source(), Ok(second + 1));
                gw.get(&format!("/v{second}")).send().ok();
                gw.get(&format!("/v{}", second - 1)).send().denied("no_route");
                assert_eq!(upstream.faults(), [""; 0]);
                upstream.forget();
            }
        });
        eventually_within(Duration::from_secs(SECONDS * 3), || {
            reloads.is_finished() || loads.iter().any(|l| l.is_finished())
        });
        stop.store(true, Ordering::Relaxed);
        reloads.join().expect("every reload took effect");
        loads.into_iter().for_each(|load| load.join().expect("no request failed"));
    });
    let total = count.into_inner();
    println!("{total} requests in {SECONDS} s with {SECONDS} reloads, none failed");
    assert!(total > 30 * SECONDS, "{total}");
    assert_eq!(issuer.hits(JWKS), 1, "keys that were fetched are kept");
    assert_eq!(gw.metric("portcullis_config_reloads_total", &[("result", "ok")]), 30.0);
}

fn eventually_within(time: Duration, probe: impl Fn() -> bool) {
    let watch = Stopwatch::start();
    while !probe() && watch.elapsed() < time {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn f14_a_bad_file_leaves_the_configuration_in_force_whole() {
    let house = House::start();
    let good = house.gw.realm_file();
    let with = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    let more = |text: &str| format!("{good}{text}").into_bytes();
    let realm = house.gw.directory().join(REALM);
    let main = house.gw.directory().join("portcullis.toml");
    let good_main = fs::read_to_string(&main).expect("the file");
    fs::create_dir(house.gw.directory().join("realms/directory")).expect("a directory");
    let route =
        |rule: &str| more(&format!("\n[[routes]]\nname = \"new\"\npath = \"/new/**\"\nauth = [\"public\"]\n{rule}\n"));
    let secret = |reference: &str| with("secret = { env = \"HOUSE_SECRET\" }", &format!("secret = {reference}"));
    let mut large = good.clone().into_bytes();
    large.resize(10 << 20, b'#');
    // What stands in the realm's file; the place that is told and how its problem begins.
    let list = "\n[[routes]]\npath = \"/new/**\"\nauth = [\"jwt\"]\n";
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("syntax", with("name = \"me\"", "name = \"me"), "\npath = \"/me/", " not TOML: "),
        ("not UTF-8", [b"# \xff\n", good.as_bytes()].concat(), "", " is not UTF-8 (line 1)"),
        ("unknown key", with("name = \"me\"", "nmae = \"me\""), "nmae", " routes[2].nmae: unknown key"),
        ("missing list", route("allow_ips_file = \"none\""), "\"none\"", " routes[10].allow_ips_file: the file "),
        ("missing secret file", secret("{ file = \"none\" }"), "{ file = \"none", " issuers[0].keys.secret"),
        ("missing environment", secret("{ env = \"NONE\" }"), "{ env = \"NONE", " issuers[0].keys.secret"),
        ("a directory as secret", secret("{ file = \"directory\" }"), "{ file = \"dir", " issuers[0].keys.secret"),
        ("host bits", route("allow_ips = [\"10.0.0.1/8\"]"), "\"10.0.0.1/8\"", " routes[10].allow_ips[0]: "),
        ("no network", route("deny_ips = [\"10.0.0.0/33\"]"), "\"10.0.0.0/33\"", " routes[10].deny_ips[0]: "),
        ("two routes", [route(""), list.into()].concat(), "", ""),
        ("too large", large, "", " is larger than 8388608 bytes"),
        ("empty", Vec::new(), "", ""),
    ];
    let refuse = |what: &str, beginning: &str, refused: &mut f64| {
        let problems = house.gw.reload_from_source().expect_err(what);
        let told = problems.to_string();
        assert!(told.starts_with(beginning), "{what}: expected {beginning}, got {told}");
        *refused += 1.0;
        assert_eq!(house.gw.metric("portcullis_config_reloads_total", &[("result", "refused")]), *refused, "{what}");
        assert_eq!(house.gw.metric("portcullis_config_last_reload_success", &[]), 0.0, "{what}");
        assert_eq!(house.gw.generation(), 1, "{what}");
        house.me().send().ok();
        house.gw.get("/me/x").header("x-api-key", &house.standard.partner_key).send().ok();
        house.gw.get("/new/x").send().denied("no_route");
    };
    let mut refused = 0.0;
    for (what, text, place, beginning) in &cases {
        fs::write(&realm, text).expect("written");
        let file = realm.display();
        let at = match String::from_utf8_lossy(text).find(place).filter(|_| !place.is_empty()) {
            Some(at) => {
                let before = String::from_utf8_lossy(&text[..at]).into_owned();
                let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
                format!("{file}:{}:{column}:{beginning}", before.matches('\n').count() + 1)
            }
            None if beginning.is_empty() => format!("{file}:"),
            None => format!("{file}:{beginning}"),
        };
        refuse(what, &at, &mut refused);
    }
    fs::remove_file(&realm).expect("removed");
    refuse("no realm", &format!("{}:1:1: there is no realm", main.display()), &mut refused);
    fs::write(&realm, &good).expect("written");

    let twin = house.gw.directory().join("realms/twin.toml");
    fs::write(&twin, good.replace("api.test", "twin.test")).expect("written");
    refuse("duplicate realm", &format!("{}:2:9: realm: another realm is called \"api\"", twin.display()), &mut refused);
    fs::remove_file(&twin).expect("removed");
    fs::write(&main, format!("{good_main}\n[nonsense]\n")).expect("written");
    refuse("main file", &format!("{}:", main.display()), &mut refused);
    fs::remove_file(&main).expect("removed");
    refuse("no main file", &format!("{}: server.listen: takes effect at start only", realm.display()), &mut refused);

    fs::write(&main, &good_main).expect("written");
    assert_eq!(house.gw.reload_from_source(), Ok(2));
    assert_eq!(house.gw.metric("portcullis_config_last_reload_success", &[]), 1.0);
    assert_eq!(house.gw.metric("portcullis_config_reloads_total", &[("result", "ok")]), 1.0);
}

#[test]
fn f14_a_file_that_changes_while_it_is_read_is_taken_whole_or_not_at_all() {
    let house = House::start();
    let good = house.gw.realm_file();
    // The first line and the last must come from the same writing.
    let version = |name: &str| {
        good.replacen("realm = \"api\"", &format!("# {name}\nrealm = \"api\""), 1)
            + &format!("\n[[routes]]\nname = \"{name}\"\npath = \"/{name}/**\"\nauth = [\"public\"]\n")
            + &format!(
                "[[routes]]\nname = \"{name}-too\"\npath = \"/too/{name}/**\"\nauth = [\"public\"]\nlimits = [\n\"tight\" ]\n"
            )
    };
    let (one, two) = (version("one"), version("two"));
    let path = house.gw.directory().join(REALM);
    let stop = AtomicBool::new(false);
    fs::write(&path, &one).expect("written");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for text in [&one, &two].into_iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                // In two steps, as editors do; the half is no TOML.
                for part in [&text[..text.len() - 12], text] {
                    fs::write(&path, part).expect("written");
                    std::thread::sleep(Duration::from_millis(1)); // the pace of the writer, nothing is waited for
                }
            }
        });
        let (mut taken, mut refused) = (0, 0);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            eventually("files were taken and refused", || {
                match house.gw.reload_from_source() {
                    Ok(_) => {
                        taken += 1;
                        let there = |name: &str| house.gw.get(&format!("/{name}/x")).send().status != 404;
                        assert_ne!(there("one"), there("two"));
                        let too = |name: &str| there(&format!("too/{name}"));
                        assert_eq!((there("one"), there("two")), (too("one"), too("two")));
                    }
                    Err(_) => refused += 1,
                }
                house.me().send().ok();
                (taken > 20 && refused > 20).then_some(())
            });
        }));
        stop.store(true, Ordering::Relaxed);
        // Only now: the writer must have been told to stop.
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn f16_what_is_removed_is_gone_for_the_next_request_although_caches_are_hot() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let filed = Signer::new("https://filed.test", Key::hmac(32));
    let extra = format!(
        "[[issuers]]\nname = \"filed\"\nissuer = \"{}\"\naudience = [\"api\"]\nalgorithms = [\"HS256\"]\n\
         keys = {{ secret = {{ file = \"secret\" }} }}\n\
         [[routes]]\npath = \"/removed/**\"\nauth = [\"jwt\"]\n\
         [[routes]]\npath = \"/rated/**\"\nauth = [\"jwt\"]\nscopes = [\"campaigns:write\"]\n",
        filed.issuer
    );
    let builder = Gateway::builder().server_toml("trusted_proxies = [\"127.0.0.0/8\"]");
    let builder = builder.standard_with(&standard, &extra).file("realms/secret", filed.key.secret());
    let gw = builder.realm_toml(&realm("other", &upstream)).upstream(&upstream).start();
    let house = House { gw, upstream, standard };
    let gw = &house.gw;
    let good = gw.realm_file();
    let mut connection = gw.caller().connect();
    let mut say = |call: &Call| call.send_on(&mut connection);
    let key = gw.get("/me/key").header("x-api-key", &house.standard.partner_key);
    let other = gw.get("/x").host("other.test");
    let removed = gw.get("/removed/x").bearer(&house.alice());
    let filed_token = gw.get("/me/filed").bearer(&filed.token().sign());
    let editor =
        gw.get("/rated/x").bearer(&house.standard.alice().claim("roles", serde_json::json!(["editor"])).sign());
    let editor = Call::clone(&editor);
    let behind = gw.get("/public/x").header("X-Forwarded-For", "203.0.113.9");
    let address = |reply: &Reply| gw.line_of(reply)["client_ip"].clone();
    for _ in 0..3 {
        for call in [&key, &other, &removed, &filed_token] {
            say(call).ok();
        }
        assert_eq!(address(&say(&behind)), "203.0.113.9");
    }
    let cached = gw.metric("portcullis_cache_requests_total", &[("result", "hit")]);
    assert!(cached >= 4.0, "the cache is hot: {cached}");

    let reload = |generation: u64| assert_eq!(gw.reload_from_source(), Ok(generation));
    let digest = key_digest(&house.standard.partner_key);
    gw.rewrite(REALM, &good.replace(&digest, &key_digest("another key")));
    reload(2);
    say(&key).denied("key_unknown");
    say(&removed).ok();
    gw.rewrite(REALM, &good.replace("/removed/**", "/renamed/**"));
    reload(3);
    say(&removed).denied("no_route");
    say(&key).ok();
    gw.rewrite("realms/secret", "another secret, which is long enough for the hash");
    reload(4);
    let refused = say(&filed_token).denied("token_invalid");
    assert_eq!(gw.why(&refused), "token_invalid:signature");
    gw.rewrite(REALM, &good.replace("name = \"filed\"", "name = \"filed\"\nmax_ttl = \"10s\""));
    fs::write(gw.directory().join("realms/secret"), filed.key.secret()).expect("written");
    reload(5);
    let refused = say(&filed_token).denied("token_invalid");
    assert_eq!(gw.why(&refused), "token_invalid:lifetime");
    gw.rewrite(REALM, &good.replace("audience = [\"api\"]", "audience = [\"elsewhere\"]"));
    reload(6);
    let refused = say(&filed_token).denied("token_invalid");
    assert_eq!(gw.why(&refused), "token_invalid:audience");
    fs::remove_file(gw.directory().join("realms/realm1.toml")).expect("removed");
    gw.rewrite(REALM, &good);
    reload(7);
    say(&other).denied("unknown_host");
    say(&filed_token).ok();
    let main = fs::read_to_string(gw.directory().join("portcullis.toml")).expect("the file");
    gw.rewrite("portcullis.toml", &main.replace("trusted_proxies = [\"127.0.0.0/8\"]", ""));
    reload(8);
    assert_eq!(address(&say(&behind)), "127.0.0.1");

    // A role that grants less counts for a token that is in the cache.
    say(&editor).ok();
    gw.rewrite(
        REALM,
        &good.replace("editor = [\"campaigns:read\", \"campaigns:write\"]", "editor = [\"campaigns:read\"]"),
    );
    reload(9);
    say(&editor).denied("insufficient_scope");
}

#[test]
fn f17_a_tightening_that_fails_is_seen_in_metric_log_and_admin_page() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let served = Gateway::builder().standard(&standard).upstream(&upstream).serve();
    let realm = served.directory().join(REALM);
    let good = fs::read_to_string(&realm).expect("the realm");
    let since = served.metric("portcullis_config_last_reload_success_timestamp_seconds ").expect("a time");
    let tight = good.replacen("auth = [\"public\"]", "auth = [\"jwt\"]\nallow_ips = [\"10.0.0.1/8\"]", 1);
    fs::write(&realm, tight).expect("written");
    // Nobody tells it: the file is noticed.
    let line = served.says("the configuration was refused; the one in force stays");
    assert_eq!((&line["level"], &line["generation"], &line["count"]), (&"ERROR".into(), &1.into(), &1.into()));
    let told = line["problems"].as_str().expect("a text");
    assert!(told.starts_with(&format!("{}:34:14: routes[0].allow_ips[0]: ", realm.display())), "{told}");
    assert_eq!(served.metric("portcullis_config_last_reload_success "), Some(0.0));
    assert_eq!(served.metric("portcullis_config_last_reload_success_timestamp_seconds "), Some(since));
    assert_eq!(served.metric("portcullis_config_reloads_total{result=\"refused\"}"), Some(1.0));
    assert_eq!(served.admin_get("/readyz").ok().json()["generation"], 1);
    served.get("/public/x").send().ok();
    fs::write(&realm, good.replacen("auth = [\"public\"]", "auth = [\"jwt\"]", 1)).expect("written");
    eventually("the right one is taken", || (served.get("/public/x").send().status == 401).then_some(()));
    assert_eq!(served.metric("portcullis_config_last_reload_success "), Some(1.0));
}

#[test]
fn a_changed_setting_that_needs_a_restart_refuses_the_whole_reload_and_is_named() {
    let house = House::start();
    let main = fs::read_to_string(house.gw.directory().join("portcullis.toml")).expect("the file");
    house.edit("path = \"/jwt/**\"", "path = \"/renamed/**\"");
    for (key, from, to) in [
        ("server.listen", "listen = [{ address = \"127.0.0.1:0\" }]", "listen = [{ address = \"127.0.0.2:0\" }]"),
        ("server.threads", "[server]", "[server]\nthreads = 7"),
        ("server.header_timeout", "[server]", "[server]\nheader_timeout = \"7s\""),
        ("server.handshake_timeout", "[server]", "[server]\nhandshake_timeout = \"7s\""),
        ("server.idle_timeout", "[server]", "[server]\nidle_timeout = \"7s\""),
        ("server.shutdown_delay", "[server]", "[server]\nshutdown_delay = \"7s\""),
        ("server.shutdown_grace", "[server]", "[server]\nshutdown_grace = \"7s\""),
        (
            "admin.listen",
            "[admin]\nlisten = { address = \"127.0.0.1:0\" }",
            "[admin]\nlisten = { address = \"127.0.0.2:0\" }",
        ),
        ("log.format", "[admin]", "[log]\nformat = \"text\"\n[admin]"),
        ("log.level", "[admin]", "[log]\nlevel = \"warn\"\n[admin]"),
        ("log.access", "[admin]", "[log]\naccess = false\n[admin]"),
        ("cache.tokens", "[admin]", "[cache]\ntokens = \"1MiB\"\n[admin]"),
    ] {
        assert!(main.contains(from), "{from} is not in {main}");
        house.gw.rewrite("portcullis.toml", &main.replace(from, to));
        let told = house.gw.reload_from_source().expect_err(key).to_string();
        let file = house.gw.directory().join("portcullis.toml");
        assert_eq!(
            told,
            format!(
                "{}: {key}: takes effect at start only: restart the gateway, or take the change back\n",
                file.display()
            )
        );
        assert_eq!(house.gw.generation(), 1);
        house.gw.get("/jwt/x").bearer(&house.alice()).send().ok();
        house.gw.get("/renamed/x").bearer(&house.alice()).send().denied("no_route");
    }
    // What else stands in that file may change.
    house.gw.rewrite("portcullis.toml", &main.replace("[server]", "[server]\nmax_target = \"1KiB\""));
    assert_eq!(house.gw.reload_from_source(), Ok(2));
    house.gw.get(&format!("/public/{}", "x".repeat(1100))).send().denied("uri_too_long");
    house.gw.get("/renamed/x").bearer(&house.alice()).send().ok();
}

#[test]
fn changes_are_noticed_by_contents_and_once() {
    let house = House::watching();
    let gw = &house.gw;
    let generation = |wanted: u64| eventually("the change is in force", || (gw.generation() >= wanted).then_some(()));
    house.edit("path = \"/jwt/**\"", "path = \"/one/**\"");
    generation(2);
    gw.get("/one/x").bearer(&house.alice()).send().ok();

    // A new realm, a changed one, a removed one.
    gw.rewrite("realms/other.toml", &realm("other", &house.upstream));
    generation(3);
    gw.get("/x").host("other.test").send().ok();
    gw.rewrite("realms/other.toml", &realm("other", &house.upstream).replace("other.test", "another.test"));
    generation(4);
    gw.get("/x").host("another.test").send().ok();
    fs::remove_file(gw.directory().join("realms/other.toml")).expect("removed");
    generation(5);
    gw.get("/x").host("another.test").send().denied("unknown_host");

    // What is the same, and what is no part of it, does not count; what follows does, and takes the next number.
    gw.rewrite(REALM, &gw.realm_file());
    gw.rewrite("realms/.hidden.toml", "rubbish");
    gw.rewrite("realms/notes.txt", "rubbish");
    gw.rewrite("realms/lists/office", "127.0.0.0/8\n");
    house.edit("allow_ips = [\"127.0.0.2\"]", "allow_ips_file = \"lists/office\"");
    generation(6);
    gw.get("/near/x").bearer(&house.alice()).send().ok();
    gw.rewrite("realms/lists/office", "127.0.0.2/32\n");
    generation(7);
    gw.get("/near/x").bearer(&house.alice()).send().denied("ip_denied");
    assert_eq!(gw.generation(), 7);
    assert_eq!(gw.metric("portcullis_config_reloads_total", &[("result", "refused")]), 0.0);
}

#[test]
fn a_refused_configuration_is_tried_again_when_what_it_lacked_appears() {
    let house = House::watching();
    let gw = &house.gw;
    let refused = |n: f64| gw.metric_becomes("portcullis_config_reloads_total", &[("result", "refused")], n);
    house.edit("allow_ips = [\"127.0.0.2\"]", "allow_ips_file = \"office\"");
    refused(1.0);
    gw.rewrite("realms/office", "127.0.0.0/8\n");
    eventually("it is tried again", || (gw.generation() == 2).then_some(()));
    gw.get("/near/x").bearer(&house.alice()).send().ok();

    let main = fs::read_to_string(gw.directory().join("portcullis.toml")).expect("the file");
    fs::remove_file(gw.directory().join("portcullis.toml")).expect("removed");
    refused(2.0);
    gw.rewrite("portcullis.toml", &main.replace("[server]", "[server]\nmax_target = \"1KiB\""));
    eventually("it is tried again", || (gw.generation() == 3).then_some(()));
}

#[test]
fn a_mounted_volume_that_is_swapped_as_a_whole_is_noticed() {
    // As Kubernetes does it: files are links through `..data`, which is replaced by renaming.
    let house = House::watching();
    let realms = house.gw.directory().join("realms");
    let publish = |version: &str, text: &str| {
        fs::create_dir(realms.join(version)).expect("a directory");
        fs::write(realms.join(version).join("realm0.toml"), text).expect("written");
        symlink(version, realms.join("..data_tmp")).expect("a link");
        fs::rename(realms.join("..data_tmp"), realms.join("..data")).expect("renamed");
    };
    let text = house.gw.realm_file();
    publish("..v1", &text);
    fs::remove_file(realms.join("realm0.toml")).expect("removed");
    symlink("..data/realm0.toml", realms.join("realm0.toml")).expect("a link");
    house.me().send().ok();
    let before = house.gw.generation();
    publish("..v2", &text.replace("path = \"/jwt/**\"", "path = \"/two/**\""));
    fs::remove_dir_all(realms.join("..v1")).expect("removed");
    eventually("the new version is in force", || (house.gw.generation() > before).then_some(()));
    house.gw.get("/two/x").bearer(&house.alice()).send().ok();
    house.gw.get("/jwt/x").bearer(&house.alice()).send().denied("no_route");
}

#[test]
fn counted_requests_stay_counted() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let builder = Gateway::builder().server_toml("failure_limit = \"2/m\"").standard(&standard).upstream(&upstream);
    let house = House { gw: builder.start(), upstream, standard };
    let call = house.gw.get("/limited/x").header("x-api-key", &house.standard.partner_key);
    let wrong = house.gw.caller().from("127.0.0.9").get("/me/x").bearer("rubbish");
    call.send().ok();
    call.send().ok();
    wrong.send().denied("token_invalid");
    house.edit("path = \"/jwt/**\"", "path = \"/renamed/**\"");
    house.gw.reload().expect("good");
    assert_eq!(call.send().ok().header("ratelimit-remaining"), Some("0"));
    call.send().denied("rate_limited");
    wrong.send().denied("token_invalid");
    wrong.send().denied("rate_limited");

    // How a limit is told is another matter than how it counts; another rate is another limit.
    house.edit("rate = \"3/m\"", "rate = \"3/m\"\nheaders = \"both\"");
    house.gw.reload().expect("good");
    assert_eq!(call.send().denied("rate_limited").header("x-ratelimit-remaining"), Some("0"));
    house.edit("rate = \"3/m\"", "rate = \"4/m\"");
    house.gw.reload().expect("good");
    assert_eq!(call.send().ok().header("ratelimit-remaining"), Some("3"));
}

#[test]
fn a_running_request_ends_under_the_configuration_it_began_with() {
    let house = House::start();
    house.upstream.respond(Respond::Hold);
    let mut connection = house.gw.caller().connect();
    connection.write(house.me().bytes());
    eventually("it is held", || (house.upstream.requests().len() == 1).then_some(()));
    house.edit("path = \"/me/**\"", "path = \"/renamed/**\"");
    house.gw.reload().expect("good");
    house.gw.get("/me/x").bearer(&house.alice()).send().denied("no_route");
    house.upstream.release();
    let reply = connection.read_reply(false).expect("an answer").ok();
    let line = house.gw.line_of(&reply);
    assert_eq!((&line["route"], &line["outcome"]), (&"me".into(), &"forwarded".into()));
    house.me().send_on(&mut connection).denied("no_route");
}
