//! The `ganger` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // It fails only where a provider stands already, which serves as well.
    rustls::crypto::ring::default_provider().install_default().ok();
    ganger::cli::main()
}
