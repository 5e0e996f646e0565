//! The level on disk: one `SQLite` file that several processes may use at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use tokio::sync::OnceCell;

use super::element::{ElementId, Keep, Origin, Record, Version};
use crate::platform::reply::{ToolError, class};

/// The file in the data folder.
const FILE: &str = "elements.db";

/// How long a write waits for that of another process.
const BUSY: Duration = Duration::from_secs(5);

/// Readers and a writer; calls beyond them wait.
const CONNECTIONS: u32 = 4;

/// Versions of one element that are kept.
const VERSIONS_KEPT: i64 = 20;

#[derive(Debug)]
pub(super) struct File {
    path: Option<PathBuf>,
    pool: OnceCell<SqlitePool>,
}

impl File {
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self { path: folder.map(|folder| folder.join(FILE)), pool: OnceCell::new() }
    }

    async fn pool(&self) -> Result<&SqlitePool, ToolError> {
        self.pool.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<SqlitePool, ToolError> {
        let wrong = |error: &dyn std::fmt::Display| self.failed(error);
        let pool = SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None);
        let pool = match &self.path {
            Some(path) => {
                if let Some(folder) = path.parent() {
                    tokio::fs::create_dir_all(folder).await.map_err(|error| wrong(&error))?;
                }
                // What a crash of the machine takes of the last second can be generated again.
                let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).busy_timeout(BUSY);
                let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
                pool.max_connections(CONNECTIONS).connect_with(options).await
            }
            // A second connection would see another memory.
            None => pool.max_connections(1).connect_with(SqliteConnectOptions::new().in_memory(true)).await,
        };
        let pool = pool.map_err(|error| wrong(&error))?;
        let made = sqlx::raw_sql(include_str!("sql/schema.sql")).execute(&pool).await;
        made.map_err(|error| wrong(&error))?;
        Ok(pool)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> ToolError {
        let place = self.path.as_ref().map_or_else(|| "in memory".to_owned(), |path| path.display().to_string());
        ToolError::new(class::INTERNAL, format!("the element repository {place}: {error}"))
    }

    /// The rows that changed after `seen`, each with the number of its change.
    pub(super) async fn changes(&self, seen: i64) -> Result<Vec<(i64, i64)>, ToolError> {
        let query = sqlx::query(include_str!("sql/changed_since.sql")).bind(seen);
        let rows = query.fetch_all(self.pool().await?).await.map_err(|error| self.failed(&error))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<sqlx::Result<_>>()
            .map_err(|error| self.failed(&error))
    }

    pub(super) async fn by_id(&self, id: &ElementId) -> Result<Option<Record>, ToolError> {
        let query = sqlx::query(include_str!("sql/element_by_place.sql")).bind(&id.site).bind(&id.page).bind(&id.name);
        Ok(self.records(query).await?.pop())
    }

    pub(super) async fn by_name(&self, name: &str) -> Result<Vec<Record>, ToolError> {
        self.records(sqlx::query(include_str!("sql/elements_by_name.sql")).bind(name)).await
    }

    pub(super) async fn of_page(&self, page: &ElementId, limit: usize) -> Result<Vec<Record>, ToolError> {
        let query = sqlx::query(include_str!("sql/elements_of_page.sql"));
        self.records(query.bind(&page.site).bind(&page.page).bind(whole(limit))).await
    }

    /// The elements that are asked for most, or those that changed last.
    pub(super) async fn best(&self, most_used: bool, limit: usize) -> Result<Vec<Record>, ToolError> {
        let statement = if most_used {
            include_str!("sql/elements_most_used.sql")
        } else {
            include_str!("sql/elements_newest.sql")
        };
        self.records(sqlx::query(statement).bind(whole(limit))).await
    }

    async fn records(&self, query: Query<'_>) -> Result<Vec<Record>, ToolError> {
        let rows = query.fetch_all(self.pool().await?).await.map_err(|error| self.failed(&error))?;
        rows.iter().map(|row| record(row).map_err(|error| self.failed(&error))).collect()
    }

    /// Puts elements in one transaction; answers how many are new or changed.
    pub(super) async fn put(&self, elements: &[Keep], origin: Origin) -> Result<usize, ToolError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut changed = 0;
        let mut transaction = self.pool().await?.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        for Keep { id, fingerprint, locators } in elements {
            let (fingerprint, locators) = (self.json(fingerprint)?, self.json(locators)?);
            let query = sqlx::query(include_str!("sql/element_put.sql")).bind(&id.site).bind(&id.page).bind(&id.name);
            let row =
                query.bind(fingerprint).bind(&locators).fetch_optional(&mut *transaction).await.map_err(failed)?;
            let Some(row) = row else { continue };
            changed += 1;
            let (element, version): (i64, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            let query = sqlx::query(include_str!("sql/version_put.sql")).bind(element).bind(version).bind(locators);
            let strategy = origin.strategy.map(crate::platform::healing::Strategy::name);
            let query = query.bind(origin.made_by.name()).bind(strategy).bind(origin.confidence);
            query.execute(&mut *transaction).await.map_err(failed)?;
            if version > VERSIONS_KEPT {
                let query = sqlx::query(include_str!("sql/versions_trim.sql")).bind(element).bind(VERSIONS_KEPT);
                query.execute(&mut *transaction).await.map_err(failed)?;
            }
        }
        transaction.commit().await.map_err(failed)?;
        Ok(changed)
    }

    pub(super) async fn versions(&self, row: i64) -> Result<Vec<Version>, ToolError> {
        let query = sqlx::query(include_str!("sql/versions_of.sql")).bind(row);
        let rows = query.fetch_all(self.pool().await?).await.map_err(|error| self.failed(&error))?;
        rows.iter().map(|row| version(row).map_err(|error| self.failed(&error))).collect()
    }

    /// Counts uses of rows.
    pub(super) async fn used(&self, uses: &[(i64, i64)]) -> Result<(), ToolError> {
        if uses.is_empty() {
            return Ok(());
        }
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = self.pool().await?.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        for (row, count) in uses {
            let query = sqlx::query(include_str!("sql/used.sql")).bind(row).bind(count);
            query.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    pub(super) async fn setting(&self, name: &str) -> Result<Option<String>, ToolError> {
        let query = sqlx::query_scalar(include_str!("sql/setting_get.sql")).bind(name);
        query.fetch_optional(self.pool().await?).await.map_err(|error| self.failed(&error))
    }

    pub(super) async fn set_setting(&self, name: &str, value: &str) -> Result<(), ToolError> {
        let query = sqlx::query(include_str!("sql/setting_put.sql")).bind(name).bind(value);
        query.execute(self.pool().await?).await.map(drop).map_err(|error| self.failed(&error))
    }

    fn json(&self, value: &impl serde::Serialize) -> Result<String, ToolError> {
        serde_json::to_string(value).map_err(|error| self.failed(&error))
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Limits are far below what a database counts to.
fn whole(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn record(row: &SqliteRow) -> sqlx::Result<Record> {
    let id = ElementId { site: row.try_get("site")?, page: row.try_get("page")?, name: row.try_get("name")? };
    Ok(Record {
        row: row.try_get("id")?,
        id,
        version: row.try_get("version")?,
        fingerprint: parsed(row, "fingerprint")?,
        locators: parsed(row, "locators")?,
        uses: row.try_get("uses")?,
    })
}

fn version(row: &SqliteRow) -> sqlx::Result<Version> {
    Ok(Version {
        version: row.try_get("version")?,
        locators: parsed(row, "locators")?,
        made_by: row.try_get("made_by")?,
        strategy: row.try_get("strategy")?,
        confidence: row.try_get("confidence")?,
        made_at_ms: row.try_get("made_at_ms")?,
    })
}

fn parsed<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(format!("{column}: {error}").into()))
}
