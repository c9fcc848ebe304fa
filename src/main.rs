//! The binary: see the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One provider of cryptography for all TLS of the process, before anything asks for one. It can only be refused when
    // there is one already.
    rustls::crypto::ring::default_provider().install_default().ok();
    portcullis::cli::run()
}
