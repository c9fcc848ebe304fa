//! `portcullis completions`: what a shell needs to complete commands and options.

use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::{Shell, generate};

/// Shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

impl From<For> for Shell {
    fn from(shell: For) -> Self {
        match shell {
            For::Bash => Self::Bash,
            For::Elvish => Self::Elvish,
            For::Fish => Self::Fish,
            For::PowerShell => Self::PowerShell,
            For::Zsh => Self::Zsh,
        }
    }
}

/// Prints the completions of `command` for a shell. Returns the exit code.
pub(crate) fn completions(mut command: Command, shell: For) -> u8 {
    // Whoever closes the pipe has read enough; a generator would take that for a reason to panic.
    let mut text = Vec::new();
    generate(Shell::from(shell), &mut command, "portcullis", &mut text);
    io::stdout().write_all(&text).unwrap_or_default();
    0
}
