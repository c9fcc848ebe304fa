//! The files of a configuration: what `check` says about good ones, and that odd, huge and hostile ones are told apart
//! quickly, with a text that helps and never shows a secret.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis::clock::Stopwatch;
use portcullis::config::{Config, Problems, Sources, load};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

const REALM: &str = r#"
realm = "shop"
hosts = ["shop.test"]
upstream = "http://127.0.0.1:9000"

[[issuers]]
name = "house"
issuer = "https://house.test"
audience = ["api"]
algorithms = ["HS256"]
keys = { secret = SECRET }

[[routes]]
path = "/me/**"
auth = ["jwt"]
"#;

/// A realm whose issuer has this secret.
fn realm(secret: &str) -> String {
    REALM.replace("SECRET", secret)
}

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    directory
}

fn loaded(directory: &TempDir) -> Result<Config, Problems> {
    let env = |name: &str| (name == "SECRET").then(|| format!("{SECRET}\n"));
    load(directory.path(), &Sources { env: &env, secrets: true })
}

/// The text of the only problem.
#[track_caller]
fn refused(directory: &TempDir) -> String {
    let problems = loaded(directory).expect_err("a problem").0;
    let [problem] = problems.as_slice() else { panic!("expected one problem: {problems:#?}") };
    problem.to_string().replace(&directory.path().display().to_string(), "DIR")
}

/// Exit code, standard output, standard error.
fn check(path: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "--config"])
        .arg(path)
        .args(arguments)
        .env("SECRET", SECRET)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&path.display().to_string(), "DIR");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_lists_every_route_with_what_it_takes() {
    let more = r#"
[[api_keys]]
prefix = "pk_test_"

[limits.slow]
by = "client"
rate = "3/m"

[upstreams.reports]
servers = ["127.0.0.1:9001"]

[[routes]]
name = "orders"
path = "/orders/{id}"
methods = ["GET", "PUT"]
auth = ["jwt", "api_key"]
issuers = ["house"]
scopes = ["orders:{access}"]
scopes_any = ["a", "b"]
roles = ["editor", "root"]
plan = ["Growth"]
attributes = { region = ["eu", "us"], level = 3 }
allow_ips = ["192.0.2.0/24", "2001:db8::/32"]
deny_ips = ["192.0.2.7"]
limits = ["slow"]
upstream = "reports"

[[routes]]
path = "/"
auth = ["public"]

[[routes]]
path = "/trial"
auth = ["jwt"]
scopes = ["a"]
enforce = false
"#;
    let files = directory(&[("realms/shop.toml", (realm("{ env = \"SECRET\" }") + more).as_bytes())]);
    let (code, out, err) = check(files.path(), &[]);
    let told =
        err.trim_end().rsplit_once(": warning: ").map(|(place, text)| (place.contains("routes[3].enforce"), text));
    assert_eq!((code, told), (Some(0), Some((true, "requests go on whatever is decided about them"))), "{err}");
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "DIR: good: 1 realm, 4 routes",
            "",
            "realm methods path auth upstream needs",
            "shop any /me/** jwt 127.0.0.1:9000 -",
            "shop GET,PUT /orders/{id} jwt,api_key reports issuers: house; scopes: orders:{access}; one of the scopes: a, \
             b; roles: editor, root; plan: Growth; attributes: region, level; addresses: 2 allowed, 1 denied; limits: slow",
            "shop any / public 127.0.0.1:9000 -",
            "shop any /trial jwt 127.0.0.1:9000 enforce: false; scopes: a",
        ]
    );

    let (code, out, _) = check(files.path(), &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["good"]), (Some(0), &serde_json::json!(true)));
    assert_eq!(told["routes"][1]["methods"], serde_json::json!(["GET", "PUT"]));
    assert_eq!(told["routes"][1]["name"], "orders");
    assert_eq!(told["routes"][1]["needs"]["scopes"], serde_json::json!(["orders:{access}"]));
    assert_eq!(told["routes"][2]["auth"], serde_json::json!(["public"]));
}

#[test]
fn check_tells_warnings_and_problems_with_their_exit_codes() {
    let inline = format!("{{ inline = \"{SECRET}\" }}");
    let files = directory(&[("realms/shop.toml", realm(&inline).as_bytes())]);
    let (code, out, err) = check(files.path(), &[]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("DIR: good: 1 realm, 1 route\n"), "{out}");
    assert!(err.starts_with("DIR/realms/shop.toml:11:19: issuers[0].keys.secret: warning: "), "{err}");
    assert!(!out.contains(SECRET) && !err.contains(SECRET));

    let files = directory(&[("realms/shop.toml", (realm(&inline) + "auht = 1\n").as_bytes())]);
    let (code, out, err) = check(files.path(), &[]);
    assert_eq!((code, &*out), (Some(2), ""));
    assert_eq!(err, "DIR/realms/shop.toml:16:1: routes[0].auht: unknown key; did you mean `auth`?\n");
    let (code, out, err) = check(files.path(), &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &*err, &told["good"]), (Some(2), "", &serde_json::json!(false)));
    assert_eq!(told["problems"][0]["key"], "routes[0].auht");
    assert_eq!(told["problems"][0]["line"], 16);
    assert!(!out.contains(SECRET));
}

#[test]
fn everything_in_config_is_good_without_its_secrets() {
    for path in ["config/quickstart", "config/examples/oidc.toml"] {
        let (code, out, err) = check(Path::new(path), &["--no-secrets"]);
        assert_eq!((code, &*err), (Some(0), ""), "{path}");
        assert!(out.starts_with("DIR: good: 1 realm, "), "{out}");
    }
    let (code, _, err) = check(Path::new("config/quickstart"), &[]);
    assert_eq!(code, Some(2), "its secrets are not there");
    assert_eq!(err.lines().count(), 2, "{err}");
}

#[test]
fn a_secret_is_found_where_its_reference_says() {
    let hex = data_encoding::HEXLOWER.encode(SECRET.as_bytes());
    let base64 = data_encoding::BASE64.encode(SECRET.as_bytes());
    for (name, content, reference) in [
        ("realms/s", format!("{SECRET}\n"), "{ file = \"s\" }"),
        ("s", format!("{SECRET}\r\n"), "{ file = \"../s\" }"),
        ("realms/s", hex, "{ file = \"s\", encoding = \"hex\" }"),
        ("realms/s", format!("{base64}\n"), "{ file = \"s\", encoding = \"base64\" }"),
        ("realms/s", String::new(), "{ env = \"SECRET\" }"),
    ] {
        let files = directory(&[("realms/shop.toml", realm(reference).as_bytes()), (name, content.as_bytes())]);
        let path = files.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("permissions");
        let config = loaded(&files).unwrap_or_else(|problems| panic!("{reference}: {problems}"));
        assert_eq!(config.warnings, Problems::default(), "{reference}");
        assert!(
            reference.contains("env") || config.files.iter().any(|file| file.path.ends_with("s")),
            "{:?}",
            config.files
        );
        // Whoever may log in can read it: allowed, for containers mount secrets so, but worth a word.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
        let warned = loaded(&files).expect("good").warnings.to_string();
        assert_eq!(warned.contains("can be read by every user"), !reference.contains("env"), "{warned}");
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_told_with_its_place_and_no_more() {
    for (content, fault) in [
        (None, "does not exist"),
        (Some(vec![b'x'; (64 << 10) + 1]), "is larger than 65536 bytes"),
        (Some(b"\n".to_vec()), "is empty"),
    ] {
        let files = directory(&[("realms/shop.toml", realm("{ file = \"s\" }").as_bytes())]);
        if let Some(content) = content {
            fs::write(files.path().join("realms/s"), content).expect("a file");
        }
        let told = refused(&files);
        assert!(
            told.starts_with("DIR/realms/shop.toml:11:19: issuers[0].keys.secret: ") && told.contains(fault),
            "{told}"
        );
    }
    let files = directory(&[("realms/shop.toml", realm("{ file = \"../realms\" }").as_bytes())]);
    assert!(refused(&files).ends_with("is a directory"));
    // Waiting for somebody to write would be for ever.
    let files = directory(&[("realms/shop.toml", realm("{ file = \"pipe\" }").as_bytes())]);
    let made = Command::new("mkfifo").arg(files.path().join("realms/pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    assert!(refused(&files).ends_with("is no regular file"), "{}", refused(&files));
}

#[test]
fn a_list_of_addresses_is_read_as_people_write_it() {
    let text = realm("{ env = \"SECRET\" }") + "allow_ips_file = \"../list\"\n";
    let with = |list: &[u8]| directory(&[("realms/shop.toml", text.as_bytes()), ("list", list)]);
    let good = b"\xef\xbb\xbf10.0.0.0/8\r\n# office\r\n\r\n  192.0.2.1 # gate\r\n2001:db8::/32\r\n10.0.0.0/8\r\n";
    let config = loaded(&with(good)).expect("good");
    let list = config.snapshot.realms[0].routes[0].allow_ips.as_ref().expect("a list");
    assert_eq!(list.len(), 3);
    for (bad, fault) in [
        (&b"# nobody\n"[..], "shop.toml:16:18: routes[0].allow_ips_file: the file DIR/realms/../list holds no network"),
        (b"10.0.0.0/8, 10.1.0.0/16\n", "list:1:1: expected a network"),
        (b"10.0.0.1/8\n", "list:1:1: the network is not in canonical form; write \"10.0.0.0/8\""),
        (b"1.2.3.4\n \xff\n", "is not UTF-8"),
    ] {
        let told = refused(&with(bad));
        assert!(told.contains(fault), "{told}");
    }
}

#[test]
fn a_hundred_thousand_addresses_load_at_once() {
    let mut list = String::new();
    for n in 0..100_000_u32 {
        list.push_str(&format!("{}.{}.{}.0/24\n", 11 + (n >> 16), n >> 8 & 255, n & 255));
    }
    let text = realm("{ env = \"SECRET\" }") + "deny_ips_file = \"../list\"\n";
    let files = directory(&[("realms/shop.toml", text.as_bytes()), ("list", list.as_bytes())]);
    let watch = Stopwatch::start();
    let config = loaded(&files).expect("good");
    let took = watch.elapsed();
    assert_eq!(config.snapshot.realms[0].routes[0].deny_ips.as_ref().map(|list| list.len()), Some(100_000));
    assert!(took < Duration::from_secs(5), "{took:?}, without optimisation and beside other tests");
}

#[test]
fn what_editors_leave_behind_is_no_realm() {
    let good = realm("{ env = \"SECRET\" }");
    let files = directory(&[("realms/shop.toml", good.as_bytes())]);
    for name in [".#shop.toml", "shop.toml~", "#shop.toml#", ".shop.toml.swp", "shop.toml.bak", "shop", "README.md"] {
        fs::write(files.path().join("realms").join(name), "rubbish = ").expect("a file");
    }
    std::os::unix::fs::symlink("nobody@nowhere.1", files.path().join("realms/.#links.toml")).expect("a link");
    assert_eq!(loaded(&files).expect("good").snapshot.realms.len(), 1);
    std::os::unix::fs::symlink("loop.toml", files.path().join("realms/loop.toml")).expect("a link");
    assert!(refused(&files).starts_with("DIR/realms/loop.toml: cannot be read: "));
}

#[test]
fn hostile_files_are_refused_quickly() {
    let good = realm("{ env = \"SECRET\" }");
    let deep = |open: &str, close: &str| format!("x = {}1{}\n{good}", open.repeat(50_000), close.repeat(50_000));
    for (text, fault) in [
        (deep("[", "]").into_bytes(), "recurs"),
        (deep("{a=", "}").into_bytes(), "recurs"),
        (format!("{}x = 1\n{good}", "a.".repeat(50_000)).into_bytes(), "recurs"),
        (format!("{good}[{}x]\ny = 1\n", "a.".repeat(50_000)).into_bytes(), "recurs"),
        (format!("{good}#{}", "x".repeat(10 << 20)).into_bytes(), "is larger than 8388608 bytes"),
        (b"\xff\xfer\0e\0a\0l\0m\0".to_vec(), "is not UTF-8 (line 1)"),
        ([good.as_bytes(), b"# \xe4\n"].concat(), "is not UTF-8 (line 16)"),
        (
            good.replace("shop.test", "shop\\u0000\\u001b[2J\\n.test").into_bytes(),
            "`shop\\u{0}\\u{1b}[2J\\n.test`: is no host",
        ),
    ] {
        let watch = Stopwatch::start();
        let files = directory(&[("realms/shop.toml", &text)]);
        let told = refused(&files);
        assert!(told.contains(fault) && told.len() < 400, "{told}");
        assert!(told.chars().all(|c| !c.is_control()), "{told:?}");
        assert!(watch.elapsed() < Duration::from_secs(5), "{fault}: {:?}", watch.elapsed());
    }
    let many: String = (0..5_000).map(|n| format!("key{n} = 1\n")).collect();
    let problems = loaded(&directory(&[("realms/shop.toml", (many + &good).as_bytes())])).expect_err("problems").0;
    assert_eq!(problems.len(), 1001, "a thousand are told, and how many more there are");
    assert!(problems.iter().any(|problem| problem.text.contains("4000 more")), "{:?}", problems.last());
}

#[test]
fn a_key_that_comes_later_is_an_error_that_says_so() {
    let text = realm("{ env = \"SECRET\" }").replace("\n[[issuers]]", "store = {}\n[[issuers]]");
    let told = refused(&directory(&[("realms/shop.toml", text.as_bytes())]));
    assert!(told.ends_with(" store: not available in this version"), "{told}");
}

#[test]
fn the_file_of_a_store_is_never_looked_at_by_a_check() {
    let files = directory(&[
        ("portcullis.toml", b"[store]\nurl = \"sqlite:state/p.db\"\n"),
        ("realms/shop.toml", realm("{ env = \"SECRET\" }").as_bytes()),
    ]);
    let (code, _, told) = check(files.path(), &[]);
    assert_eq!((code, told.as_str()), (Some(0), ""));
    assert!(!files.path().join("state").exists());
}

#[test]
fn a_failure_limit_without_the_memory_of_good_tokens_is_worth_a_word() {
    let main = b"[server]\nfailure_limit = \"600/m\"\n[cache]\ntokens = 0\n";
    let files = directory(&[("portcullis.toml", main), ("realms/shop.toml", realm("{ env = \"SECRET\" }").as_bytes())]);
    let warned = loaded(&files).expect("good").warnings.to_string();
    assert!(warned.contains("server.failure_limit: warning: "), "{warned}");
}
