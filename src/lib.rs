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
//!   edges       config       proxy        admin           telemetry
//!               text file    pingora      JSON            logs, metrics
//!                   \          |            |                |
//!   core              +----> gate  <--------+----------------+
//!                         decides
//!                             |
//!   words       identity   secret   jwt   clock   reply  …   (no I/O, no other room)
//! ```
//!
//! Arrows point at what is used, never upward. `tests/it/layers.rs` keeps it so.
//!
//! # The walk of a request
//!
//! [`proxy`] makes a [`gate::request::Request`] of what it received, loads the snapshot once, and asks
//! [`gate::Gate::decide`]. A [`gate::outcome::Denial`] is answered in the realm's dialect; a [`gate::outcome::Permit`]
//! is what forwarding demands. [`telemetry`] writes down the [`gate::trail::Trail`] of either.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod explain;
pub mod gate;
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
