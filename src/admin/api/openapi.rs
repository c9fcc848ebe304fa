//! The OpenAPI document, made of the list of endpoints.

use serde_json::Value;

/// OpenAPI 3.1.
pub fn openapi() -> Value {
    unimplemented!()
}
