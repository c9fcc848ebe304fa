//! The reference of the configuration, `docs/configuration.md`: made of the table of keys.

use std::fmt::Write;

use super::keys::{Realm, Root};
use super::value::secret::SecretKeys;
use super::walk::{Key, Kind, Section, Shape};

const PREFACE: &str = "\
# Configuration

This page is made from the table of keys in the source; a test compares the two.

The configuration is TOML, at the path of `--config` (or `PORTCULLIS_CONFIG`, else `/etc/portcullis`). The path is a
directory with `portcullis.toml` and `realms/*.toml`, or a single file with the same tables, in which each realm is a
table `[realms.NAME]`. A realm file starts with `realm = \"NAME\"`. Relative paths count from the file that names them.

Unknown keys are errors. `portcullis check` tells all problems at once, and exits with 2 when there are any.

| type | how it is written |
|---|---|
| duration | a whole number and `ms`, `s`, `m`, `h` or `d`: `\"500ms\"`, `\"10s\"` |
| size | a whole number and `B`, `KiB`, `MiB` or `GiB`: `\"64KiB\"`; zero is `0` |
| network | canonical: `\"10.0.0.0/8\"`, `\"2001:db8::/32\"`; a bare address is that address alone |
| rate | a count, a slash and `s`, `m`, `h` or `d`: `\"600/m\"` |
| time | with its offset: `2027-01-31T12:00:00Z` |
| secret | a reference, as below |
";

const TEMPLATES: &str = "\
## Templates

Bodies of answers, of refusals and of questions to the application are tables in which some text stands for a value. Text
that is exactly `$name` becomes the value with its own type; `{name}` inside other text is replaced; `$$` and `{{` are a
dollar and a brace. `{ first = [a, b] }` is the first alternative whose names all have a value; a member whose name has
none is left out. A name that can never have a value is an error.

* `token.KIND`: the token (a `response`, of the kinds that the grant makes)
* `token.KIND.expires_at`, `.issued_at`, `.expires_in`: its times, as `timestamps` says, and the seconds it lives (likewise)
* `principal.subject`, `.id`, `.client`, `.identifier`, `.plan`, `.tenant`, `.role`, `.roles`, `.scopes`: who signs in, or whose token or key it is (every grant)
* `principal.NAME`: an attribute (every grant)
* `owner.id`, `.identifier`, `.plan`, `.tenant`, `owner.NAME`: the owner of the key, and attributes (`delegate`, `redeem`)
* `subject.id`, `subject.NAME`: for whom the token is, and its `fields` (`response` and `bind` of `delegate`; `response` of `redeem`)
* `request.FIELD`, `request.FIELD.MEMBER`, `request`: what stands in the body, as far as `schema` has it; never a password or a token (grants with a body)
* `path.NAME`: a name of the path (every grant)
* `key.id`, `key.owner`: the API key (grants with `api_key` in `auth`)
* `realm`, `request_id`, `client_ip`: the realm, the request, its sender (every grant)
* `identifier`, `password`: what was sent to sign in (`body` of `[directory]`)
";

/// Renders the reference as Markdown.
pub fn reference() -> String {
    let mut page = String::from(PREFACE);
    page.push_str("\n## Secrets\n\nA secret is a table with exactly one of `env`, `file` and `inline`. One trailing newline is cut.\n\n");
    if let Kind::Table(section) = SecretKeys::kind() {
        table(&mut page, "", &section);
    }
    page.push('\n');
    page.push_str(TEMPLATES);
    page.push_str("\n## portcullis.toml\n\n");
    if let Kind::Table(section) = Root::kind() {
        table(&mut page, "", &section);
    }
    page.push_str("\n## A realm\n\n");
    if let Kind::Table(section) = Realm::kind() {
        let (longer, single): (Vec<_>, Vec<_>) = section.keys.into_iter().partition(|key| heading(key).is_some());
        table(&mut page, "", &Section { keys: single, open: None });
        for key in &longer {
            let (heading, inner) = heading(key).unwrap_or_default();
            line(&mut page, format_args!("\n### `{heading}`\n\n{}\n", key.doc));
            if let Some(section) = inner {
                page.push('\n');
                table(&mut page, "", &section);
            }
        }
    }
    page
}

/// Tables of a realm have a heading of their own.
fn heading(key: &Key) -> Option<(String, Option<Section>)> {
    match &key.kind {
        Kind::Leaf(..) | Kind::OneOf(_) => None,
        Kind::Table(section) => Some((format!("[{}]", key.name), Some(section.clone()))),
        Kind::List(inner) => match &**inner {
            Kind::Table(section) => Some((format!("[[{}]]", key.name), Some(section.clone()))),
            Kind::Leaf(..) | Kind::List(_) | Kind::Named(_) | Kind::OneOf(_) => None,
        },
        Kind::Named(inner) => match &**inner {
            Kind::Table(section) => Some((format!("[{}.NAME]", key.name), Some(section.clone()))),
            Kind::Leaf(..) | Kind::List(_) | Kind::Named(_) | Kind::OneOf(_) => Some((format!("[{}]", key.name), None)),
        },
    }
}

fn table(page: &mut String, prefix: &str, section: &Section) {
    line(page, format_args!("| key | type | default | meaning |\n|---|---|---|---|\n"));
    rows(page, prefix, section);
}

fn rows(page: &mut String, prefix: &str, section: &Section) {
    for key in section.keys.iter().chain(section.open.as_deref()) {
        let name = format!("{prefix}{}", key.name);
        let inner = inner(&key.kind);
        // A table that only groups its keys needs no row of its own.
        if !(matches!(key.kind, Kind::Table(_))
            && key.default == Some("{}")
            && prefix.is_empty()
            && key.name != "headers")
        {
            let default = match (key.required, key.default) {
                (true, _) => String::from("required"),
                (false, None | Some("{}" | "[]")) => String::from("-"),
                (false, Some(default)) => format!("`{default}`"),
            };
            line(page, format_args!("| `{name}` | {} | {default} | {} |\n", type_name(&key.kind), key.doc));
        }
        if let Some((step, section)) = inner.filter(|_| key.name != "realms") {
            rows(page, &format!("{name}{step}"), section);
        }
    }
}

/// The keys below a key, and how the way to them is written.
fn inner(kind: &Kind) -> Option<(&'static str, &Section)> {
    match kind {
        Kind::Table(section) => Some((".", section)),
        Kind::List(inner) => match &**inner {
            Kind::Table(section) => Some(("[].", section)),
            Kind::OneOf(kinds) => kinds.iter().find_map(|kind| match kind {
                Kind::Table(section) => Some(("[].", section)),
                Kind::Leaf(..) | Kind::List(_) | Kind::Named(_) | Kind::OneOf(_) => None,
            }),
            Kind::Leaf(..) | Kind::List(_) | Kind::Named(_) => None,
        },
        Kind::Named(inner) => match &**inner {
            Kind::Table(section) => Some((".NAME.", section)),
            Kind::Leaf(..) | Kind::List(_) | Kind::Named(_) | Kind::OneOf(_) => None,
        },
        Kind::Leaf(..) | Kind::OneOf(_) => None,
    }
}

fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Leaf(_, schema) if schema.get("enum").is_some() => {
            let words = schema.get("enum").and_then(serde_json::Value::as_array).into_iter().flatten();
            words.filter_map(|word| word.as_str()).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
        }
        Kind::Leaf(name, _) => (*name).to_owned(),
        Kind::List(inner) => format!("list of {}", type_name(inner)),
        Kind::Named(inner) => format!("table of {}", type_name(inner)),
        Kind::Table(_) => String::from("table"),
        Kind::OneOf(kinds) => kinds.iter().map(type_name).collect::<Vec<_>>().join(" or "),
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    page.write_fmt(text).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_row() {
        let page = reference();
        for row in [
            "| `server.listen[].address` |",
            "| `admin.listen.address` |",
            "| `keys.jwks_url` |",
            "| `KIND.use` |",
            "| `request.token` |",
            "| `keys[].sha256` |",
            "| `servers[].weight` |",
        ] {
            assert!(page.contains(row), "{row}");
        }
        assert!(page.lines().filter(|line| line.starts_with("| `")).all(|line| line.matches(" | ").count() == 3));
    }
}
