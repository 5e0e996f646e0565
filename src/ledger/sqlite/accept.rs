//! The steps of accepting.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use sqlx::Row;

use super::repeated::Repeated;
use super::{Steps, json};
use crate::clock::Timestamp;
use crate::job::{Fingerprint, JobId, NewJob, Seq};
use crate::ledger::accept::{AcceptSteps, Holder, Present, Wanted};
use crate::ledger::row::{self, Cells};

static ACCEPT: LazyLock<Repeated> = LazyLock::new(|| Repeated::of(include_str!("sql/accept.sql")));

impl AcceptSteps for Steps<'_> {
    async fn take_keys(&mut self, wanted: &[Wanted<'_>]) -> sqlx::Result<HashSet<String>> {
        let list: Vec<_> =
            wanted.iter().map(|want| (&want.key, want.job.id.as_str(), hex(&want.job.fingerprint))).collect();
        let rows = sqlx::query(include_str!("sql/keys_take.sql")).bind(json(&list)).fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| row.try_get("key")).collect()
    }

    async fn find_keys(&mut self, keys: &[String]) -> sqlx::Result<HashMap<String, Holder>> {
        let rows = sqlx::query(include_str!("sql/keys_find.sql")).bind(json(keys)).fetch_all(&mut *self.0).await?;
        rows.iter().map(row::holder).collect()
    }

    async fn return_keys(&mut self, keys: &[String]) -> sqlx::Result<()> {
        sqlx::query(include_str!("sql/keys_return.sql")).bind(json(keys)).execute(&mut *self.0).await.map(drop)
    }

    async fn find_ids(&mut self, ids: &[&JobId]) -> sqlx::Result<HashMap<JobId, Present>> {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query(include_str!("sql/ids_find.sql")).bind(json(&ids)).fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok((JobId::stored(row.text("id")?), row::present(row)?))).collect()
    }

    async fn insert(&mut self, jobs: &[&NewJob]) -> sqlx::Result<HashMap<JobId, Seq>> {
        // Seqs are given out here rather than by the store: the writer is alone, and rows that are all
        // new (nearly always) need not be read back.
        let last = sqlx::query(include_str!("sql/seq_last.sql")).fetch_optional(&mut *self.0).await?;
        let last = last.map_or(Ok(0), |row| row.int("seq"))?;
        let numbered: Vec<(Seq, &NewJob)> = (last + 1..).zip(jobs.iter().copied()).collect();
        let mut new = HashMap::with_capacity(jobs.len());
        for (text, piece) in ACCEPT.pieces(&numbered) {
            let mut query = sqlx::query(text);
            for &(seq, job) in piece {
                query = query
                    .bind(seq)
                    .bind(job.id.as_str())
                    .bind(job.job_type.as_str())
                    .bind(job.queue.as_str())
                    .bind(i64::from(job.priority.number()))
                    .bind(&job.payload[..])
                    .bind(row::labels(&job.labels))
                    .bind(job.due_at.map(Timestamp::millis))
                    .bind(row::waits_from(job))
                    .bind(job.score)
                    .bind(job.timeout_ms.map(row::signed))
                    .bind(i64::from(job.max_attempts))
                    .bind(job.idempotency_key.as_deref())
                    .bind(job.id_given)
                    .bind(&job.fingerprint[..])
                    .bind(job.accepted_at.millis())
                    .bind(job.parent.as_ref().map(JobId::as_str));
            }
            let inserted = query.execute(&mut *self.0).await?.rows_affected();
            if inserted == row::signed(piece.len() as u64).unsigned_abs() {
                new.extend(piece.iter().map(|&(seq, job)| (job.id.clone(), seq)));
            } else {
                let ids: Vec<&JobId> = piece.iter().map(|(_, job)| &job.id).collect();
                let present = self.find_ids(&ids).await?;
                let ours = |(seq, job): &&(Seq, &NewJob)| present.get(&job.id).is_some_and(|row| row.seq == *seq);
                new.extend(piece.iter().filter(ours).map(|&(seq, job)| (job.id.clone(), seq)));
            }
        }
        Ok(new)
    }
}

fn hex(fingerprint: &Fingerprint) -> String {
    fingerprint.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
