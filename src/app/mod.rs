//! The composition root (being written).

use std::path::PathBuf;

/// What the process exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub i32);

/// The flags of `serve` and of the commands that read the same configuration.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Files, later ones over earlier ones.
    pub configs: Vec<PathBuf>,
    /// The address of the API.
    pub listen: Option<String>,
    /// Where files live that are named without a folder.
    pub data_dir: Option<PathBuf>,
    /// Redis.
    pub redis_url: Option<String>,
    /// The ledger.
    pub database_url: Option<String>,
    /// Whether the schema is brought up to date first.
    pub migrate: bool,
}

/// Runs the daemon until it is told to stop.
pub async fn serve(options: ServeOptions) -> ExitStatus {
    let _ = options;
    unimplemented!()
}

/// Checks the configuration.
pub async fn config_check(options: ServeOptions) -> ExitStatus {
    let _ = options;
    unimplemented!()
}

/// Prints the configuration in force, with the origin of each value when asked.
pub async fn config_show(options: ServeOptions, origins: bool) -> ExitStatus {
    let _ = (options, origins);
    unimplemented!()
}

/// The file with every option and its default.
pub fn config_default() -> &'static str {
    unimplemented!()
}

/// Brings the ledger's schema up to date.
pub async fn migrate_up(options: ServeOptions) -> ExitStatus {
    let _ = options;
    unimplemented!()
}

/// Says which version the ledger's schema has.
pub async fn migrate_status(options: ServeOptions) -> ExitStatus {
    let _ = options;
    unimplemented!()
}
