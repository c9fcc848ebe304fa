//! The processes that are compared, what is behind them, and what is presented to them.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use portcullis::clock::{Clock, SystemClock};
use portcullis::gate::verify::api_key::PlainKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bare;
use crate::keys::{Alg, Key, random};
use crate::load::Ask;
use crate::token::{Signer, flip_signature_bit};

const PREFIX: &str = "bench_";

#[allow(clippy::disallowed_methods)] // a measurement is told by its environment
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Bare,
    Gateway,
    /// The gateway's listener for questions about requests.
    Questions,
    /// A gateway that has not seen anything yet.
    Fresh,
}

/// Where a front listens, and which process it is; ends with this if it is nobody else's.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    _own: Option<Process>,
}

/// Everything that stands for the whole measurement.
pub(crate) struct Standing {
    bare: Process,
    gateway: Process,
    directory: TempDir,
    secret: String,
    tokens: Vec<(Alg, Vec<String>)>,
    keys: Vec<PlainKey>,
}

impl Standing {
    pub(crate) async fn new(tokens: usize, keys: usize, networks: usize) -> Self {
        let upstream = upstream().await;
        let secret = data_encoding::HEXLOWER.encode(&random(32));
        let hs = Signer::new("https://hs.idp.test", Key::from_secret(secret.as_bytes()));
        let rs = Signer::new("https://rs.idp.test", Key::rsa2048());
        let keys: Vec<_> = (0..keys).map(|_| PlainKey::generate(PREFIX).expect("randomness")).collect();
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        fs::create_dir(directory.path().join("realms")).unwrap();
        let listen = "[{ address = \"127.0.0.1:0\" }, { address = \"127.0.0.1:0\", decision_only = true }]";
        write(
            "portcullis.toml",
            &format!(
                "[admin]\nlisten = {{ address = \"127.0.0.1:0\" }}\n[store]\nurl = \"none\"\n[log]\naccess = false\n\
                 [server]\nthreads = 1\nlisten = {listen}\ntrusted_proxies = [\"127.0.0.1\"]\n[decision]\n"
            ),
        );
        write("realms/bench.toml", &realm(upstream, &keys));
        write("realms/rs.pem", &rs.key.pem());
        // Never the client's own, but for the last one.
        let mut list: String = (0..networks.saturating_sub(1))
            .map(|n| format!("{}/28\n", Ipv4Addr::from(0x0A00_0000 + u32::try_from(n).unwrap() * 16)))
            .collect();
        list.push_str("127.0.0.0/8\n");
        write("realms/networks.txt", &list);
        let gateway = Process::gateway(&directory, &secret);
        let bare = Process::bare(upstream).await;
        let tokens = [hs, rs].map(|signer| (signer.alg, signed(&signer, tokens))).to_vec();
        Self { bare, gateway, directory, secret, tokens, keys }
    }

    pub(crate) async fn place(&self, front: Front) -> Place {
        let of = |process: &Process, listener: usize| Place {
            address: process.addresses[listener],
            pid: process.child.id(),
            _own: None,
        };
        match front {
            Front::Bare => of(&self.bare, 0),
            Front::Gateway => of(&self.gateway, 0),
            Front::Questions => of(&self.gateway, 1),
            Front::Fresh => {
                let own = Process::gateway(&self.directory, &self.secret);
                // Its connections to the upstream, and what it makes once, are not what is measured.
                let place = Place { address: own.addresses[0], pid: own.child.id(), _own: Some(own) };
                crate::load::ask(&place, &Ask::new("/open/x", Vec::new(), 200), 400).await;
                place
            }
        }
    }

    pub(crate) fn resident_kib(&self, front: Front) -> u64 {
        let process = if front == Front::Bare { &self.bare } else { &self.gateway };
        let status = fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The same for every row: the gateway knows as many as there are.
    fn tokens(&self, alg: Alg) -> &[String] {
        &self.tokens.iter().find(|(other, _)| *other == alg).unwrap().1
    }

    pub(crate) fn bearers(&self, alg: Alg) -> Vec<String> {
        self.tokens(alg).iter().map(|token| format!("Authorization: Bearer {token}\r\n")).collect()
    }

    pub(crate) fn forged(&self) -> Vec<String> {
        let forged = self.tokens(Alg::HS256);
        forged.iter().map(|token| format!("Authorization: Bearer {}\r\n", flip_signature_bit(token, 9))).collect()
    }

    pub(crate) fn api_keys(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("X-API-Key: {}\r\n", key.expose())).collect()
    }

    /// As a proxy asks about a request with each of the HS256 tokens.
    pub(crate) fn question(&self, target: &str) -> Ask {
        let about = format!(
            "X-Forwarded-Method: GET\r\nX-Forwarded-Host: bench.test\r\nX-Forwarded-Uri: {target}\r\n\
             X-Forwarded-For: 203.0.113.9\r\n"
        );
        let fields = self.bearers(Alg::HS256).iter().map(|bearer| format!("{about}{bearer}")).collect();
        Ask::new("/_portcullis/decide", fields, 200)
    }
}

fn signed(signer: &Signer, count: usize) -> Vec<String> {
    let now = SystemClock.now();
    let token = |n| {
        let token = signer.token().at(now).claim("exp", now.secs() + 20_000);
        token.subject(&format!("user-{n}")).scope("orders:read").sign()
    };
    (0..count).map(token).collect()
}

fn realm(upstream: SocketAddr, keys: &[PlainKey]) -> String {
    let mut text = format!(
        "realm = \"bench\"\nhosts = [\"bench.test\"]\nupstream = \"http://{upstream}\"\n\
         [[issuers]]\nname = \"hs\"\nissuer = \"https://hs.idp.test\"\naudience = [\"api\"]\nalgorithms = [\"HS256\"]\n\
         keys = {{ secret = {{ env = \"BENCH_SECRET\" }} }}\n\
         [[issuers]]\nname = \"rs\"\nissuer = \"https://rs.idp.test\"\naudience = [\"api\"]\nalgorithms = [\"RS256\"]\n\
         keys = {{ public_key = {{ file = \"rs.pem\" }} }}\n\
         [[api_keys]]\nprefix = \"{PREFIX}\"\n\
         [clients.crowd]\nscopes = [\"orders:read\"]\nkeys = [\n"
    );
    for (n, key) in keys.iter().enumerate() {
        writeln!(text, "{{ id = \"k{n}\", sha256 = \"{}\" }},", key.digest().to_hex()).unwrap();
    }
    text.push_str(
        "]\n[[routes]]\npath = \"/v1/orders/{id}\"\nauth = [\"jwt\", \"api_key\"]\nscopes = [\"orders:{access}\"]\n\
         [[routes]]\npath = \"/v1/near/{id}\"\nauth = [\"jwt\"]\nallow_ips_file = \"networks.txt\"\n\
         [[routes]]\npath = \"/open/**\"\nauth = [\"public\"]\n",
    );
    text
}

/// A process that ends with this.
struct Process {
    child: Child,
    addresses: Vec<SocketAddr>,
}

impl Process {
    fn gateway(directory: &TempDir, secret: &str) -> Self {
        let binary = variable("PORTCULLIS_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_portcullis").to_owned());
        let mut command = Command::new(&binary);
        command.arg("serve").arg("--config").arg(directory.path()).env("BENCH_SECRET", secret);
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{binary}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let serving = lines.find(|line| line.contains("\"serving\"")).expect("it serves");
        std::thread::spawn(move || lines.for_each(drop)); // it must not wait for us
        let serving: serde_json::Value = serde_json::from_str(&serving).unwrap();
        let listen = serving["listen"].as_str().unwrap().trim_matches(['[', ']']);
        let addresses = listen.split(", ").map(|address| address.parse().unwrap()).collect();
        Self { child, addresses }
    }

    async fn bare(upstream: SocketAddr) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(bare::WORD).arg(address.to_string()).arg(upstream.to_string());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Self { child, addresses: vec![address] };
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return process;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the bare proxy does not listen")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An application that answers at once with 200 bytes, on kept connections; on a thread of its own.
async fn upstream() -> SocketAddr {
    let (address, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}", "x".repeat(200));
            let answer: &'static str = answer.leak();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while matches!(stream.read_buf(&mut head).await, Ok(1..)) {
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            if stream.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
    });
    told.await.unwrap()
}
