//! `ganger migrate`

use clap::Subcommand;

use crate::app;

use super::failure::{DONE, Outcome};
use super::output;
use super::serve::ConfigArgs;

/// The flags of `migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the ledger's schema up to date.
    Up(ConfigArgs),
    /// Show which version the schema has, and which this build needs.
    Status(ConfigArgs),
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let rows = match self.action {
            Action::Up(config) => app::migrate_up(&config.into_options(true)).await?,
            Action::Status(config) => app::migrate_status(&config.into_options(false)).await?,
        };
        let state = |applied| if applied { "applied" } else { "missing" };
        let row = |row: app::MigrationRow| vec![row.version.to_string(), row.name, state(row.applied).to_owned()];
        output::data(&output::table(&["VERSION", "NAME", "STATE"], rows.into_iter().map(row).collect()))?;
        Ok(DONE)
    }
}
