//! HAProxy in front, as Debian ships it: the headers that a real proxy sends.

use std::net::SocketAddr;

use super::House;
use crate::support::caller::Caller;
use crate::support::front::Front;

/// Passes what it accepts on to `server`, with these options of its `server` line.
#[track_caller]
fn haproxy(server: SocketAddr, options: &str) -> Front {
    let text = format!(
        "global\n  maxconn 100\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
         listen portcullis\n  bind {{address}}\n  server portcullis {server} {options}\n"
    );
    Front::start("/usr/sbin/haproxy", &["-db", "-f", "{directory}/haproxy.cfg"], &[("haproxy.cfg", &text)])
}

#[test]
fn the_headers_of_haproxy_are_understood_in_both_versions() {
    let listener = "{ address = \"127.0.0.1:0\", proxy_protocol = true }";
    let house = House::with(listener, "trusted_proxies = [\"127.0.0.1\"]");
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2 check inter 100 check-send-proxy",
        "send-proxy check inter 100",
    ] {
        let proxy = haproxy(house.gateway.addr(), options);
        let client = Caller::new(proxy.address).from("127.0.0.5");
        let mut connection = client.connect();
        for _ in 0..2 {
            let reply = client.get("/public/x").send_on(&mut connection).ok();
            let line = house.gateway.line_of(&reply);
            assert_eq!((&line["peer_ip"], &line["client_ip"]), (&"127.0.0.5".into(), &"127.0.0.5".into()), "{options}");
        }
        // What it sends to see whether the gateway lives is understood as well: it goes on sending connections.
        std::thread::sleep(std::time::Duration::from_millis(350)); // three checks, at its pace
        client.get("/public/x").send().ok();
    }
    assert!(house.turned_away("proxy_header") < 1.0);
}

#[test]
fn haproxy_without_headers_is_refused_where_they_are_demanded() {
    let listener = "{ address = \"127.0.0.1:0\", proxy_protocol = true }";
    let house = House::with(listener, "trusted_proxies = [\"127.0.0.1\"]");
    let proxy = haproxy(house.gateway.addr(), "");
    let caller = Caller::new(proxy.address);
    assert_eq!(caller.try_send_raw(caller.get("/public/x").bytes()), None);
    house.becomes_turned_away("proxy_header", 1);
    house.upstream.assert_untouched();
}
