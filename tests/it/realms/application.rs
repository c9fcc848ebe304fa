//! The application behind the documented APIs: answers the gateway's callbacks as their owners would, echoes everything
//! else, counts, and fails on demand.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::upstream::{Recorded, Upstream};

/// What gateway and application share.
pub(super) const SECRET: &str = "shared:by-the-gateway-and-the-application";

/// How callbacks go.
#[derive(Clone, Debug, Default)]
pub(super) enum Mood {
    /// As they should.
    #[default]
    Good,
    /// This status, without a body.
    Status(u16),
    /// As they should, so much later.
    Slow(Duration),
    /// 200 with this body.
    Says(String),
}

/// Somebody with a password.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) subject: String,
    pub(super) password: String,
    pub(super) status: String,
    pub(super) role: String,
    pub(super) plan: String,
    pub(super) tenant: String,
}

/// A programme of a team.
#[derive(Clone, Debug)]
pub(super) struct Programme {
    pub(super) team: String,
    pub(super) active: bool,
    /// Whether affiliates have to be approved.
    pub(super) private: bool,
}

/// A partner, once it has been made.
#[derive(Clone, Debug, Default)]
pub(super) struct Partner {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) external_user_id: Option<String>,
    pub(super) metadata: Option<Value>,
}

/// Everything the application knows, and everything it was asked.
#[derive(Debug, Default)]
pub(super) struct Facts {
    mood: Mood,
    /// By e-mail address.
    people: HashMap<String, Person>,
    /// By team and id: the status.
    affiliates: HashMap<(String, String), String>,
    /// By id.
    programmes: HashMap<String, Programme>,
    /// By programme and e-mail address.
    partners: HashMap<(String, String), Partner>,
    calls: Vec<Recorded>,
    faults: Vec<String>,
}

/// A running application. What is asked of its upstream half is asked of it.
#[derive(Debug)]
pub(super) struct Application {
    upstream: Upstream,
    facts: Arc<Mutex<Facts>>,
}

impl Deref for Application {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.upstream
    }
}

impl Application {
    pub(super) fn start() -> Self {
        let facts = Arc::new(Mutex::new(Facts::default()));
        let asked = facts.clone();
        let answer = move |request: &Recorded| {
            let path = request.target.split('?').next().unwrap_or_default();
            path.starts_with("/internal/").then(|| lock(&asked).answer(request, path))
        };
        Self { upstream: Upstream::with(Box::new(answer)), facts }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        lock(&self.facts)
    }

    /// How callbacks go from now on.
    pub(super) fn mood(&self, mood: Mood) {
        self.facts().mood = mood;
    }

    /// Somebody who signs in at convertly, an admin of `brand_456` on Growth; `change` makes somebody else of it.
    pub(super) fn person(&self, email: &str, password: &str, change: impl FnOnce(&mut Person)) {
        let text = str::to_owned;
        let mut person = Person {
            subject: text("abc123"),
            password: text(password),
            status: text("active"),
            role: text("Brand Admin"),
            plan: text("Growth"),
            tenant: text("brand_456"),
        };
        change(&mut person);
        self.facts().people.insert(email.to_owned(), person);
    }

    /// Changes what is known of somebody.
    pub(super) fn change(&self, email: &str, change: impl FnOnce(&mut Person)) {
        change(self.facts().people.get_mut(email).expect("somebody"));
    }

    /// An affiliate of a team, or its new status.
    pub(super) fn affiliate(&self, team: &str, id: &str, status: &str) {
        self.facts().affiliates.insert((team.to_owned(), id.to_owned()), status.to_owned());
    }

    /// A programme.
    pub(super) fn programme(&self, id: &str, team: &str, active: bool, private: bool) {
        self.facts().programmes.insert(id.to_owned(), Programme { team: team.to_owned(), active, private });
    }

    /// The partner with this address, if it is there.
    pub(super) fn partner(&self, programme: &str, email: &str) -> Option<Partner> {
        self.facts().partners.get(&(programme.to_owned(), email.to_owned())).cloned()
    }

    /// How many partners there are.
    pub(super) fn partners(&self) -> usize {
        self.facts().partners.len()
    }

    /// Every callback so far.
    pub(super) fn calls(&self) -> Vec<Recorded> {
        let facts = self.facts();
        assert!(facts.faults.is_empty(), "a callback was not as agreed: {:?}", facts.faults);
        facts.calls.clone()
    }

    /// What was sent on to it: everything but callbacks.
    pub(super) fn forwarded(&self) -> Vec<Recorded> {
        let mut requests = self.upstream.requests();
        requests.retain(|request| !request.target.starts_with("/internal/"));
        requests
    }

    /// The last request that was sent on to it.
    pub(super) fn seen(&self) -> Recorded {
        self.forwarded().pop().expect("nothing was sent on")
    }
}

fn lock(facts: &Mutex<Facts>) -> MutexGuard<'_, Facts> {
    facts.lock().expect("no panic under the lock")
}

impl Facts {
    fn answer(&mut self, request: &Recorded, path: &str) -> (Duration, Vec<u8>) {
        self.calls.push(request.clone());
        if request.header("authorization") != Some(&format!("Bearer {SECRET}")) {
            self.faults.push(format!("{} {path}: no shared secret", request.method));
            return (Duration::ZERO, reply(401, &json!({})));
        }
        if let Some(fault) = signature_fault(request) {
            self.faults.push(format!("{} {path}: {fault}", request.method));
        }
        match self.mood.clone() {
            Mood::Good => (Duration::ZERO, self.told(request, path)),
            Mood::Status(status) => (Duration::ZERO, reply(status, &json!({}))),
            Mood::Slow(delay) => (delay, self.told(request, path)),
            Mood::Says(text) => (Duration::ZERO, with_body(200, &text)),
        }
    }

    fn told(&mut self, request: &Recorded, path: &str) -> Vec<u8> {
        let segments: Vec<_> = path.split('/').skip(2).collect();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let (status, body) = match (request.method.as_str(), segments.as_slice()) {
            ("POST", ["auth", "verify"]) => self.verify(&body),
            ("GET", ["users", subject]) => self.person_called(subject),
            ("GET", ["teams", team, "affiliates", id]) => {
                match self.affiliates.get(&((*team).to_owned(), (*id).to_owned())) {
                    Some(status) => (200, json!({ "id": id, "status": status })),
                    None => (404, json!({})),
                }
            }
            ("POST", ["teams", team, "embed-partners"]) => self.embed_partner(team, &body),
            _ => {
                self.faults.push(format!("{} {path} is no callback", request.method));
                (500, json!({}))
            }
        };
        reply(status, &body)
    }

    fn verify(&mut self, body: &Value) -> (u16, Value) {
        for name in ["realm", "identifier", "password", "client_ip", "request_id"] {
            if !body[name].is_string() {
                self.faults.push(format!("no {name} in {body}"));
            }
        }
        let identifier = body["identifier"].as_str().unwrap_or_default();
        match self.people.get(identifier) {
            None => (404, json!({})),
            Some(person) if body["password"] != person.password => (401, json!({})),
            Some(person) if person.status != "active" => (403, json!({})),
            Some(person) => (200, facts_of(identifier, person)),
        }
    }

    fn person_called(&self, subject: &str) -> (u16, Value) {
        match self.people.iter().find(|(_, person)| person.subject == subject) {
            Some((email, person)) => (200, facts_of(email, person)),
            None => (404, json!({})),
        }
    }

    fn embed_partner(&mut self, team: &str, body: &Value) -> (u16, Value) {
        let programme_id = body["programId"].as_str().unwrap_or_default();
        let Some(programme) = self.programmes.get(programme_id).filter(|p| p.team == team && p.active) else {
            return (404, json!({}));
        };
        let status = if programme.private { "PENDING" } else { "APPROVED" };
        let email = body["partner"]["email"].as_str().unwrap_or_default().trim().to_ascii_lowercase();
        let number = self.partners.len() + 1;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let partner = self.partners.entry((programme_id.to_owned(), email.clone())).or_insert_with(|| Partner {
            id: format!("aff_{number}"),
            name: text(&body["partner"]["name"]),
            ..Partner::default()
        });
        if let Some(id) = text(&body["externalUserId"]) {
            partner.external_user_id = Some(id);
        }
        if body["metadata"].is_object() {
            partner.metadata = Some(body["metadata"].clone());
        }
        let via = email.split('@').next().unwrap_or_default();
        let told = json!({
            "affiliateId": partner.id,
            "link": format!("https://yourcompany.com?via={via}"),
            "partnershipStatus": status,
        });
        (200, told)
    }
}

fn facts_of(email: &str, person: &Person) -> Value {
    json!({
        "subject": person.subject, "status": person.status, "role": person.role, "plan": person.plan,
        "tenant": person.tenant, "attributes": { "email": email }, "ip_allowlist": [],
    })
}

/// What is wrong with the signature (Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`).
fn signature_fault(request: &Recorded) -> Option<String> {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let signature = header("webhook-signature");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do");
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    let wanted = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
    (signature != wanted).then(|| format!("the signature {signature:?} is not {wanted:?}"))
}

fn reply(status: u16, body: &Value) -> Vec<u8> {
    with_body(status, &body.to_string())
}

fn with_body(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}
