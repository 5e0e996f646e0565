//! Retention: whole partitions are dropped where all their jobs may go, which costs nothing per job;
//! the rest is deleted in bounded pieces. It also makes the partitions of the hours ahead.
//!
//! Limits by age take whole partitions only, unless the age itself is short: a finished job may stay
//! for one partition's length longer than asked.

use std::sync::PoisonError;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _};
use tokio::time::Instant;

use super::PostgresLedger;
use crate::clock::Timestamp;
use crate::ledger::fault::{self, Stage};
use crate::ledger::row::{BUCKET_MS, Cells};
use crate::ledger::{Dropped, Result, Retention};

/// How many partitions are kept ready: a day, so that a ledger without upkeep for a night has them.
const AHEAD: i64 = 4;
/// Below this age retention looks at single jobs: partitions would be too coarse.
const FINE_AGE_MS: i64 = 4 * BUCKET_MS;
/// The most rows deleted by one step: a fraction of a second's work.
const TRIM_MAX: i64 = 10_000;
/// The most bytes deleted by one step: large payloads lie in pieces of two kilobytes, each a row of its own.
const TRIM_BYTES_MAX: i64 = 64 << 20;
/// Steps of one part in one pass.
const STEPS_MAX: u32 = 100;
/// How long the server's statistics may lag behind. A second trim on the same figures would take what the
/// first one took once more, from what is to be kept.
const STATISTICS_LAG: Duration = Duration::from_secs(3);
/// Partitions up to this size on disk are counted exactly, larger ones by the server's statistics.
const COUNTED_BYTES_MAX: i64 = 4 << 20;
/// No finished job takes less on disk, so sizes alone can show that a limit is far away.
const ROW_BYTES_MIN: i64 = 128;

/// A partition, or the strays that lie in none.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// `None` for the strays.
    bucket: Option<i64>,
    jobs: i64,
    bytes: i64,
    /// A point before which nothing in it finished; `None` when it is empty.
    oldest: Option<i64>,
    disk_bytes: i64,
}

impl Part {
    /// The mean bytes of payload and result, at least 1.
    fn mean_bytes(&self) -> i64 {
        (self.bytes / self.jobs.max(1)).max(1)
    }

    /// The most of its jobs that one step deletes.
    fn step_max(&self) -> i64 {
        (TRIM_BYTES_MAX / self.mean_bytes()).clamp(1, TRIM_MAX)
    }
}

/// What to do with one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// All of it goes.
    Drop,
    /// Jobs that finished before this point go, at most so many.
    Trim { before: i64, limit: i64 },
}

/// One pass.
pub(super) async fn pass(ledger: &PostgresLedger, retention: Retention, now: Timestamp) -> Result<Dropped> {
    let mut dropped = Dropped::default();
    let mut parts = list(ledger).await?;
    dropped.more |= !open_ahead(ledger, &parts, now).await?;
    let lately = ledger
        .trimmed_at
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some_and(|at| at.elapsed() < STATISTICS_LAG);
    let limits = if lately { Retention { max_jobs: u64::MAX, max_bytes: u64::MAX, ..retention } } else { retention };
    measure(ledger, &mut parts, limits).await?;
    for (mut part, step) in plan(&parts, limits, now) {
        match (step, part.bucket) {
            (Step::Drop, Some(bucket)) => {
                // The server's statistics lag behind, and a small partition is counted in no time.
                if part.disk_bytes <= COUNTED_BYTES_MAX {
                    count(ledger, &mut part, bucket).await?;
                }
                if drop_partition(ledger, bucket).await? {
                    dropped.jobs += u64::try_from(part.jobs).unwrap_or_default();
                } else {
                    dropped.more = true;
                }
            }
            (Step::Drop, None) => trim(ledger, part, i64::MAX, part.jobs, &mut dropped).await?,
            (Step::Trim { before, limit }, _) => trim(ledger, part, before, limit, &mut dropped).await?,
        }
    }
    drop_keys(ledger, retention, now, &mut dropped).await?;
    Ok(dropped)
}

/// Decides what goes, oldest first: by age, then by number and bytes.
fn plan(parts: &[Part], retention: Retention, now: Timestamp) -> Vec<(Part, Step)> {
    let cutoff = now.millis().saturating_sub(retention.max_age_ms);
    let mut steps = Vec::new();
    let mut kept = Vec::new();
    for &part in parts {
        match part.bucket {
            Some(bucket) if (bucket + 1).saturating_mul(BUCKET_MS) <= cutoff => steps.push((part, Step::Drop)),
            Some(bucket) if retention.max_age_ms >= FINE_AGE_MS || bucket.saturating_mul(BUCKET_MS) >= cutoff => {
                kept.push(part);
            }
            _ => {
                if part.oldest.is_some_and(|oldest| oldest < cutoff) {
                    steps.push((part, Step::Trim { before: cutoff, limit: TRIM_MAX }));
                }
                kept.push(part);
            }
        }
    }
    let total = |of: fn(&Part) -> i64| kept.iter().map(of).fold(0, i64::saturating_add);
    let limit = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    let mut jobs_over = total(|part| part.jobs).saturating_sub(limit(retention.max_jobs));
    let mut bytes_over = total(|part| part.bytes).saturating_sub(limit(retention.max_bytes));
    let present = now.millis().div_euclid(BUCKET_MS);
    for part in kept {
        if (jobs_over <= 0 && bytes_over <= 0) || part.jobs == 0 {
            continue;
        }
        let whole = part.jobs <= jobs_over || part.bytes <= bytes_over;
        // The present partition is being written to, so it is emptied and not dropped.
        if whole && part.bucket.is_some_and(|bucket| bucket < present) {
            steps.push((part, Step::Drop));
        } else {
            let by_bytes = if bytes_over > 0 { bytes_over / part.mean_bytes() + 1 } else { 0 };
            let limit = jobs_over.max(by_bytes).min(part.jobs);
            steps.push((part, Step::Trim { before: i64::MAX, limit }));
        }
        jobs_over = jobs_over.saturating_sub(part.jobs);
        bytes_over = bytes_over.saturating_sub(part.bytes);
    }
    steps
}

// === looking ===

async fn list(ledger: &PostgresLedger) -> Result<Vec<Part>> {
    let strays = ledger.rows(sqlx::query(include_str!("sql/retain_strays.sql")), |row| {
        Ok(Part {
            bucket: None,
            jobs: row.int("jobs")?,
            bytes: row.int("bytes")?,
            oldest: row.maybe_int("oldest")?,
            disk_bytes: 0,
        })
    });
    let mut parts = strays.await?;
    let partitions = ledger.rows(sqlx::query(include_str!("sql/retain_partitions.sql")), |row| {
        let bucket = row.int("bucket")?;
        let jobs = row.int("estimated_rows")?;
        Ok(Part {
            bucket: Some(bucket),
            jobs,
            bytes: 0,
            oldest: Some(bucket * BUCKET_MS),
            disk_bytes: row.int("disk_bytes")?,
        })
    });
    parts.extend(partitions.await?);
    Ok(parts)
}

/// Counts and weighs partitions, unless their sizes on disk show that no limit is near.
async fn measure(ledger: &PostgresLedger, parts: &mut [Part], retention: Retention) -> Result<()> {
    let disk: i64 = parts.iter().map(|part| part.disk_bytes + part.bytes).sum();
    let most_jobs = parts.iter().map(|part| part.jobs.max(part.disk_bytes / ROW_BYTES_MIN)).sum::<i64>();
    let far = |figure: i64, limit: u64| u64::try_from(figure).unwrap_or_default() <= limit;
    if far(disk, retention.max_bytes) && far(most_jobs, retention.max_jobs) && retention.max_age_ms >= FINE_AGE_MS {
        return Ok(());
    }
    for part in parts {
        let Some(bucket) = part.bucket else { continue };
        if part.disk_bytes <= COUNTED_BYTES_MAX {
            count(ledger, part, bucket).await?;
        } else {
            let sample = sqlx::query(include_str!("sql/retain_sample.sql")).bind(bucket);
            let mean = ledger.rows(sample, |row| row.int("mean_bytes")).await?.first().copied().unwrap_or_default();
            part.bytes = mean.saturating_mul(part.jobs);
        }
    }
    Ok(())
}

/// Counts one partition exactly.
async fn count(ledger: &PostgresLedger, part: &mut Part, bucket: i64) -> Result<()> {
    let query = sqlx::query(include_str!("sql/retain_count.sql")).bind(bucket);
    let found = ledger.rows(query, |row| Ok((row.int("jobs")?, row.int("bytes")?, row.maybe_int("oldest")?))).await?;
    if let Some(&(jobs, bytes, oldest)) = found.first() {
        (part.jobs, part.bytes, part.oldest) = (jobs, bytes, oldest);
    }
    Ok(())
}

// === acting ===

/// Makes the partitions of the hours ahead; false if one has to wait for another pass.
async fn open_ahead(ledger: &PostgresLedger, parts: &[Part], now: Timestamp) -> Result<bool> {
    let present = now.millis().div_euclid(BUCKET_MS);
    let mut done = true;
    for bucket in present..=present + AHEAD {
        // Names have no sign, and nobody's clock is before 1970.
        if bucket < 0 || parts.iter().any(|part| part.bucket == Some(bucket)) {
            continue;
        }
        let strays = sqlx::query(include_str!("sql/retain_strays_of.sql")).bind(bucket);
        if ledger.rows(strays, |row| row.int("stray")).await?.is_empty() {
            let text = include_str!("sql/retain_open.sql")
                .replace("BUCKET", &bucket.to_string())
                .replace("NEXT", &(bucket + 1).to_string());
            done &= in_a_hurry(ledger, vec![text]).await?;
        }
    }
    Ok(done)
}

async fn drop_partition(ledger: &PostgresLedger, bucket: i64) -> Result<bool> {
    let texts = [include_str!("sql/retain_reviews.sql"), include_str!("sql/retain_drop.sql")];
    in_a_hurry(ledger, texts.map(|text| text.replace("BUCKET", &bucket.to_string())).to_vec()).await
}

/// Runs a change of the schema that gives way to everybody else; false if it could not have its lock.
async fn in_a_hurry(ledger: &PostgresLedger, texts: Vec<String>) -> Result<bool> {
    /// The lock was not to be had, or another node did the same at the same moment.
    const LATER: [&str; 5] = ["55P03", "40P01", "42P07", "23505", "23514"];
    let stage = Stage::default();
    let work = async {
        let mut connection = ledger.connections.take().await?;
        let done = async {
            let mut transaction = connection.begin().await?;
            sqlx::query(include_str!("sql/retain_hurry.sql")).execute(&mut *transaction).await?;
            for text in texts {
                // The text is this program's own, with numbers in it.
                sqlx::query(AssertSqlSafe(text)).persistent(false).execute(&mut *transaction).await?;
            }
            stage.committing();
            transaction.commit().await
        };
        let done = done.await;
        connection.end(done)
    };
    let done = tokio::time::timeout(ledger.timeout, work).await;
    match done {
        Ok(Ok(())) => Ok(true),
        Ok(Err(sqlx::Error::Database(told))) if told.code().is_some_and(|code| LATER.contains(&&*code)) => Ok(false),
        Ok(Err(error)) => Err(fault::postgres(&ledger.place, &error, stage.is_committing())),
        Err(_) => Err(super::silent(&ledger.place, ledger.timeout, stage.is_committing())),
    }
}

/// Deletes the oldest `limit` jobs of one part that finished before a point, step by step.
async fn trim(ledger: &PostgresLedger, part: Part, before: i64, limit: i64, dropped: &mut Dropped) -> Result<()> {
    let mut left = limit;
    for _ in 0..STEPS_MAX {
        let asked = left.min(part.step_max());
        let query = match part.bucket {
            Some(bucket) => sqlx::query(include_str!("sql/retain_trim.sql")).bind(bucket).bind(before).bind(asked),
            None => sqlx::query(include_str!("sql/retain_trim_strays.sql")).bind(before).bind(asked),
        };
        let jobs = ledger.write(query).await?;
        dropped.jobs += jobs;
        left -= asked;
        if part.disk_bytes > COUNTED_BYTES_MAX {
            *ledger.trimmed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if left <= 0 || jobs < asked.unsigned_abs() {
            break;
        }
    }
    // Whatever a limit by age leaves may be as much again.
    dropped.more |= left > 0 || (before < i64::MAX && dropped.jobs >= limit.unsigned_abs());
    Ok(())
}

/// Drops keys whose jobs are gone. Only those that rested before the oldest job that is still there
/// can be among them, so the others are not looked at.
async fn drop_keys(ledger: &PostgresLedger, retention: Retention, now: Timestamp, dropped: &mut Dropped) -> Result<()> {
    let mut before = now.millis().saturating_sub(retention.key_age_ms);
    for mut part in list(ledger).await? {
        if let Some(bucket) = part.bucket
            && part.disk_bytes <= COUNTED_BYTES_MAX
        {
            count(ledger, &mut part, bucket).await?;
        }
        if let Some(oldest) = part.oldest {
            before = before.min(oldest);
            if part.bucket.is_some() {
                break;
            }
        }
    }
    let query = sqlx::query(include_str!("sql/retain_keys.sql")).bind(before).bind(TRIM_MAX);
    let keys = ledger.write(query).await?;
    dropped.keys += keys;
    dropped.more |= keys == TRIM_MAX.unsigned_abs();
    ledger.write(sqlx::query(include_str!("sql/nodes_forget.sql"))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(100 * BUCKET_MS + 5);
    const KEEP_ALL: Retention =
        Retention { max_age_ms: 50 * BUCKET_MS, max_jobs: 1_000, max_bytes: 1_000_000, key_age_ms: 0 };

    fn part(bucket: i64, jobs: i64, bytes: i64) -> Part {
        Part { bucket: Some(bucket), jobs, bytes, oldest: Some(bucket * BUCKET_MS), disk_bytes: 0 }
    }

    fn steps(parts: &[Part], retention: Retention) -> Vec<(i64, Step)> {
        plan(parts, retention, NOW).into_iter().map(|(part, step)| (part.bucket.unwrap_or(-1), step)).collect()
    }

    #[test]
    fn a_partition_goes_when_all_of_it_is_too_old() {
        let parts = [part(48, 5, 5), part(49, 5, 5), part(50, 5, 5), part(100, 5, 5)];
        assert_eq!(steps(&parts, KEEP_ALL), [(48, Step::Drop), (49, Step::Drop)]);
    }

    #[test]
    fn a_short_age_is_kept_to_the_job() {
        let retention = Retention { max_age_ms: 10, ..KEEP_ALL };
        let before = NOW.millis() - 10;
        let trim = Step::Trim { before, limit: TRIM_MAX };
        assert_eq!(
            steps(&[part(98, 5, 5), part(99, 5, 5), part(100, 5, 5)], retention),
            [(98, Step::Drop), (99, trim)]
        );
    }

    #[test]
    fn numbers_and_bytes_take_the_oldest_first_and_no_more_than_they_must() {
        let parts = [part(97, 10, 100), part(98, 10, 100), part(99, 10, 100), part(100, 10, 100)];
        let by_jobs = Retention { max_jobs: 25, ..KEEP_ALL };
        assert_eq!(steps(&parts, by_jobs), [(97, Step::Drop), (98, Step::Trim { before: i64::MAX, limit: 5 })]);
        let by_bytes = Retention { max_bytes: 355, ..KEEP_ALL };
        assert_eq!(steps(&parts, by_bytes), [(97, Step::Trim { before: i64::MAX, limit: 5 })]);
        let heavy = [part(100, 1_000, 1_000 << 20)];
        let none = Retention { max_bytes: 0, ..KEEP_ALL };
        assert_eq!(heavy[0].step_max(), 64);
        assert_eq!(steps(&heavy, none), [(100, Step::Trim { before: i64::MAX, limit: 1_000 })]);
        let nothing = Retention { max_jobs: 0, ..KEEP_ALL };
        assert_eq!(steps(&parts, nothing)[3], (100, Step::Trim { before: i64::MAX, limit: 10 }));
    }
}
