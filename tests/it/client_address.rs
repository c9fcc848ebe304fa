//! The client's address (attacks section 3.5): the peer's, unless a trusted proxy says otherwise.

use crate::support::caller::{Call, Caller};
use crate::support::gateway::Gateway;
use crate::support::realms::Standard;
use crate::support::upstream::Upstream;

struct House {
    upstream: Upstream,
    standard: Standard,
    gateway: Gateway,
}

/// The standard realm with a route `/listed/**` for the addresses in `allow`, and these `[server]` keys.
fn house(allow: &str, server: &str) -> House {
    house_on("127.0.0.1:0", allow, server)
}

fn house_on(listen: &str, allow: &str, server: &str) -> House {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::builder()
        .listen(listen)
        .standard_with(&standard, &listed(&format!("allow_ips = [{allow}]")))
        .server_toml(server)
        .upstream(&upstream)
        .start();
    House { upstream, standard, gateway }
}

fn listed(lists: &str) -> String {
    format!("\n[[routes]]\nname = \"listed\"\npath = \"/listed/**\"\nauth = [\"jwt\"]\n{lists}\n")
}

impl House {
    fn call(&self) -> Call {
        self.call_by(&self.gateway.caller())
    }

    fn call_by(&self, caller: &Caller) -> Call {
        caller.get("/listed/x").bearer(&self.standard.alice().sign())
    }

    /// Whether the address that results from these forwarding lines is let in. What is logged must agree.
    #[track_caller]
    fn lets_in(&self, lines: &[(&str, &str)]) -> bool {
        let call = lines.iter().fold(self.call(), |call, (name, value)| call.header(name, value));
        let reply = call.send();
        if reply.status == 200 {
            self.upstream.forget();
            return true;
        }
        reply.denied("ip_denied");
        self.upstream.assert_untouched();
        false
    }
}

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1\"]";

#[test]
fn h53_forwarding_headers_are_believed_of_nobody_by_default() {
    let house = house("\"127.0.0.2\"", "");
    assert!(!house.lets_in(&[]));
    for line in [
        ("X-Forwarded-For", "127.0.0.2"),
        ("X_Forwarded_For", "127.0.0.2"),
        ("Forwarded", "for=127.0.0.2"),
        ("X-Real-IP", "127.0.0.2"),
        ("True-Client-IP", "127.0.0.2"),
        ("CF-Connecting-IP", "127.0.0.2"),
        ("X-Client-IP", "127.0.0.2"),
    ] {
        assert!(!house.lets_in(&[line]), "{line:?}");
    }
    house.call_by(&house.gateway.caller().from("127.0.0.2")).send().ok();
    assert_eq!(house.upstream.only().header("X-Forwarded-For"), Some("127.0.0.2"));
}

#[test]
fn h53_an_untrusted_peer_is_not_believed_beside_a_trusted_one() {
    let house = house("\"203.0.113.7\"", TRUSTING);
    let forged = |caller: &Caller| house.call_by(caller).header("X-Forwarded-For", "203.0.113.7").send();
    forged(&house.gateway.caller().from("127.0.0.3")).denied("ip_denied");
    house.upstream.assert_untouched();
    let reply = forged(&house.gateway.caller()).ok();
    assert_eq!(house.upstream.only().header("X-Forwarded-For"), Some("203.0.113.7, 127.0.0.1"));
    let line = house.gateway.line_of(&reply);
    assert_eq!((line["client_ip"].as_str(), line["peer_ip"].as_str()), (Some("203.0.113.7"), Some("127.0.0.1")));
}

#[test]
fn h53_the_chain_is_read_from_the_right_as_far_as_trusted_proxies_wrote_it() {
    let house = house("\"203.0.113.7\"", "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    for (value, allowed) in [
        ("203.0.113.7", true),
        ("198.51.100.1, 203.0.113.7", true),
        ("203.0.113.7, 198.51.100.1", false),
        ("203.0.113.7, 10.1.2.3", true),
        ("203.0.113.7, 198.51.100.1, 10.1.2.3", false),
        ("203.0.113.7,10.1.2.3 ,  10.9.9.9", true),
        ("rubbish, 203.0.113.7", true),
    ] {
        assert_eq!(house.lets_in(&[("X-Forwarded-For", value)]), allowed, "{value}");
    }
    // Several lines are one list.
    assert!(house.lets_in(&[("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.7")]));
    assert!(!house.lets_in(&[("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "198.51.100.1")]));
}

#[test]
fn h53_the_standard_header_is_read_the_same_way() {
    let house = house("\"203.0.113.7\", \"2001:db8::7\"", TRUSTING);
    for (value, allowed) in [
        ("for=203.0.113.7", true),
        ("For=\"203.0.113.7:4711\";proto=https", true),
        ("for=198.51.100.1, for=203.0.113.7", true),
        ("for=203.0.113.7, for=198.51.100.1", false),
        ("for=\"[2001:db8::7]\"", true),
        ("for=\"[2001:db8::7]:80\"", true),
        ("for=unknown", false),
        ("for=_hidden", false),
        ("proto=https", false),
    ] {
        assert_eq!(house.lets_in(&[("Forwarded", value)]), allowed, "{value}");
    }
}

#[test]
fn h53_two_headers_that_disagree_leave_the_address_unknown() {
    let house = house("\"203.0.113.7\"", TRUSTING);
    let (good, other) = ("for=203.0.113.7", "for=198.51.100.1");
    assert!(house.lets_in(&[("X-Forwarded-For", "203.0.113.7"), ("Forwarded", good)]));
    assert!(!house.lets_in(&[("X-Forwarded-For", "203.0.113.7"), ("Forwarded", other)]));
    assert!(!house.lets_in(&[("X-Forwarded-For", "198.51.100.1"), ("Forwarded", good)]));
}

#[test]
fn h53_what_cannot_be_read_is_no_address() {
    let house = house("\"203.0.113.7\"", TRUSTING);
    for value in ["203.0.113.7 x", "203.0.113.007", "203.0.113", "0xcb007107", "3405803783", "localhost", "", ", "] {
        let call = house.call().header("X-Forwarded-For", value);
        let reply = call.send().denied("ip_denied");
        assert_eq!(house.gateway.line_of(&reply)["peer_ip"], "127.0.0.1", "{value:?}");
        house.upstream.assert_untouched();
    }
}

#[test]
fn h55_only_the_mapped_form_is_the_ipv4_address() {
    let house = house("\"203.0.113.9\"", TRUSTING);
    for (address, allowed) in [
        ("203.0.113.9", true),
        ("::ffff:203.0.113.9", true),
        ("::ffff:cb00:7109", true),
        ("::FFFF:CB00:7109", true),
        ("::203.0.113.9", false),
        ("64:ff9b::cb00:7109", false),
        ("2002:cb00:7109::", false),
    ] {
        let reply = house.call().header("X-Forwarded-For", address).send();
        assert_eq!(reply.status == 200, allowed, "{address}: {reply:?}");
        if allowed {
            assert_eq!(house.gateway.line_of(&reply)["client_ip"], "203.0.113.9", "{address}");
        }
    }
}

#[test]
fn h55_a_peer_on_a_dual_stack_listener_is_its_ipv4_address() {
    // An IPv4 client of an IPv6 socket is shown as ::ffff:127.0.0.1.
    let house = house_on("[::]:0", "\"127.0.0.2\"", "");
    house.call_by(&house.gateway.caller().from("127.0.0.2")).send().ok();
    assert_eq!(house.upstream.only().header("X-Forwarded-For"), Some("127.0.0.2"));
    house.upstream.forget();
    let reply = house.call_by(&house.gateway.caller().from("127.0.0.3")).send().denied("ip_denied");
    let line = house.gateway.line_of(&reply);
    assert_eq!((line["client_ip"].as_str(), line["peer_ip"].as_str()), (Some("127.0.0.3"), Some("127.0.0.3")));
    house.upstream.assert_untouched();
}

#[test]
fn h55_a_mapped_peer_is_found_in_the_list_of_trusted_proxies() {
    let house = house_on("[::]:0", "\"203.0.113.7\"", TRUSTING);
    assert!(house.lets_in(&[("X-Forwarded-For", "203.0.113.7")]));
    let stranger = house.gateway.caller().from("127.0.0.3");
    house.call_by(&stranger).header("X-Forwarded-For", "203.0.113.7").send().denied("ip_denied");
}

#[test]
fn h55_the_addresses_of_a_limit_are_canonical_too() {
    let more = "\n[limits.near]\nby = \"address\"\nrate = \"2/m\"\n\n[[routes]]\nname = \"counted\"\n\
                path = \"/counted/**\"\nauth = [\"jwt\"]\nlimits = [\"near\"]\n";
    let upstream = Upstream::start();
    let standard = Standard::new();
    let gateway = Gateway::builder().standard_with(&standard, more).server_toml(TRUSTING).upstream(&upstream).start();
    let call =
        |from: &str| gateway.get("/counted/x").bearer(&standard.alice().sign()).header("X-Forwarded-For", from).send();
    call("203.0.113.9").ok();
    call("::ffff:203.0.113.9").ok();
    call("::ffff:cb00:7109").denied("rate_limited");
    call("203.0.113.10").ok();
    // One customer of a provider has a whole /64.
    call("2001:db8::1").ok();
    call("2001:db8::2").ok();
    call("2001:db8::3").denied("rate_limited");
    call("2001:db8:0:1::3").ok();
}

#[test]
fn h56_an_address_with_a_zone_is_none() {
    let house = house("\"fe80::/10\"", TRUSTING);
    assert!(house.lets_in(&[("X-Forwarded-For", "fe80::1")]));
    for value in ["fe80::1%eth0", "fe80::1%251", "[fe80::1%1]"] {
        let reply = house.call().header("X-Forwarded-For", value).send();
        house.upstream.assert_untouched();
        reply.clone().denied("ip_denied");
        assert_eq!(house.gateway.why(&reply), "ip_denied:no_address", "{value}");
    }
}

#[test]
fn h56_networks_that_are_written_loosely_refuse_the_configuration() {
    let upstream = Upstream::start();
    for network in
        ["fe80::1%eth0", "10.0.0.1/8", "010.0.0.0/8", "10.0.0.0/08", "10.0.0.0/33", "10.0.0", "::ffff:10.0.0.0/104", ""]
    {
        let standard = Standard::new();
        let more = listed(&format!("allow_ips = [\"{network}\"]"));
        let started = Gateway::builder().standard_with(&standard, &more).upstream(&upstream).try_start();
        assert!(started.is_err(), "{network}");
        let trusted = format!("trusted_proxies = [\"{network}\"]");
        let started = Gateway::builder().standard(&standard).server_toml(&trusted).upstream(&upstream).try_start();
        assert!(started.is_err(), "{network}");
    }
}

#[test]
fn h58_a_denied_network_beats_an_allowed_one() {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let more = listed("allow_ips = [\"127.0.0.0/8\"]\ndeny_ips = [\"127.0.0.2\"]");
    let gateway = Gateway::builder().standard_with(&standard, &more).upstream(&upstream).start();
    let token = standard.alice().sign();
    gateway.get("/listed/x").bearer(&token).send().ok();
    upstream.forget();
    let reply = gateway.caller().from("127.0.0.2").get("/listed/x").bearer(&token).send().denied("ip_denied");
    assert_eq!(gateway.why(&reply), "ip_denied:denied");
    upstream.assert_untouched();
}

#[test]
fn h58_addresses_are_judged_before_credentials() {
    let house = house("\"127.0.0.2\"", "");
    house.gateway.get("/listed/x").send().denied("ip_denied");
    house.gateway.get("/listed/x").bearer("rubbish").send().denied("ip_denied");
    house.upstream.assert_untouched();
}

#[test]
fn h58_an_empty_list_lets_everybody_in() {
    let house = house("", "");
    assert!(house.lets_in(&[]));
}

#[test]
fn h58_a_list_from_a_file_is_in_force_with_the_next_reload() {
    let upstream = Upstream::start();
    let standard = Standard::new();
    let more = listed("allow_ips_file = \"office.txt\"");
    let gateway = Gateway::builder()
        .standard_with(&standard, &more)
        .file("realms/office.txt", "# the office\n127.0.0.2\n\n203.0.113.0/24 # the branch\n")
        .upstream(&upstream)
        .start();
    let call = || gateway.get("/listed/x").bearer(&standard.alice().sign()).send();
    call().denied("ip_denied");
    gateway.rewrite("realms/office.txt", "127.0.0.1\n");
    gateway.reload().expect("a good list");
    call().ok();
    gateway.rewrite("realms/office.txt", "127.0.0.1/33\n");
    gateway.reload().expect_err("a bad list");
    call().ok();
    gateway.rewrite("realms/office.txt", "127.0.0.2\n");
    gateway.reload().expect("a good list");
    call().denied("ip_denied");
}

#[test]
fn h59_a_proxy_header_is_refused_where_it_is_not_enabled() {
    let house = house("\"203.0.113.7\"", TRUSTING);
    let request = house.call().bytes();
    let first = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n".to_vec();
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    second.extend([203, 0, 113, 7, 127, 0, 0, 1, 0x12, 0x67, 0, 80]);
    for header in [first, second] {
        let mut connection = house.gateway.caller().connect();
        if let Some(reply) = connection.try_send_raw([header, request.clone()].concat()) {
            assert_eq!(reply.status, 400, "{reply:?}");
            connection.assert_closed();
        }
        house.upstream.assert_untouched();
    }
    assert!(house.lets_in(&[("X-Forwarded-For", "203.0.113.7")]));
}
