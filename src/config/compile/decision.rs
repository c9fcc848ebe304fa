//! The decision endpoint.

use super::{Compiler, Input};
use crate::config::keys::Decision;
use crate::config::problem::At;
use crate::config::walk::Item;
use crate::gate::endpoint::DecisionEndpoint;
use crate::gate::path::{PathRules, normalize};

/// Where other proxies ask; none: nowhere.
pub(super) fn endpoint(work: &mut Compiler<'_>, input: &Input) -> Option<DecisionEndpoint> {
    let own = || input.server.listen.value.iter().map(|listener| &listener.value.decision_only).filter(|own| own.value);
    let Some(Item { value: Decision { path }, at, .. }) = input.decision.get() else {
        for own in own() {
            work.fault(&own.at, "there is no `[decision]`: write that table, or leave this out");
        }
        return None;
    };
    if input.server.trusted_proxies.value.is_empty() {
        work.fault(at, "nobody could ask: name the proxies that may in `server.trusted_proxies`");
    }
    check(work, &path.at, &path.value)?;
    Some(DecisionEndpoint { path: path.value.as_str().into(), apart: own().next().is_some() })
}

/// A request for the path must be that in every reading, and nothing of an application should lie below it.
fn check(work: &mut Compiler<'_>, at: &At, path: &str) -> Option<()> {
    let plain = path.len() > 1
        && !path.ends_with('/')
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~'))
        && normalize(path, PathRules::default()).is_ok();
    if !plain {
        work.fault(
            at,
            "expected a path such as \"/_portcullis/decide\": letters, digits and `-._~`, no slash at the end",
        );
    }
    plain.then_some(())
}
