//! `portcullis check`: loads a configuration as `serve` does, and says what it found.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{self, Sources};

/// Checks the configuration at `path`; `env` looks up environment variables. Problems and warnings go to standard error,
/// one a line; the result of a good configuration to standard output. Returns the exit code: 0, or 2 for problems.
pub(crate) fn check(path: &Path, no_secrets: bool, env: &dyn Fn(&str) -> Option<String>) -> u8 {
    report(config::load(path, &Sources { env, secrets: !no_secrets }), path, &mut io::stdout(), &mut io::stderr())
}

fn report(
    loaded: Result<config::Config, config::Problems>,
    path: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    // Nobody reads a broken pipe; the exit code still tells.
    match loaded {
        Ok(config) => {
            write!(err, "{}", config.warnings).unwrap_or_default();
            let realms = &config.snapshot.realms;
            let routes: usize = realms.iter().map(|realm| realm.routes.len()).sum();
            let (realms, routes) = (count(realms.len(), "realm"), count(routes, "route"));
            writeln!(out, "{}: good: {realms}, {routes}", path.display()).unwrap_or_default();
            0
        }
        Err(problems) => {
            write!(err, "{problems}").unwrap_or_default();
            2
        }
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_go_to_standard_error_with_exit_code_2() {
        let path = Path::new("no/such/configuration");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let loaded = config::load(path, &Sources { env: &|_| None, secrets: true });
        assert_eq!(report(loaded, path, &mut out, &mut err), 2);
        assert!(out.is_empty());
        assert_eq!(String::from_utf8(err).unwrap(), "no/such/configuration: does not exist\n");
    }
}
