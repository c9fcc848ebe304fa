//! Portcullis: a reverse-proxy authentication gateway. It stands in front of existing APIs, unchanged, and does the work
//! of authentication and authorisation once.
//!
//! # The map
//!
//! ```text
//!   binary      main.rs -> cli
//!                   |
//!   assembly    server (with reload), outbound       knows every room, holds the state
//!                   |
//!   edges       config       proxy        admin           telemetry       explain
//!               text file    pingora      JSON            logs, metrics   verdicts for people
//!                   \          |            |  |             |               |
//!   core              +----> gate  <--------+--|-------------+---------------+
//!                         decides              |
//!                             \                |
//!   memory                     +----> store <--+
//!                                SQLite | PostgreSQL
//!                                       |
//!   words       identity   secret   jwt   tls   clock   reply  …   (no I/O, no other room)
//! ```
//!
//! Arrows point at what is used, never upward. `tests/it/layers.rs` keeps it so.
//!
//! # The walk of a request
//!
//! [`proxy`] makes a [`gate::request::Request`] of what it received, loads the snapshot once, and asks
//! [`gate::Gate::decide`]. A [`gate::outcome::Denial`] is answered in the realm's dialect, a [`gate::cors::Preflight`] with
//! what pages may do; a [`gate::outcome::Permit`] is what forwarding demands. [`telemetry`] writes down the
//! [`gate::trail::Trail`] of each.
//!
//! # The walk of a change
//!
//! The command line or the admin listener makes an [`admin::api::Ask`]; [`admin::api::Admin::dispatch`] checks it and writes
//! what is asked for, its audit event and its row of the feed in one transaction of the [`store`]. Every node follows the
//! feed ([`server`]) into the gate's [`gate::verify::stored::Ledger`], against which each cached key is held.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod explain;
pub mod gate;
pub mod identifier;
pub mod identity;
pub mod jwt;
mod nearest;
pub mod outbound;
pub mod password;
pub mod proxy;
pub mod reload;
pub mod reply;
pub mod secret;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod tokens;
