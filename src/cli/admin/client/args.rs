//! Arguments of `client`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::admin::args::{self, Attribute, Making, Paging, Showing, Sure, Via, WhichClient};

/// What can be done with principals.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Make a user, a client, or an owner of keys
    #[command(
        after_help = "Examples:\n  portcullis client create team_42 --realm shop --kind owner --role partner --attribute seats:=12\n  portcullis client create ann@example.org --kind user --password-hash - < hash.txt"
    )]
    Create(Create),
    /// List clients; those of the configuration come last, with file and line
    #[command(after_help = "Example:\n  portcullis client list --realm shop --status disabled")]
    List(List),
    /// Show everything about a client
    #[command(after_help = "Example:\n  portcullis client show team_42 --realm shop")]
    Show(Show),
    /// Change a client; what is not named stays as it is
    #[command(
        after_help = "Example:\n  portcullis client update team_42 --plan gold --scope 'orders:*' --remove-attribute seats"
    )]
    Update(Update),
    /// Refuse every credential of a client until it is enabled again
    #[command(after_help = "Example:\n  portcullis client disable team_42")]
    Disable(End),
    /// Accept the credentials of a client again
    #[command(after_help = "Example:\n  portcullis client enable team_42")]
    Enable(Show),
    /// Set a password: read from standard input, or made with --generate
    #[command(
        after_help = "Examples:\n  portcullis client set-password alice < password.txt\n  portcullis client set-password alice --generate --output secret | pass insert -e alice"
    )]
    SetPassword(SetPassword),
    /// Forgive failed logins
    #[command(after_help = "Example:\n  portcullis client unlock alice")]
    Unlock(Show),
    /// End every session of a client, on all devices
    #[command(after_help = "Example:\n  portcullis client revoke-sessions alice --reason 'lost laptop'")]
    RevokeSessions(RevokeSessions),
    /// Remove a client with its keys, address lists and sessions
    #[command(after_help = "Example:\n  portcullis client delete team_42 --yes")]
    Delete(End),
}

/// Arguments of `client create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What it is called: a name, an e-mail address, an id of the application; unique in the realm
    pub(in crate::cli) identifier: String,
    /// Its realm; may be left out where there is only one
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// What it is
    #[arg(long, value_enum, default_value_t = Kind::Client)]
    pub(in crate::cli) kind: Kind,
    /// A role of the realm; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub(in crate::cli) roles: Vec<String>,
    /// A scope, `*` stands for a whole segment; may be repeated. None: its keys are not limited by it
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(in crate::cli) scopes: Vec<String>,
    /// Its plan
    #[arg(long)]
    pub(in crate::cli) plan: Option<String>,
    /// Its tenant
    #[arg(long)]
    pub(in crate::cli) tenant: Option<String>,
    /// An attribute, name=text or name:=JSON; may be repeated
    #[arg(long = "attribute", value_name = "NAME=TEXT", value_parser = args::attribute)]
    pub(in crate::cli) attributes: Vec<Attribute>,
    /// A network that its credentials may be used from; may be repeated. None: any
    #[arg(long = "ip", value_name = "NETWORK")]
    pub(in crate::cli) networks: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) hash: PasswordHash,
    #[command(flatten)]
    pub(in crate::cli) making: Making,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// A hash instead of a password.
#[derive(Debug, Args)]
pub(in crate::cli) struct PasswordHash {
    /// Take over the hash of a password that was made elsewhere (bcrypt, scrypt, PBKDF2, argon2), from standard input
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub(in crate::cli) password_hash: Option<String>,
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Kind {
    /// A person who signs in
    User,
    /// A machine with credentials
    Client,
    /// Whoever keys belong to: a team, an account
    Owner,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Client => "client",
            Self::Owner => "owner",
        }
    }
}

/// Arguments of `client list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only of this realm
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Only the one called so
    #[arg(long)]
    pub(in crate::cli) identifier: Option<String>,
    /// Only of this kind
    #[arg(long, value_enum)]
    pub(in crate::cli) kind: Option<Kind>,
    /// Only with this status
    #[arg(long, value_parser = ["active", "disabled"])]
    pub(in crate::cli) status: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    pub(in crate::cli) tenant: Option<String>,
    /// Only with this role
    #[arg(long)]
    pub(in crate::cli) role: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) paging: Paging,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of verbs that need nothing but a client.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    pub(in crate::cli) which: WhichClient,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of verbs that end something of a client.
#[derive(Debug, Args)]
pub(in crate::cli) struct End {
    #[command(flatten)]
    pub(in crate::cli) which: WhichClient,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `client revoke-sessions`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeSessions {
    #[command(flatten)]
    pub(in crate::cli) which: WhichClient,
    /// For the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `client update`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Update {
    #[command(flatten)]
    pub(in crate::cli) which: WhichClient,
    /// Call it so from now on
    #[arg(long)]
    pub(in crate::cli) identifier: Option<String>,
    /// The roles from now on; may be repeated
    #[arg(long = "role", value_name = "ROLE", conflicts_with = "no_roles")]
    pub(in crate::cli) roles: Vec<String>,
    /// Take all roles away
    #[arg(long)]
    pub(in crate::cli) no_roles: bool,
    /// The scopes from now on; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "no_scopes")]
    pub(in crate::cli) scopes: Vec<String>,
    /// No scopes of its own any more
    #[arg(long)]
    pub(in crate::cli) no_scopes: bool,
    /// Its plan
    #[arg(long, conflicts_with = "no_plan")]
    pub(in crate::cli) plan: Option<String>,
    /// Take the plan away
    #[arg(long)]
    pub(in crate::cli) no_plan: bool,
    /// Its tenant
    #[arg(long, conflicts_with = "no_tenant")]
    pub(in crate::cli) tenant: Option<String>,
    /// Take the tenant away
    #[arg(long)]
    pub(in crate::cli) no_tenant: bool,
    #[command(flatten)]
    pub(in crate::cli) attributes: AttributeChange,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// What changes of attributes.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct AttributeChange {
    /// Set an attribute, name=text or name:=JSON; may be repeated
    #[arg(long = "attribute", value_name = "NAME=TEXT", value_parser = args::attribute)]
    pub(in crate::cli) set: Vec<Attribute>,
    /// Take an attribute away; may be repeated
    #[arg(long = "remove-attribute", value_name = "NAME")]
    pub(in crate::cli) remove: Vec<String>,
}

impl AttributeChange {
    pub(in crate::cli::admin) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// The attributes of `thing` after the change, and the version that they were read at.
    pub(in crate::cli::admin) fn applied(&self, thing: &Value) -> (Value, Option<i64>) {
        let mut all = thing.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
        all.retain(|name, _| !self.remove.contains(name));
        all.extend(args::attributes(&self.set));
        (Value::Object(all), thing.get("version").and_then(Value::as_i64))
    }
}

/// Arguments of `client set-password`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetPassword {
    #[command(flatten)]
    pub(in crate::cli) which: WhichClient,
    /// Make a password, and show it once
    #[arg(long, conflicts_with = "password_hash")]
    pub(in crate::cli) generate: bool,
    #[command(flatten)]
    pub(in crate::cli) hash: PasswordHash,
    #[command(flatten)]
    pub(in crate::cli) showing: Showing,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

impl Verb {
    pub(in crate::cli::admin) fn via(&self) -> &Via {
        match self {
            Self::Create(Create { via, .. })
            | Self::List(List { via, .. })
            | Self::Show(Show { via, .. })
            | Self::Enable(Show { via, .. })
            | Self::Unlock(Show { via, .. })
            | Self::Update(Update { via, .. })
            | Self::Disable(End { via, .. })
            | Self::Delete(End { via, .. })
            | Self::RevokeSessions(RevokeSessions { via, .. })
            | Self::SetPassword(SetPassword { via, .. }) => via,
        }
    }

    pub(in crate::cli::admin) fn writes(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Show(_))
    }

    pub(in crate::cli::admin) fn showing(&self) -> Showing {
        if let Self::SetPassword(args) = self { args.showing } else { Showing::default() }
    }

    pub(in crate::cli::admin) fn reads_input(&self) -> bool {
        match self {
            Self::SetPassword(args) => !args.generate,
            Self::Create(args) => args.hash.password_hash.is_some(),
            Self::List(_)
            | Self::Show(_)
            | Self::Enable(_)
            | Self::Unlock(_)
            | Self::Update(_)
            | Self::Disable(_)
            | Self::RevokeSessions(_)
            | Self::Delete(_) => false,
        }
    }
}
