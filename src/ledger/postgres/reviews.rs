//! The steps of reviews.

use bytes::Bytes;

use super::Steps;
use crate::job::Seq;
use crate::job::review::{Decision, ReviewContent};
use crate::ledger::review::ReviewSteps;
use crate::ledger::row;

impl ReviewSteps for Steps<'_> {
    async fn open(&mut self, reviews: &[(Seq, ReviewContent)]) -> sqlx::Result<()> {
        let texts = |of: fn(&ReviewContent) -> &Option<Bytes>| {
            reviews.iter().map(|(_, content)| of(content).as_deref()).collect::<Vec<_>>()
        };
        sqlx::query(include_str!("sql/review_open.sql"))
            .bind(reviews.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
            .bind(reviews.iter().map(|(_, content)| content.reason.name()).collect::<Vec<_>>())
            .bind(texts(|content| &content.proposal))
            .bind(texts(|content| &content.evidence))
            .bind(texts(|content| &content.on_approve))
            .bind(row::REVIEW_BUCKET)
            .execute(&mut *self.0)
            .await
            .map(drop)
    }

    async fn close(&mut self, seq: Seq, decision: &Decision) -> sqlx::Result<()> {
        sqlx::query(include_str!("sql/review_close.sql"))
            .bind(seq)
            .bind(decision.verdict.name())
            .bind(decision.at.millis())
            .bind(row::without_nul(&decision.by).as_ref())
            .bind(row::without_nul(&decision.note).as_ref())
            .bind(decision.proposal.as_deref())
            .execute(&mut *self.0)
            .await
            .map(drop)
    }
}
