//! Reading request bodies of grants. PLACEHOLDER
use super::policy::Grant;
use super::refusal::FieldProblem;
use serde_json::{Map, Value};
/// x
#[derive(Debug)]
pub enum BodyFault {
    /// x
    Syntax,
    /// x
    Fields(Vec<FieldProblem>),
    /// x
    ContentType,
}
/// x
#[derive(Debug)]
pub struct Form;
impl Form {
    /// x
    pub fn get(&self, _n: &str) -> Option<&str> {
        None
    }
}
/// x
pub fn read_form(_c: Option<&str>, _b: &[u8]) -> Result<Form, BodyFault> {
    Err(BodyFault::Syntax)
}
/// x
pub fn read_json(_g: &Grant, _c: Option<&str>, _e: Option<&str>, _b: &[u8]) -> Result<Map<String, Value>, BodyFault> {
    Err(BodyFault::Syntax)
}
/// x
pub fn canonical_identifier(t: &str) -> Option<String> {
    Some(t.to_owned())
}
