//! A key belongs to its realm (K-08), and a token that administers one realm sees nothing of another.

use portcullis::admin::api::ENDPOINTS;
use serde_json::{Value, json};

use super::{House, Kept, on_both};
use crate::support::administrator::ALL_SCOPES;
use crate::support::gateway::Builder;
use crate::support::realms::key_prefix;

on_both!(k08_the_same_text_in_two_realms_is_two_keys, a_token_of_one_realm_finds_nothing_of_another_at_any_endpoint);

/// Another realm, whose keys may look like ids of ours.
fn with_other(builder: Builder) -> Builder {
    let forms = format!(
        "[[api_keys]]\nprefix = \"{}\"\n\
         [[api_keys]]\nprefix = \"key_\"\nchecksum = false\n[[api_keys]]\nprefix = \"cli_\"\nchecksum = false\n",
        key_prefix()
    );
    builder.realm_toml(&format!(
        "realm = \"other\"\nhosts = [\"other.test\"]\nupstream = \"http://{{upstream}}\"\n{forms}\
         [clients.declared]\nkeys = [{{ id = \"k\", sha256 = \"{}\" }}]\n[[routes]]\npath = \"/**\"\nauth = [\"api_key\"]\n",
        "0".repeat(64)
    ))
}

fn k08_the_same_text_in_two_realms_is_two_keys(kept: Kept) {
    let house = House::on_with(kept, with_other);
    let (admin, key) = (house.admin(), house.key());
    let other = admin.owner("others", &json!({ "realm": "other" }));
    let there = |text: &str| house.gw.get("/x").host("other.test").header("X-API-Key", text).send();
    // Seen in one realm, it is not known in the other for that.
    house.call(&key.secret).send().ok();
    there(&key.secret).denied("key_unknown");

    let import = |keys: Value| {
        admin.post("/keys/import", &json!({ "realm": "other", "owner_id": other, "keys": keys })).is(200).json()
    };
    import(json!([{ "key": key.secret, "name": "the same text" }]));
    there(&key.secret).ok();
    assert_eq!(house.upstream.last().header("x-auth-client"), Some("others"));
    house.call(&key.secret).send().ok();
    assert_eq!(house.upstream.last().header("x-auth-client"), Some("team"));

    // The end of one is not the end of the other.
    admin.order(format!("/keys/{}/revoke", key.id)).is(200);
    house.call(&key.secret).send().denied("key_revoked");
    there(&key.secret).ok();

    // A key whose text is the id of a key (or of an owner) of the first realm is that key nowhere.
    let second = house.key();
    house.call(&second.secret).send().ok();
    import(json!([{ "key": second.id }]));
    there(&second.id).ok();
    assert_eq!(house.upstream.last().header("x-auth-client"), Some("others"));
    house.call(&second.id).send().denied("key_malformed");
    house.call(&second.secret).send().ok();
    assert_eq!(house.upstream.last().header("x-auth-credential-id"), Some(second.id.as_str()));
}

fn a_token_of_one_realm_finds_nothing_of_another_at_any_endpoint(kept: Kept) {
    let house = House::on_with(kept, with_other);
    let (all, mine) = (house.admin(), house.gw.admin_with(ALL_SCOPES, Some(&["api"])));
    let owner = all.owner("secret-owner", &json!({ "realm": "other" }));
    let key = all.key(&owner, &json!({ "realm": "other", "name": "secret-key" }));
    let entry =
        all.post(format!("/keys/{}/ip-allowlist", key.id), &json!({ "network": "203.0.113.0/24" })).is(201).json();
    let entry = entry["id"].as_str().expect("an id").to_owned();
    let snapshot = || {
        let mut seen: Vec<_> =
            ["/clients?realm=other", "/keys?realm=other"].map(|path| all.get(path).is(200).json()).into();
        seen.push(all.get(format!("/keys/{}/ip-allowlist", key.id)).is(200).json());
        seen
    };
    let before = snapshot();

    let mut tried = 0;
    for endpoint in ENDPOINTS.iter().copied().flatten().filter(|endpoint| endpoint.scope.is_some()) {
        let Some(path) = endpoint.path.strip_prefix("/admin/v1") else { continue };
        if !path.contains("{id}") {
            continue;
        }
        let nouns: &[&str] = if path.starts_with("/clients") {
            &[&owner, "cfg:declared"]
        } else {
            &[&key.id, "cfg:declared/k", "cfg:declared%2Fk"]
        };
        for id in nouns {
            let path = path.replace("{id}", id).replace("{entry}", &entry);
            let body = match endpoint.name {
                name if name.contains("password") => json!({ "password": "correct horse battery staple" }),
                name if name.starts_with("rotate") => json!({ "overlap_seconds": 0 }),
                name if name.starts_with("update") => json!({ "attributes": {} }),
                name if name.starts_with("test") => json!({ "address": "203.0.113.9" }),
                name if name.starts_with("add") => json!({ "network": "198.51.100.0/24" }),
                _ => json!({}),
            };
            let reply = match endpoint.body {
                Some(_) => mine.call_with(endpoint.method.as_str(), &path, &body).send(),
                None => mine.call(endpoint.method.as_str(), &path).send(),
            };
            assert_eq!(
                (reply.status, &reply.json()["code"]),
                (404, &json!("not_found")),
                "{} {path}: {reply:?}",
                endpoint.method
            );
            // What is there, and what is not, look alike.
            let nobody = path.replace(*id, &id.replace(|c: char| c.is_ascii_digit(), "0"));
            let nobody = nobody.replace("declared", "nobody");
            let missing = match endpoint.body {
                Some(_) => mine.call_with(endpoint.method.as_str(), &nobody, &body).send(),
                None => mine.call(endpoint.method.as_str(), &nobody).send(),
            };
            assert_eq!(missing.status, 404, "{nobody}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
    assert_eq!(snapshot(), before, "something was changed");

    // Naming the realm is refused; what is not named is not shown.
    for path in [
        "/clients?realm=other",
        "/keys?realm=other",
        "/realms?realm=other",
        "/routes?realm=other",
        "/audit?realm=other",
    ] {
        assert_eq!(mine.get(path).status, 403, "{path}");
    }
    for path in [
        "/clients?limit=200",
        "/keys?limit=200",
        "/realms",
        "/routes",
        "/scopes",
        "/roles",
        "/audit?limit=200",
        "/clients?identifier=secret-owner",
    ] {
        let text = mine.get(path).is(200).text();
        for word in ["secret-owner", "secret-key", "\"other\"", "other.test", &key.id, &owner] {
            assert!(!text.contains(word), "{path} shows {word}: {text}");
        }
    }
    for (path, body) in [
        ("/keys/verify", json!({ "realm": "other", "key": key.secret })),
        ("/keys/import", json!({ "realm": "other", "owner_id": owner, "keys": [] })),
        ("/keys", json!({ "realm": "other", "owner_id": owner, "name": "x" })),
        ("/clients", json!({ "realm": "other", "kind": "owner", "identifier": "x" })),
        ("/explain", json!({ "url": "http://other.test/x", "headers": { "X-API-Key": key.secret } })),
    ] {
        let reply = mine.post(path, &body);
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("realm_denied")), "{path}: {reply:?}");
    }
    // An owner of the other realm is none here; nor is a request that the other realm refused.
    let stolen = json!({ "realm": "api", "owner_id": owner, "name": "x" });
    assert!(matches!(mine.post("/keys", &stolen).status, 400 | 404), "{:?}", mine.post("/keys", &stolen));
    let stolen = json!({ "realm": "api", "owner_id": owner, "keys": [{ "sha256": "1".repeat(64) }] });
    assert_eq!(mine.post("/keys/import", &stolen).status, 400);
    let refused = house.gw.get("/x").host("other.test").send().denied("missing_credentials");
    house.gw.line_of(&refused);
    mine.post("/explain", &json!({ "request_id": refused.request_id() })).is(404);
    all.post("/explain", &json!({ "request_id": refused.request_id() })).is(200);
    assert_eq!(snapshot(), before, "something was changed");
}
