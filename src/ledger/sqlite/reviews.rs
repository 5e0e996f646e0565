//! The steps of reviews.

use super::Steps;
use crate::job::Seq;
use crate::job::review::{Decision, ReviewContent};
use crate::ledger::review::ReviewSteps;
use crate::ledger::row;

impl ReviewSteps for Steps<'_> {
    async fn open(&mut self, reviews: &[(Seq, ReviewContent)]) -> sqlx::Result<()> {
        for (seq, content) in reviews {
            sqlx::query(include_str!("sql/review_open.sql"))
                .bind(seq)
                .bind(content.reason.name())
                .bind(content.proposal.as_deref())
                .bind(content.evidence.as_deref())
                .bind(content.on_approve.as_deref())
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }

    async fn close(&mut self, seq: Seq, decision: &Decision) -> sqlx::Result<()> {
        sqlx::query(include_str!("sql/review_close.sql"))
            .bind(seq)
            .bind(decision.verdict.name())
            .bind(decision.at.millis())
            .bind(row::without_nul(&decision.by))
            .bind(row::without_nul(&decision.note))
            .bind(decision.proposal.as_deref())
            .execute(&mut *self.0)
            .await
            .map(drop)
    }
}
