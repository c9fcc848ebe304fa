//! Several gateways on one database behave as one: what an administrator does on one of them holds on all of them within
//! two seconds at the worst; a database that is gone and comes back makes no wrong answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis::clock::Stopwatch;
use serde_json::{Value, json};

use super::support::caller::Caller;
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::postgres::Postgres;
use super::support::process::{Run, Served};
use super::support::upstream::Upstream;

const REALM: &str = r#"
realm = "shop"
hosts = ["api.test"]
upstream = "http://{upstream}"

[[api_keys]]
prefix = "shop_"

[[routes]]
path = "/orders/**"
auth = ["api_key"]
scopes = ["orders:read"]

[[routes]]
path = "/items/**"
auth = ["api_key"]
scopes = ["items:read"]
"#;

const PEPPER: &str = "0123456789abcdef0123456789abcdef";
const SEAL: &str = "fedcba9876543210fedcba9876543210";

/// The bound that is promised for a change to reach every node.
const AT_WORST: Duration = Duration::from_secs(2);
/// So many changes are measured.
const CHANGES: usize = 100;

/// Gateways on one database, as processes of their own.
struct Cluster {
    nodes: Vec<Served>,
    token: String,
    _upstream: Upstream,
}

impl Cluster {
    fn start(postgres: &Postgres, more: &str) -> Self {
        let upstream = Upstream::start();
        let url = postgres.new_database();
        let env = [("STORE_URL", url.as_str()), ("PEPPER", PEPPER), ("SEAL", SEAL)];
        let nodes: Vec<_> = ["a", "b", "c"]
            .iter()
            .map(|node| {
                let builder = Gateway::builder().upstream(&upstream).realm_toml(REALM).server_toml(&format!(
                    "[store]\nurl = {{ env = \"STORE_URL\" }}\npepper = {{ env = \"PEPPER\" }}\n\
                         seal_key = {{ env = \"SEAL\" }}\nnode = \"{node}\"\n{more}"
                ));
                env.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).serve()
            })
            .collect();
        let arguments = [
            "admin-token",
            "create",
            "tests",
            "--scope",
            "admin:clients",
            "--scope",
            "admin:keys",
            "--output",
            "secret",
        ];
        let command = Run::new(arguments).config(nodes[0].directory());
        let made = env.iter().fold(command, |command, (name, value)| command.env(name, value)).end();
        assert_eq!(made.code, 0, "{}", made.err);
        Self { nodes, token: made.out.trim().to_owned(), _upstream: upstream }
    }

    /// An admin request on one node; its answer with a status below 300.
    #[track_caller]
    fn admin(&self, node: usize, method: &str, path: &str, body: Value) -> Value {
        let caller = Caller::new(self.nodes[node].admin).host("127.0.0.1");
        let call = caller.call(method, path).bearer(&self.token);
        let reply = if body.is_null() {
            call.send()
        } else {
            call.header("Content-Type", "application/json").body(body.to_string()).send()
        };
        assert!(reply.status < 300, "{method} {path}: {} {}", reply.status, reply.text());
        serde_json::from_str(&reply.text()).unwrap_or(Value::Null)
    }

    fn status(&self, node: usize, path: &str, key: &str) -> u16 {
        self.nodes[node].get(path).bearer(key).send().status
    }

    /// Milliseconds until every other node answers `path` with `status`.
    fn seen_by_others(&self, path: &str, key: &str, status: u16) -> Vec<f64> {
        let watch = Stopwatch::start();
        (1..self.nodes.len())
            .map(|node| {
                eventually("the change arrives", || (self.status(node, path, key) == status).then_some(()));
                watch.elapsed().as_secs_f64() * 1000.0
            })
            .collect()
    }

    fn key(&self, node: usize, owner: &str, name: &str) -> (String, String) {
        let body = json!({ "realm": "shop", "owner_id": owner, "name": name, "scopes": ["orders:read"] });
        let made = self.admin(node, "POST", "/admin/v1/keys", body);
        (made["id"].as_str().expect("an id").to_owned(), made["secret"].as_str().expect("a secret").to_owned())
    }
}

/// Somebody who calls every node all the time with one key, and counts the answers by status.
struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 600]>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &Cluster, path: &'static str, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 600]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let threads = cluster
            .nodes
            .iter()
            .map(|node| {
                let (stop, counts, key) = (Arc::clone(&stop), Arc::clone(&counts), key.to_owned());
                let caller = node.caller();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let status = caller.get(path).bearer(&key).send().status;
                        counts[usize::from(status)].fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(5)); // a caller of some 200 requests a second
                    }
                })
            })
            .collect();
        Self { stop, counts, threads }
    }

    fn count(&self, status: u16) -> u64 {
        self.counts[usize::from(status)].load(Ordering::Relaxed)
    }

    /// Stops, and gives every status that came with its number.
    fn end(self) -> Vec<(usize, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the caller ran");
        }
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

fn client(cluster: &Cluster, identifier: &str) -> String {
    let body = json!({ "realm": "shop", "identifier": identifier, "kind": "owner" });
    let made = cluster.admin(0, "POST", "/admin/v1/clients", body);
    made["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_change_on_one_node_holds_on_all_within_two_seconds() {
    let cluster = Cluster::start(Postgres::shared(), "");
    let owner = client(&cluster, "team_1");
    let (_, steady) = cluster.key(0, &owner, "steady");
    let load = Load::start(&cluster, "/orders/1", &steady);
    let mut times = Vec::new();
    for round in 0..CHANGES {
        let (id, key) = cluster.key(round % 3, &owner, &format!("key {round}"));
        let at = format!("/admin/v1/keys/{id}");
        for node in 0..3 {
            assert_eq!(cluster.status(node, "/orders/1", &key), 200, "a new key works everywhere at first use");
        }
        let (path, status, now) = match round % 5 {
            0 => {
                cluster.admin(0, "POST", &format!("{at}/revoke"), json!({ "reason": "a test" }));
                ("/orders/1", 401, key)
            }
            1 => {
                cluster.admin(0, "POST", &format!("{at}/disable"), Value::Null);
                ("/orders/1", 401, key)
            }
            2 => {
                cluster.admin(0, "POST", &format!("{at}/ip-allowlist"), json!({ "network": "203.0.113.0/24" }));
                ("/orders/1", 403, key)
            }
            3 => {
                cluster.admin(0, "PATCH", &at, json!({ "scopes": ["items:read"] }));
                ("/items/1", 200, key)
            }
            _ => {
                cluster.admin(0, "POST", &format!("{at}/rotate"), json!({ "overlap_seconds": 0 }));
                ("/orders/1", 401, key)
            }
        };
        assert_eq!(cluster.status(0, path, &now), status, "the node that was told knows when it answers");
        times.extend(cluster.seen_by_others(path, &now, status));
    }
    let answers = load.end();
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("propagation of {CHANGES} changes to 2 nodes under load: median {median:.1} ms, maximum {worst:.1} ms");
    println!("answers to the steady key meanwhile: {answers:?}");
    assert!(worst < AT_WORST.as_secs_f64() * 1000.0, "{times:?}");
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200], "{answers:?}");
}

#[test]
fn a_database_that_is_killed_and_comes_back_makes_no_wrong_answer() {
    let mut postgres = Postgres::private();
    let cluster = Cluster::start(&postgres, "max_staleness = \"3s\"");
    let owner = client(&cluster, "team_1");
    let (_, good) = cluster.key(0, &owner, "good");
    let (dead, revoked) = cluster.key(0, &owner, "revoked");
    for node in 0..3 {
        assert_eq!(cluster.status(node, "/orders/1", &good), 200);
        assert_eq!(cluster.status(node, "/orders/1", &revoked), 200);
    }
    cluster.admin(0, "POST", &format!("/admin/v1/keys/{dead}/revoke"), json!({}));
    cluster.seen_by_others("/orders/1", &revoked, 401);

    let good_load = Load::start(&cluster, "/orders/1", &good);
    let revoked_load = Load::start(&cluster, "/orders/1", &revoked);
    let unknown = format!("{}x", &good[..good.len() - 1]);
    postgres.kill();
    let known = good_load.count(200);
    eventually("a known key is answered from memory", || (good_load.count(200) > known + 20).then_some(()));
    eventually("beyond max_staleness it is 503", || (good_load.count(503) > 20).then_some(()));
    eventually("nodes are not ready", || {
        cluster.nodes.iter().all(|node| node.admin_get("/readyz").status == 503).then_some(())
    });
    assert_ne!(cluster.status(1, "/orders/1", &unknown), 200);
    postgres.restart();
    eventually("every node recovers by itself", || {
        (0..3).all(|node| cluster.status(node, "/orders/1", &good) == 200).then_some(())
    });
    eventually("nodes are ready again", || {
        cluster.nodes.iter().all(|node| node.admin_get("/readyz").status == 200).then_some(())
    });
    let (good, revoked) = (good_load.end(), revoked_load.end());
    println!("through a killed database: good key {good:?}, revoked key {revoked:?}");
    assert!(good.iter().all(|(status, _)| [200, 503].contains(status)), "never refused for good: {good:?}");
    assert!(revoked.iter().all(|(status, _)| [401, 503].contains(status)), "never allowed: {revoked:?}");

    let (id, late) = cluster.key(1, &owner, "after the outage");
    assert_eq!(cluster.status(2, "/orders/1", &late), 200);
    cluster.admin(1, "POST", &format!("/admin/v1/keys/{id}/revoke"), json!({}));
    cluster.seen_by_others("/orders/1", &late, 401);
}
