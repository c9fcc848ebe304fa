//! The one integration-test binary: the real gateway, real sockets, real keys. `support` holds the parts; one file a
//! subject beside it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on shall stop

mod admin;
mod api_keys;
mod arrivals;
mod attack_numbers;
mod client_address;
mod commands;
mod commands_admin;
mod commands_issuing;
mod config_files;
mod contract;
mod cors;
mod coverage;
mod crash;
mod dashboards;
mod decision;
mod decisions;
mod dialects;
mod documents;
mod exhaustion;
mod forwarding;
mod framing;
mod gallery;
mod generated_pages;
mod headers;
mod health;
mod hostile_upstream;
mod http2;
mod identity_headers;
mod joints;
mod key_attacks;
mod key_sets;
mod layers;
mod life;
mod listener_tls;
mod many_nodes;
mod mtls;
mod observability;
mod packaging;
mod paths;
mod protocols;
mod providers;
mod realms;
mod reload;
mod serving;
mod shadow;
mod store;
mod stored_keys;
mod support;
mod support_works;
mod tokens;
mod upstream_tls;
mod upstreams;
mod year_of_a_key;
