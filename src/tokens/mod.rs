//! Tokens are issued here: how credentials are made, rotated, spent and withdrawn. What requests may do is the gate's
//! business, and neither names the other.

pub mod body;
pub mod callback;
pub mod policy;
