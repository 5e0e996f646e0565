//! Retention: bounded deletes, oldest first, and the file's free pages given back.
//!
//! The figures come from a reader and one small index, so the writer is held only for the deletes, each
//! bounded by rows and by bytes. The file never grows for what a delete has freed: new rows take those
//! pages first. What is free beyond a stock of them goes back to the file system, piece by piece.

use std::sync::atomic::Ordering;

use sqlx::AssertSqlSafe;

use super::{AsyncWork, SqliteLedger, Steps, json};
use crate::clock::Timestamp;
use crate::job::Seq;
use crate::ledger::fault;
use crate::ledger::row::Cells;
use crate::ledger::{Dropped, Result, Retention};

/// The most rows of one delete: some twenty milliseconds of the writer.
const STEP_ROWS_MAX: usize = 2_000;
/// The most bytes of one delete, unless a single job has more.
const STEP_BYTES_MAX: i64 = 16 << 20;
/// Deletes of one pass: the figures are counted once for all of them.
const STEPS_MAX: usize = 10;
/// The most keys dropped by one pass.
const KEYS_MAX: i64 = 2_000;
/// Free pages that stay in the file for the next rows (16 MiB): to give them back and to ask for them
/// again would write everything twice.
const FREE_PAGES_KEPT: i64 = 4_096;
/// The most pages given back at once.
const SHRINK_PAGES_MAX: i64 = 2_000;
/// A log above this size was held by readers when it should have started anew: then the writer waits
/// for them once.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// How long the writer then waits, and with it every commit.
const LOG_WAIT_MS: u128 = 1_000;

/// A finished job that may go.
#[derive(Debug, Clone, Copy)]
struct Oldest {
    seq: Seq,
    finished_at: i64,
    bytes: i64,
}

/// What is over the limits.
#[derive(Debug, Clone, Copy)]
struct Excess {
    /// All that finished before this point goes.
    cutoff: i64,
    jobs: i64,
    bytes: i64,
}

/// One pass.
pub(super) async fn pass(ledger: &SqliteLedger, retention: Retention, now: Timestamp) -> Result<Dropped> {
    let totals =
        ledger.rows(sqlx::query(include_str!("sql/retain_count.sql")), |row| Ok((row.int("jobs")?, row.int("bytes")?)));
    let (jobs, bytes) = totals.await?.first().copied().unwrap_or_default();
    let mut excess = Excess::of(jobs, bytes, retention, now);
    let mut dropped = Dropped { more: true, ..Dropped::default() };
    // Only keys that rested before the oldest job that is still there can be without one.
    let mut keys_before = now.millis().saturating_sub(retention.key_age_ms);
    for _ in 0..STEPS_MAX {
        let oldest = oldest(ledger).await?;
        let going;
        (going, dropped.more) = excess.step(&oldest);
        if going > 0 {
            let seqs: Vec<Seq> = oldest[..going].iter().map(|job| job.seq).collect();
            dropped.jobs += ledger.transaction(Drops(&seqs)).await?;
        }
        if !dropped.more {
            keys_before = oldest.get(going).map_or(keys_before, |kept| kept.finished_at.min(keys_before));
            break;
        }
    }
    if !dropped.more {
        let keys = sqlx::query(include_str!("sql/retain_keys.sql")).bind(keys_before).bind(KEYS_MAX);
        dropped.keys = ledger.write(keys).await?;
        dropped.more = dropped.keys == KEYS_MAX.unsigned_abs();
    }
    ledger.write(sqlx::query(include_str!("sql/nodes_forget.sql")).bind(ledger.clock.now().millis())).await?;
    dropped.more |= shrink(ledger).await?;
    restrain_log(ledger).await?;
    Ok(dropped)
}

/// Finished jobs that go, with their reviews.
struct Drops<'a>(&'a [Seq]);

impl AsyncWork<u64> for Drops<'_> {
    async fn run(self, steps: Steps<'_>) -> sqlx::Result<u64> {
        let seqs = json(self.0);
        sqlx::query(include_str!("sql/retain_reviews.sql")).bind(&seqs).execute(&mut *steps.0).await?;
        let dropped = sqlx::query(include_str!("sql/retain_drop.sql")).bind(&seqs).execute(&mut *steps.0).await?;
        Ok(dropped.rows_affected())
    }
}

impl Excess {
    fn of(jobs: i64, bytes: i64, retention: Retention, now: Timestamp) -> Self {
        let over = |figure: i64, limit: u64| figure.saturating_sub(i64::try_from(limit).unwrap_or(i64::MAX));
        Self {
            cutoff: now.millis().saturating_sub(retention.max_age_ms),
            jobs: over(jobs, retention.max_jobs),
            bytes: over(bytes, retention.max_bytes),
        }
    }

    /// How many of the oldest jobs go in one step, and whether the job after them would go too.
    fn step(&mut self, oldest: &[Oldest]) -> (usize, bool) {
        let mut weight = 0;
        for (at, job) in oldest.iter().enumerate() {
            if job.finished_at >= self.cutoff && self.jobs <= 0 && self.bytes <= 0 {
                return (at, false);
            }
            if at == STEP_ROWS_MAX || (at > 0 && weight + job.bytes > STEP_BYTES_MAX) {
                return (at, true);
            }
            weight += job.bytes;
            self.jobs -= 1;
            self.bytes -= job.bytes;
        }
        (oldest.len(), false)
    }
}

/// The oldest finished jobs, one more than a step may take.
async fn oldest(ledger: &SqliteLedger) -> Result<Vec<Oldest>> {
    let limit = i64::try_from(STEP_ROWS_MAX + 1).unwrap_or(i64::MAX);
    let oldest = ledger.rows(sqlx::query(include_str!("sql/retain_oldest.sql")).bind(limit), |row| {
        Ok(Oldest { seq: row.int("seq")?, finished_at: row.int("finished_at")?, bytes: row.int("bytes")? })
    });
    oldest.await
}

/// Gives free pages beyond the stock back, a bounded number; true if there are more.
async fn shrink(ledger: &SqliteLedger) -> Result<bool> {
    let free = ledger.rows(sqlx::query(include_str!("sql/retain_free.sql")), |row| row.int("freelist_count"));
    let spare = free.await?.first().copied().unwrap_or_default() - FREE_PAGES_KEPT;
    if spare > 0 {
        let shrunk = sqlx::query(include_str!("sql/retain_shrink.sql")).fetch_all(&ledger.writer).await;
        shrunk.map_err(|error| fault::sqlite(&ledger.place, &error, false))?;
        // The file itself becomes shorter when the log is written to its place, and an idle ledger has no
        // commit that would do so.
        checkpoint(ledger, include_str!("sql/log_checkpoint.sql")).await?;
    }
    Ok(spare > SHRINK_PAGES_MAX)
}

/// Brings a log back to its size that readers, one after the other, kept from starting anew.
///
/// A checkpoint after a commit does not wait: while some reader looks at an older state the log only grows.
/// This one holds the writer until the present readers are done; later ones do not hinder it. A reader
/// that does not end (a copy of the file being made) is waited for again only when the log has doubled.
async fn restrain_log(ledger: &SqliteLedger) -> Result<()> {
    let bytes = ledger.log_bytes().await;
    if bytes <= LOG_BYTES_MAX.max(ledger.log_bytes_held.load(Ordering::Relaxed).saturating_mul(2)) {
        return Ok(());
    }
    let is_held = checkpoint(ledger, include_str!("sql/log_restart.sql")).await?;
    ledger.log_bytes_held.store(if is_held { bytes } else { 0 }, Ordering::Relaxed);
    if is_held {
        tracing::warn!("A reader keeps the log of {} from starting anew; it has {bytes} bytes", ledger.place);
    }
    Ok(())
}

/// Writes the log to its place; true if a reader stood in the way.
async fn checkpoint(ledger: &SqliteLedger, text: &'static str) -> Result<bool> {
    // The text is this program's own, with a number in it.
    let wait = |ms: u128| {
        let text = include_str!("sql/log_wait.sql").replace("MILLISECONDS", &ms.to_string());
        sqlx::query(AssertSqlSafe(text)).persistent(false)
    };
    let work = async {
        let mut writer = ledger.writer.acquire().await?;
        wait(LOG_WAIT_MS).execute(&mut *writer).await?;
        let done = sqlx::query(text).fetch_one(&mut *writer).await;
        wait(ledger.timeout.as_millis()).execute(&mut *writer).await?;
        done?.flag("busy")
    };
    let done: sqlx::Result<bool> = work.await;
    done.map_err(|error| fault::sqlite(&ledger.place, &error, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Retention = Retention { max_age_ms: 1_000, max_jobs: 100_000, max_bytes: 1 << 40, key_age_ms: 0 };

    fn oldest(count: i64, bytes: i64) -> Vec<Oldest> {
        (0..count).map(|n| Oldest { seq: n, finished_at: n * 10, bytes }).collect()
    }

    fn excess(jobs: i64, bytes: i64, retention: Retention) -> Excess {
        Excess::of(jobs, bytes, retention, Timestamp(100))
    }

    #[test]
    fn the_oldest_go_until_every_limit_is_kept() {
        let step = |retention| excess(10, 1_000, retention).step(&oldest(10, 100));
        assert_eq!(step(KEEP), (0, false));
        assert_eq!(step(Retention { max_age_ms: 70, ..KEEP }), (3, false));
        assert_eq!(step(Retention { max_jobs: 4, ..KEEP }), (6, false));
        assert_eq!(step(Retention { max_bytes: 250, ..KEEP }), (8, false));
        assert_eq!(step(Retention { max_jobs: 0, ..KEEP }), (10, false));
    }

    #[test]
    fn a_step_is_bounded_by_rows_and_by_bytes() {
        let few = Retention { max_jobs: 5, ..KEEP };
        let mut many = excess(3_000, 3_000, few);
        assert_eq!(many.step(&oldest(2_001, 1)), (2_000, true));
        assert_eq!(many.step(&oldest(1_000, 1)), (995, false));
        let none = Retention { max_bytes: 0, ..KEEP };
        assert_eq!(excess(9, 9 << 22, none).step(&oldest(9, 1 << 22)), (4, true));
        // A single job may have more than the bound, and goes all the same.
        assert_eq!(excess(2, 2 << 30, none).step(&oldest(2, 1 << 30)), (1, true));
    }
}
