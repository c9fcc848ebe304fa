//! kill -9 in the middle of administration: whatever somebody was told is true after the restart, nothing of what was
//! refused is there, and what nobody was told about is there whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::support::administrator::{ALL_SCOPES, Administrator, Made};
use super::support::caller::{Call, Caller, Connection, Reply};
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::postgres::Postgres;
use super::support::process::{Ended, Process, Run, Served};
use super::support::realms::api_key;
use super::support::upstream::Upstream;

const REALM: &str = r#"
realm = "shop"
hosts = ["api.test"]
upstream = "http://{upstream}"

[[api_keys]]
prefix = "shop_"

[scopes]
"orders:read" = "See orders"

[[routes]]
path = "/orders/**"
auth = ["api_key"]
scopes = ["orders:read"]
"#;

/// The gateway is killed the moment that so many requests of a round are answered.
const KILLS: &[usize] = &[1, 25, 60, 110];

/// Keys of one import.
const BATCH: usize = 1000;

/// A gateway as a process of its own, and who administers it.
struct House {
    served: Served,
    env: HashMap<String, String>,
    /// May do everything.
    token: String,
    /// May look only.
    reader: String,
    /// Whose keys are made now.
    owner: String,
    _upstream: Upstream,
}

impl House {
    fn new(postgres: Option<&Postgres>) -> Self {
        let upstream = Upstream::start();
        let builder = Gateway::builder().upstream(&upstream).realm_toml(REALM);
        let builder = match postgres {
            Some(server) => builder.postgres(server),
            None => builder,
        };
        let env = builder.environment().clone();
        let served = builder.serve();
        let mut house = Self {
            served,
            env,
            token: String::new(),
            reader: String::new(),
            owner: String::new(),
            _upstream: upstream,
        };
        house.token = house.new_token(ALL_SCOPES);
        house.reader = house.new_token(&["admin:read"]);
        house.owner = house.new_owner("team_42");
        house
    }

    fn new_owner(&self, identifier: &str) -> String {
        let owner = json!({ "realm": "shop", "kind": "owner", "identifier": identifier, "scopes": ["orders:read"] });
        self.admin().post("/clients", &owner).is(201).json()["id"].as_str().expect("an id").to_owned()
    }

    fn new_token(&self, scopes: &[&str]) -> String {
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let made = self.run(["admin-token", "create", "crash", "--output", "secret"].into_iter().chain(scopes));
        made.out.trim().to_owned()
    }

    fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Run {
        Run::new(words).config(self.served.directory()).envs(&self.env)
    }

    /// Runs a command that shall succeed.
    #[track_caller]
    fn run<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Ended {
        let ended = self.command(words).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }

    fn with(&self, token: &str) -> Administrator {
        Administrator::new(Caller::new(self.served.admin).host("127.0.0.1"), token.to_owned(), String::new())
    }

    fn admin(&self) -> Administrator {
        self.with(&self.token)
    }

    /// Every thing of a list.
    fn all(&self, path: &str) -> Vec<Value> {
        let (admin, mut all, mut cursor) = (self.admin(), Vec::new(), String::new());
        let begin = if path.contains('?') { '&' } else { '?' };
        loop {
            let part = admin.get(format!("{path}{begin}limit=200{cursor}")).is(200).json();
            all.extend(part["data"].as_array().expect("a list").iter().cloned());
            match part["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Nothing is damaged, and the audit trail has no gap.
    fn is_sound(&self) {
        assert!(self.run(["store", "check"]).out.contains(": good"));
        assert!(self.run(["audit", "verify"]).out.contains("is whole"));
    }
}

/// A request to make something, as it was sent.
#[derive(Clone, Debug)]
struct Attempt {
    path: String,
    body: Value,
    /// Its idempotency key.
    repeat: String,
}

impl Attempt {
    fn call(&self, admin: &Administrator) -> Call {
        admin.call_with("POST", &self.path, &self.body).header("Idempotency-Key", &self.repeat)
    }

    fn name(&self) -> &str {
        self.body["name"].as_str().expect("a name")
    }
}

/// A key that is rotated again and again.
#[derive(Clone, Debug)]
struct Rotated {
    id: String,
    /// Version of the key as the last answer told it.
    version: i64,
    /// For how long the old text goes on, in seconds.
    overlap: i64,
    /// Every text that was shown, oldest first.
    texts: Vec<String>,
    /// The rotation that was not answered.
    cut: Option<Attempt>,
}

/// Keys from elsewhere that were sent together.
#[derive(Clone, Debug)]
struct Batch {
    attempt: Value,
    name: String,
    texts: Vec<String>,
    answered: bool,
}

/// What the clients of one round remember.
#[derive(Debug, Default)]
struct Noted {
    shown: Vec<(Attempt, Made)>,
    refused: Vec<Attempt>,
    cut: Vec<Attempt>,
    rotated: Vec<Rotated>,
    batches: Vec<Batch>,
}

/// Several clients at once, until the gateway is killed.
struct Storm<'h> {
    admin: Administrator,
    reader: Administrator,
    owner: &'h str,
    round: usize,
    answered: AtomicUsize,
    after: usize,
    victim: Mutex<&'h mut Process>,
}

impl Storm<'_> {
    /// Sends a request. None: it was not answered.
    fn ask(&self, call: &Call) -> Option<Reply> {
        let reply = call.attempt()?;
        if self.answered.fetch_add(1, Ordering::SeqCst) + 1 == self.after {
            self.victim.lock().expect("nobody panicked").kill();
        }
        Some(reply)
    }

    /// Makes keys, and asks for some that must not be made.
    fn create(&self, client: usize, noted: &Mutex<Noted>) {
        for n in 0.. {
            let name = format!("made {}-{client}-{n}", self.round);
            let mut body = json!({
                "realm": "shop", "owner_id": self.owner, "name": name, "ip_allowlist": ["127.0.0.0/8", "203.0.113.0/24"],
            });
            let (admin, status) = match n % 6 {
                3 => {
                    body["scopes"] = json!(["orders:raed"]);
                    (&self.admin, 400)
                }
                5 => (&self.reader, 403),
                _ => (&self.admin, 201),
            };
            let repeat = name.replace(' ', "-");
            let attempt = Attempt { path: "/keys".to_owned(), body, repeat };
            if n % 6 == 4 {
                // Whoever does not wait for the answer does not know either.
                attempt.call(admin).send_and_leave();
                noted.lock().expect("nobody panicked").cut.push(attempt);
                continue;
            }
            let reply = self.ask(&attempt.call(admin));
            let mut noted = noted.lock().expect("nobody panicked");
            match reply {
                Some(reply) if status == 201 => noted.shown.push((attempt, Made::of(&reply.is(201).json()))),
                Some(reply) => {
                    reply.is(status);
                    noted.refused.push(attempt);
                }
                None if status == 201 => return noted.cut.push(attempt),
                None => return noted.refused.push(attempt), // whatever was on its way, it was a refusal
            }
        }
    }

    /// Gives keys new texts, and asks for some that must not be given.
    fn rotate(&self, mut keys: Vec<Rotated>, noted: &Mutex<Noted>) {
        'storm: for n in 0.. {
            for key in &mut keys {
                let path = format!("/keys/{}/rotate", key.id);
                let body = json!({ "overlap_seconds": key.overlap });
                if n % 4 == 3 {
                    let stale = self.admin.call_with("POST", &path, &body).header("If-Match", "\"1\"");
                    match self.ask(&stale) {
                        Some(reply) => drop(reply.is(412)),
                        None => break 'storm,
                    }
                }
                let attempt = Attempt { path, body, repeat: format!("{}-{}-{n}", key.id, self.round) };
                let Some(reply) = self.ask(&attempt.call(&self.admin)) else {
                    key.cut = Some(attempt);
                    break 'storm;
                };
                let answer = reply.is(200).json();
                key.version = answer["version"].as_i64().expect("a version");
                key.texts.push(Made::of(&answer).secret);
            }
        }
        noted.lock().expect("nobody panicked").rotated.extend(keys);
    }

    /// Takes keys over that exist elsewhere.
    fn import(&self, client: usize, noted: &Mutex<Noted>) {
        for n in 0.. {
            let name = format!("import {}-{client}-{n}", self.round);
            let texts: Vec<_> = (0..BATCH).map(|_| api_key("shop_")).collect();
            let rows: Vec<_> = texts.iter().map(|text| json!({ "key": text, "name": name })).collect();
            let attempt = json!({ "realm": "shop", "owner_id": self.owner, "keys": rows });
            let reply = self.ask(&self.admin.call_with("POST", "/keys/import", &attempt));
            let answered = reply.is_some();
            if let Some(reply) = reply {
                assert_eq!(reply.is(200).json()["added"], BATCH);
            }
            noted.lock().expect("nobody panicked").batches.push(Batch { attempt, name, texts, answered });
            if !answered {
                return;
            }
        }
    }
}

/// A round: administration by six clients at once until the gateway is killed.
fn storm(house: &mut House, round: usize, after: usize) -> Noted {
    let (admin, reader) = (house.admin(), house.with(&house.reader));
    let keys: Vec<_> = [3600, 0, 3600, 0]
        .into_iter()
        .map(|overlap| {
            let body = json!({ "realm": "shop", "owner_id": house.owner, "name": format!("rotated {round}") });
            let made = Made::of(&admin.post("/keys", &body).is(201).json());
            Rotated { id: made.id, version: 1, overlap, texts: vec![made.secret], cut: None }
        })
        .collect();
    let noted = Mutex::new(Noted::default());
    let storm = Storm {
        admin,
        reader,
        owner: &house.owner,
        round,
        answered: AtomicUsize::new(0),
        after,
        victim: Mutex::new(&mut house.served.process),
    };
    std::thread::scope(|scope| {
        let (storm, noted) = (&storm, &noted);
        for client in 0..3 {
            scope.spawn(move || storm.create(client, noted));
        }
        for keys in keys.chunks(2) {
            scope.spawn(move || storm.rotate(keys.to_vec(), noted));
        }
        scope.spawn(move || storm.import(0, noted));
    });
    noted.into_inner().expect("nobody panicked")
}

/// What is true of texts: each is asked of the gate.
struct Gate {
    call: Call,
    connection: Connection,
}

impl Gate {
    fn of(served: &Served) -> Self {
        Self { call: served.get("/orders/7"), connection: served.caller().connect() }
    }

    /// 200, or the reason of the refusal.
    fn says(&mut self, text: &str) -> String {
        let reply = self.call.clone().header("X-API-Key", text).send_on(&mut self.connection);
        match reply.status {
            200 => "200".to_owned(),
            _ => reply.json()["code"].as_str().expect("a code").to_owned(),
        }
    }
}

/// How many of what was found after all rounds.
#[derive(Debug, Default)]
struct Counts {
    shown: usize,
    refused: usize,
    cut_made: usize,
    cut_lost: usize,
    rotations: usize,
    rotations_cut_done: usize,
    rotations_cut_lost: usize,
    batches: usize,
    batches_cut_in: usize,
    batches_cut_lost: usize,
}

/// Compares what the clients of a round remember with what there is.
fn look(house: &House, noted: &Noted, counts: &mut Counts) {
    let (admin, mut gate) = (house.admin(), Gate::of(&house.served));
    let mut named: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for key in house.all(&format!("/keys?owner_id={}", house.owner)) {
        named.entry(key["name"].as_str().expect("a name").to_owned()).or_default().push(key);
    }

    for (attempt, made) in &noted.shown {
        let keys = &named[attempt.name()];
        assert!(keys.len() == 1 && keys[0]["id"] == made.id, "{keys:?}");
        assert_eq!(networks(&keys[0]), networks(&attempt.body), "with all that was asked for");
        assert_eq!(gate.says(&made.secret), "200", "a key that was shown works: {}", made.id);
    }
    for attempt in &noted.refused {
        assert!(!named.contains_key(attempt.name()), "refused, and made: {:?}", named[attempt.name()]);
    }
    for attempt in &noted.cut {
        let again = attempt.call(&admin).send();
        match named.get(attempt.name()).map_or(&[][..], Vec::as_slice) {
            [] => {
                let made = Made::of(&again.is(201).json());
                assert_eq!(gate.says(&made.secret), "200");
                counts.cut_lost += 1;
            }
            [key] => {
                assert_eq!(networks(key), networks(&attempt.body), "whole");
                let refused = again.is(409).json();
                assert_eq!((&refused["code"], &refused["target"]), (&json!("already_created"), &key["id"]));
                counts.cut_made += 1;
            }
            several => panic!("made more than once: {several:?}"),
        }
    }
    for (attempt, made) in noted.shown.iter().take(3) {
        assert_eq!(attempt.call(&admin).send().is(409).json()["target"], made.id, "asked again, it is still done");
    }

    noted.rotated.iter().for_each(|key| rotated(house, key, &mut gate, counts));
    for batch in &noted.batches {
        imported(house, batch, named.get(&batch.name).map_or(0, Vec::len), &mut gate, counts);
    }
    counts.shown += noted.shown.len();
    counts.refused += noted.refused.len();
}

/// The address list, in some order.
fn networks(key: &Value) -> BTreeSet<&str> {
    key["ip_allowlist"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// A rotated key is as the last answer said, or as the one that did not arrive would have said.
fn rotated(house: &House, key: &Rotated, gate: &mut Gate, counts: &mut Counts) {
    let (last, older) = key.texts.split_last().expect("a text");
    let now = house.admin().get(format!("/keys/{}", key.id)).is(200).json();
    let done = now["version"].as_i64().expect("a version") - key.version;
    let old = if key.overlap > 0 { "200" } else { "key_expired" };
    let hint = |text: &str| json!(text[text.len() - 4..]);
    match (done, &key.cut) {
        (0, _) => {
            assert_eq!(now["hint"], hint(last));
            assert_eq!(gate.says(last), "200", "a text that was shown works: {now}");
            if let Some((before, ended)) = older.split_last() {
                assert_eq!(gate.says(before), old, "the one before as its overlap says: {now}");
                assert!(ended.iter().all(|text| gate.says(text).starts_with("key_")), "two texts at most");
            }
        }
        (1, Some(_)) => {
            assert_ne!(now["hint"], hint(last));
            assert_eq!(gate.says(last), old, "the text before the one nobody saw, as its overlap says: {now}");
            assert!(older.iter().all(|text| gate.says(text).starts_with("key_")), "two texts at most");
        }
        _ => panic!("rotated {done} times more than was told: {now}"),
    }
    counts.rotations += older.len();
    let Some(cut) = &key.cut else { return };
    let again = cut.call(&house.admin()).send();
    if done == 0 {
        let text = Made::of(&again.is(200).json()).secret;
        assert_eq!((gate.says(&text), gate.says(last)), ("200".to_owned(), old.to_owned()));
        counts.rotations_cut_lost += 1;
    } else {
        assert_eq!(again.is(409).json()["target"], key.id);
        counts.rotations_cut_done += 1;
    }
}

/// A batch is in whole, or not at all; sent again it is in.
fn imported(house: &House, batch: &Batch, found: usize, gate: &mut Gate, counts: &mut Counts) {
    if !batch.answered {
        let again = house.admin().post("/keys/import", &batch.attempt).is(200).json();
        assert_eq!((&again["added"], &again["known"]), (&json!(BATCH - found), &json!(found)));
    }
    match (batch.answered, found) {
        (true, BATCH) => counts.batches += 1,
        (false, BATCH) => counts.batches_cut_in += 1,
        (false, 0) => counts.batches_cut_lost += 1,
        _ => panic!("{found} keys of a batch: {}", batch.name),
    }
    for text in batch.texts.iter().step_by(199) {
        assert_eq!(gate.says(text), "200", "an imported key works");
    }
}

/// What the audit trail says was done is what is there.
fn trail_fits(house: &House) {
    let keys = house.all("/keys");
    // Changes of each: its making, an entry of its list each, a rotation each.
    let changes = |key: &Value| key["version"].as_u64().expect("a version") as usize - networks(key).len();
    let mut made: BTreeMap<&str, usize> =
        keys.iter().map(|key| (key["id"].as_str().expect("an id"), changes(key))).collect();
    let events = house.all("/audit?action=key.");
    for event in &events {
        let target = event["target"]["id"].as_str();
        match event["action"].as_str() {
            Some("key.created" | "key.rotated") if event["outcome"] == "ok" => {
                let version = target.and_then(|id| made.get_mut(id)).unwrap_or_else(|| panic!("no key: {event}"));
                *version = version.checked_sub(1).unwrap_or_else(|| panic!("more than was done: {event}"));
            }
            _ => assert_ne!(event["outcome"], "ok", "{event}"),
        }
    }
    let imports = house.all("/audit?action=keys.imported");
    let imported: u64 = imports.iter().map(|event| event["detail"]["added"].as_u64().expect("a number")).sum();
    let silent = made.values().filter(|left| **left == 1).count() as u64;
    assert_eq!(silent, imported, "who was not created came with an import");
    assert!(made.values().all(|left| *left < 2), "as many events as changes");
}

fn endure(name: &str, postgres: Option<&Postgres>) {
    let mut house = House::new(postgres);
    let mut counts = Counts::default();
    for (round, after) in KILLS.iter().enumerate() {
        house.owner = house.new_owner(&format!("team_{round}"));
        let noted = storm(&mut house, round, *after);
        // Whoever opens the store first after a crash mends it: the command line, or the gateway.
        if round % 2 == 0 {
            house.is_sound();
        }
        house.served.start_again(&house.env.clone());
        house.is_sound();
        look(&house, &noted, &mut counts);
    }
    trail_fits(&house);
    house.is_sound();
    println!("{name}: killed after {KILLS:?} answers: {counts:?}");
    assert!(counts.shown > 0 && counts.refused > 0 && counts.rotations > 0, "{counts:?}");
}

#[test]
fn a_gateway_on_sqlite_that_is_killed_in_the_middle_keeps_what_it_said_and_nothing_else() {
    endure("SQLite", None);
}

#[test]
fn a_gateway_on_postgresql_that_is_killed_in_the_middle_keeps_what_it_said_and_nothing_else() {
    endure("PostgreSQL", Some(Postgres::shared()));
}

/// Batches that an import has before it is killed; the file goes on.
const KILLED_IMPORTS: &[usize] = &[0, 1, 3];

/// Batches of the file of an import.
const BATCHES: usize = 5;

fn import_in_pieces(name: &str, postgres: Option<&Postgres>) {
    let house = House::new(postgres);
    let texts: Vec<_> = (0..BATCHES * BATCH + BATCH / 2).map(|_| api_key("shop_")).collect();
    let file = texts.join("\n") + "\n";
    let words = ["key", "import", "-", "--owner", "team_42", "--format", "plain"];
    let batches = || house.all("/audit?action=keys.imported");
    let mut seen = Vec::new();
    for enough in KILLED_IMPORTS {
        let before = batches().len();
        // The pipe stays open, so that it cannot come to its end.
        let mut import = house.command(words).input(file.clone()).start_fed();
        eventually("the import gets so far", || (batches().len() >= before + enough).then_some(()));
        import.kill();
        house.is_sound();
        let keys = house.all("/keys").len();
        let told: i64 = batches().iter().map(|event| event["detail"]["added"].as_i64().expect("a number")).sum();
        assert_eq!((keys % BATCH, i64::try_from(keys).expect("a number")), (0, told), "whole batches");
        seen.push(keys);
    }
    assert!(seen.is_sorted() && seen.last() >= Some(&(3 * BATCH)), "{seen:?}");

    let done = house.command(words.into_iter().chain(["--json"])).input(file).end();
    assert_eq!(done.code, 0, "{done:?}");
    let done: Value = serde_json::from_str(&done.out).expect("JSON");
    let known = seen.last().copied().unwrap_or_default();
    assert_eq!((&done["known"], &done["added"]), (&json!(known), &json!(texts.len() - known)), "the rest");
    assert_eq!(house.all("/keys").len(), texts.len());
    let mut gate = Gate::of(&house.served);
    for text in texts.iter().step_by(99) {
        assert_eq!(gate.says(text), "200");
    }
    house.is_sound();
    println!("{name}: an import of {} keys, killed at {seen:?}, then completed", texts.len());
}

#[test]
fn an_import_into_sqlite_that_is_killed_leaves_whole_batches_and_is_completed_by_the_next() {
    import_in_pieces("SQLite", None);
}

#[test]
fn an_import_into_postgresql_that_is_killed_leaves_whole_batches_and_is_completed_by_the_next() {
    import_in_pieces("PostgreSQL", Some(Postgres::shared()));
}
