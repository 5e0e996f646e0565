//! The composition root: the one place that names adapters.
//!
//! Build is not run: configuration is checked, the folder locked, the listener bound and the ledger
//! opened before the first service starts, so that whatever fails there has touched no job.

mod adapters;
mod data_dir;
mod mcp;
mod migrate;
mod outside;
mod serve;

use std::path::PathBuf;

use crate::config::{Config, ConfigErrors, Flags, Sources, show};

pub use migrate::{MigrationRow, migrate_status, migrate_up};
pub use serve::serve;

/// Exit status: something failed.
pub const FAILED: u8 = 1;
/// Exit status: a server that is needed cannot be reached (`EX_UNAVAILABLE`).
pub const UNREACHABLE: u8 = 69;
/// Exit status: the configuration cannot be used (`EX_CONFIG`).
pub const CONFIGURATION: u8 = 78;

/// What `serve`, `config` and `migrate` are given on the command line.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Configuration files, each over the one before.
    pub configs: Vec<PathBuf>,
    /// Where to listen.
    pub listen: Option<String>,
    /// The data folder.
    pub data_dir: Option<PathBuf>,
    /// Redis.
    pub redis_url: Option<String>,
    /// The ledger.
    pub database_url: Option<String>,
    /// Bring a Postgres ledger's schema up to date first.
    pub migrate: bool,
}

impl ServeOptions {
    /// Reads and checks all sources.
    fn load(&self) -> Result<Config, Failure> {
        let flags = Flags {
            listen: self.listen.clone(),
            data_dir: self.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()),
            redis_url: self.redis_url.clone(),
            database_url: self.database_url.clone(),
        };
        Config::load(&Sources::of_process(&self.configs, flags, adapters::check_redis_url)).map_err(Failure::from)
    }
}

/// Why a command ended, with its exit status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl Failure {
    fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(CONFIGURATION, format!("the configuration cannot be used:\n{errors}"))
    }
}

/// Checks a configuration; answers a sentence about it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn config_check(options: &ServeOptions) -> Result<String, Failure> {
    let config = options.load()?;
    let catalog = &config.catalog;
    let (queues, pools, types) = (catalog.queues.len(), catalog.pools.len(), catalog.types.len());
    let sound = format!("the configuration is sound: {queues} queues, {pools} pools, {types} job types");
    let notes = adapters::warnings(&config).into_iter().map(|warning| format!("note: {warning}"));
    Ok(std::iter::once(sound).chain(notes).collect::<Vec<_>>().join("\n"))
}

/// The effective configuration as TOML, secrets hidden; with `origins`, each value's source beside it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn config_show(options: &ServeOptions, origins: bool) -> Result<String, Failure> {
    options.load().map(|config| show(&config, origins))
}
