//! The requests of a document, ready to be pasted: each with a comment that says what comes of it.

use super::people::{AFFILIATE, EMAIL, PASSWORD, PROGRAMME, SUSPENDED, USERNAME};

/// Lines for a shell.
pub(super) struct Script {
    url: String,
    host: &'static str,
    lines: String,
}

impl Script {
    fn new(url: &str, host: &'static str) -> Self {
        Self { url: url.to_owned(), host, lines: String::new() }
    }

    /// What to expect, `what: status`, and the request: path and options of curl.
    fn ask(&mut self, expected: &str, path: &str, options: &str) {
        let Self { url, host, .. } = self;
        let gap = if options.is_empty() { "" } else { " " };
        self.lines += &format!("# {expected}\ncurl -i -H 'Host: {host}'{gap}{options} \"{url}{path}\"\n\n");
    }

    /// The same, whose answer is kept in a variable, and members of it in variables of their own.
    fn keep(&mut self, what: &str, path: &str, options: &str, members: &[(&str, &str)]) {
        let Self { url, host, .. } = self;
        self.lines += &format!("# {what}\nANSWER=$(curl -s -H 'Host: {host}' {options} \"{url}{path}\")\n");
        for (variable, member) in members {
            self.lines +=
                &format!("{variable}=$(printf %s \"$ANSWER\" | sed 's/.*\"{member}\":\"\\([^\"]*\\)\".*/\\1/')\n");
        }
        self.lines.push('\n');
    }
}

fn json(body: &str) -> String {
    format!("-H 'Content-Type: application/json' -d '{body}'")
}

fn bearer(token: &str) -> String {
    format!("-H \"Authorization: Bearer {token}\"")
}

/// The requests of the document of this realm; none for a realm that has no demo.
pub(super) fn lines(realm: &str, url: &str, key: &str) -> Option<String> {
    let script = match realm {
        "affilync" => affilync(url, key),
        "convertly" => convertly(url),
        "affonso" => affonso(url, key),
        "giftcards" => giftcards(url),
        _ => return None,
    };
    Some(script.lines)
}

fn affilync(url: &str, key: &str) -> Script {
    let mut script = Script::new(url, "api.affilync.com");
    let login = json(&format!(r#"{{"email": "{EMAIL}", "password": "{PASSWORD}"}}"#));
    let wrong = json(&format!(r#"{{"email": "{EMAIL}", "password": "your-password"}}"#));
    let refresh = "-H 'Content-Type: application/json' -d \"{\\\"refresh_token\\\": \\\"$REFRESH\\\"}\"";
    script.ask("option 1, an API key: 200", "/api/campaigns", &bearer(key));
    script.ask("which may read only: 403", "/api/campaigns", &format!("-X POST {}", bearer(key)));
    script.ask("option 2, a login: 200", "/api/auth/login", &login);
    script.ask("with a wrong password: 401", "/api/auth/login", &wrong);
    let members = [("ACCESS", "access_token"), ("REFRESH", "refresh_token")];
    script.keep("keep its two tokens", "/api/auth/login", &login, &members);
    script.ask("use the access token: 200", "/api/campaigns", &bearer("$ACCESS"));
    script.ask("refresh the pair: 200", "/api/auth/refresh", refresh);
    script.ask("the old refresh token is spent: 401", "/api/auth/refresh", refresh);
    script
}

fn convertly(url: &str) -> Script {
    let mut script = Script::new(url, "api.convertlyhq.com");
    let login = json(&format!(r#"{{"email": "{EMAIL}", "password": "{PASSWORD}"}}"#));
    script.ask("get a token; the application says whether the password is right: 200", "/v1/auth/brand/login", &login);
    script.keep("keep it", "/v1/auth/brand/login", &login, &[("TOKEN", "accessToken")]);
    script.ask("use it: 200", "/v1/affiliates", &bearer("$TOKEN"));
    let renew = format!("-X POST {}", bearer("$TOKEN"));
    script.keep("renew it", "/v1/auth/refresh", &renew, &[("NEW_TOKEN", "accessToken")]);
    script.ask("the old one is dead: 401", "/v1/affiliates", &bearer("$TOKEN"));
    script.ask("the new one is not: 200", "/v1/affiliates", &bearer("$NEW_TOKEN"));
    script
}

fn affonso(url: &str, key: &str) -> Script {
    let mut script = Script::new(url, "api.affonso.io");
    let asks = |id: &str| format!("/v1/affiliates/{id}/portal-token");
    let post = format!("-X POST {}", bearer(key));
    script.ask("a portal token for an affiliate: 200", &asks(AFFILIATE), &post);
    script.ask("none for one who is suspended: 403", &asks(SUSPENDED), &post);
    script.keep("keep one", &asks(AFFILIATE), &post, &[("PORTAL", "token")]);
    let mut portal = Script::new(url, "yourcompany.affonso.io");
    portal.ask("the browser follows the link and is signed in: 303", "/auth/token?token=$PORTAL", "");
    portal.ask("once: 401", "/auth/token?token=$PORTAL", "");
    script.lines += &portal.lines;
    let body =
        format!(r#"{{"programId": "{PROGRAMME}", "partner": {{"email": "john@example.com", "name": "John Doe"}}}}"#);
    let embed = format!("{} {}", bearer(key), json(&body));
    script.ask("an embed token: 200", "/v1/embed/token", &embed);
    script.keep("keep another", "/v1/embed/token", &embed, &[("EMBED", "publicToken")]);
    script.ask("show the dashboard: 200", "/v1/embed/data?token=$EMBED", "");
    script.keep("on the next page load a new one", "/v1/embed/token", &embed, &[("NEXT", "publicToken")]);
    script.ask("ends the one before: 401", "/v1/embed/data?token=$EMBED", "");
    script.ask("and is good itself: 200", "/v1/embed/data?token=$NEXT", "");
    script
}

fn giftcards(url: &str) -> Script {
    let mut script = Script::new(url, "rewards.example.com");
    let login = json(&format!(r#"{{"username": "{USERNAME}", "password": "{PASSWORD}"}}"#));
    let refresh = "-H 'Content-Type: application/json' -d \"{\\\"refresh_token\\\": \\\"$REFRESH\\\"}\"";
    script.ask("step 1, login: 200", "/auth/login", &login);
    let members = [("ACCESS", "access_token"), ("REFRESH", "refresh_token")];
    script.keep("keep its tokens", "/auth/login", &login, &members);
    let typed = format!("{} -H 'Content-Type: application/json'", bearer("$ACCESS"));
    script.ask("step 2, use the access token: 200", "/api/v1/products", &typed);
    script.ask("step 3, refresh: 200", "/auth/refresh", refresh);
    script.ask("log out, which ends every session: 200", "/auth/logout", &format!("-X POST {}", bearer("$ACCESS")));
    script.ask("nothing is left: 401", "/api/v1/products", &typed);
    script
}
