//! The person at the terminal, if there is one.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use zeroize::Zeroizing;

use super::Stop;

/// Longest text that is read: no key, password or token is longer.
const LONGEST: u64 = 4096;

/// Whoever sits there.
pub(in crate::cli) trait Person {
    /// Whether somebody can be asked.
    fn is_there(&self) -> bool;

    /// Whether somebody looks at standard error while the command runs.
    fn watches(&self) -> bool;

    /// What is on standard input, without the line's end.
    ///
    /// # Errors
    /// It cannot be read, is empty, or too long.
    fn secret(&mut self) -> Result<Zeroizing<String>, Stop>;

    /// The answer to a question that was put: a line.
    ///
    /// # Errors
    /// It cannot be read.
    fn line(&mut self) -> io::Result<String>;

    /// Says what will end, and asks, unless `yes`.
    ///
    /// # Errors
    /// Nobody is there to be asked, or the answer is no.
    fn confirm(&mut self, what: &str, yes: bool, err: &mut dyn Write) -> Result<(), Stop> {
        if yes {
            return Ok(writeln!(err, "{what}")?);
        }
        if !self.is_there() {
            return Err(Stop::Wrong(format!("{what}\nNobody can be asked here: --yes says that this is meant")));
        }
        write!(err, "{what}\nContinue? [y/N] ")?;
        err.flush()?;
        match self.line()?.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Stop::Failed("nothing was changed".to_owned())),
        }
    }
}

/// The one at standard input.
#[derive(Debug)]
pub(in crate::cli) struct Terminal;

impl Person for Terminal {
    fn is_there(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn watches(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn secret(&mut self) -> Result<Zeroizing<String>, Stop> {
        let mut text = Zeroizing::new(String::new());
        let stdin = io::stdin();
        // At a terminal a line is the whole of it; in a pipe a second line would be somebody's mistake.
        let read = if stdin.is_terminal() {
            stdin.lock().take(LONGEST + 2).read_line(&mut text)
        } else {
            stdin.lock().take(LONGEST + 2).read_to_string(&mut text)
        };
        read.map_err(|error| Stop::Failed(format!("standard input: {error}")))?;
        one_line(&text).map(|line| Zeroizing::new(line.to_owned()))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut text = String::new();
        io::stdin().lock().take(LONGEST).read_line(&mut text)?;
        Ok(text)
    }
}

/// `text` without the end of its only line.
pub(super) fn one_line(text: &str) -> Result<&str, Stop> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(Stop::Wrong("nothing came from standard input".to_owned()));
    }
    if line.len() as u64 > LONGEST || line.contains(['\n', '\r']) {
        return Err(Stop::Wrong(format!("give one line on standard input, at most {LONGEST} bytes")));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_line_is_taken_and_its_blanks_stay() {
        assert_eq!(one_line(" a b \r\n").ok(), Some(" a b "));
        assert_eq!(one_line("a").ok(), Some("a"));
        for bad in ["", "\n", "a\nb\n", &"x".repeat(4097)] {
            assert!(one_line(bad).is_err());
        }
    }
}
