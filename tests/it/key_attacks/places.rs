//! Where a key stands that is none of the places of its route (K-05), and where it may be seen afterwards (K-16): nowhere.

use serde_json::json;

use super::{House, Kept, on_both};
use crate::support::caller::Call;
use crate::support::gateway::{Builder, Gateway};
use crate::support::realms::{key_digest, key_prefix};

on_both!(k05_a_key_in_a_place_that_is_not_declared_is_not_looked_at_and_never_logged);

fn with_routes(builder: Builder) -> Builder {
    builder.realm_toml(&format!(
        "realm = \"places\"\nhosts = [\"places.test\"]\nupstream = \"http://{{upstream}}\"\n[[api_keys]]\nprefix = \"{}\"\n\
         [[routes]]\npath = \"/header-only/**\"\nauth = [\"api_key\"]\nfrom = [\"header:authorization\"]\n\
         [[routes]]\npath = \"/keys/**\"\nauth = [\"api_key\"]\n",
        key_prefix()
    ))
}

fn k05_a_key_in_a_place_that_is_not_declared_is_not_looked_at_and_never_logged(kept: Kept) {
    let house = House::on_with(kept, with_routes);
    let owner = house.admin().owner("owner", &json!({ "realm": "places" }));
    let made = house.admin().key(&owner, &json!({ "realm": "places" }));
    let (id, key) = (made.id.as_str(), made.secret.as_str());
    let to = |call: Call| call.host("places.test");
    let get = |target: &str| to(house.gw.get(target));
    let before = house.look_ups();
    for call in [
        get(&format!("/header-only/x?api_key={key}&x-api-key={key}&key={key}&apikey={key}&token={key}")),
        get(&format!("/header-only/{key}")),
        get(&format!("/header-only/x/{key}/y%2e?{key}")),
        get("/header-only/x").header("Cookie", format!("key={key}; api_key={key}; X-API-Key={key}")),
        get("/header-only/x").header("Referer", format!("http://a.test/?k={key}")).header("X-API-Key", key),
        get("/header-only/x").header("User-Agent", format!("curl {key}")),
        get("/header-only/x").header("Proxy-Authorization", format!("Bearer {key}")),
        get("/header-only/x").header("X-Request-Id", key).header("Traceparent", key).header("X-Forwarded-For", key),
        to(house.gw.call("POST", "/header-only/x"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("api_key={key}")),
        to(house.gw.call("POST", "/header-only/x")).chunked(&[key], &[("Authorization", &format!("Bearer {key}"))]),
    ] {
        let reply = call.send();
        assert!(!format!("{reply:?}").contains(key), "{reply:?}");
        house.gw.line_of(&reply);
        assert!(matches!(reply.status, 400 | 401), "{reply:?}");
        if reply.status == 401 {
            reply.denied("missing_credentials");
        }
    }
    house.gw.caller().send_raw(format!("GET /header-only/x#{key} HTTP/1.1\r\nHost: places.test\r\n\r\n")).is(400);
    house.gw.caller().send_raw(format!("GET /keys/x HTTP/1.1\r\nHost: {key}\r\n\r\n"));
    house.upstream.assert_untouched();
    assert!((house.look_ups() - before).abs() < f64::EPSILON, "the store was asked for a key that was not presented");

    // K-16: nor does a key that is good show anywhere but by its id, whatever else it is put into.
    get("/header-only/x").bearer(key).header("X-Request-Id", key).send().ok();
    let noisy =
        get(&format!("/keys/{key}?{key}")).header("X-API-Key", key).header("User-Agent", key).header("Referer", key);
    assert!(!format!("{:?}", noisy.send().ok().headers).contains(key));
    for request in house.upstream.requests() {
        assert_eq!(request.header("x-auth-credential-id"), Some(id));
        assert_eq!((request.header("authorization"), request.header("x-api-key")), (None, None));
        assert!(request.header("x-request-id").is_some_and(|id| id != key), "{request:?}");
        let own = |name: &str| ["user-agent", "referer"].iter().any(|n| name.eq_ignore_ascii_case(n));
        assert!(request.headers.iter().all(|(name, value)| own(name) || !value.contains(key)), "{request:?}");
    }
    house.gw.metric_becomes("portcullis_requests_total", &[("outcome", "forwarded"), ("realm", "places")], 2.0);
    house.gw.log().line_where("the last request", |line| line["credential_id"] == id && line["route"] == "/keys/**");
    // And one that is refused for what it is.
    house.admin().order(format!("/keys/{id}/revoke")).is(200);
    let reply =
        get(&format!("/keys/{key}")).header("X-API-Key", key).header("User-Agent", key).send().denied("key_revoked");
    house.gw.line_of(&reply);
    for (what, text) in [("log", house.gw.log().text()), ("metrics", house.gw.metrics())] {
        assert!(!text.contains(key), "{what}");
        assert!(!text.contains(&key_digest(key)), "{what}");
    }
    assert!(!house.gw.metrics().contains(id), "an id makes a label");
}

#[test]
fn k16_an_id_that_a_trusted_proxy_passes_on_is_not_taken_over_when_it_is_a_credential() {
    let (upstream, standard) = (super::Upstream::start(), super::Standard::new());
    let builder = Gateway::builder().server_toml("trusted_proxies = [\"127.0.0.1\"]");
    let gw = builder.standard(&standard).upstream(&upstream).start();
    let team = gw.admin().owner("team", &json!({}));
    let key = gw.admin().key(&team, &json!({})).secret;
    for id in [key.clone(), format!("x-{key}"), format!("{key}.7"), gw.admin().token.clone()] {
        for call in [super::with_key(&gw.caller(), &key), gw.get("/me/x")] {
            let reply = call.header("X-Request-Id", &id).send();
            assert!(!format!("{reply:?}").contains(&id), "{reply:?}");
            gw.line_of(&reply);
        }
    }
    assert!(
        upstream.requests().iter().all(|request| !request.header("x-request-id").unwrap_or_default().contains("_"))
    );
    assert!(!gw.log().text().contains(&key) && !gw.log().text().contains(&gw.admin().token));
    // Others are.
    assert_eq!(
        super::with_key(&gw.caller(), &key).header("X-Request-Id", "trace-7").send().ok().request_id(),
        "trace-7"
    );
}
