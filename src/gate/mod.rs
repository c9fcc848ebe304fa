//! The gate decides. Plain Rust over `http` types: no proxy, no SQL, no file format, no clock reads belong here; what
//! happens to a request and why does.

pub mod client_ip;
pub mod credential;
pub mod dialect;
pub mod headers;
pub mod limit;
pub mod network;
pub mod outcome;
pub mod path;
pub mod policy;
pub mod request;
pub mod route;
pub mod trail;
pub mod verify;
