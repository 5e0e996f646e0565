//! `ganger config`

use clap::Subcommand;

use crate::app;

use super::failure::{DONE, Outcome};
use super::output;
use super::serve::ConfigArgs;

/// The flags of `config`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check the configuration and report everything that is wrong with it.
    Check(ConfigArgs),
    /// Show the configuration in force; secrets are not printed.
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Say where each value comes from.
        #[arg(long)]
        origins: bool,
    },
    /// Print the file with every option, its default and its reason.
    Default,
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let text = match self.action {
            Action::Check(config) => app::config_check(&config.into_options(false))?,
            Action::Show { config, origins } => app::config_show(&config.into_options(false), origins)?,
            Action::Default => crate::config::DEFAULT_TOML.to_owned(),
        };
        output::data(&text)?;
        Ok(DONE)
    }
}
