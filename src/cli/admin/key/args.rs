//! Arguments of `key`, as far as stored keys are concerned.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::admin::args::{self, Attribute, Expiry, Making, Moment, Paging, Showing, Sure, Via, WhichKey};
use crate::cli::admin::client::AttributeChange;

/// What can be done with stored keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Make a key and show its text, once
    #[command(
        after_help = "Examples:\n  portcullis key create --owner team_42 --name 'CRM sync' --scope orders:write --expires 90d --ip 203.0.113.0/24\n  portcullis key create --owner team_42 --name CRM --output secret | vault kv put secret/crm key=-"
    )]
    Create(Create),
    /// List keys; those of the configuration come last, with file and line
    #[command(
        after_help = "Examples:\n  portcullis key list --owner team_42\n  portcullis key list --hint 91c4\n  portcullis key list --unused-since 90d --all"
    )]
    List(List),
    /// Show everything about a key but its text, which nobody has
    #[command(after_help = "Example:\n  portcullis key show key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF")]
    Show(Show),
    /// Change a key; what is not named stays as it is
    #[command(
        after_help = "Example:\n  portcullis key update 91c4 --scope orders:read --scope orders:write --expires 2027-01-01T00:00:00Z"
    )]
    Update(Update),
    /// Give a key a new text; the old one works for a while, the id stays
    #[command(
        after_help = "Example:\n  portcullis key rotate key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF --overlap 24h --output secret > key.txt"
    )]
    Rotate(Rotate),
    /// Refuse a key until it is enabled again
    #[command(after_help = "Example:\n  portcullis key disable 91c4")]
    Disable(Show),
    /// Accept a disabled key again
    #[command(after_help = "Example:\n  portcullis key enable 91c4")]
    Enable(Show),
    /// End a key for good
    #[command(
        after_help = "Example:\n  portcullis key revoke key_01J9ZK8Q6D7V3W2X1Y0ZABCDEF --reason 'found in a public repository' --yes"
    )]
    Revoke(Revoke),
    /// Say whether a key, read from standard input, is valid; exit code 1 if not
    #[command(after_help = "Example:\n  portcullis key verify --realm shop --ip 203.0.113.7 < key.txt")]
    Verify(Verify),
    /// Take over keys that exist elsewhere, in batches of 1000; may be run again, known keys are left as they are
    #[command(
        after_help = "A line of the file is, by --format:\n  digests  the SHA-256 of a key, 64 hexadecimal digits\n  plain    a key\n  jsonl    {\"sha256\": \"…\", \"owner\": \"team_42\", \"name\": \"CRM\", \"scopes\": [\"orders:read\"], \"expires_at\": null}\nEmpty lines are left out. A faulty line stops the import; nothing of its batch is written.\n\nExamples:\n  portcullis key import digests.txt --realm shop --owner team_42\n  zcat keys.jsonl.gz | portcullis key import - --realm shop --format jsonl"
    )]
    Import(Import),
}

/// Arguments of `key create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Whose key it is: id or identifier
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) owner: String,
    /// The owner's realm; may be left out where only one has such an owner
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// What it is for
    #[arg(long)]
    pub(in crate::cli) name: String,
    /// What its text starts with, one of the realm's [[api_keys]]
    #[arg(long)]
    pub(in crate::cli) prefix: Option<String>,
    /// A scope, `*` stands for a whole segment; may be repeated. None: those of its owner
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(in crate::cli) scopes: Vec<String>,
    /// An attribute, name=text or name:=JSON; may be repeated
    #[arg(long = "attribute", value_name = "NAME=TEXT", value_parser = args::attribute)]
    pub(in crate::cli) attributes: Vec<Attribute>,
    /// When it ends: a span, a time, or never
    #[arg(long, value_name = "WHEN", default_value = "90d", value_parser = args::expiry)]
    pub(in crate::cli) expires: Expiry,
    /// A network that it may be used from; may be repeated. None: any
    #[arg(long = "ip", value_name = "NETWORK")]
    pub(in crate::cli) networks: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) making: Making,
    #[command(flatten)]
    pub(in crate::cli) showing: Showing,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `key list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only of this realm
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Only of this owner: id or identifier
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) owner: Option<String>,
    /// Only with these last four characters
    #[arg(long)]
    pub(in crate::cli) hint: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = ["active", "disabled", "revoked"])]
    pub(in crate::cli) status: Option<String>,
    /// Only those not used since then: a span back, or a time
    #[arg(long, value_name = "WHEN", value_parser = args::moment)]
    pub(in crate::cli) unused_since: Option<Moment>,
    /// Only those that work and end before then: a span from now, or a time
    #[arg(long, value_name = "WHEN", value_parser = args::moment)]
    pub(in crate::cli) expiring_before: Option<Moment>,
    #[command(flatten)]
    pub(in crate::cli) paging: Paging,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of verbs that need nothing but a key.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    pub(in crate::cli) which: WhichKey,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `key update`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Update {
    #[command(flatten)]
    pub(in crate::cli) which: WhichKey,
    /// What it is for
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// The scopes from now on; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "no_scopes")]
    pub(in crate::cli) scopes: Vec<String>,
    /// The scopes of its owner from now on
    #[arg(long)]
    pub(in crate::cli) no_scopes: bool,
    #[command(flatten)]
    pub(in crate::cli) attributes: AttributeChange,
    /// When it ends: a span, a time, or never
    #[arg(long, value_name = "WHEN", value_parser = args::expiry)]
    pub(in crate::cli) expires: Option<Expiry>,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `key rotate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    pub(in crate::cli) which: WhichKey,
    /// So long the old text works, too; 0 ends it at once
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = args::span)]
    pub(in crate::cli) overlap: Duration,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) making: Making,
    #[command(flatten)]
    pub(in crate::cli) showing: Showing,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `key revoke`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    #[command(flatten)]
    pub(in crate::cli) which: WhichKey,
    /// Why; for the audit trail
    #[arg(long)]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) sure: Sure,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `key verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// Its realm; may be left out where there is only one
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Whether it may be used from this address, too
    #[arg(long)]
    pub(in crate::cli) ip: Option<IpAddr>,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// Arguments of `key import`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The file; `-` = standard input
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// The realm of the keys; may be left out where there is only one
    #[arg(long)]
    pub(in crate::cli) realm: Option<String>,
    /// Whose keys they are, where a line does not say: id or identifier
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) owner: Option<String>,
    /// What a line is
    #[arg(long, value_enum, default_value_t = Format::Digests)]
    pub(in crate::cli) format: Format,
    /// Every key of the file must start with this; not for digests, which do not tell
    #[arg(long)]
    pub(in crate::cli) prefix: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) via: Via,
}

/// What a line of an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// The SHA-256 of a key
    Digests,
    /// A key
    Plain,
    /// A JSON object
    Jsonl,
}

impl Verb {
    pub(in crate::cli::admin) fn via(&self) -> &Via {
        match self {
            Self::Create(Create { via, .. })
            | Self::List(List { via, .. })
            | Self::Show(Show { via, .. })
            | Self::Disable(Show { via, .. })
            | Self::Enable(Show { via, .. })
            | Self::Update(Update { via, .. })
            | Self::Rotate(Rotate { via, .. })
            | Self::Revoke(Revoke { via, .. })
            | Self::Verify(Verify { via, .. })
            | Self::Import(Import { via, .. }) => via,
        }
    }

    pub(in crate::cli::admin) fn writes(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Show(_) | Self::Verify(_))
    }

    pub(in crate::cli::admin) fn showing(&self) -> Showing {
        match self {
            Self::Create(args) => args.showing,
            Self::Rotate(args) => args.showing,
            _ => Showing::default(),
        }
    }

    pub(in crate::cli::admin) fn reads_input(&self) -> bool {
        match self {
            Self::Verify(_) => true,
            Self::Import(args) => args.file.as_os_str() == "-",
            _ => false,
        }
    }
}
