//! `portcullis schema`: the configuration described, for editors and for people.

use std::io::{self, Write};

use crate::config;

/// Prints the JSON Schema of the configuration, or with `reference` the page for people. Returns the exit code.
pub(crate) fn schema(reference: bool) -> u8 {
    let text = if reference { config::reference() } else { format!("{:#}\n", config::schema()) };
    // Whoever closes the pipe has read enough.
    io::stdout().write_all(text.as_bytes()).unwrap_or_default();
    0
}
