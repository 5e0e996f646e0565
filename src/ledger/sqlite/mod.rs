//! The ledger of a single machine: one `SQLite` file, held by one process.
//!
//! There is one writer, so between a look and a write nothing can happen, and both sides of a batch
//! share one transaction and one fsync. Reads have connections of their own and never wait for it.

mod accept;
mod logbook;
mod orders;
mod repeated;
mod retain;
mod reviews;
mod settle;
mod tallies;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection as _, Sqlite};
use tokio::time::Instant;

use super::fault::{self, Stage};
use super::migrations::{self, Known, MigrationStatus};
use super::review::{self, REVIEWS_OF_MAX, ReviewTerms};
use super::row::{self, Cells, PageTerms};
use super::{
    Batch, BatchAnswer, Confirm, Confirmed, Dropped, Heard, Identity, JobFilter, Ledger, LiveEntry, Node, Order,
    Ordered, Outlived, Pause, Result, Retention, ReviewBacklog, ReviewFilter, ReviewOrder, Scope, Setting, Sizes,
    Tally, accept as accepting, order as ordering, settle as settling,
};
use crate::clock::{Clock, Timestamp};
use crate::job::{Fence, Job, JobId, NewJob, NodeId, Review, Seq, TypeName};
use crate::service::at_its_pace;

const MIGRATIONS: Known = &[
    (1, "ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql")),
    (2, "settings", include_str!("../../../migrations/sqlite/0002_settings.sql")),
    (3, "tallies", include_str!("../../../migrations/sqlite/0003_tallies.sql")),
    (4, "reviews", include_str!("../../../migrations/sqlite/0004_reviews.sql")),
    (5, "operations", include_str!("../../../migrations/sqlite/0005_operations.sql")),
];

/// Takes the write lock at once: a transaction that reads first and writes later fails without
/// waiting when somebody else wrote in between.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Enough for the pages people look at; each is a thread.
const READERS: u32 = 2;

/// How this process uses the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteParams {
    /// How long a call waits for its turn, in milliseconds.
    pub timeout_ms: u64,
    /// How much of the file the writer keeps in memory, in KiB.
    pub cache_kib: u32,
}

impl Default for SqliteParams {
    /// Five seconds and 16 MiB: the upper levels of every index of a million jobs.
    fn default() -> Self {
        Self { timeout_ms: 5_000, cache_kib: 16 * 1024 }
    }
}

/// A ledger in a `SQLite` file.
#[derive(Debug)]
pub struct SqliteLedger {
    writer: SqlitePool,
    readers: SqlitePool,
    place: String,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    /// The file of the log.
    log: PathBuf,
    /// Its size when a reader last kept it from starting anew; 0 when none did.
    log_bytes_held: AtomicU64,
}

// === opening ===

impl SqliteLedger {
    /// Opens the file, makes it if it is missing, and brings its schema to this program's version.
    /// Heartbeats and terms are on `clock`.
    ///
    /// # Errors
    /// [`super::LedgerError::Schema`] when the file is of a newer version or no ledger at all, and whatever
    /// keeps the file from being opened.
    pub async fn open(path: &Path, params: SqliteParams, clock: Arc<dyn Clock>) -> Result<Self> {
        let place = path.display().to_string();
        let timeout = Duration::from_millis(params.timeout_ms.max(1));
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(timeout)
            .foreign_keys(false)
            // Statements are logged by whoever calls, with what they mean.
            .disable_statement_logging();
        let pool = || SqlitePoolOptions::new().acquire_timeout(timeout).idle_timeout(None).max_lifetime(None);
        let writing = options
            .clone()
            .create_if_missing(true)
            // Free pages can be given back, so that the file shrinks again after a busy day.
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            // What is acknowledged is on disk.
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", format!("-{}", params.cache_kib))
            // 16 MiB of log between checkpoints: each costs two more fsyncs.
            .pragma("wal_autocheckpoint", "4000")
            // What a large commit made of it is given back: 32 MiB.
            .pragma("journal_size_limit", "33554432");
        let writer = pool().max_connections(1).test_before_acquire(false).connect_with(writing).await;
        let writer = writer.map_err(|error| fault::sqlite(&place, &error, false))?;
        let found = applied(&writer).await.map_err(|error| fault::sqlite(&place, &error, false))?;
        if !found.is_empty() && found.iter().max() > MIGRATIONS.iter().map(|known| &known.0).max() {
            migrations::check(&place, MIGRATIONS, &found)?;
        }
        let migrated = migrations::migrator(MIGRATIONS).run(&writer).await;
        migrated.map_err(|error| migrations::failed(&place, error, fault::sqlite))?;
        for forget in [include_str!("sql/terms_forget.sql"), include_str!("sql/nodes_clear.sql")] {
            let forgotten = sqlx::query(forget).execute(&writer).await;
            forgotten.map_err(|error| fault::sqlite(&place, &error, false))?;
        }
        let reading = options.read_only(true).pragma("cache_size", "-4096");
        let readers = pool().max_connections(READERS).test_before_acquire(false).connect_lazy_with(reading);
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self { writer, readers, place, timeout, clock, log: log.into(), log_bytes_held: AtomicU64::default() })
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The size of the log.
    async fn log_bytes(&self) -> u64 {
        tokio::fs::metadata(&self.log).await.map_or(0, |file| file.len())
    }

    /// A connection to look with. A statement that looks through too much to end within the deadline is interrupted: a
    /// reader that does not end keeps the log growing.
    async fn reader(&self) -> sqlx::Result<PoolConnection<Sqlite>> {
        /// Some thirty microseconds.
        const STEPS_BETWEEN_LOOKS: i32 = 10_000;
        let (timeout, mut started) = (self.timeout, None);
        let goes_on = move || started.get_or_insert_with(Instant::now).elapsed() < timeout;
        let mut connection = self.readers.acquire().await?;
        connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, goes_on);
        Ok(connection)
    }

    /// Reads rows with one statement; `read` makes a value of each.
    async fn rows<T>(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, SqliteArguments>,
        read: fn(&SqliteRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>> {
        let work = async { query.fetch_all(&mut *self.reader().await?).await?.iter().map(read).collect() };
        let rows: sqlx::Result<Vec<T>> = work.await;
        rows.map_err(|error| fault::sqlite(&self.place, &error, false))
    }

    /// Writes with one statement; answers how many rows it changed.
    async fn write(&self, query: sqlx::query::Query<'_, sqlx::Sqlite, SqliteArguments>) -> Result<u64> {
        let done = at_its_pace(query.execute(&self.writer)).await;
        Ok(done.map_err(|error| fault::sqlite(&self.place, &error, true))?.rows_affected())
    }

    /// Ends the use of the writer's connection. On a full disk `SQLite` rolls back by itself, and the connection would
    /// for ever believe that its transaction is open: after an error the next one starts afresh.
    async fn end<T>(&self, connection: PoolConnection<Sqlite>, done: sqlx::Result<T>) -> sqlx::Result<T> {
        if done.is_err() {
            connection.close().await.ok();
        }
        done
    }

    /// Runs `work` in one transaction of the writer.
    async fn transaction<T>(&self, work: impl AsyncWork<T>) -> Result<T> {
        let stage = Stage::default();
        let told = |error: &sqlx::Error| fault::sqlite(&self.place, error, stage.is_committing());
        let mut connection = self.writer.acquire().await.map_err(|error| told(&error))?;
        let all = async {
            let mut transaction = connection.begin_with(BEGIN).await?;
            let value = work.run(Steps(&mut transaction)).await?;
            stage.committing();
            transaction.commit().await?;
            Ok(value)
        };
        let done: sqlx::Result<T> = at_its_pace(all).await;
        let done = self.end(connection, done).await;
        done.map_err(|error| told(&error))
    }
}

/// Which migrations the file has and which it needs.
///
/// # Errors
/// When the file cannot be read.
pub async fn migration_status(path: &Path) -> Result<Vec<MigrationStatus>> {
    let place = path.display().to_string();
    if !path.exists() {
        return Ok(migrations::status(MIGRATIONS, &[]));
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let found = async { applied(&SqlitePoolOptions::new().max_connections(1).connect_with(options).await?).await };
    let found = found.await.map_err(|error| fault::sqlite(&place, &error, false))?;
    Ok(migrations::status(MIGRATIONS, &found))
}

/// The versions that are applied; none when there is no table of them yet.
async fn applied(pool: &SqlitePool) -> sqlx::Result<Vec<i64>> {
    match sqlx::query(include_str!("sql/schema_versions.sql")).fetch_all(pool).await {
        Ok(rows) => rows.iter().map(|row| row.int("version")).collect(),
        Err(sqlx::Error::Database(told)) if told.message().starts_with("no such table") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

// === the steps of a transaction ===

/// The writer while a batch works on it.
struct Steps<'c>(&'c mut SqliteConnection);

/// Work within a transaction.
trait AsyncWork<T>: Send {
    fn run(self, steps: Steps<'_>) -> impl Future<Output = sqlx::Result<T>> + Send;
}

/// Both sides of a batch.
struct BothSides<'a>(&'a Batch);

impl AsyncWork<BatchAnswer> for BothSides<'_> {
    async fn run(self, mut steps: Steps<'_>) -> sqlx::Result<BatchAnswer> {
        let settles = settling::settle(&mut steps, &self.0.settles).await?;
        let accepts = accepting::accept(&mut steps, &self.0.accepts, self.0.repeated).await?;
        Ok(BatchAnswer { accepts, settles })
    }
}

/// Confirmations of claims.
struct Confirms<'a>(&'a [Confirm]);

impl AsyncWork<Vec<Confirmed>> for Confirms<'_> {
    async fn run(self, steps: Steps<'_>) -> sqlx::Result<Vec<Confirmed>> {
        settle::confirm(steps.0, self.0).await
    }
}

/// Operators' orders.
struct Orders<'a>(&'a [Order], Timestamp);

impl AsyncWork<Vec<Ordered>> for Orders<'_> {
    async fn run(self, mut steps: Steps<'_>) -> sqlx::Result<Vec<Ordered>> {
        ordering::carry_out(&mut steps, self.0, self.1).await
    }
}

/// Whether jobs are known.
struct Lookup<'a>(&'a [NewJob]);

impl AsyncWork<Vec<bool>> for Lookup<'_> {
    async fn run(self, mut steps: Steps<'_>) -> sqlx::Result<Vec<bool>> {
        accepting::known(&mut steps, self.0).await
    }
}

/// A heartbeat and what it hears.
struct Beat<'a> {
    node: &'a Node,
    lapse_ms: i64,
    now: Timestamp,
}

impl AsyncWork<Heard> for Beat<'_> {
    async fn run(self, steps: Steps<'_>) -> sqlx::Result<Heard> {
        let beat = sqlx::query(include_str!("sql/heartbeat.sql"))
            .bind(self.node.id.as_str())
            .bind(&self.node.name)
            .bind(self.node.started_at.millis())
            .bind(&self.node.status)
            .bind(self.now.millis());
        beat.execute(&mut *steps.0).await?;
        let nodes = sqlx::query(include_str!("sql/nodes.sql")).bind(self.lapse_ms).bind(self.now.millis());
        let heard: sqlx::Result<Vec<_>> = nodes.fetch_all(&mut *steps.0).await?.iter().map(row::heard).collect();
        heard.map(row::all_heard)
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, batch: &Batch) -> Result<BatchAnswer> {
        self.transaction(BothSides(batch)).await
    }

    async fn confirm(&self, claims: &[Confirm]) -> Result<Vec<Confirmed>> {
        self.transaction(Confirms(claims)).await
    }

    async fn knows(&self, jobs: &[NewJob]) -> Result<Vec<bool>> {
        self.transaction(Lookup(jobs)).await
    }

    async fn live_jobs(&self, seqs: &[Seq]) -> Result<Vec<Job>> {
        self.rows(sqlx::query(include_str!("sql/live_jobs.sql")).bind(json(seqs)), row::job).await
    }

    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let ids: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        self.rows(sqlx::query(include_str!("sql/jobs.sql")).bind(json(&ids)), row::job).await
    }

    async fn page(&self, filter: &JobFilter, before: Option<Seq>, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
        let terms = PageTerms::of(filter, before, limit);
        let query = sqlx::query(include_str!("sql/page.sql"))
            .bind(terms.before)
            .bind(terms.limit)
            .bind(terms.queue)
            .bind(terms.job_type)
            .bind(terms.error_class)
            .bind(terms.label)
            .bind(now.millis())
            .bind(terms.live)
            .bind(terms.rest);
        self.rows(query, row::job).await
    }

    async fn fences(&self, seqs: &[Seq]) -> Result<Vec<Option<Fence>>> {
        let found = self.rows(sqlx::query(include_str!("sql/fences.sql")).bind(json(seqs)), row::fence).await?;
        Ok(row::fences_of(seqs, found))
    }

    async fn last_seq(&self) -> Result<Seq> {
        // The writer answers after whatever it is at, so no life that is drawn is missing.
        let found = sqlx::query(include_str!("sql/seq_last.sql")).fetch_optional(&self.writer).await;
        let last = found.and_then(|row| row.map_or(Ok(0), |row| row.int("seq")));
        last.map_err(|error| fault::sqlite(&self.place, &error, false))
    }

    async fn live_entries(&self, after: Seq, limit: u32) -> Result<Vec<LiveEntry>> {
        let query = sqlx::query(include_str!("sql/live_entries.sql")).bind(after).bind(i64::from(limit));
        self.rows(query, row::entry).await
    }

    async fn late_entries(&self, job_type: &TypeName, before: Timestamp, limit: u32) -> Result<Vec<LiveEntry>> {
        let query = sqlx::query(include_str!("sql/late_entries.sql"))
            .bind(job_type.as_str())
            .bind(before.millis())
            .bind(i64::from(limit));
        self.rows(query, row::entry).await
    }

    async fn order(&self, orders: &[Order], now: Timestamp) -> Result<Vec<Ordered>> {
        self.transaction(Orders(orders, now)).await
    }

    async fn reviews(
        &self,
        filter: &ReviewFilter,
        order: ReviewOrder,
        from: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Review>> {
        let terms = ReviewTerms::of(filter, order, from, limit);
        let text = match order {
            ReviewOrder::NewestFirst => include_str!("sql/reviews_newest.sql"),
            ReviewOrder::OldestFirst => include_str!("sql/reviews_oldest.sql"),
        };
        let query = sqlx::query(text)
            .bind(terms.from)
            .bind(terms.limit)
            .bind(terms.queue)
            .bind(terms.job_type)
            .bind(terms.reason)
            .bind(terms.standing);
        self.rows(query, review::review).await
    }

    async fn reviews_of(&self, job: &JobId) -> Result<Vec<Review>> {
        let query = sqlx::query(include_str!("sql/reviews_of.sql")).bind(job.as_str()).bind(REVIEWS_OF_MAX);
        self.rows(query, review::review).await
    }

    async fn review_backlog(&self) -> Result<Vec<ReviewBacklog>> {
        self.rows(sqlx::query(include_str!("sql/review_backlog.sql")), review::backlog).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        self.rows(sqlx::query(include_str!("sql/pauses.sql")), row::pause).await
    }

    async fn set_pause(&self, scope: &Scope, pause: Option<&Pause>) -> Result<bool> {
        let (kind, name) = row::scope(scope);
        let query = match pause {
            Some(pause) => sqlx::query(include_str!("sql/pause_set.sql"))
                .bind(kind)
                .bind(name)
                .bind(&pause.by)
                .bind(&pause.reason)
                .bind(pause.since.millis()),
            None => sqlx::query(include_str!("sql/pause_lift.sql")).bind(kind).bind(name),
        };
        Ok(self.write(query).await? > 0)
    }

    async fn settings(&self) -> Result<Vec<Setting>> {
        self.rows(sqlx::query(include_str!("sql/settings.sql")), row::setting).await
    }

    async fn set_setting(&self, setting: &Setting) -> Result<()> {
        let query = sqlx::query(include_str!("sql/setting_set.sql"))
            .bind(&setting.kind)
            .bind(&setting.name)
            .bind(&setting.value)
            .bind(&setting.by)
            .bind(setting.since.millis())
            .bind(setting.until.map(Timestamp::millis));
        self.write(query).await.map(drop)
    }

    async fn drop_setting(&self, kind: &str, name: &str, since: Timestamp) -> Result<bool> {
        let query = sqlx::query(include_str!("sql/setting_drop.sql")).bind(kind).bind(name).bind(since.millis());
        Ok(self.write(query).await? > 0)
    }

    async fn retain(&self, retention: Retention, now: Timestamp) -> Result<Dropped> {
        retain::pass(self, retention, now).await
    }

    async fn add_tallies(&self, node: &NodeId, number: i64, tallies: &[Tally]) -> Result<()> {
        tallies::add(self, node, number, tallies).await
    }

    async fn tallies(&self, since: i64) -> Result<Vec<Tally>> {
        self.rows(sqlx::query(include_str!("sql/tallies.sql")).bind(since), row::tally).await
    }

    async fn drop_tallies(&self, outlived: &[Outlived]) -> Result<u64> {
        tallies::drop_outlived(self, outlived).await
    }

    async fn heartbeat(&self, node: &Node, lapse_ms: i64) -> Result<Heard> {
        self.transaction(Beat { node, lapse_ms, now: self.clock.now() }).await
    }

    async fn leave(&self, node: &NodeId) -> Result<()> {
        self.write(sqlx::query(include_str!("sql/leave.sql")).bind(node.as_str())).await.map(drop)
    }

    async fn take_term(&self, name: &str, holder: &NodeId, ttl_ms: i64) -> Result<bool> {
        let query = sqlx::query(include_str!("sql/term_take.sql"))
            .bind(name)
            .bind(holder.as_str())
            .bind(ttl_ms)
            .bind(self.clock.now().millis());
        Ok(self.write(query).await? > 0)
    }

    async fn identity(&self) -> Result<Identity> {
        let found = self.rows(sqlx::query(include_str!("sql/identity.sql")), row::identity).await?;
        found.into_iter().next().ok_or_else(|| fault::schema(&self.place, "its one row of identity is missing"))
    }

    async fn raise_epoch(&self, epoch: i64, broker_identity: &str) -> Result<Identity> {
        let raise = sqlx::query(include_str!("sql/epoch_raise.sql")).bind(epoch).bind(broker_identity);
        self.write(raise).await?;
        self.identity().await
    }

    async fn sizes(&self) -> Result<Sizes> {
        let found = self.rows(sqlx::query(include_str!("sql/sizes.sql")), row::sizes).await?;
        let sizes = found.into_iter().next().unwrap_or_default();
        Ok(Sizes { disk_free: disk_free(&self.log), ..sizes })
    }

    async fn ping(&self) -> Result<()> {
        self.rows(sqlx::query(include_str!("sql/ping.sql")), |_| Ok(())).await.map(drop)
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

/// The free share of the disk that holds `file`, as far as this process may fill it.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn disk_free(file: &Path) -> Option<f64> {
    let disk = nix::sys::statvfs::statvfs(file.parent()?).ok()?;
    let all = disk.blocks();
    (all > 0).then(|| disk.blocks_available() as f64 / all as f64)
}

/// A list as one parameter.
fn json<T: serde::Serialize + ?Sized>(list: &T) -> String {
    // Lists of numbers and texts cannot fail to become JSON; an empty list asks for nothing.
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}
