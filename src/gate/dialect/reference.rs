//! The reference of reasons and causes, written from the tables themselves.

use crate::gate::outcome::{Reason, Why};

const INTRODUCTION: &str = "\
# Refusals

Every refusal has one reason of this closed set. The reason is the key of `[errors.on]`, the label of
`portcullis_denials_total` and the member `reason` of the access log. Where a dialect has no entry for a reason, its
parent's serves, then that of the status, then what stands here.

| reason | parent | status | challenge error | message |
|---|---|---|---|---|
";

const CAUSES: &str = "
## Causes

The member `why` of the access log, and `portcullis explain`, are finer. No answer tells them.

| why | meaning |
|---|---|
";

/// `docs/errors.md`: every [`Reason`] with parent, status, error code of the challenge (RFC 6750 section 3.1) and message,
/// then every [`Why`] with its sentence. Ends with a line break.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    for reason in Reason::ALL {
        let public = reason.public();
        let parent = public.parent.map(|parent| format!("`{parent}`")).unwrap_or_default();
        let error = public.bearer_error.map(|error| format!("`{error}`")).unwrap_or_default();
        text.push_str(&format!("| `{reason}` | {parent} | {} | {error} | {} |\n", public.status, cell(public.message)));
    }
    text.push_str(CAUSES);
    for why in Why::ALL {
        text.push_str(&format!("| `{why}` | {} |\n", cell(why.text())));
    }
    text
}

/// A text that cannot end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
