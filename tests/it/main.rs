//! The one integration-test binary: the real gateway, real sockets, real keys. `support` holds the parts; one file a
//! subject beside it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on shall stop

mod client_address;
mod decisions;
mod exhaustion;
mod forwarding;
mod framing;
mod gallery;
mod headers;
mod hostile_upstream;
mod layers;
mod paths;
mod support;
mod support_works;
mod upstream_tls;
