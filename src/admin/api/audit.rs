//! The audit trail.

use super::endpoint::Endpoint;

pub(super) static ENDPOINTS: &[Endpoint] = &[];
