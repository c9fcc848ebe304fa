//! The one integration-test binary: the real gateway, real sockets, real keys. `support` holds the parts; one file a
//! subject beside it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on shall stop

mod layers;
mod support;
mod support_works;

// These need the running gateway:
// mod client_address;
// mod headers;
// mod paths;
