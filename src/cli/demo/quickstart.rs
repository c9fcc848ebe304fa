//! The quick start: JWTs of an issuer and a declared key, in front of an upstream that echoes, with secrets made for this
//! run.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use zeroize::Zeroizing;

use super::application;
use crate::cli::{WRONG, environment, failed, print_problems, start};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Attempt, Config, Sources};
use crate::gate::verify::api_key::PlainKey;
use crate::jwt::{self, Algorithm, SigningKey};
use crate::reload::Source;
use crate::secret::Secret;
use crate::server::{LocalAddress, Options};

/// Names under which the configuration of the demo asks for its secrets.
const TOKEN_SECRET: &str = "PORTCULLIS_DEMO_JWT_SECRET";
const KEY_DIGEST: &str = "PORTCULLIS_DEMO_KEY_SHA256";

/// Makes secrets, starts the upstream and the gateway, prints what to try, serves until it is told to stop.
pub(super) fn run(path: &Path) -> ExitCode {
    let secrets = match Secrets::generate() {
        Ok(secrets) => Arc::new(secrets),
        Err(error) => return failed(&format!("the system gives no randomness: {error}")),
    };
    let config = match secrets.load(path).outcome {
        Ok(config) => config,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::from(WRONG);
        }
    };
    match serve(path, config, &secrets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn serve(path: &Path, config: Config, secrets: &Arc<Secrets>) -> Result<(), String> {
    let upstream = config.snapshot.realms.iter().flat_map(|realm| &realm.upstreams).next();
    application::start(upstream.ok_or("the configuration of the demo has no upstream")?, None)?;
    let token = secrets.sign(&config, "orders:read")?;
    let (again, from) = (Arc::clone(secrets), path.to_owned());
    let source = Source { path: path.to_owned(), load: Box::new(move || again.load(&from)) };
    let server = start(config, Options::production(source)).map_err(|fault| fault.text)?;
    let address =
        server.local_addrs().first().and_then(LocalAddress::inet).ok_or("the configuration has no listener")?;
    print_lines(secrets, &token, address, server.admin_addr(), &mut std::io::stdout())?;
    server.run();
    Ok(())
}

/// Secrets made for one run; they end with it.
struct Secrets {
    token: Zeroizing<String>,
    key: PlainKey,
}

impl Secrets {
    /// Fresh ones.
    ///
    /// # Errors
    /// The system has no randomness to give.
    fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; 48]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self {
            // The colon keeps it from looking like encoded bytes, which `check` would point out.
            token: Zeroizing::new(format!("demo:{}", data_encoding::BASE64URL_NOPAD.encode(bytes.as_slice()))),
            key: PlainKey::generate("demo_")?,
        })
    }

    fn load(&self, path: &Path) -> Attempt {
        let env = |name: &str| self.env(name).or_else(|| environment(name));
        config::attempt(path, &Sources { env: &env, secrets: true })
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            TOKEN_SECRET => Some(self.token.to_string()),
            KEY_DIGEST => Some(self.key.digest().to_hex()),
            _ => None,
        }
    }

    /// A token of the first issuer of the demo's realm.
    fn sign(&self, config: &Config, scope: &str) -> Result<String, String> {
        let issuer = config.snapshot.realms.iter().flat_map(|realm| &realm.issuers).next();
        let issuer = issuer.ok_or("the configuration of the demo has no issuer")?;
        let now = SystemClock.now().secs();
        let claims = json!({
            "iss": &*issuer.issuer, "aud": issuer.audience.first(), "sub": "alice", "client_id": "demo-app",
            "scope": scope, "iat": now, "exp": now + 3600,
        });
        let key = SigningKey::from_secret(&Secret::new(self.token.as_bytes().to_vec())).map_err(|fault| fault.text)?;
        jwt::sign(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), &key, Algorithm::HS256)
            .map_err(|fault| fault.text)
    }
}

/// What to try against the gateway at `address`.
fn print_lines(
    secrets: &Secrets,
    token: &str,
    address: SocketAddr,
    admin: &LocalAddress,
    out: &mut dyn Write,
) -> Result<(), String> {
    let key = secrets.key.expose();
    let url = format!("http://{address}");
    write!(
        out,
        "\nPortcullis stands at {url} in front of an upstream that echoes what it received.\n\
         Its secrets were made for this run. Try, in another terminal:\n\n\
         # no credential: 401\ncurl -i {url}/orders/7\n\n\
         # a good API key: 200\ncurl -i -H 'X-API-Key: {key}' {url}/orders/7\n\n\
         # a good JWT: 200\ncurl -i -H 'Authorization: Bearer {token}' {url}/orders/7\n\n\
         # a missing scope (the token may read, not write): 403\n\
         curl -i -X POST -H 'Authorization: Bearer {token}' {url}/orders\n\n\
         # a wrong address (the route is for 192.0.2.0/24): 403\ncurl -i -H 'X-API-Key: {key}' {url}/admin/report\n\n\
         # a spoofed identity header: 200, and the upstream sees the real subject only\n\
         curl -i -H 'X-API-Key: {key}' -H 'X-Auth-Subject: root' -H 'X_Auth_Subject: root' {url}/orders/7\n\n\
         # what was counted\ncurl http://{admin}/metrics\n\n\
         Ctrl-C ends it.\n\n"
    )
    .and_then(|()| out.flush())
    .map_err(|error| error.to_string())
}
