//! The gateway under test: the real configuration loader, the real server, in this process, on free ports. Stops when
//! dropped, and fails the test when a thread of it has panicked.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::clock::{Clock, SettableClock, UnixMillis};
use portcullis::config::{Attempt, Config, Problems, Sources};
use portcullis::outbound::HttpFetch;
use portcullis::reload::Source;
use portcullis::server::{Handle, LocalAddress, Options, Server};
use portcullis::store::{Store, StoreSettings};
use tempfile::TempDir;

use super::administrator::{ALL_SCOPES, Administrator, new_token};
use super::caller::{Call, Caller, Reply};
use super::log::Log;
use super::postgres::Postgres;
use super::process::Served;
use super::realms::{HOUSE_SECRET, Standard};
use super::upstream::Upstream;
use super::{DEADLINE, NOW, eventually};

/// A gateway in the making.
pub(crate) struct Builder {
    listen: Vec<String>,
    admin: String,
    server: String,
    store: String,
    realms: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    env: HashMap<String, String>,
    places: Vec<(String, SocketAddr)>,
    now: UnixMillis,
    watch_every: Option<Duration>,
    sink: Option<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("realms", &self.realms).finish_non_exhaustive()
    }
}

impl Builder {
    /// Listens here instead of `127.0.0.1:0`; several times for several listeners. What begins with `{` is the whole table.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen.push(address.to_owned());
        self
    }

    /// Has its admin listener here instead of `127.0.0.1:0`; as for [`Builder::listen`].
    pub(crate) fn admin_listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.admin);
        self
    }

    /// Listens on `127.0.0.1:0`, with these keys of the listener besides.
    pub(crate) fn listener_toml(self, keys: &str) -> Self {
        self.listen(&format!("{{ address = \"127.0.0.1:0\", {keys} }}"))
    }

    /// Keys for `[server]`, and any tables after them.
    pub(crate) fn server_toml(mut self, text: &str) -> Self {
        self.server.push_str(text);
        self.server.push('\n');
        self
    }

    /// Keys for `[store]`.
    pub(crate) fn store_toml(mut self, text: &str) -> Self {
        self.store.push_str(text);
        self.store.push('\n');
        self
    }

    /// Keeps its store in an empty database of this server, instead of a file of SQLite.
    pub(crate) fn postgres(self, server: &Postgres) -> Self {
        self.database(&server.new_database())
    }

    /// Keeps its store in this database of PostgreSQL.
    pub(crate) fn database(self, url: &str) -> Self {
        let secrets = r#"url = { env = "STORE_URL" }
pepper = { env = "STORE_PEPPER" }
seal_key = { env = "STORE_SEAL_KEY" }"#;
        let (pepper, seal_key) = ("a pepper of the tests, 32 bytes or more", "a seal key of the tests, 32 bytes too");
        self.store_toml(secrets).env("STORE_URL", url).env("STORE_PEPPER", pepper).env("STORE_SEAL_KEY", seal_key)
    }

    /// Keeps its store beside that of another gateway: in the same file.
    pub(crate) fn store_of(self, other: &Gateway) -> Self {
        let directory = other.env.get("STATE_DIRECTORY").expect("a directory").clone();
        self.env("STATE_DIRECTORY", &directory)
    }

    /// A realm's file; `realm = "…"` included.
    pub(crate) fn realm_toml(mut self, text: &str) -> Self {
        self.realms.push(text.to_owned());
        self
    }

    /// A realm as it is shipped in `config/realms`, whose application is at `{upstream}`.
    pub(crate) fn shipped_realm(self, name: &str) -> Self {
        self.shipped_realm_with(name, |text| text)
    }

    /// The same, changed before it is loaded.
    pub(crate) fn shipped_realm_with(self, name: &str, change: impl FnOnce(String) -> String) -> Self {
        self.realm_toml(&change(shipped(name)))
    }

    /// The standard realm, with everything it refers to.
    pub(crate) fn standard(self, standard: &Standard) -> Self {
        self.standard_with(standard, "")
    }

    /// The standard realm with more at its end (routes, say).
    pub(crate) fn standard_with(self, standard: &Standard, more: &str) -> Self {
        let builder = self.realm_toml(&(standard.toml() + more)).env(HOUSE_SECRET, &standard.secret());
        match standard.ca_pem() {
            Some(pem) => builder.file("realms/ca.pem", pem),
            None => builder,
        }
    }

    /// A file beside `portcullis.toml`; realms are in `realms/`.
    pub(crate) fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// An environment variable, for this gateway only.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// `{upstream}` in the texts stands for the address of this upstream.
    pub(crate) fn upstream(self, upstream: &Upstream) -> Self {
        self.place("upstream", upstream.addr())
    }

    /// `{name}` in the texts stands for this address.
    pub(crate) fn place(mut self, name: &str, address: SocketAddr) -> Self {
        self.places.push((format!("{{{name}}}"), address));
        self
    }

    /// The time at the start.
    pub(crate) fn clock(mut self, now: UnixMillis) -> Self {
        self.now = now;
        self
    }

    /// Looks at its files this often.
    pub(crate) fn watch_every(mut self, period: Duration) -> Self {
        self.watch_every = Some(period);
        self
    }

    /// Writes the access log here; [`Gateway::log`] stays empty.
    pub(crate) fn sink(mut self, sink: impl Write + Send + 'static) -> Self {
        self.sink = Some(Box::new(sink));
        self
    }

    /// Starts; a configuration that is refused fails the test.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|problems| panic!("the configuration is refused:\n{problems:#?}"))
    }

    /// Starts, unless the configuration is refused.
    ///
    /// # Errors
    /// The problems of the configuration.
    pub(crate) fn try_start(self) -> Result<Gateway, Problems> {
        panics_on_record();
        let panics_before = PANICS.lock().expect("the list").len();
        let directory = self.write();
        let mut env = self.env.clone();
        let state = directory.path().to_str().expect("UTF-8").to_owned();
        env.entry("STATE_DIRECTORY".to_owned()).or_insert(state); // each its own store

        let clock = Arc::new(SettableClock::new(self.now));
        let log = Log::default();
        let config = load(directory.path(), &env)?;
        let sink: Box<dyn Write + Send> = self.sink.unwrap_or_else(|| Box::new(log.clone()));
        let mut options = Options::embedded(clock.clone(), Arc::new(HttpFetch::new()), sink);
        let (from, again) = (directory.path().to_owned(), env.clone());
        let source = Source { path: from.clone(), load: Box::new(move || attempt(&from, &again)) };
        (options.source, options.watch_every) = (Some(source), self.watch_every);
        let server = Server::bind(config, options).unwrap_or_else(|e| panic!("the server does not start: {e}"));
        let addrs = server.local_addrs().iter().filter_map(LocalAddress::inet).collect();
        let admin = server.admin_addr().inet().expect("an address of the admin listener");
        let handle = server.handle();
        let thread =
            std::thread::Builder::new().name("it-gateway".to_owned()).spawn(move || server.run()).expect("a thread");
        Ok(Gateway {
            addrs,
            admin,
            clock,
            log,
            directory,
            env,
            places: self.places,
            handle,
            administrator: OnceLock::new(),
            thread: Some(thread),
            panics_before,
        })
    }

    /// The environment of the gateway.
    pub(crate) fn environment(&self) -> &HashMap<String, String> {
        &self.env
    }

    /// Writes the files of the configuration.
    pub(crate) fn write(&self) -> TempDir {
        let directory = TempDir::new().expect("a directory");
        let place = |text: &str| {
            self.places.iter().fold(text.to_owned(), |text, (name, at)| text.replace(name, &at.to_string()))
        };
        for (number, realm) in self.realms.iter().enumerate() {
            write(directory.path(), &format!("realms/realm{number}.toml"), place(realm).as_bytes());
        }
        for (name, content) in &self.files {
            write(directory.path(), name, content);
        }
        write(directory.path(), "portcullis.toml", self.main_file(&place(&self.server)).as_bytes());
        directory
    }

    /// Starts the binary instead, as a process of its own, with the time of this machine.
    #[track_caller]
    pub(crate) fn serve(self) -> Served {
        let directory = self.write();
        Served::start(directory, &self.env)
    }

    fn main_file(&self, server: &str) -> String {
        let listen = if self.listen.is_empty() { vec!["127.0.0.1:0".to_owned()] } else { self.listen.clone() };
        let table = |text: &String| match text.starts_with('{') {
            true => text.clone(),
            false => format!("{{ address = \"{text}\" }}"),
        };
        let listen: Vec<_> = listen.iter().map(table).collect();
        // A test that has to say it otherwise writes the table itself.
        let store = if self.store.is_empty() { String::new() } else { format!("[store]\n{}\n", self.store) };
        // `[server]` last: what a test adds may begin with keys of it and go on with other tables.
        format!(
            "[admin]\nlisten = {}\n\n{store}[server]\nlisten = [{}]\n{server}\n",
            table(&self.admin),
            listen.join(", ")
        )
    }
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    addrs: Vec<SocketAddr>,
    admin: SocketAddr,
    /// The gateway's time.
    pub(crate) clock: Arc<SettableClock>,
    log: Log,
    directory: TempDir,
    env: HashMap<String, String>,
    places: Vec<(String, SocketAddr)>,
    handle: Handle,
    administrator: OnceLock<Administrator>,
    thread: Option<JoinHandle<()>>,
    panics_before: usize,
}

impl Gateway {
    /// A gateway with nothing in it yet.
    pub(crate) fn builder() -> Builder {
        Builder {
            listen: Vec::new(),
            admin: "127.0.0.1:0".to_owned(),
            server: String::new(),
            store: String::new(),
            realms: Vec::new(),
            files: Vec::new(),
            env: HashMap::new(),
            places: Vec::new(),
            now: NOW,
            watch_every: None,
            sink: None,
        }
    }

    /// A gateway with the standard realm in front of `upstream`.
    #[track_caller]
    pub(crate) fn standard(standard: &Standard, upstream: &Upstream) -> Self {
        Self::builder().standard(standard).upstream(upstream).start()
    }

    /// Where the first listener listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// Where every listener listens that is no Unix socket.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Where metrics and health are served.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// A caller of the first listener.
    pub(crate) fn caller(&self) -> Caller {
        let mut address = self.addr();
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        Caller::new(address)
    }

    /// A GET request to the first listener.
    pub(crate) fn get(&self, target: &str) -> Call {
        self.caller().get(target)
    }

    /// A request of any method to the first listener.
    pub(crate) fn call(&self, method: &str, target: &str) -> Call {
        self.caller().call(method, target)
    }

    /// The answer of the admin listener.
    #[track_caller]
    pub(crate) fn admin_get(&self, path: &str) -> Reply {
        Caller::new(self.admin).host(&self.admin.to_string()).get(path).send()
    }

    /// Somebody who may administer everything.
    pub(crate) fn admin(&self) -> &Administrator {
        self.administrator.get_or_init(|| self.admin_with(ALL_SCOPES, None))
    }

    /// Somebody who may administer this much, in these realms.
    pub(crate) fn admin_with(&self, scopes: &'static [&str], realms: Option<&'static [&str]>) -> Administrator {
        let now = self.clock.now();
        let (token, id) = self.with_store(move |store| new_token(store, scopes, realms, now));
        Administrator::new(Caller::new(self.admin).host(&self.admin.to_string()), token, id)
    }

    /// Works on the gateway's own store.
    #[track_caller]
    pub(crate) fn with_store<T, F>(&self, work: impl FnOnce(Store) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (store, runtime) = self.handle.store().expect("the gateway has a store");
        let (tell, told) = mpsc::channel();
        let work = work(store.clone());
        runtime.spawn(async move { tell.send(work.await) });
        told.recv_timeout(DEADLINE).expect("work on the store ends well")
    }

    /// What requests are served with: for those who ask the gate itself.
    pub(crate) fn engine(&self) -> &Arc<portcullis::proxy::Gateway> {
        self.handle.gateway()
    }

    /// Tasks that work on the store, or wait for it.
    pub(crate) fn store_tasks(&self) -> usize {
        self.handle.store().expect("the gateway has a store").1.metrics().num_alive_tasks()
    }

    /// Waits until the gateway says that it is ready: key sets, say, have been fetched.
    pub(crate) fn until_ready(&self) {
        eventually("the gateway is ready", || (self.admin_get("/readyz").status == 200).then_some(()));
    }

    /// All metrics as text.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        self.admin_get("/metrics").is(200).text()
    }

    /// The sum of the samples called `name` that have these labels; 0 when there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum_of_samples(&self.metrics(), name, labels)
    }

    /// Waits until a metric has this value: what is recorded after the answer may come after the answer.
    pub(crate) fn metric_becomes(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        eventually(&format!("{name}{labels:?} = {value}"), || {
            ((self.metric(name, labels) - value).abs() < f64::EPSILON).then_some(())
        });
    }

    /// The access log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The access log's line about this answer.
    pub(crate) fn line_of(&self, reply: &Reply) -> serde_json::Value {
        self.log.line_for(reply.request_id())
    }

    /// The log's reason and why of a refusal, as `reason:why`.
    pub(crate) fn why(&self, reply: &Reply) -> String {
        let line = self.line_of(reply);
        format!("{}:{}", line["reason"].as_str().unwrap_or("-"), line["why"].as_str().unwrap_or("-"))
    }

    /// The directory of the configuration.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file of the configuration again; takes effect with [`Gateway::reload`].
    pub(crate) fn rewrite(&self, file: &str, text: &str) {
        let text = self.places.iter().fold(text.to_owned(), |text, (name, at)| text.replace(name, &at.to_string()));
        write(self.directory.path(), file, text.as_bytes());
    }

    /// Reads the file of the first realm.
    pub(crate) fn realm_file(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("realms/realm0.toml")).expect("the realm's file")
    }

    /// Loads the files again and puts them in force.
    ///
    /// # Errors
    /// Why the old configuration stays.
    pub(crate) fn reload(&self) -> Result<(), Problems> {
        let config = load(self.directory.path(), &self.env)?;
        self.handle.reload(config).map(drop)
    }

    /// Reads the files again as a running process does when it is told to; returns the new generation.
    ///
    /// # Errors
    /// Why the old configuration stays.
    pub(crate) fn reload_from_source(&self) -> Result<u64, Problems> {
        self.handle.reloader().reload_now()
    }

    /// The number of the configuration in force.
    pub(crate) fn generation(&self) -> u64 {
        self.handle.gateway().live.load().snapshot.generation
    }

    /// How its store is opened.
    pub(crate) fn store_settings(&self) -> StoreSettings {
        let config = load(self.directory.path(), &self.env).expect("the configuration is good");
        config.settings.store.expect("a store")
    }

    /// Moves the gateway's time forward.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Fails when a thread of a gateway has panicked since this one was started.
    fn assert_no_panic(&self) {
        let panics = PANICS.lock().expect("the list");
        assert!(panics.len() <= self.panics_before, "the gateway panicked: {:?}", &panics[self.panics_before..]);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the gateway's thread panicked");
            self.assert_no_panic();
        }
    }
}

/// The file of a realm as it is shipped, with `{upstream}` for the address of its application.
pub(crate) fn shipped(name: &str) -> String {
    let path = format!("config/realms/{name}.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    (9000..9004).fold(text, |text, port| text.replace(&format!("127.0.0.1:{port}"), "{upstream}"))
}

fn load(directory: &Path, env: &HashMap<String, String>) -> Result<Config, Problems> {
    attempt(directory, env).outcome
}

fn attempt(directory: &Path, env: &HashMap<String, String>) -> Attempt {
    let lookup = |name: &str| env.get(name).cloned();
    portcullis::config::attempt(directory, &Sources { env: &lookup, secrets: true })
}

fn write(directory: &Path, name: &str, content: &[u8]) {
    let path: PathBuf = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Panics on threads that are no test's: pingora's runtimes swallow them.
static PANICS: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);

fn panics_on_record() {
    static HOOK: LazyLock<()> = LazyLock::new(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            // The harness names a test's thread after the test, or runs it on the main thread.
            let is_test = thread.name().is_some_and(|name| name == "main" || name.contains("::"));
            if !is_test && let Ok(mut panics) = PANICS.lock() {
                panics.push(format!("{:?}: {panic}", thread.name()));
            }
            previous(panic);
        }));
    });
    LazyLock::force(&HOOK);
}

fn sum_of_samples(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |line: &&str| {
        let Some(rest) = line.strip_prefix(name) else { return false };
        rest.starts_with(['{', ' '])
            && labels.iter().all(|(label, value)| {
                [format!("{{{label}=\"{value}\""), format!(",{label}=\"{value}\"")].iter().any(|l| rest.contains(l))
            })
    };
    text.lines().filter(fits).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[test]
fn samples_are_summed_over_the_labels_that_are_not_asked_for() {
    let text =
        "# HELP a b\na_total{realm=\"x\",code=\"200\"} 2\na_total{realm=\"x\",code=\"401\"} 3\na_total_more 9\nb 1.5\n";
    for (name, labels, sum) in [
        ("a_total", &[("realm", "x")][..], 5.0),
        ("a_total", &[("realm", "x"), ("code", "401")], 3.0),
        ("a_total", &[("code", "40")], 0.0),
        ("b", &[], 1.5),
        ("c", &[], 0.0),
    ] {
        assert!((sum_of_samples(text, name, labels) - sum).abs() < f64::EPSILON, "{name} {labels:?}");
    }
}
