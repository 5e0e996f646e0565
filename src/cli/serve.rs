//! `ganger serve`

use std::path::PathBuf;

use crate::app::{self, ServeOptions};

use super::failure::{DONE, Failure, Outcome};
use super::output;

/// The flags that say which configuration is in force.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are help texts, which a terminal shows as they are")]
pub(super) struct ConfigArgs {
    /// A configuration file; may be given several times, later files win.
    #[arg(long = "config", value_name = "FILE")]
    configs: Vec<PathBuf>,
    /// The address of the API, such as 127.0.0.1:7521; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The folder of the SQLite ledger and of the lock that keeps a second daemon out.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Redis, such as redis://host:6379; goes with a Postgres database only.
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// The ledger: sqlite:FILE or postgres://user@host/name.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

impl ConfigArgs {
    pub(super) fn into_options(self, migrate: bool) -> ServeOptions {
        ServeOptions {
            configs: self.configs,
            listen: self.listen,
            data_dir: self.data_dir,
            redis_url: self.redis_url,
            database_url: self.database_url,
            migrate,
        }
    }
}

/// The flags of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Bring the ledger's schema up to date before serving.
    #[arg(long)]
    migrate: bool,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let announce = |address| output::data(&format!("listening on http://{address}"));
        let options = self.config.into_options(self.migrate);
        Box::pin(app::serve(options, announce)).await.map_err(Failure::from).map(|()| DONE)
    }
}
