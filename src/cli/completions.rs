//! `ganger completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::failure::{DONE, Outcome};
use super::output;

/// The flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: ganger completions bash > /etc/bash_completion.d/ganger")]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

impl Args {
    pub(super) fn run(&self) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "ganger", &mut text);
        output::data(&String::from_utf8_lossy(&text))?;
        Ok(DONE)
    }
}
