//! Admin tokens: only on the machine.

use super::endpoint::Endpoint;

pub(super) static ENDPOINTS: &[Endpoint] = &[];
