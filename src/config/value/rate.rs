//! Rates: one for all, or one by plan.

use serde_json::json;
use toml::de::DeValue;

use super::Named;
use crate::config::walk::{Item, Kind, Shape, Value, Walk};
use crate::gate::limit::Rate;

impl Shape for Rate {
    fn kind() -> Kind {
        Kind::Leaf("rate", json!({ "type": "string", "pattern": "^[1-9][0-9]*/(s|m|h|d)$" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let text = walk.text(value, "a rate such as \"600/m\"")?;
        Self::parse(text).map_err(|fault| walk.fault(value.span(), fault)).ok()
    }
}

/// `"600/m"`, or a table from plan to rate.
#[derive(Clone, Debug)]
pub(crate) enum Rates {
    /// For everybody.
    One(Rate),
    /// By plan; never empty.
    ByPlan(Vec<(String, Item<Rate>)>),
}

impl Rates {
    /// The rate for those whose plan is not listed: the lowest.
    pub(crate) fn fallback(&self) -> Option<Rate> {
        match self {
            Self::One(rate) => Some(*rate),
            Self::ByPlan(plans) => plans.iter().map(|(_, rate)| rate.value).min_by(|a, b| {
                let (left, right) = (u128::from(a.count), u128::from(b.count));
                (left.saturating_mul(b.per.as_nanos())).cmp(&right.saturating_mul(a.per.as_nanos()))
            }),
        }
    }

    /// The rates by plan.
    pub(crate) fn plans(&self) -> Vec<(Box<str>, Rate)> {
        match self {
            Self::One(_) => Vec::new(),
            Self::ByPlan(plans) => plans.iter().map(|(plan, rate)| (plan.as_str().into(), rate.value)).collect(),
        }
    }
}

impl Shape for Rates {
    fn kind() -> Kind {
        Kind::OneOf(vec![Rate::kind(), Named::<Rate>::kind()])
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => Rate::read(value, walk).map(Self::One),
            DeValue::Table(table) if table.is_empty() => {
                walk.fault(value.span(), "names no plan; a rate for everybody is text such as \"600/m\"");
                None
            }
            DeValue::Table(_) => Named::read(value, walk).map(|Named(plans)| Self::ByPlan(plans)),
            _ => {
                walk.unexpected(value, "a rate such as \"600/m\", or a table from plan to rate");
                None
            }
        }
    }
}

/// A rate, or `"off"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateOrOff(pub(crate) Option<Rate>);

impl Shape for RateOrOff {
    fn kind() -> Kind {
        Kind::OneOf(vec![Rate::kind(), Kind::Leaf("`\"off\"`", json!({ "const": "off" }))])
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        if walk.text(value, "a rate such as \"600/m\", or \"off\"")? == "off" {
            return Some(Self(None));
        }
        Rate::read(value, walk).map(|rate| Self(Some(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::read;

    #[test]
    fn those_whose_plan_is_not_listed_get_the_lowest_rate() {
        let rates = read::<Rates>("{ Growth = \"100/m\", Free = \"1000/h\", Scale = \"5/s\" }").unwrap();
        assert_eq!(rates.fallback().map(|rate| rate.count), Some(1000));
        assert_eq!(rates.plans().len(), 3);
    }

    #[test]
    fn a_limit_without_a_rate_is_refused() {
        for bad in ["{}", "600", "\"off\"", "{ Growth = \"many\" }"] {
            assert!(read::<Rates>(bad).is_err(), "{bad}");
        }
        assert_eq!(read::<RateOrOff>("\"off\""), Ok(RateOrOff(None)));
    }
}
