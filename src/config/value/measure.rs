//! Durations and sizes: a whole number and a unit.

use std::time::Duration;

use serde_json::json;
use toml::de::DeValue;

use crate::config::walk::{Kind, Shape, Value, Walk, type_name};

/// Longest duration that a configuration can say: ten years. Sums of a few of them never overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

const DURATIONS: &[(&str, u64)] = &[("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// How people write the units otherwise; for the corrected form only.
const LOOSE: &[(&str, &str)] = &[
    ("msec", "ms"),
    ("msecs", "ms"),
    ("millis", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("b", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("kib", "KiB"),
    ("mb", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
    ("gib", "GiB"),
];

impl Shape for Duration {
    fn kind() -> Kind {
        Kind::Leaf("duration", json!({ "type": "string", "pattern": "^(0|[1-9][0-9]*)(ms|s|m|h|d)$" }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        let expected = "a duration: a whole number and `ms`, `s`, `m`, `h` or `d`, such as \"10s\"";
        let millis = measure(value, walk, DURATIONS, "s", expected)?;
        let duration = Self::from_millis(millis);
        if duration > LONGEST {
            walk.fault(value.span(), "longer than \"3650d\"");
            return None;
        }
        Some(duration)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Shape for Size {
    fn kind() -> Kind {
        let pattern = json!({ "type": "string", "pattern": "^(0|[1-9][0-9]*(B|KiB|MiB|GiB))$" });
        Kind::Leaf("size", json!({ "anyOf": [pattern, { "const": 0 }] }))
    }

    fn read(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Self> {
        // Zero is zero in every unit.
        match value.get_ref() {
            DeValue::String(text) if text == "0" => return Some(Self(0)),
            DeValue::Integer(digits) if digits.as_str() == "0" => return Some(Self(0)),
            _ => {}
        }
        let expected = "a size: a whole number and `B`, `KiB`, `MiB` or `GiB`, such as \"64KiB\"";
        measure(value, walk, SIZES, "B", expected).map(Self)
    }
}

/// A duration as it is written: in the largest unit that holds it exactly.
pub(crate) fn duration_text(duration: Duration) -> String {
    write(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATIONS)
}

/// A size as it is written.
pub(crate) fn size_text(size: u64) -> String {
    write(size, SIZES)
}

fn measure(value: &Value<'_>, walk: &mut Walk<'_>, units: &[(&str, u64)], bare: &str, expected: &str) -> Option<u64> {
    let text = match value.get_ref() {
        DeValue::String(text) => text,
        DeValue::Integer(digits) => {
            let guess = strict(&format!("{}{bare}", digits.as_str()), units);
            let advice = guess.map(|n| format!("; write \"{}\"", write(n, units))).unwrap_or_default();
            walk.fault(value.span(), format!("expected {expected}, found an integer{advice}"));
            return None;
        }
        other => {
            walk.fault(value.span(), format!("expected {expected}, found {}", type_name(other)));
            return None;
        }
    };
    let read = strict(text, units);
    if read.is_none() {
        let advice = loose(text, units, bare).map(|n| format!("; write \"{}\"", write(n, units))).unwrap_or_default();
        walk.fault(value.span(), format!("expected {expected}{advice}"));
    }
    read
}

fn strict(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// What was probably meant: sums, fractions, blanks, other names of units.
fn loose(text: &str, units: &[(&str, u64)], bare: &str) -> Option<u64> {
    let lower = text.trim().to_lowercase();
    let mut rest = lower.as_str();
    let mut total: u64 = 0;
    if rest.is_empty() || rest.len() > 32 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let unit = if unit.is_empty() { bare } else { unit };
        let known = |unit: &str| units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let other = || LOOSE.iter().filter(|(name, _)| *name == unit).find_map(|(_, unit)| known(unit));
        // Among sizes a lone `m` is a mebibyte.
        let mebi = || if unit == "m" { known("MiB") } else { None };
        let factor = known(unit).or_else(other).or_else(mebi)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        total = total.checked_add(whole.parse::<u64>().ok()?.checked_mul(factor)?)?;
        if !fraction.is_empty() {
            let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            let part = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
            if part % scale != 0 {
                return None;
            }
            total = total.checked_add(part / scale)?;
        }
        rest = after.trim_start();
    }
    Some(total)
}

fn write(number: u64, units: &[(&str, u64)]) -> String {
    let smallest = units.last().copied().unwrap_or(("", 1));
    let fits = |(_, factor): &&(&str, u64)| number != 0 && number.is_multiple_of(*factor);
    let (unit, factor) = units.iter().find(fits).copied().unwrap_or(smallest);
    format!("{}{unit}", number / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::value::read;

    #[test]
    fn durations_have_a_whole_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(read::<Duration>(&format!("{text:?}")), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(read::<Duration>("\"3650d\""), Ok(LONGEST));
        for bad in ["\"3651d\"", "\"99999999999999999999d\"", "\"s\"", "\"\"", "\"-1s\"", "\"1S\"", "\"01s\"", "true"] {
            assert!(read::<Duration>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_loose_duration_is_refused_with_the_form_that_was_probably_meant() {
        for (loose, advice) in [
            ("10", "\"10s\""),
            ("\"10\"", "\"10s\""),
            ("\"10 sec\"", "\"10s\""),
            ("\"1.5h\"", "\"90m\""),
            ("\"1d12h\"", "\"36h\""),
            ("\"2 Minutes\"", "\"2m\""),
        ] {
            let problem = read::<Duration>(loose).unwrap_err().concat();
            assert!(problem.ends_with(&format!("; write {advice}")), "{loose}: {problem}");
        }
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        assert_eq!(read::<Size>("\"64KiB\""), Ok(Size(65_536)));
        assert_eq!(read::<Size>("\"1GiB\""), Ok(Size(1 << 30)));
        assert_eq!(read::<Size>("0"), Ok(Size(0)));
        for (loose, advice) in [("65536", "\"64KiB\""), ("\"10MB\"", "\"10MiB\""), ("\"10m\"", "\"10MiB\"")] {
            let problem = read::<Size>(loose).unwrap_err().concat();
            assert!(problem.ends_with(&format!("; write {advice}")), "{loose}: {problem}");
        }
        assert!(read::<Size>("\"99999999999GiB\"").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(millis in 0_u64..3650 * 24 * 3_600_000, bytes in any::<u64>()) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(strict(&duration_text(duration), DURATIONS), Some(millis));
            prop_assert_eq!(strict(&size_text(bytes), SIZES), Some(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            strict(&text, DURATIONS);
            loose(&text, DURATIONS, "s");
            loose(&text, SIZES, "B");
        }
    }
}
