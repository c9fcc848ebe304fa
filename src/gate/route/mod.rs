//! From host to realm, and from path and method to route. What a route demands does not belong here.

mod host;
mod pattern;
mod table;

pub use host::{HostTable, OwnedHosts};
pub use pattern::{MAX_PARAMS, Pattern};
pub use table::{Found, Params, RouteTable};
