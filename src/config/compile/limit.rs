//! Rate limits.

use std::sync::Arc;

use super::Compiler;
use crate::config::keys::{Limit, Server};
use crate::config::value::Named;
use crate::gate::limit::{LimitBy, LimitHeaders, LimitSpec, Limiter};

/// A realm's limits by name; none where one is not complete.
pub(super) type Limits = Vec<(String, Option<Arc<Limiter>>)>;

/// The limits of a realm.
pub(super) fn limits(work: &mut Compiler<'_>, limits: &Named<Limit>) -> Limits {
    let each = limits.0.iter().map(|(name, item)| {
        work.label(&item.at, name);
        let Limit { by, rate, burst, headers } = &item.value;
        if let Some(burst) = burst.get().filter(|burst| burst.value == 0) {
            work.fault(&burst.at, "must not be zero: nothing would ever pass");
        }
        let limiter = rate.value().and_then(|rates| {
            Some(Limiter::new(LimitSpec {
                name: Arc::from(name.as_str()),
                by: *by.value()?,
                rate: rates.fallback()?,
                plans: rates.plans(),
                burst: burst.value().copied().filter(|burst| *burst != 0),
                headers: headers.value,
            }))
        });
        (name.clone(), limiter.map(Arc::new))
    });
    each.collect()
}

/// Failed verifications per address.
pub(super) fn failure_limit(server: &Server) -> Option<Arc<Limiter>> {
    server.failure_limit.value.0.map(|rate| {
        Arc::new(Limiter::new(LimitSpec {
            name: Arc::from("failure_limit"),
            by: LimitBy::Address,
            rate,
            plans: Vec::new(),
            burst: None,
            headers: LimitHeaders::default(),
        }))
    })
}
