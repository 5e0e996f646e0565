//! The ledger of a cluster: Postgres, shared by any number of nodes.
//!
//! Every step is one round trip where it can be: a batch travels as arrays and one statement writes
//! it, committing by itself. Only keys, children and mixed batches need a transaction. Every call has
//! a deadline, on the server and here, so that nothing hangs on a server that is silent.

mod accept;
mod connections;
mod logbook;
mod orders;
mod retain;
mod reviews;
mod settle;
mod tallies;

use std::collections::HashMap;
use std::future::Future;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use self::connections::Connections;
use super::fault::{self, Stage};
use super::migrations::{self, Known, MigrationStatus};
use super::review::{self, REVIEWS_OF_MAX, ReviewTerms};
use super::row::{self, Cells, PageTerms};
use super::{
    Batch, BatchAnswer, Confirm, Confirmed, Connected, Dropped, Heard, Identity, JobFilter, Ledger, LedgerError,
    LiveEntry, Node, Order, Ordered, Outlived, Pause, Result, Retention, ReviewBacklog, ReviewFilter, ReviewOrder,
    Scope, Setting, Sizes, Tally, accept as accepting, order as ordering, settle as settling,
};
use crate::clock::Timestamp;
use crate::job::{Fence, Job, JobId, NewJob, NodeId, Review, Seq, TypeName};

const MIGRATIONS: Known = &[
    (1, "ledger", include_str!("../../../migrations/postgres/0001_ledger.sql")),
    (2, "settings", include_str!("../../../migrations/postgres/0002_settings.sql")),
    (3, "tallies", include_str!("../../../migrations/postgres/0003_tallies.sql")),
    (4, "reviews", include_str!("../../../migrations/postgres/0004_reviews.sql")),
    (5, "operations", include_str!("../../../migrations/postgres/0005_operations.sql")),
];

/// How long migrations may take: they may rewrite tables, but must not hang on a lock for ever.
const MIGRATE_TIMEOUT: Duration = Duration::from_mins(10);

/// How this node uses the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresParams {
    /// The most connections at once.
    pub pool_size: u32,
    /// How long one call may take, waiting for a connection included, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for PostgresParams {
    /// Two committers for each direction, a handful of readers; five seconds.
    fn default() -> Self {
        Self { pool_size: 8, timeout_ms: 5_000 }
    }
}

/// A ledger in Postgres.
#[derive(Debug)]
pub struct PostgresLedger {
    connections: Connections,
    place: String,
    timeout: Duration,
    /// When retention last deleted jobs whose number was an estimate.
    trimmed_at: Mutex<Option<Instant>>,
}

// === opening ===

impl PostgresLedger {
    /// Connects and checks the schema.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when the server does not answer; the call may be repeated.
    /// [`LedgerError::Schema`] when the tables are missing or of another version.
    pub async fn connect(url: &str, params: PostgresParams) -> Result<Self> {
        let (options, place) = options(url)?;
        let timeout = Duration::from_millis(params.timeout_ms.max(1));
        // The server gives up before we do, so that its answer is heard.
        let statement_ms = (params.timeout_ms.saturating_mul(9) / 10).max(1);
        let connections = Connections::new(options, params.pool_size, statement_ms);
        let ledger = Self { connections, place, timeout, trimmed_at: Mutex::default() };
        let look = async {
            let mut connection = ledger.connections.take().await?;
            let found = applied(&mut connection).await;
            connection.end(found)
        };
        let applied = ledger.call(&Stage::default(), look).await?;
        migrations::check(&ledger.place, MIGRATIONS, &applied)?;
        Ok(ledger)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Runs `work` within the deadline and tells its errors in the ledger's words.
    async fn call<T>(&self, stage: &Stage, work: impl Future<Output = sqlx::Result<T>> + Send) -> Result<T> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(fault::postgres(&self.place, &error, stage.is_committing())),
            Err(_) => Err(silent(&self.place, self.timeout, stage.is_committing())),
        }
    }

    /// Reads rows with one statement; `read` makes a value of each.
    async fn rows<T>(
        &self,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
        read: fn(&PgRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>> {
        let work = async {
            let mut connection = self.connections.take().await?;
            let rows = query.fetch_all(&mut *connection).await;
            connection.end(rows)
        };
        let rows = self.call(&Stage::default(), work).await?;
        let values: sqlx::Result<Vec<T>> = rows.iter().map(read).collect();
        values.map_err(|error| fault::postgres(&self.place, &error, false))
    }

    /// Carries out orders in one transaction.
    async fn order_once(&self, stage: &Stage, orders: &[Order], now: Timestamp) -> sqlx::Result<Vec<Ordered>> {
        let mut connection = self.connections.take().await?;
        let answers = async {
            let mut transaction = connection.begin().await?;
            let answers = ordering::carry_out(&mut Steps(&mut transaction), orders, now).await?;
            stage.committing();
            transaction.commit().await?;
            Ok(answers)
        };
        let answers = answers.await;
        connection.end(answers)
    }

    /// Writes with one statement; answers how many rows it changed.
    async fn write(&self, query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>) -> Result<u64> {
        let stage = Stage::default();
        let done = self.call(&stage, async {
            let mut connection = self.connections.take().await?;
            stage.committing();
            let done = query.execute(&mut *connection).await;
            connection.end(done)
        });
        Ok(done.await?.rows_affected())
    }
}

/// How often orders are tried that others get in the way of: each try means that some other order was done.
const ORDER_TRIES_MAX: u32 = 10;

/// Whether the server rolled back for a row that moved to another partition meanwhile, or for a deadlock.
fn is_overtaken(told: &dyn sqlx::error::DatabaseError) -> bool {
    told.code().is_some_and(|code| matches!(&*code, "40001" | "40P01"))
}

/// Brings the schema to this program's version.
///
/// # Errors
/// When the server does not answer, or its schema is newer than this program.
pub async fn migrate(url: &str) -> Result<()> {
    let (options, place) = options(url)?;
    let work = async {
        let mut connection = options.connect().await.map_err(|error| fault::postgres(&place, &error, false))?;
        let ran = migrations::migrator(MIGRATIONS).run(&mut connection).await;
        ran.map_err(|error| migrations::failed(&place, error, fault::postgres))?;
        connection.close().await.map_err(|error| fault::postgres(&place, &error, false))
    };
    match tokio::time::timeout(MIGRATE_TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(silent(&place, MIGRATE_TIMEOUT, true)),
    }
}

/// Which migrations the ledger has and which it needs.
///
/// # Errors
/// When the server does not answer.
pub async fn migration_status(url: &str, params: PostgresParams) -> Result<Vec<MigrationStatus>> {
    let (options, place) = options(url)?;
    let timeout = Duration::from_millis(params.timeout_ms.max(1));
    let work = async { applied(&mut options.connect().await?).await };
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(applied)) => Ok(migrations::status(MIGRATIONS, &applied)),
        Ok(Err(error)) => Err(fault::postgres(&place, &error, false)),
        Err(_) => Err(silent(&place, timeout, false)),
    }
}

/// The versions that are applied; none when there is no table of them yet.
async fn applied(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    const NO_SUCH_TABLE: &str = "42P01";
    match sqlx::query(include_str!("sql/schema_versions.sql")).fetch_all(connection).await {
        Ok(rows) => rows.iter().map(|row| row.int("version")).collect(),
        Err(sqlx::Error::Database(told)) if told.code().as_deref() == Some(NO_SUCH_TABLE) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The options of a URL, and how to call it where people read.
fn options(url: &str) -> Result<(PgConnectOptions, String)> {
    let place = place(url);
    let options = PgConnectOptions::from_str(url).map_err(|_| LedgerError::Refused {
        place: place.clone(),
        reason: "it is not a URL of the form postgres://user@host:port/database".to_owned(),
    })?;
    // Statements are logged by whoever calls, with what they mean.
    Ok((options.application_name("ganger").disable_statement_logging(), place))
}

/// The URL without its secrets: no password, no parameters.
fn place(url: &str) -> String {
    let Ok(mut url) = url::Url::parse(url) else { return "an unreadable URL".to_owned() };
    url.set_query(None);
    match url.set_password(None) {
        Ok(()) => url.to_string(),
        Err(()) => format!("{}:{}", url.scheme(), url.path()),
    }
}

fn silent(place: &str, timeout: Duration, committing: bool) -> LedgerError {
    fault::unavailable(place, format!("no answer within {} ms", timeout.as_millis()), committing)
}

// === the steps of a transaction ===

/// One connection while a batch works on it.
struct Steps<'c>(&'c mut PgConnection);

/// Does both sides of a batch.
async fn both_sides(steps: &mut Steps<'_>, batch: &Batch) -> sqlx::Result<BatchAnswer> {
    // Settlements first: they lock live rows in order and hold no key that an accept waits for.
    let settles = settling::settle(steps, &batch.settles).await?;
    let accepts = accepting::accept(steps, &batch.accepts, batch.repeated).await?;
    Ok(BatchAnswer { accepts, settles })
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn commit(&self, batch: &Batch) -> Result<BatchAnswer> {
        let stage = Stage::default();
        let one_sided = batch.accepts.is_empty() || batch.settles.is_empty();
        let plain = !batch.repeated && !accepting::any_keyed(&batch.accepts);
        let single = one_sided && plain && settling::is_single_step(&batch.settles);
        let work = async {
            let mut connection = self.connections.take().await?;
            let answer = async {
                if single {
                    stage.committing();
                    return both_sides(&mut Steps(&mut connection), batch).await;
                }
                let mut transaction = connection.begin().await?;
                let answer = both_sides(&mut Steps(&mut transaction), batch).await?;
                stage.committing();
                transaction.commit().await?;
                Ok(answer)
            };
            let answer = answer.await;
            connection.end(answer)
        };
        self.call(&stage, work).await
    }

    async fn confirm(&self, claims: &[Confirm]) -> Result<Vec<Confirmed>> {
        let stage = Stage::default();
        let waves = settling::waves(claims, |claim| claim.seq);
        let work = async {
            let mut connection = self.connections.take().await?;
            let mut answers = vec![Confirmed::Void; claims.len()];
            let answered = async {
                if waves.len() <= 1 {
                    stage.committing();
                    return settle::confirm(&mut connection, claims, &waves, &mut answers).await;
                }
                let mut transaction = connection.begin().await?;
                settle::confirm(&mut transaction, claims, &waves, &mut answers).await?;
                stage.committing();
                transaction.commit().await
            };
            let answered = answered.await;
            connection.end(answered).map(|()| answers)
        };
        self.call(&stage, work).await
    }

    async fn knows(&self, jobs: &[NewJob]) -> Result<Vec<bool>> {
        let stage = Stage::default();
        let work = async {
            let mut connection = self.connections.take().await?;
            let known = accepting::known(&mut Steps(&mut connection), jobs).await;
            connection.end(known)
        };
        self.call(&stage, work).await
    }

    async fn live_jobs(&self, seqs: &[Seq]) -> Result<Vec<Job>> {
        self.rows(sqlx::query(include_str!("sql/live_jobs.sql")).bind(seqs), row::job).await
    }

    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let ids: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        self.rows(sqlx::query(include_str!("sql/jobs.sql")).bind(ids), row::job).await
    }

    async fn page(&self, filter: &JobFilter, before: Option<Seq>, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
        let terms = PageTerms::of(filter, before, limit);
        let query = sqlx::query(include_str!("sql/page.sql"))
            .bind(terms.before)
            .bind(terms.limit)
            .bind(terms.queue)
            .bind(terms.job_type)
            .bind(terms.error_class)
            .bind(&terms.label)
            .bind(now.millis())
            .bind(terms.live)
            .bind(terms.rest);
        self.rows(query, row::job).await
    }

    async fn fences(&self, seqs: &[Seq]) -> Result<Vec<Option<Fence>>> {
        let found = self.rows(sqlx::query(include_str!("sql/fences.sql")).bind(seqs), row::fence).await?;
        Ok(row::fences_of(seqs, found))
    }

    async fn last_seq(&self) -> Result<Seq> {
        let found = self.rows(sqlx::query(include_str!("sql/seq_last.sql")), |row| row.int("seq")).await?;
        Ok(found.into_iter().next().unwrap_or_default())
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
        let stage = Stage::default();
        let work = async {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.order_once(&stage, orders, now).await {
                    // Somebody else moved a row while this waited for it, and nothing was written.
                    Err(sqlx::Error::Database(told)) if tries < ORDER_TRIES_MAX && is_overtaken(&*told) => {}
                    answers => return answers,
                }
            }
        };
        self.call(&stage, work).await
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
        let beat = sqlx::query(include_str!("sql/heartbeat.sql"))
            .bind(node.id.as_str())
            .bind(&node.name)
            .bind(node.started_at.millis())
            .bind(&node.status)
            .bind(lapse_ms);
        Ok(row::all_heard(self.rows(beat, row::heard).await?))
    }

    async fn leave(&self, node: &NodeId) -> Result<()> {
        self.write(sqlx::query(include_str!("sql/leave.sql")).bind(node.as_str())).await.map(drop)
    }

    async fn take_term(&self, name: &str, holder: &NodeId, ttl_ms: i64) -> Result<bool> {
        let query = sqlx::query(include_str!("sql/term_take.sql")).bind(name).bind(holder.as_str()).bind(ttl_ms);
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
        Ok(found.into_iter().next().unwrap_or_default())
    }

    async fn ping(&self) -> Result<()> {
        self.rows(sqlx::query(include_str!("sql/ping.sql")), |_| Ok(())).await.map(drop)
    }

    async fn renew(&self) -> Result<bool> {
        self.call(&Stage::default(), self.connections.renew()).await?;
        Ok(true)
    }

    fn connections(&self) -> Option<Connected> {
        Some(self.connections.figures())
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

/// Pairs of an id and a value, as a map.
fn by_id<T>(rows: &[PgRow], value: impl Fn(&PgRow) -> sqlx::Result<T>) -> sqlx::Result<HashMap<JobId, T>> {
    rows.iter().map(|row| Ok((JobId::stored(row.text("id")?), value(row)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_never_shows_a_secret() {
        assert_eq!(place("postgres://me:secret@db:5432/jobs?sslpassword=x"), "postgres://me@db:5432/jobs");
        assert!(!place("postgres:secret").contains("secret@"));
        assert_eq!(place("not a url"), "an unreadable URL");
        let refused = options("not a url").unwrap_err();
        assert!(matches!(refused, LedgerError::Refused { .. }));
    }
}
