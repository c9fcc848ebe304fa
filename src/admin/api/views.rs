//! What the configuration says, explain, reload.

use super::endpoint::Endpoint;

pub(super) static ENDPOINTS: &[Endpoint] = &[];
