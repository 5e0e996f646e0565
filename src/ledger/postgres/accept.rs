//! The steps of accepting, each one statement over arrays.

use std::collections::{HashMap, HashSet};

use sqlx::Row;

use super::{Steps, by_id};
use crate::clock::Timestamp;
use crate::job::{JobId, NewJob, QueueName, Seq, TypeName};
use crate::ledger::accept::{AcceptSteps, Holder, Present, Wanted};
use crate::ledger::row::{self, Cells};

impl AcceptSteps for Steps<'_> {
    async fn take_keys(&mut self, wanted: &[Wanted<'_>]) -> sqlx::Result<HashSet<String>> {
        let rows = sqlx::query(include_str!("sql/keys_take.sql"))
            .bind(wanted.iter().map(|want| want.key.as_str()).collect::<Vec<_>>())
            .bind(wanted.iter().map(|want| want.job.id.as_str()).collect::<Vec<_>>())
            .bind(wanted.iter().map(|want| &want.job.fingerprint[..]).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        rows.iter().map(|row| row.try_get("key")).collect()
    }

    async fn find_keys(&mut self, keys: &[String]) -> sqlx::Result<HashMap<String, Holder>> {
        let rows = sqlx::query(include_str!("sql/keys_find.sql")).bind(keys).fetch_all(&mut *self.0).await?;
        rows.iter().map(row::holder).collect()
    }

    async fn return_keys(&mut self, keys: &[String]) -> sqlx::Result<()> {
        sqlx::query(include_str!("sql/keys_return.sql")).bind(keys).execute(&mut *self.0).await.map(drop)
    }

    async fn find_ids(&mut self, ids: &[&JobId]) -> sqlx::Result<HashMap<JobId, Present>> {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query(include_str!("sql/ids_find.sql")).bind(ids).fetch_all(&mut *self.0).await?;
        by_id(&rows, row::present)
    }

    async fn insert(&mut self, jobs: &[&NewJob]) -> sqlx::Result<HashMap<JobId, Seq>> {
        let texts = |of: fn(&NewJob) -> &str| jobs.iter().map(|job| of(job)).collect::<Vec<_>>();
        let numbers = |of: fn(&NewJob) -> i64| jobs.iter().map(|job| of(job)).collect::<Vec<_>>();
        let rows = sqlx::query(include_str!("sql/accept.sql"))
            .bind(texts(|job| job.id.as_str()))
            .bind(texts(|job| TypeName::as_str(&job.job_type)))
            .bind(texts(|job| QueueName::as_str(&job.queue)))
            .bind(numbers(|job| i64::from(job.priority.number())))
            .bind(jobs.iter().map(|job| &job.payload[..]).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| row::labels(&job.labels)).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.due_at.map(Timestamp::millis)).collect::<Vec<_>>())
            .bind(numbers(row::waits_from))
            .bind(numbers(|job| job.score))
            .bind(jobs.iter().map(|job| job.timeout_ms.map(row::signed)).collect::<Vec<_>>())
            .bind(numbers(|job| i64::from(job.max_attempts)))
            .bind(jobs.iter().map(|job| job.idempotency_key.as_deref()).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.id_given).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| &job.fingerprint[..]).collect::<Vec<_>>())
            .bind(numbers(|job| job.accepted_at.millis()))
            .bind(jobs.iter().map(|job| job.parent.as_ref().map(JobId::as_str)).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        by_id(&rows, |row| row.int("seq"))
    }
}
