//! Address lists.

use super::endpoint::Endpoint;

pub(super) static ENDPOINTS: &[Endpoint] = &[];
