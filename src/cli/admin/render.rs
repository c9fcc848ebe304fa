//! JSON for people: tables, blocks, relative times. Texts of others never reach the terminal raw.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::clock::UnixMillis;

/// Characters of a cell; what is longer is cut.
const WIDEST: usize = 48;

/// Rows under headings, in columns that line up.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    heads: &'static [&'static str],
    widths: Vec<usize>,
    begun: bool,
}

impl Table {
    pub(in crate::cli) fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, widths: heads.iter().map(|head| head.chars().count()).collect(), begun: false }
    }

    /// Writes one part of the list, the headings before the first one.
    pub(in crate::cli) fn write(&mut self, rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cell_text(cell)).collect()).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.begun {
            self.begun = true;
            let heads: Vec<_> = self.heads.iter().map(|head| (*head).to_owned()).collect();
            self.line(&heads, out)?;
        }
        rows.iter().try_for_each(|row| self.line(row, out))
    }

    fn line(&self, row: &[String], out: &mut dyn Write) -> io::Result<()> {
        let cells: Vec<_> = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())
    }
}

fn cell_text(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= WIDEST {
        return text;
    }
    text.chars().take(WIDEST - 1).chain(['…']).collect()
}

/// One thing, a member a line; `effective` as a sentence. `warnings` are left out.
pub(in crate::cli) fn block(thing: &Map<String, Value>, now: UnixMillis, out: &mut dyn Write) -> io::Result<()> {
    let told = |name: &&String| !matches!(name.as_str(), "effective" | "warnings");
    let width = thing.keys().filter(told).map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, value) in thing.iter().filter(|(name, _)| told(name)) {
        writeln!(out, "{:width$}  {}", printable(&name.replace('_', " ")), member(name, value, thing, now))?;
    }
    if let Some(effective) = thing.get("effective") {
        writeln!(out, "{}", printable(&in_force(effective)))?;
    }
    Ok(())
}

/// When a change counts, in words.
pub(in crate::cli) fn in_force(effective: &Value) -> String {
    let here = effective.get("this_node").and_then(Value::as_str).is_some();
    match (effective.get("other_nodes_within_ms").and_then(Value::as_u64), here) {
        (Some(0) | None, _) => "in force now".to_owned(),
        (Some(ms), here) => {
            let now = if here { "in force on this node now; " } else { "" };
            let bound = span_text(ms.div_ceil(1000));
            format!(
                "{now}nodes that reach the store know it within 2 s, one that does not goes by what it knew for {bound} at most"
            )
        }
    }
}

fn member(name: &str, value: &Value, of: &Map<String, Value>, now: UnixMillis) -> String {
    let word = match (name, value) {
        ("expires_at" | "last_used_at" | "last_login_at", Value::Null) => "never",
        ("scopes", Value::Null) if of.contains_key("owner_id") => "as its owner's",
        ("scopes", Value::Null) => "none of its own",
        ("realms", Value::Null) => "all",
        ("ip_allowlist", Value::Array(list)) if list.is_empty() => "every address",
        (_, Value::Null) => "-",
        _ => "",
    };
    if !word.is_empty() {
        return word.to_owned();
    }
    if let (true, Some(text)) = (name == "at" || name == "until" || name.ends_with("_at"), value.as_str()) {
        return format!("{} ({})", printable(text), relative(value, now));
    }
    match value {
        Value::Object(inner) => {
            // Attributes are named by others: as they are.
            let told = |inner: &str| if name == "attributes" { inner.to_owned() } else { inner.replace('_', " ") };
            let parts = inner
                .iter()
                .map(|(name, value)| format!("{}: {}", printable(&told(name)), member(name, value, inner, now)));
            let parts: Vec<_> = parts.collect();
            if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
        }
        other => plain(other),
    }
}

/// A value as a short text: lists joined, nothing as a dash.
pub(in crate::cli) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Number(_) | Value::Object(_) => printable(&value.to_string()),
    }
}

/// A member of an object as a short text.
pub(in crate::cli) fn text(thing: &Value, name: &str) -> String {
    thing.get(name).map_or_else(|| "-".to_owned(), plain)
}

/// A time as seen from `now`: «3 d ago», «in 89 d»; «-» where there is none.
pub(in crate::cli) fn relative(time: &Value, now: UnixMillis) -> String {
    let Some(text) = time.as_str() else { return "-".to_owned() };
    let Ok(at) = text.parse::<jiff::Timestamp>() else { return printable(text) };
    let seconds = (at.as_millisecond().saturating_sub(now.0)).div_euclid(1000);
    match seconds {
        -5..=5 => "now".to_owned(),
        6.. => format!("in {}", span_text(seconds.unsigned_abs())),
        _ => format!("{} ago", span_text(seconds.unsigned_abs())),
    }
}

/// A span in one unit, rounded: what ends in 90 days less a moment ends «in 90 d».
pub(in crate::cli) fn span_text(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", (seconds + 30) / 60),
        7200..=172_799 => format!("{} h", (seconds + 1800) / 3600),
        _ => format!("{} d", (seconds.saturating_add(43_200)) / 86_400),
    }
}

/// A number of things.
pub(in crate::cli) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Text of others, fit for a terminal: control characters, direction marks and line separators are escaped.
pub(in crate::cli) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let marks = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || marks {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_682_354_000);

    fn written(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_and_wide_cells_are_cut() {
        let rows = [vec!["a".into(), "b".into()], vec!["longer".into(), "x".repeat(100)]];
        let text = written(|out| Table::new(&["ID", "NAME"]).write(&rows, out));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["ID      NAME", "a       b"]);
        assert_eq!(lines[2].chars().count(), 8 + WIDEST);
        assert!(lines[2].ends_with('…'));
    }

    #[test]
    fn no_text_of_others_steers_the_terminal() {
        let evil = "a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}e";
        let rows = [vec![evil.into()]];
        let thing = json!({ "name": evil, "attributes": { evil: [evil] }, "effective": {} });
        let shown = written(|out| Table::new(&["NAME"]).write(&rows, out))
            + &written(|out| block(thing.as_object().unwrap(), NOW, out));
        assert!(!shown.contains(['\u{1b}', '\r', '\u{202e}', '\u{9b}']), "{shown:?}");
        assert_eq!(shown.lines().count(), 2 + 2 + 1, "{shown}");
    }

    #[test]
    fn times_are_told_as_seen_from_now() {
        let at = |millis: i64| json!(UnixMillis(NOW.0 + millis * 1000).to_string());
        for (seconds, expected) in
            [(0, "now"), (-90, "90 s ago"), (-200, "3 min ago"), (-3 * 86_400, "3 d ago"), (90 * 86_400 - 1, "in 90 d")]
        {
            assert_eq!(relative(&at(seconds), NOW), expected);
        }
        assert_eq!(relative(&Value::Null, NOW), "-");
        assert_eq!(relative(&json!("\u{7}soon"), NOW), "\\u{7}soon");
    }

    #[test]
    fn what_is_absent_is_told_for_what_it_means() {
        let thing = json!({ "expires_at": null, "ip_allowlist": [], "scopes": null, "plan": null, "last_used_at": "2025-11-20T23:45:54Z" });
        let text = written(|out| block(thing.as_object().unwrap(), NOW, out));
        for line in ["expires at    never", "ip allowlist  every address", "plan          -", "(now)"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
