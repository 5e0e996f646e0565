//! `ganger migrate`: the schema of the ledger.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::LedgerConfig;
use crate::ledger::sqlite::{SqliteLedger, SqliteParams};
use crate::ledger::{LedgerError, postgres, sqlite};

use super::adapters::postgres_params;
use super::{FAILED, Failure, ServeOptions, UNREACHABLE};

/// One migration, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationRow {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether the ledger has it.
    pub applied: bool,
}

fn failure(error: &LedgerError) -> Failure {
    let status = if error.is_transient() { UNREACHABLE } else { FAILED };
    Failure::new(status, error.to_string())
}

/// Brings the schema up to date; answers all migrations.
///
/// # Errors
/// The configuration or the ledger.
pub async fn migrate_up(options: &ServeOptions) -> Result<Vec<MigrationRow>, Failure> {
    let config = options.load()?;
    match &config.ledger {
        LedgerConfig::Sqlite { path, .. } => {
            let _held = super::data_dir::take(&config.server.data_dir)?;
            let clock = Arc::new(SystemClock);
            SqliteLedger::open(path, SqliteParams::default(), clock)
                .await
                .map_err(|error| failure(&error))?
                .close()
                .await;
        }
        LedgerConfig::Postgres { url, .. } => postgres::migrate(url.expose()).await.map_err(|error| failure(&error))?,
    }
    migrate_status(options).await
}

/// All migrations, and which of them the ledger has.
///
/// # Errors
/// The configuration or the ledger.
pub async fn migrate_status(options: &ServeOptions) -> Result<Vec<MigrationRow>, Failure> {
    let config = options.load()?;
    let rows = match &config.ledger {
        LedgerConfig::Sqlite { path, .. } => sqlite::migration_status(path).await,
        LedgerConfig::Postgres { url, pool_size, timeout_ms } => {
            postgres::migration_status(url.expose(), postgres_params(*pool_size, *timeout_ms)).await
        }
    };
    let rows = rows.map_err(|error| failure(&error))?.into_iter();
    Ok(rows.map(|row| MigrationRow { version: row.version, name: row.name, applied: row.applied }).collect())
}
