//! K-04: after a working day nothing of a key is left anywhere but in the hands of those it was given to. What a process
//! holds in its memory is another matter: `docs/security.md` tells of it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use portcullis::secret::CredentialDigest;
use portcullis::store::StoreSettings;
use serde_json::json;

use super::{postgres_at, sqlite_in, with_key};
use crate::support::administrator::{Administrator, Made, on_store};
use crate::support::caller::Call;
use crate::support::gateway::{Builder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::process::{Run, Served};
use crate::support::realms::{Standard, api_key, key_digest, key_prefix};
use crate::support::upstream::Upstream;

/// A process that logs as much as it can, after everything that can be done with keys has been done.
struct Day {
    served: Served,
    settings: StoreSettings,
    /// Every text, by what became of it.
    texts: BTreeMap<String, String>,
    upstream: Upstream,
}

fn loud(standard: &Standard, upstream: &Upstream) -> Builder {
    Gateway::builder().server_toml("[log]\nlevel = \"trace\"\n").standard(standard).upstream(upstream)
}

impl Day {
    fn spend(served: Served, settings: StoreSettings, upstream: Upstream) -> Self {
        let admin = Administrator::of_process(served.admin, &settings);
        let mut texts = BTreeMap::from([("an admin token".to_owned(), admin.token.clone())]);
        let team = admin.owner("team", &json!({}));
        let call = |key: &str| with_key(&served.caller(), key);
        let keys: Vec<Made> = (0..20).map(|n| admin.key(&team, &json!({ "name": format!("key {n}") }))).collect();
        for (n, key) in keys.iter().enumerate() {
            texts.insert(format!("key {n}"), key.secret.clone());
            if n < 15 {
                call(&key.secret).send().ok(); // the last five are never used
            }
        }
        for key in &keys[..3] {
            let rotated =
                admin.post(format!("/keys/{}/rotate", key.id), &json!({ "overlap_seconds": 60 })).is(200).json();
            texts.insert(format!("{} rotated", key.id), Made::of(&rotated).secret);
            call(&Made::of(&rotated).secret).send().ok();
            call(&key.secret).send().ok();
        }
        admin.post(format!("/keys/{}/revoke", keys[3].id), &json!({ "reason": "a test" })).is(200);
        admin.order(format!("/keys/{}/disable", keys[4].id)).is(200);
        call(&keys[3].secret).send().denied("key_revoked");
        call(&keys[4].secret).send().denied("key_disabled");

        let imported: Vec<_> = (0..4).map(|_| api_key(&key_prefix())).collect();
        let rows = json!([
            { "key": imported[0] }, { "key": imported[1] },
            { "sha256": key_digest(&imported[2]) }, { "sha256": key_digest(&imported[3]).to_uppercase() },
        ]);
        let batch = |keys: &serde_json::Value| json!({ "realm": "api", "owner_id": team, "keys": keys });
        admin.post("/keys/import", &batch(&rows)).is(200);
        admin.post("/keys/import", &batch(&rows)).is(200);
        // Refused: the second row is no key.
        let spoilt = format!("{}x", api_key(&key_prefix()));
        admin.post("/keys/import", &batch(&json!([{ "key": api_key(&key_prefix()) }, { "key": spoilt }]))).is(400);
        texts.insert("spoilt".to_owned(), spoilt);
        for (n, key) in imported.iter().enumerate() {
            texts.insert(format!("imported {n}"), key.clone());
            call(key).send().ok();
            let verified = admin.post("/keys/verify", &json!({ "realm": "api", "key": key })).is(200);
            assert_eq!(verified.json()["valid"], true);
        }

        // Never keys, or not here; and keys where they do not belong.
        for n in 0..5 {
            let bad = api_key(&key_prefix());
            call(&bad).send().denied("key_unknown");
            admin.post("/keys/verify", &json!({ "realm": "api", "key": bad })).is(200);
            admin.get(format!("/keys/{bad}")).is(404);
            admin.get(format!("/keys?hint={bad}"));
            admin.post("/clients", &json!({ "realm": "api", "kind": "owner", bad.clone(): bad })).is(400);
            texts.insert(format!("bad {n}"), bad);
        }
        let stray = &keys[6].secret;
        let get = |target: &str| served.get(target);
        for call in [
            get(&format!("/me/{stray}?key={stray}")),
            get(&format!("/public/{stray}")),
            get("/me/x").header("X-Request-Id", stray).header("Cookie", format!("k={stray}")),
            get("/me/x").header("User-Agent", stray).header("X-API-Key", format!("{stray}x")),
            get("/me/x").bearer(stray).header("X-API-Key", stray),
            get("/me/x").host(stray),
            get("/me/x").header(stray, "x"),
            served.caller().call(stray, "/me/x"),
        ] as [Call; 8]
        {
            call.send();
        }
        served.caller().try_send_raw(format!("{stray}\r\n\r\n"));
        served.caller().try_send_raw(format!("GET /me/x HTTP/1.1\r\n{stray}\r\n\r\n"));
        let explained = json!({ "url": "http://api.test/me/x", "headers": { "X-API-Key": stray } });
        assert_eq!(admin.post("/explain", &explained).is(200).json()["allowed"], true);
        for token in [api_key(&["pc", "a_"].concat()), stray.clone()] {
            admin.call("GET", "/keys").header("Authorization", format!("Bearer {token}")).send().is(401);
        }
        let repeated = admin.call_with("POST", "/keys", &json!({ "realm": "api", "owner_id": team, "name": "again" }));
        let repeated = repeated.header("Idempotency-Key", "once");
        texts.insert("repeated".to_owned(), Made::of(&repeated.send().is(201).json()).secret);
        repeated.send().is(409);
        admin.get("/keys?limit=200").is(200);
        admin.get("/audit?limit=200").is(200);
        Self { served, settings, texts, upstream }
    }

    /// What must not be found, with what it is.
    fn traces(&self) -> Traces {
        let mut traces = Traces::default();
        for (name, text) in &self.texts {
            let digest = CredentialDigest::of(text.as_bytes());
            let raw = digest.as_bytes();
            for (what, form) in [
                ("as it is", text.as_bytes().to_vec()),
                ("backwards", text.bytes().rev().collect()),
                ("in base 64", BASE64.encode(text.as_bytes()).into_bytes()),
                ("in hexadecimal digits", HEXLOWER.encode(text.as_bytes()).into_bytes()),
                ("its random part", text.as_bytes()[text.len().min(8)..text.len().saturating_sub(6)].to_vec()),
                ("its SHA-256", raw.to_vec()),
                ("its SHA-256 in base 64", BASE64.encode(raw).into_bytes()),
                ("its SHA-256 in small digits", HEXLOWER.encode(raw).into_bytes()),
                ("its SHA-256 in large digits", HEXUPPER.encode(raw).into_bytes()),
            ] {
                traces.add(form, format!("{name}, {what}"));
            }
        }
        traces
    }

    /// Everything that the process has written or shows, and every file below these directories.
    fn look_everywhere(&mut self, directories: &[&Path]) {
        let traces = self.traces();
        let proc = PathBuf::from(format!("/proc/{}", self.served.process.id()));
        for file in ["environ", "cmdline", "comm", "mountinfo"] {
            traces.are_not_in(file, &fs::read(proc.join(file)).expect("it runs"));
        }
        let mut files = Vec::new();
        for directory in directories {
            collect(directory, &mut files);
        }
        let mut whole = false;
        for file in &files {
            // A file of PostgreSQL's may go while we look.
            let bytes = fs::read(file).unwrap_or_default();
            traces.are_not_in(&file.display().to_string(), &bytes);
            // What everybody may read is there: we look where keys are kept.
            whole |= bytes.windows(6).any(|some| some == b"key 19");
        }
        assert!(whole, "{files:?}");
        self.served.process.signal("TERM");
        assert_eq!(self.served.process.wait(), 0);
        let Served { process, .. } = &self.served;
        for (what, text) in [("standard output", process.out.text()), ("standard error", process.err.text())] {
            assert!(text.lines().count() > 2, "{what} is empty: {text}");
            traces.are_not_in(what, text.as_bytes());
        }
        assert!(self.upstream.requests().iter().all(|request| request.header("x-api-key").is_none()));
    }
}

/// Byte strings that are looked for together.
#[derive(Default)]
struct Traces(HashMap<[u8; 4], Vec<(Vec<u8>, String)>>);

impl Traces {
    fn add(&mut self, form: Vec<u8>, what: String) {
        let start = *form.first_chunk().expect("long enough to mean something");
        self.0.entry(start).or_default().push((form, what));
    }

    /// The first one that `bytes` hold.
    fn find(&self, bytes: &[u8]) -> Option<&str> {
        let mut starts = vec![false; 1 << 16];
        let pair = |a: u8, b: u8| usize::from(a) << 8 | usize::from(b);
        self.0.keys().for_each(|start| starts[pair(start[0], start[1])] = true);
        for (at, some) in bytes.windows(4).enumerate() {
            if starts[pair(some[0], some[1])] {
                let known = <[u8; 4]>::try_from(some).ok().and_then(|start| self.0.get(&start));
                let found = known.into_iter().flatten().find(|(form, _)| bytes[at..].starts_with(form));
                if let Some((_, what)) = found {
                    return Some(what);
                }
            }
        }
        None
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, bytes: &[u8]) {
        if let Some(what) = self.find(bytes) {
            panic!("{place} holds {what}");
        }
    }
}

#[test]
fn what_is_looked_for_is_found_where_it_is() {
    let mut traces = Traces::default();
    traces.add(b"abcdef".to_vec(), "one".to_owned());
    traces.add(b"abcdxx".to_vec(), "other".to_owned());
    for (bytes, found) in [
        (&b"zzabcdxxzz"[..], Some("other")),
        (b"abcdef", Some("one")),
        (b"aabcabcdef", Some("one")),
        (b"abcde", None),
        (b"", None),
    ] {
        assert_eq!(traces.find(bytes), found, "{bytes:?}");
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, files),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
}

#[test]
fn k04_nothing_of_a_key_is_left_in_files_logs_or_backups_of_sqlite() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let served = loud(&standard, &upstream).serve();
    let settings = sqlite_in(served.directory());
    let directory = served.directory().to_owned();
    let mut day = Day::spend(served, settings, upstream);
    let backup = directory.join("backup.db");
    on_store(&day.settings, async |store| store.backup(&backup).await).expect("a backup");
    for file in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm", "portcullis.db.pepper", "backup.db"] {
        let meta = fs::metadata(directory.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077, 0, "{file}");
    }
    day.look_everywhere(&[&directory]);
}

#[test]
fn k04_nothing_of_a_key_is_left_in_files_logs_or_dumps_of_postgresql() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let server = Postgres::private();
    // A server that writes down every statement with its values.
    server.sql("postgres", "ALTER SYSTEM SET log_statement = 'all'");
    server.sql("postgres", "ALTER SYSTEM SET log_parameter_max_length = -1");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let url = server.new_database();
    let served = loud(&standard, &upstream).database(&url).serve();
    let (settings, directory) = (postgres_at(&url), served.directory().to_owned());
    let mut day = Day::spend(served, settings, upstream);
    server.sql("postgres", "CHECKPOINT");
    day.look_everywhere(&[&directory, server.directory()]);
    assert!(!day.served.process.err.text().contains(crate::support::postgres::PASSWORD));
}

#[test]
fn k04_the_command_that_makes_a_key_leaves_it_in_no_log() {
    let (standard, upstream) = (Standard::new(), Upstream::start());
    let directory = loud(&standard, &upstream).write();
    let made = Run::new(["key", "generate", "--prefix", &key_prefix(), "--json"]).end();
    let printed: serde_json::Value = serde_json::from_str(&made.out).expect("JSON");
    let text = printed["key"].as_str().expect("a key");
    assert!(text.starts_with(&key_prefix()) && made.err.is_empty(), "{made:?}");
    let (mut files, mut traces) = (Vec::new(), Traces::default());
    collect(directory.path(), &mut files);
    traces.add(text.as_bytes().to_vec(), "the key".to_owned());
    assert!(files.iter().all(|file| traces.find(&fs::read(file).expect("a file")).is_none()));
}
