//! Administration from the command line: arguments become a request to the admin API, its answer becomes text. The
//! request is done in this process on the opened store, or sent to a gateway: rules, wording and audit trail are the
//! API's in both cases, and nothing is decided here but what to ask before something ends.

pub(in crate::cli) mod admin_token;
pub(in crate::cli) mod args;
mod asking;
pub(in crate::cli) mod audit;
pub(in crate::cli) mod client;
mod desk;
mod direct;
mod import;
pub(in crate::cli) mod ip;
pub(in crate::cli) mod key;
mod prompt;
mod remote;
mod render;
mod resolve;
pub(in crate::cli) mod session;
pub(in crate::cli) mod signing_key;
pub(in crate::cli) mod token;
pub(in crate::cli) mod views;

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{FAILED, FINE, WRONG};
use crate::admin::api::{Answer, Ask};
use crate::clock::{Clock, SystemClock};
use crate::store::Opening;
use args::{Showing, Via};
use desk::{Desk, Shown};

use asking::Asking;
pub(super) use direct::Ground;
pub(super) use import::Lines;
pub(super) use prompt::{Person, Terminal};
pub(super) use render::{Table, count, plain, printable, relative, text};

/// For one request to the admin API, where nothing says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is administered.
#[derive(Debug)]
pub(super) enum Noun<'a> {
    /// Principals.
    Client(&'a client::Verb),
    /// API keys.
    Key(&'a key::Verb),
    /// Address lists.
    Ip(&'a ip::Verb),
    /// Scopes of the configuration.
    Scope(&'a views::ScopeVerb),
    /// Roles of the configuration.
    Role(&'a views::RoleVerb),
    /// The audit trail.
    Audit(&'a audit::Verb),
    /// Admin tokens.
    AdminToken(&'a admin_token::Verb),
    /// Sessions.
    Session(&'a session::Verb),
    /// Keys that realms sign with.
    SigningKey(&'a signing_key::Verb),
    /// Tokens of the token service.
    Token(&'a token::Verb),
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The usage or the configuration is wrong.
    Wrong(String),
    /// Something failed.
    Failed(String),
    /// The admin API refuses; nothing was changed.
    Refused(Box<Answer>),
    /// Whoever reads our output has read enough.
    Closed,
}

impl Stop {
    /// Why, in words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Wrong(text) | Self::Failed(text) => text.clone(),
            Self::Refused(answer) => desk::in_words(answer),
            Self::Closed => String::new(),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error.to_string()) }
    }
}

/// Whoever does what is asked.
#[async_trait]
pub(super) trait Way: Send + Sync {
    /// Does it, and gives the answer, which may be a refusal.
    async fn put(&self, ask: Ask, patience: Duration) -> Result<Answer, Stop>;
}

/// Asks without a desk: for commands that write in their own way.
pub(super) struct Asker(Box<dyn Way>);

impl Asker {
    /// The admin API at `url`. `input_taken`: the command reads standard input itself.
    pub(super) fn remote(url: &str, via: &Via, input_taken: bool) -> Result<Self, Stop> {
        Ok(Self(Box::new(remote::connect(url, via, input_taken)?)))
    }

    /// The store on this machine.
    pub(super) fn direct(ground: &Ground) -> Self {
        Self(Box::new(ground.admin()))
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Stop> {
        self.ask(Asking::get(path)).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Stop> {
        self.ask(Asking::post(path).body(body)).await
    }

    async fn ask(&self, asking: Asking) -> Result<Value, Stop> {
        desk::good(self.0.put(asking.done(SystemClock.now()), PATIENCE).await?)
    }
}

/// Runs a command of administration with the configuration at `config`. Returns the exit code.
pub(super) fn run(noun: &Noun<'_>, config: &Path) -> u8 {
    let (mut out, mut err, mut person) = (io::stdout(), io::stderr(), Terminal);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Stop::Failed(format!("no runtime: {error}"))), false, &mut out, &mut err),
    };
    let via = noun.via();
    let outcome = runtime.block_on(async {
        let (way, ground): (Box<dyn Way>, _) = match &via.admin {
            Some(url) => (Box::new(remote::connect(url, &via, noun.reads_input())?), None),
            None => {
                let ground = if noun.looks_at_declared_keys() {
                    Ground::open_whole(config, noun.opening(), &mut err).await?
                } else {
                    Ground::open(config, noun.opening()).await?
                };
                (Box::new(ground.admin()), Some(ground))
            }
        };
        let mut desk = Desk {
            way: &*way,
            shown: Shown::of(via.json, noun.showing()),
            out: &mut out,
            err: &mut err,
            person: &mut person,
            now: SystemClock.now(),
        };
        let outcome = noun.run(&mut desk, ground.as_ref()).await;
        if let Some(ground) = ground {
            ground.store().close().await;
        }
        outcome
    });
    runtime.shutdown_background();
    end(outcome, via.json, &mut out, &mut err)
}

impl Noun<'_> {
    async fn run(&self, desk: &mut Desk<'_>, ground: Option<&Ground>) -> Result<u8, Stop> {
        match self {
            Self::Client(verb) => client::run(verb, desk).await,
            Self::Key(verb) => key::run(verb, desk).await,
            Self::Ip(verb) => ip::run(verb, desk).await,
            Self::Scope(verb) => views::scopes(verb, desk).await,
            Self::Role(verb) => views::roles(verb, desk).await,
            Self::Audit(verb) => audit::run(verb, desk, ground).await,
            Self::AdminToken(verb) => admin_token::run(verb, desk).await,
            Self::Session(verb) => session::run(verb, desk).await,
            Self::SigningKey(verb) => signing_key::run(verb, desk).await,
            Self::Token(verb) => token::run(verb, desk).await,
        }
    }

    fn via(&self) -> Via {
        match self {
            Self::Client(verb) => verb.via().clone(),
            Self::Key(verb) => verb.via().clone(),
            Self::Ip(verb) => verb.via().clone(),
            Self::Scope(views::ScopeVerb::List(list)) | Self::Role(views::RoleVerb::List(list)) => list.via.clone(),
            Self::Audit(verb) => verb.via(),
            Self::AdminToken(verb) => Via { json: verb.json(), ..Via::default() },
            Self::Session(verb) => verb.via().clone(),
            Self::SigningKey(verb) => verb.via().clone(),
            Self::Token(verb) => verb.via().clone(),
        }
    }

    /// Verbs that write make the store where there is none yet.
    fn opening(&self) -> Opening {
        let writes = match self {
            Self::Client(verb) => verb.writes(),
            Self::Key(verb) => verb.writes(),
            Self::Ip(verb) => verb.writes(),
            Self::AdminToken(verb) => verb.writes(),
            Self::SigningKey(verb) => verb.writes(),
            // There is nothing to end where there is no store.
            Self::Scope(_) | Self::Role(_) | Self::Audit(_) | Self::Session(_) | Self::Token(_) => false,
        };
        if writes { Opening::Create } else { Opening::Existing }
    }

    /// Whether the digests of declared keys matter, which may be among the secrets of the configuration.
    fn looks_at_declared_keys(&self) -> bool {
        matches!(self, Self::Key(key::Verb::Verify(_) | key::Verb::Import(_)))
    }

    fn showing(&self) -> Showing {
        match self {
            Self::Client(verb) => verb.showing(),
            Self::Key(verb) => verb.showing(),
            Self::AdminToken(verb) => verb.showing(),
            Self::Ip(_)
            | Self::Scope(_)
            | Self::Role(_)
            | Self::Audit(_)
            | Self::Session(_)
            | Self::SigningKey(_)
            | Self::Token(_) => Showing::default(),
        }
    }

    /// Whether standard input is needed for something else than a token.
    fn reads_input(&self) -> bool {
        match self {
            Self::Client(verb) => verb.reads_input(),
            Self::Key(verb) => verb.reads_input(),
            Self::Token(_) => true,
            Self::Ip(_)
            | Self::Scope(_)
            | Self::Role(_)
            | Self::Audit(_)
            | Self::AdminToken(_)
            | Self::Session(_)
            | Self::SigningKey(_) => false,
        }
    }
}

/// Says why a command ended, and gives its exit code.
pub(super) fn end(outcome: Result<u8, Stop>, json: bool, out: &mut dyn io::Write, err: &mut dyn io::Write) -> u8 {
    let stop = match outcome {
        Ok(code) => return code,
        Err(stop) => stop,
    };
    let code = match &stop {
        Stop::Closed => return FINE,
        Stop::Wrong(_) => WRONG,
        Stop::Failed(_) => FAILED,
        Stop::Refused(answer) => {
            if let (true, Some(body)) = (json, &answer.body) {
                writeln!(out, "{body}").ok(); // the words below say the same
            }
            FAILED
        }
    };
    writeln!(err, "portcullis: {}", stop.text()).ok(); // nobody is left to be told
    code
}

#[cfg(test)]
mod tests;
