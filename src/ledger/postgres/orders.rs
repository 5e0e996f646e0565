//! The steps of operators' orders.

use std::collections::HashMap;

use super::{Steps, by_id};
use crate::clock::Timestamp;
use crate::job::{Failure, JobId, Seq, State};
use crate::ledger::Ruling;
use crate::ledger::order::{OrderSteps, Standing};
use crate::ledger::row::{self, Cells};

impl OrderSteps for Steps<'_> {
    async fn lock(&mut self, ids: &[&JobId]) -> sqlx::Result<HashMap<JobId, Standing>> {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        // Live rows first: one that comes to rest meanwhile is then seen among the finished.
        let mut live = self.lock_live(&ids).await?;
        let rest = sqlx::query(include_str!("sql/order_finished.sql")).bind(&ids).fetch_all(&mut *self.0).await?;
        let mut standing =
            by_id(&rest, |row| Ok(Standing::Rest(row.int("seq")?, row::state_named(row.text("state")?)?)))?;
        let unseen = |id: &&&str| {
            let id = JobId::stored(id);
            !standing.contains_key(&id) && !live.contains_key(&id)
        };
        let unseen: Vec<&str> = ids.iter().filter(unseen).copied().collect();
        if !unseen.is_empty() {
            // And one that was revived between the two looks stands among the live by now.
            live.extend(self.lock_live(&unseen).await?);
        }
        standing.extend(live);
        Ok(standing)
    }

    async fn rest(&mut self, seq: Seq, state: State, error: Option<&Failure>, now: Timestamp) -> sqlx::Result<()> {
        let (class, message) = row::error(error);
        sqlx::query(include_str!("sql/order_rest.sql"))
            .bind(seq)
            .bind(state.name())
            .bind(now.millis())
            .bind(row::bucket(state, now))
            .bind(class.as_deref())
            .bind(message.as_deref())
            .execute(&mut *self.0)
            .await?;
        self.keys_rest(seq, Some(now)).await
    }

    async fn revive(&mut self, seq: Seq, score: i64, now: Timestamp) -> sqlx::Result<Seq> {
        self.keys_rest(seq, None).await?;
        let revive = sqlx::query(include_str!("sql/order_revive.sql")).bind(seq).bind(score).bind(now.millis());
        revive.fetch_one(&mut *self.0).await?.int("seq")
    }

    async fn decide(&mut self, state: State, ruling: &Ruling, now: Timestamp) -> sqlx::Result<()> {
        let (class, message) = row::error(ruling.error.as_ref());
        sqlx::query(include_str!("sql/order_decide.sql"))
            .bind(ruling.seq)
            .bind(state.name())
            .bind(ruling.result.as_deref())
            .bind(now.millis())
            .bind(row::bucket(state, now))
            .bind(class.as_deref())
            .bind(message.as_deref())
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
    async fn lock_live(&mut self, ids: &[&str]) -> sqlx::Result<HashMap<JobId, Standing>> {
        let live = sqlx::query(include_str!("sql/order_live.sql")).bind(ids).fetch_all(&mut *self.0).await?;
        by_id(&live, |row| Ok(Standing::Live(row.int("seq")?)))
    }

    /// Tells the keys of a finished row since when it rests.
    async fn keys_rest(&mut self, seq: Seq, at: Option<Timestamp>) -> sqlx::Result<()> {
        let query = sqlx::query(include_str!("sql/order_keys_rest.sql")).bind(seq).bind(at.map(Timestamp::millis));
        query.execute(&mut *self.0).await.map(drop)
    }
}
