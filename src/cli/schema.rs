//! `portcullis schema`: the configuration described, for editors.

use std::io::{self, Write};

use crate::config;

/// Prints the JSON Schema of the configuration. Returns the exit code.
pub(crate) fn schema() -> u8 {
    let text = format!("{:#}\n", config::schema());
    // Whoever closes the pipe has read enough.
    io::stdout().write_all(text.as_bytes()).unwrap_or_default();
    0
}
