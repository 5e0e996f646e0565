//! The steps of operators' orders.

use std::collections::HashMap;

use super::{Steps, json};
use crate::clock::Timestamp;
use crate::job::{Failure, JobId, Seq, State};
use crate::ledger::Ruling;
use crate::ledger::order::{OrderSteps, Standing};
use crate::ledger::row::{self, Cells};

impl OrderSteps for Steps<'_> {
    async fn lock(&mut self, ids: &[&JobId]) -> sqlx::Result<HashMap<JobId, Standing>> {
        // The transaction holds the one write lock; nothing more is needed.
        let ids = json(&ids.iter().map(|id| id.as_str()).collect::<Vec<_>>());
        let live = sqlx::query(include_str!("sql/order_live.sql")).bind(&ids).fetch_all(&mut *self.0).await?;
        let rest = sqlx::query(include_str!("sql/order_finished.sql")).bind(&ids).fetch_all(&mut *self.0).await?;
        let mut standing = HashMap::with_capacity(live.len() + rest.len());
        for row in &rest {
            let rest = Standing::Rest(row.int("seq")?, row::state_named(row.text("state")?)?);
            standing.insert(JobId::stored(row.text("id")?), rest);
        }
        for row in &live {
            standing.insert(JobId::stored(row.text("id")?), Standing::Live(row.int("seq")?));
        }
        Ok(standing)
    }

    async fn rest(&mut self, seq: Seq, state: State, error: Option<&Failure>, now: Timestamp) -> sqlx::Result<()> {
        let (class, message) = row::error(error);
        sqlx::query(include_str!("sql/order_rest.sql"))
            .bind(seq)
            .bind(state.name())
            .bind(now.millis())
            .bind(class)
            .bind(message)
            .execute(&mut *self.0)
            .await?;
        sqlx::query(include_str!("sql/order_rest_gone.sql")).bind(seq).execute(&mut *self.0).await?;
        self.keys_rest(seq, Some(now)).await
    }

    async fn revive(&mut self, seq: Seq, score: i64, now: Timestamp) -> sqlx::Result<Seq> {
        self.keys_rest(seq, None).await?;
        let revive = sqlx::query(include_str!("sql/order_revive.sql")).bind(seq).bind(score).bind(now.millis());
        let new = revive.fetch_one(&mut *self.0).await?.int("seq")?;
        sqlx::query(include_str!("sql/order_delete.sql")).bind(seq).execute(&mut *self.0).await?;
        Ok(new)
    }

    async fn decide(&mut self, state: State, ruling: &Ruling, now: Timestamp) -> sqlx::Result<()> {
        let (class, message) = row::error(ruling.error.as_ref());
        sqlx::query(include_str!("sql/order_decide.sql"))
            .bind(ruling.seq)
            .bind(state.name())
            .bind(ruling.result.as_deref())
            .bind(now.millis())
            .bind(class)
            .bind(message)
            .execute(&mut *self.0)
            .await?;
        self.keys_rest(ruling.seq, Some(now)).await
    }

    async fn delete(&mut self, seq: Seq) -> sqlx::Result<()> {
        sqlx::query(include_str!("sql/order_keys_drop.sql")).bind(seq).execute(&mut *self.0).await?;
        sqlx::query(include_str!("sql/order_reviews_drop.sql")).bind(seq).execute(&mut *self.0).await?;
        sqlx::query(include_str!("sql/order_delete.sql")).bind(seq).execute(&mut *self.0).await.map(drop)
    }
}

impl Steps<'_> {
    /// Tells the keys of a finished row since when it rests.
    async fn keys_rest(&mut self, seq: Seq, at: Option<Timestamp>) -> sqlx::Result<()> {
        let query = sqlx::query(include_str!("sql/order_keys_rest.sql")).bind(seq).bind(at.map(Timestamp::millis));
        query.execute(&mut *self.0).await.map(drop)
    }
}
