//! `portcullis check`: loads a configuration as `serve` does, and says what it found.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{CheckArgs, FAILED, FINE, WRONG};
use crate::config::{self, Config, Problem, Problems, RouteSummary, Sources};

/// Checks the configuration at `path`; `env` looks up environment variables. Problems and warnings go to standard error,
/// one a line; every route of a good configuration to standard output. As JSON all goes to standard output. Returns the
/// exit code: 0, or 2 for problems.
pub(super) fn check(path: &Path, args: &CheckArgs, env: &dyn Fn(&str) -> Option<String>) -> u8 {
    let loaded = config::load(path, &Sources { env, secrets: !args.no_secrets });
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    let written = if args.json { write_json(&loaded, out) } else { write_text(&loaded, path, out, err) };
    match (loaded, written) {
        (Err(_), _) => WRONG,
        (Ok(_), Ok(())) => FINE,
        (Ok(_), Err(_)) => FAILED,
    }
}

fn write_text(
    loaded: &Result<Config, Problems>,
    path: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => return write!(err, "{problems}"),
    };
    write!(err, "{}", config.warnings)?;
    let (realms, routes) = (count(config.snapshot.realms.len(), "realm"), count(config.routes.len(), "route"));
    writeln!(out, "{}: good: {realms}, {routes}\n", path.display())?;
    let head = ["realm", "methods", "path", "auth", "upstream", "needs"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(config.routes.iter().map(row)).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn row(route: &RouteSummary) -> [String; 6] {
    let methods = if route.methods.is_empty() { "any".to_owned() } else { route.methods.join(",") };
    let need = |(key, values): &(&str, Vec<String>)| {
        let what = if *key == "scopes_any" { "one of the scopes" } else { key };
        format!("{what}: {}", values.join(", "))
    };
    let needs: Vec<_> = route.needs.iter().map(need).collect();
    let needs = if needs.is_empty() { "-".to_owned() } else { needs.join("; ") };
    [route.realm.clone(), methods, route.path.clone(), route.auth.join(","), route.upstream.clone(), needs]
}

fn write_json(loaded: &Result<Config, Problems>, out: &mut dyn Write) -> io::Result<()> {
    let told = match loaded {
        Ok(config) => json!({
            "good": true,
            "warnings": config.warnings.0.iter().map(problem).collect::<Vec<_>>(),
            "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
        }),
        Err(problems) => json!({ "good": false, "problems": problems.0.iter().map(problem).collect::<Vec<_>>() }),
    };
    writeln!(out, "{told}")
}

fn problem(problem: &Problem) -> Value {
    let (line, column) = problem.position.unzip();
    json!({ "file": problem.file.display().to_string(), "line": line, "column": column, "key": problem.key, "text": problem.text })
}

fn route(route: &RouteSummary) -> Value {
    let RouteSummary { realm, name, methods, path, auth, upstream, needs } = route;
    let needs: serde_json::Map<_, _> = needs.iter().map(|(key, values)| ((*key).to_owned(), json!(values))).collect();
    json!({
        "realm": realm, "name": name, "methods": methods, "path": path, "auth": auth, "upstream": upstream, "needs": needs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_go_to_standard_error_and_nothing_to_standard_output() {
        let path = Path::new("no/such/configuration");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let loaded = config::load(path, &Sources { env: &|_| None, secrets: true });
        write_text(&loaded, path, &mut out, &mut err).unwrap();
        assert!(out.is_empty());
        assert_eq!(String::from_utf8(err).unwrap(), "no/such/configuration: does not exist\n");
    }
}
