//! The command line: arguments in, exit code out. Exit codes: 0 fine (`explain`: allowed), 1 failed (`explain`: denied),
//! 2 wrong usage or a bad configuration. What a command does stands in its own module.

mod admin;
mod check;
mod completions;
mod demo;
mod explain;
mod health;
mod key;
mod refused;
mod schema;
mod store;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::clock::UnixMillis;
use crate::config::{self, Attempt, Config, Problems, Sources};
use crate::reload::Source;
use crate::server::{Options, Server, StartError};
use crate::store::OpenError;
use crate::telemetry::logging;
use admin::Noun;

/// Where the configuration is when nobody says.
const DEFAULT_CONFIG: &str = "/etc/portcullis";

/// All is well.
const FINE: u8 = 0;

/// Something failed.
const FAILED: u8 = 1;

/// The usage or the configuration is wrong.
const WRONG: u8 = 2;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 110)]
struct Cli {
    /// Configuration: a directory (portcullis.toml and realms/*.toml) or one file [default: /etc/portcullis]
    #[arg(long, global = true, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests until told to stop
    #[command(
        after_help = "Signals: TERM ends when running requests are finished, INT at once; HUP loads the configuration again;\nQUIT hands the listening sockets over to a process that was started with --upgrade."
    )]
    Serve(ServeArgs),
    /// Check the configuration; print every problem of it, or every route; exit code 2 for problems
    Check(CheckArgs),
    /// Print each step of the decision about a request; exit code 0 = allowed, 1 = denied
    #[command(
        after_help = "Examples:\n  portcullis explain GET http://api.example.com/orders -H @- < headers.txt\n  portcullis explain GET http://api.example.com/orders --admin http://127.0.0.1:9901\n  portcullis explain --request-id 01a1fc41-5c22-7e4b-821b-ddaefae8784a --log access.log"
    )]
    Explain(ExplainArgs),
    /// Ask a running gateway whether it serves; exit code 0 = it does, 1 = it does not: for probes of containers
    Health(health::HealthArgs),
    /// Print a JSON Schema of the configuration
    Schema,
    /// Print what a shell needs to complete commands and options
    #[command(
        after_help = "Examples:\n  portcullis completions bash > /usr/share/bash-completion/completions/portcullis\n  portcullis completions zsh > /usr/share/zsh/site-functions/_portcullis\n  portcullis completions fish > ~/.config/fish/completions/portcullis.fish"
    )]
    Completions {
        /// The shell
        shell: completions::For,
    },
    /// Start a gateway in front of a built-in application with secrets made for this run, and print requests to try
    #[command(after_help = "Example:\n  portcullis demo --config config --realm affilync")]
    Demo {
        /// Instead of the quick start: one of the documented APIs in `config/realms`
        #[arg(long, value_name = "NAME")]
        realm: Option<String>,
    },
    /// Users, clients, and owners of keys: make, change, disable, remove them
    #[command(subcommand)]
    Client(admin::client::Verb),
    /// API keys: make, rotate, revoke, find, import them
    #[command(subcommand)]
    Key(KeyCommand),
    /// Address lists of clients and keys
    #[command(subcommand)]
    Ip(admin::ip::Verb),
    /// Scopes of the configuration, and how many hold them
    #[command(subcommand)]
    Scope(admin::views::ScopeVerb),
    /// Roles of the configuration, and how many have them
    #[command(subcommand)]
    Role(admin::views::RoleVerb),
    /// Sessions: what logins began, to look at and to end
    #[command(subcommand)]
    Session(admin::session::Verb),
    /// Tokens of the token service, from standard input: inspect, introspect, revoke
    #[command(subcommand)]
    Token(admin::token::Verb),
    /// Keys that realms sign their tokens with: rotate, activate, retire, disable
    #[command(subcommand)]
    SigningKey(admin::signing_key::Verb),
    /// The audit trail
    #[command(subcommand)]
    Audit(admin::audit::Verb),
    /// Tokens for the admin API; the first one is made here, on the machine
    #[command(subcommand)]
    AdminToken(admin::admin_token::Verb),
    /// The store as a whole: migrate, back up, check it
    #[command(subcommand)]
    Store(store::Verb),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
struct ServeArgs {
    /// Take the place of a running process: wait until SIGQUIT makes it hand its listening sockets over
    #[arg(long)]
    upgrade: bool,
    /// Seconds to wait for them
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "upgrade", value_parser = clap::value_parser!(u64).range(1..=3600))]
    upgrade_timeout: u64,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Do not read secrets: for machines that do not have them
    #[arg(long)]
    pub no_secrets: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
struct ExplainArgs {
    /// Method, case-sensitive
    #[arg(required_unless_present = "request_id")]
    method: Option<String>,
    /// URL as a client would ask for it, `http://api.example.com/orders?page=2`
    #[arg(required_unless_present = "request_id")]
    url: Option<String>,
    /// A header field, `Name: value`; may be repeated; `@-` reads such lines from standard input, so that a credential
    /// does not stand in the list of processes
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Address that the request comes from
    #[arg(long)]
    ip: Option<IpAddr>,
    /// A name of the client certificate that the connection shows (`uri:…`, `dns:…`, `email:…`, `cn:…`), or its fingerprint
    /// (`sha256:…`); may be repeated
    #[arg(long = "certificate", value_name = "NAME")]
    certificates: Vec<String>,
    /// Decide as at this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<UnixMillis>,
    /// Instead of a question: the id of a request that was refused; with --admin or --log
    #[arg(long, value_name = "ID", conflicts_with_all = ["method", "url", "headers", "ip", "certificates", "at"])]
    request_id: Option<String>,
    /// Read this access log (JSON lines) for it; `-` = standard input
    #[arg(long, value_name = "FILE", requires = "request_id", conflicts_with_all = ["admin", "method", "url"])]
    log: Option<PathBuf>,
    #[command(flatten)]
    via: admin::args::Via,
}

/// What can be done with API keys.
#[derive(Debug, Subcommand)]
enum KeyCommand {
    #[command(flatten)]
    Stored(Box<admin::key::Verb>),
    /// Make a key for the configuration; print it, its SHA-256 and the line to write there
    #[command(after_help = "Example:\n  portcullis key generate --prefix acme_live_")]
    Generate {
        /// What the key starts with
        #[arg(long)]
        prefix: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a key from standard input and print its SHA-256
    #[command(after_help = "Example:\n  portcullis key hash < key.txt")]
    Hash,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let given = cli.config.as_deref();
    let path = given.unwrap_or(Path::new(DEFAULT_CONFIG));
    match cli.command {
        Command::Serve(args) => serve(path, &args),
        Command::Check(args) => ExitCode::from(check::check(path, &args, &environment)),
        Command::Explain(args) => ExitCode::from(match (&args.request_id, &args.via.admin) {
            (Some(id), _) => refused::run(path, id, &args),
            (None, Some(url)) => explain::elsewhere(url, &args),
            (None, None) => explain::run(path, &args, &mut std::io::stdout()),
        }),
        Command::Health(args) => ExitCode::from(health::health(&args)),
        Command::Schema => ExitCode::from(schema::schema()),
        Command::Completions { shell } => ExitCode::from(completions::completions(Cli::command(), shell)),
        Command::Demo { realm } => demo::run(given, realm.as_deref()),
        Command::Key(KeyCommand::Generate { prefix, json }) => {
            ExitCode::from(key::generate(&prefix, json, &mut std::io::stdout()))
        }
        Command::Client(verb) => administer(&Noun::Client(&verb), path),
        Command::Key(KeyCommand::Stored(verb)) => administer(&Noun::Key(&verb), path),
        Command::Ip(verb) => administer(&Noun::Ip(&verb), path),
        Command::Scope(verb) => administer(&Noun::Scope(&verb), path),
        Command::Role(verb) => administer(&Noun::Role(&verb), path),
        Command::Audit(verb) => administer(&Noun::Audit(&verb), path),
        Command::AdminToken(verb) => administer(&Noun::AdminToken(&verb), path),
        Command::Session(verb) => administer(&Noun::Session(&verb), path),
        Command::Token(verb) => administer(&Noun::Token(&verb), path),
        Command::SigningKey(verb) => administer(&Noun::SigningKey(&verb), path),
        Command::Store(verb) => ExitCode::from(store::run(&verb, path)),
        Command::Key(KeyCommand::Hash) => ExitCode::from(key::hash(&mut std::io::stdin(), &mut std::io::stdout())),
    }
}

fn administer(noun: &Noun<'_>, path: &Path) -> ExitCode {
    ExitCode::from(admin::run(noun, path))
}

/// Loads the configuration as `serve` does, with the environment of this process.
///
/// # Errors
/// Every problem there is.
pub fn load(path: &Path, secrets: bool) -> Result<Config, Problems> {
    attempt(path, secrets).outcome
}

fn attempt(path: &Path, secrets: bool) -> Attempt {
    config::attempt(path, &Sources { env: &environment, secrets })
}

#[allow(clippy::disallowed_methods)] // the command line is one of the two places that may ask
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Prints problems as `serve` and `check` do, one a line.
pub fn print_problems(problems: &Problems) {
    eprint!("{problems}");
}

fn serve(path: &Path, args: &ServeArgs) -> ExitCode {
    let config = match load(path, true) {
        Ok(config) => config,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::from(WRONG);
        }
    };
    let from = path.to_owned();
    let source = Source { path: path.to_owned(), load: Box::new(move || attempt(&from, true)) };
    let upgrade = args.upgrade.then(|| Duration::from_secs(args.upgrade_timeout));
    let notify = environment("NOTIFY_SOCKET");
    match start(config, Options { upgrade, notify, ..Options::production(source) }) {
        Ok(server) => {
            if rustix::process::geteuid().is_root() {
                tracing::warn!(
                    "runs as root, which it has no need of: run it as a user of its own, with the capability \
                     CAP_NET_BIND_SERVICE where it listens at ports below 1024"
                );
            }
            server.run();
            ExitCode::SUCCESS
        }
        Err(StartFault { code, text }) => {
            eprintln!("portcullis: {text}");
            ExitCode::from(code)
        }
    }
}

/// Why a gateway does not start: exit code and text.
struct StartFault {
    code: u8,
    text: String,
}

impl From<String> for StartFault {
    fn from(text: String) -> Self {
        Self { code: FAILED, text }
    }
}

impl From<StartError> for StartFault {
    fn from(error: StartError) -> Self {
        let code = if matches!(error, StartError::Store(OpenError::Wrong(_))) { WRONG } else { FAILED };
        Self { code, text: error.to_string() }
    }
}

/// Logs, self-test, store, listeners: what both `serve` and `demo` begin with.
fn start(config: Config, options: Options) -> Result<Server, StartFault> {
    logging::install(config.settings.log.json, &config.settings.log.level)?;
    crate::jwt::self_test().map_err(|algorithm| format!("{algorithm} does not work in this build"))?;
    Ok(Server::bind(config, options)?)
}

fn failed(error: &str) -> ExitCode {
    eprintln!("portcullis: {error}");
    ExitCode::from(FAILED)
}

/// Reads an RFC 3339 time with its offset.
fn parse_time(text: &str) -> Result<UnixMillis, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(UnixMillis(time.as_millisecond())),
        Err(_) => Err("expected a time with its offset, such as 2026-01-31T12:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("portcullis").chain(line.split(' ')))
    }

    #[test]
    fn the_declared_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_named_before_or_after_the_command() {
        for line in ["--config conf serve", "serve --config conf"] {
            let cli = parsed(line).unwrap();
            assert_eq!(cli.config.as_deref(), Some(Path::new("conf")));
            assert!(matches!(cli.command, Command::Serve(_)));
        }
    }

    #[test]
    fn a_request_to_explain_is_taken_apart() {
        let line = "explain GET http://api.example.com/x -H a:1 -H @- --ip 192.0.2.1 --at 2026-01-31T12:00:00+01:00";
        let Command::Explain(args) = parsed(line).unwrap().command else { panic!("another command") };
        assert_eq!(args.headers, ["a:1", "@-"]);
        assert_eq!(args.ip, Some([192, 0, 2, 1].into()));
        assert_eq!(args.at, Some(UnixMillis(1_769_857_200_000)));
        assert!(!args.via.json);
    }

    #[test]
    fn wrong_usage_is_refused_with_exit_code_two() {
        let line = "explain GET / --at 2026-01-31T12:00:00";
        for line in [line, "serve now", "key generate", "check --secrets", "nonsense"] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parsed("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    }
}
