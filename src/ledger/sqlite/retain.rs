//! Retention: bounded deletes, oldest first, and the file's free pages given back.
//!
//! The figures come from a reader and one small index, so the writer is held only for the delete.

use super::{SqliteLedger, json};
use crate::clock::Timestamp;
use crate::job::Seq;
use crate::ledger::fault;
use crate::ledger::row::Cells;
use crate::ledger::{Dropped, Result, Retention};

/// The most rows deleted by one pass: some twenty milliseconds of the writer.
const PASS_MAX: i64 = 2_000;

/// A finished job that may go.
#[derive(Debug, Clone, Copy)]
struct Oldest {
    seq: Seq,
    finished_at: i64,
    bytes: i64,
}

/// One pass.
pub(super) async fn pass(ledger: &SqliteLedger, retention: Retention, now: Timestamp) -> Result<Dropped> {
    let totals =
        ledger.rows(sqlx::query(include_str!("sql/retain_count.sql")), |row| Ok((row.int("jobs")?, row.int("bytes")?)));
    let (jobs, bytes) = totals.await?.first().copied().unwrap_or_default();
    let oldest = ledger.rows(sqlx::query(include_str!("sql/retain_oldest.sql")).bind(PASS_MAX + 1), |row| {
        Ok(Oldest { seq: row.int("seq")?, finished_at: row.int("finished_at")?, bytes: row.int("bytes")? })
    });
    let oldest = oldest.await?;
    let going = going(&oldest, jobs, bytes, retention, now);
    let more = going > usize::try_from(PASS_MAX).unwrap_or(usize::MAX);
    let going = if more { going - 1 } else { going };
    let mut dropped = Dropped { more, ..Dropped::default() };
    if going > 0 {
        let seqs: Vec<Seq> = oldest[..going].iter().map(|job| job.seq).collect();
        dropped.jobs = ledger.write(sqlx::query(include_str!("sql/retain_drop.sql")).bind(json(&seqs))).await?;
    }
    // Only keys that rested before the oldest job that is still there can be without one.
    let mut before = now.millis().saturating_sub(retention.key_age_ms);
    if let Some(kept) = oldest.get(going) {
        before = before.min(kept.finished_at);
    }
    let keys = sqlx::query(include_str!("sql/retain_keys.sql")).bind(before).bind(PASS_MAX);
    dropped.keys = ledger.write(keys).await?;
    dropped.more |= dropped.keys == PASS_MAX.unsigned_abs();
    ledger.write(sqlx::query(include_str!("sql/nodes_forget.sql")).bind(ledger.clock.now().millis())).await?;
    if dropped.jobs > 0 {
        let shrink = sqlx::query(include_str!("sql/retain_shrink.sql")).fetch_all(&ledger.writer).await;
        shrink.map_err(|error| fault::sqlite(&ledger.place, &error, false))?;
    }
    Ok(dropped)
}

/// How many of the oldest jobs go: by age, then until number and bytes are within their limits.
fn going(oldest: &[Oldest], jobs: i64, bytes: i64, retention: Retention, now: Timestamp) -> usize {
    let cutoff = now.millis().saturating_sub(retention.max_age_ms);
    let limit = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    let mut jobs_over = jobs.saturating_sub(limit(retention.max_jobs));
    let mut bytes_over = bytes.saturating_sub(limit(retention.max_bytes));
    oldest
        .iter()
        .take_while(|job| {
            let goes = job.finished_at < cutoff || jobs_over > 0 || bytes_over > 0;
            jobs_over -= 1;
            bytes_over -= job.bytes;
            goes
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_until_every_limit_is_kept() {
        let oldest: Vec<Oldest> = (0..10).map(|n| Oldest { seq: n, finished_at: n * 10, bytes: 100 }).collect();
        let keep = Retention { max_age_ms: 1_000, max_jobs: 100, max_bytes: 10_000, key_age_ms: 0 };
        let going = |retention| going(&oldest, 10, 1_000, retention, Timestamp(100));
        assert_eq!(going(keep), 0);
        assert_eq!(going(Retention { max_age_ms: 70, ..keep }), 3);
        assert_eq!(going(Retention { max_jobs: 4, ..keep }), 6);
        assert_eq!(going(Retention { max_bytes: 250, ..keep }), 8);
    }
}
