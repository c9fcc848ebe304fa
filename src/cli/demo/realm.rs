//! A documented API: its realm as it is shipped, a store that lives as long as the demo, its people, its requests.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::people::{self, Made};
use super::{application, script};
use crate::cli::admin::{Asker, Ground, Stop};
use crate::cli::{WRONG, environment, failed, print_problems, start};
use crate::config::{self, Attempt, Config, Problems, Sources};
use crate::reload::Source;
use crate::server::{LocalAddress, Options};
use crate::store::Opening;

/// Makes a place for the store, starts the application and the gateway, prints what to try, serves until it is told to
/// stop.
pub(super) fn run(path: &Path, realm: &str) -> ExitCode {
    let stage = match Stage::new() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return failed(&error),
    };
    match serve(path, realm, &stage) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault::Configuration(problems)) => {
            print_problems(&problems);
            ExitCode::from(WRONG)
        }
        Err(Fault::Text(error)) => failed(&error),
    }
}

/// Why there is no demo.
enum Fault {
    Configuration(Problems),
    Text(String),
}

impl From<Problems> for Fault {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

fn serve(path: &Path, name: &str, stage: &Arc<Stage>) -> Result<(), Fault> {
    let config = stage.load(path).outcome?;
    let realms = &config.snapshot.realms;
    if script::lines(name, "", "").is_none() || !realms.iter().any(|realm| *realm.name == *name) {
        let known: Vec<_> = realms.iter().map(|r| &*r.name).filter(|r| script::lines(r, "", "").is_some()).collect();
        return Err(format!("there is no demo of {name:?}; there are: {}", known.join(", ")).into());
    }
    let upstream = realms.iter().filter(|realm| *realm.name == *name).flat_map(|realm| &realm.upstreams).next();
    application::start(upstream.ok_or("the realm has no upstream".to_owned())?, Some(stage.secret.clone()))?;
    let (again, from) = (Arc::clone(stage), path.to_owned());
    let source = Source { path: path.to_owned(), load: Box::new(move || again.load(&from)) };
    let administered = stage.load(path).outcome?;
    let server = start(config, Options::production(source)).map_err(|fault| fault.text)?;
    let made = make_people(administered, name)?;
    let address = server
        .local_addrs()
        .first()
        .and_then(LocalAddress::inet)
        .ok_or("the configuration has no listener".to_owned())?;
    let lines = script::lines(name, &format!("http://{address}"), &made.key).unwrap_or_default();
    write_out(name, &format!("http://{address}"), &lines)?;
    server.run();
    Ok(())
}

fn make_people(config: Config, realm: &str) -> Result<Made, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let made = runtime.block_on(async {
        let ground = Ground::of(config, Opening::Existing).await?;
        let made = people::make(realm, &Asker::direct(&ground)).await;
        ground.store().close().await;
        made
    });
    runtime.shutdown_background();
    made.map_err(|stop: Stop| stop.text())
}

fn write_out(name: &str, url: &str, lines: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    write!(
        out,
        "\nPortcullis stands at {url} in front of a demo application, as the API of config/realms/{name}.toml.\n\
         Users, keys and sessions were made for this run and end with it. The document's own requests, to be pasted in\n\
         another terminal; `Host` stands for its real host name:\n\n{lines}Ctrl-C ends it.\n\n"
    )
    .and_then(|()| out.flush())
    .map_err(|error| error.to_string())
}

/// What one run has: a directory for the store, and the secret that gateway and application share. Gone with it.
struct Stage {
    directory: PathBuf,
    secret: Arc<str>,
}

impl Stage {
    fn new() -> Result<Self, String> {
        let random = || {
            let mut bytes = [0_u8; 24];
            getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no randomness: {error}"))?;
            Ok::<_, String>(data_encoding::HEXLOWER.encode(&bytes))
        };
        let directory = std::env::temp_dir().join(format!("portcullis-demo-{}", random()?));
        let made = fs::DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|error| format!("{}: {error}", directory.display()))?;
        // The colon keeps it from looking like encoded bytes, which `check` would point out.
        Ok(Self { directory, secret: format!("demo:{}", random()?).into() })
    }

    fn load(&self, path: &Path) -> Attempt {
        let env = |name: &str| match name {
            "STATE_DIRECTORY" => Some(self.directory.display().to_string()),
            name if name.ends_with("_CALLBACK_SECRET") => Some(self.secret.to_string()),
            name => environment(name),
        };
        config::attempt(path, &Sources { env: &env, secrets: true })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left there is of no use to anybody: the store of a demo.
        fs::remove_dir_all(&self.directory).ok();
    }
}
