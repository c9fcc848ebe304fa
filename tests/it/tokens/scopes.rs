//! J-40, J-41: what a scope claim grants.

use serde_json::{Value, json};

use super::*;

const ROUTES: &str = r#"
[roles]
root = ["*"]
reader = ["*:read"]

[[routes]]
path = "/campaigns"
auth = ["jwt"]
scopes = ["campaigns:read"]
"#;

struct Scoped {
    house: House,
    signer: Signer,
}

impl Scoped {
    fn start(server: &str) -> Self {
        let (issuers, signer) = simple(&secret(), "");
        Self { house: House::build(Gateway::builder().server_toml(server), &[issuers], ROUTES), signer }
    }

    #[track_caller]
    fn may(&self, token: &Token, expected: bool) {
        let reply = self.house.gw.get("/campaigns").bearer(&token.sign()).send();
        if expected {
            reply.ok();
            self.house.upstream.forget();
        } else {
            self.house.check(&reply, "insufficient_scope:-");
        }
    }

    #[track_caller]
    fn scope(&self, scope: impl Into<Value>, expected: bool) {
        self.may(&self.signer.token().claim("scope", scope), expected);
    }
}

#[test]
fn j40_a_scope_claim_is_one_text_with_blanks_or_a_list_of_texts() {
    let scoped = Scoped::start("max_token = \"200KiB\"\nmax_headers = \"300KiB\"");
    let many = |last: &str| (0..10_000).map(|i| format!("s{i}")).chain([last.to_owned()]).collect::<Vec<_>>();
    for (scope, expected) in [
        (json!("campaigns:read"), true),
        (json!("a campaigns:read b"), true),
        (json!("a  campaigns:read"), true),
        (json!(" campaigns:read "), true),
        (json!("campaigns:read campaigns:read"), true),
        (json!(["campaigns:read"]), true),
        (json!(["a", "", "campaigns:read"]), true),
        (json!(many("campaigns:read")), true),
        (json!(many("campaigns:read").join(" ")), true),
        (json!(many("x")), false),
        (json!(""), false),
        (json!(" "), false),
        (json!([]), false),
        (json!([""]), false),
        (json!(null), false),
        (json!(5), false),
        (json!(true), false),
        (json!({"campaigns:read": true}), false),
        (json!({"scope": "campaigns:read"}), false),
        (json!(["campaigns:read", 5]), false),
        (json!(["campaigns:read", null]), false),
        (json!([["campaigns:read"]]), false),
        (json!("a,campaigns:read"), false),
        (json!("campaigns:read,a"), false),
        (json!("a\u{a0}campaigns:read"), false),
        (json!("campaigns:read\u{a0}"), false),
        (json!("a\u{3000}campaigns:read"), false),
        (json!("campaigns:read;a"), false),
        (json!("a+campaigns:read"), false),
    ] {
        scoped.scope(scope, expected);
    }
    for name in ["scp", "scopes", "permissions", "Scope", "SCOPE", "scope "] {
        scoped.may(&scoped.signer.token().claim(name, "campaigns:read"), false);
        scoped.may(&scoped.signer.token().claim(name, json!(["campaigns:read"])), false);
    }
    scoped.may(&scoped.signer.token(), false);
    // Line ends and tabs separate nothing: they have no business in a claim that is used.
    for scope in ["a\tcampaigns:read", "a\ncampaigns:read", "campaigns:read\0"] {
        let reply = scoped.house.gw.get("/campaigns").bearer(&scoped.signer.token().scope(scope).sign()).send();
        scoped.house.check(&reply, "claims");
    }
}

#[test]
fn j41_a_scope_is_matched_whole_and_a_claim_knows_no_wildcards() {
    let scoped = Scoped::start("");
    for scope in [
        "campaigns:read-all",
        "xcampaigns:read",
        "campaigns",
        "campaigns:",
        ":read",
        "CAMPAIGNS:READ",
        "Campaigns:read",
        "*",
        "*:*",
        "*:read",
        "campaigns:*",
        "campaigns:**",
        "campaigns:re*",
        "campaigns:read:",
        "campaigns::read",
        "campaigns:read/..",
        "campaigns%3Aread",
        "campaigns.read",
        "c\u{430}mpaigns:read",
        "campaigns:read\u{301}",
        "\"campaigns:read\"",
    ] {
        scoped.scope(scope, false);
        scoped.scope(json!([scope]), false);
    }
    scoped.scope(json!(["campaigns:read campaigns:write"]), false);
    scoped.scope(json!([" campaigns:read"]), false);
    scoped.scope(json!(["campaigns:read "]), false);
    scoped.scope("campaigns:read", true);
}

#[test]
fn j41_wildcards_come_from_roles_of_the_realm_only() {
    let scoped = Scoped::start("");
    let role = |roles: Value| scoped.signer.token().claim("roles", roles);
    for (roles, expected) in [
        (json!("root"), true),
        (json!(["reader"]), true),
        (json!("nobody reader"), true),
        (json!(["Root"]), false),
        (json!("*"), false),
        (json!(["*:read"]), false),
        (json!(["root", 1]), false),
        (json!({"root": true}), false),
        (json!([["root"]]), false),
        (json!("root,reader"), false),
        (json!(["root reader"]), false),
        (json!(null), false),
        (json!(1), false),
    ] {
        scoped.may(&role(roles), expected);
    }
}

#[test]
fn x19_head_reads_and_what_is_unknown_writes() {
    let (issuers, signer) = simple(&secret(), "");
    let routes = "[[routes]]\npath = \"/{resource}\"\nauth = [\"jwt\"]\nscopes = [\"{resource}:{access}\"]\n";
    let house = House::new(&[issuers], routes);
    let (read, write) = (signer.token().scope("links:read").sign(), signer.token().scope("links:write").sign());
    for (method, reads) in
        [("GET", true), ("HEAD", true), ("POST", false), ("OPTIONS", false), ("PROPFIND", false), ("get", false)]
    {
        for (token, good) in [(&read, reads), (&write, !reads)] {
            let reply = house.gw.call(method, "/links").bearer(token).send();
            assert_eq!(reply.status, if good { 200 } else { 403 }, "{method}: {reply:?}");
        }
    }
}
