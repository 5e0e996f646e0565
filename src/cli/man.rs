//! `ganger man`

use std::path::PathBuf;

use clap::CommandFactory;

use super::failure::{DONE, Failure, Outcome};
use super::output;

/// The flags of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: ganger man | man -l -; ganger man --dir /usr/local/share/man/man1")]
pub(super) struct Args {
    /// Write a page for every command into this folder, instead of the first one to stdout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let command = super::Cli::command();
        let Some(folder) = self.dir else {
            let mut page = Vec::new();
            let written = clap_mangen::Man::new(command).render(&mut page);
            written.map_err(|error| Failure::failed(format!("the page cannot be made: {error}")))?;
            output::data(String::from_utf8_lossy(&page).trim_end())?;
            return Ok(DONE);
        };
        std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder)).map_err(
            |error| Failure::failed(format!("the pages cannot be written to {}: {error}", folder.display())),
        )?;
        Ok(DONE)
    }
}
