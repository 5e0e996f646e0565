//! Reviews in the ledger: one row for each life that came to review, written with the outcome that brought
//! it there, closed with the order that took it out, and dropped with its job.

use std::future::Future;

use super::row::{Cells, failure, odd};
use crate::clock::Timestamp;
use crate::job::review::{Decision, Review, ReviewContent, ReviewReason, Verdict};
use crate::job::{JobId, QueueName, Seq, TypeName};
use bytes::Bytes;

/// A question about reviews.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReviewFilter {
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only of this type.
    pub job_type: Option<TypeName>,
    /// Only for this reason.
    pub reason: Option<ReviewReason>,
    /// Open ones, or those that are decided.
    pub standing: ReviewStanding,
}

/// Whether reviews are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReviewStanding {
    /// They wait for a person.
    #[default]
    Open,
    /// They are decided, in this way if one is given.
    Decided(Option<Verdict>),
}

/// Which end of the reviews a page begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReviewOrder {
    /// What was opened last comes first.
    #[default]
    NewestFirst,
    /// What was opened first comes first.
    OldestFirst,
}

/// Open reviews of one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReviewBacklog {
    /// The reason.
    pub reason: ReviewReason,
    /// How many.
    pub count: u64,
    /// Since when the oldest waits.
    pub oldest: Timestamp,
}

/// The most reviews of one job that are read, each with all its evidence: that many lives have ended in review.
pub(super) const REVIEWS_OF_MAX: i64 = 10;

/// The steps, within the transaction of what opens and closes.
pub(super) trait ReviewSteps: Send {
    /// Opens the reviews of lives that came to rest in review in this transaction.
    fn open(&mut self, reviews: &[(Seq, ReviewContent)]) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Notes how the open review of a life was decided.
    fn close(&mut self, seq: Seq, decision: &Decision) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// A [`ReviewFilter`] as the parameters of the page query.
#[derive(Debug)]
pub(super) struct ReviewTerms<'a> {
    pub(super) from: i64,
    pub(super) limit: i64,
    pub(super) queue: Option<&'a str>,
    pub(super) job_type: Option<&'a str>,
    pub(super) reason: Option<&'static str>,
    pub(super) standing: &'static str,
}

impl<'a> ReviewTerms<'a> {
    pub(super) fn of(filter: &'a ReviewFilter, order: ReviewOrder, from: Option<i64>, limit: u32) -> Self {
        let start = if order == ReviewOrder::NewestFirst { i64::MAX } else { 0 };
        Self {
            from: from.unwrap_or(start),
            limit: i64::from(limit),
            queue: filter.queue.as_ref().map(QueueName::as_str),
            job_type: filter.job_type.as_ref().map(TypeName::as_str),
            reason: filter.reason.map(ReviewReason::name),
            standing: match filter.standing {
                ReviewStanding::Open => "open",
                ReviewStanding::Decided(None) => "decided",
                ReviewStanding::Decided(Some(verdict)) => verdict.name(),
            },
        }
    }
}

/// A review.
pub(super) fn review(row: &impl Cells) -> sqlx::Result<Review> {
    let bytes = |column| row.maybe_bytes(column).map(|bytes| bytes.map(Bytes::copy_from_slice));
    let decision = match row.maybe_text("decision")? {
        None => None,
        Some(name) => Some(Decision {
            verdict: Verdict::from_name(name).ok_or_else(|| odd(format!("the decision {name:?}")))?,
            by: row.text("decided_by")?.to_owned(),
            note: row.text("note")?.to_owned(),
            at: Timestamp(row.int("decided_at")?),
            proposal: bytes("decided_proposal")?,
        }),
    };
    Ok(Review {
        number: row.int("number")?,
        seq: row.int("seq")?,
        job: JobId::stored(row.text("job_id")?),
        queue: QueueName::stored(row.text("queue")?),
        job_type: TypeName::stored(row.text("type")?),
        opened_at: Timestamp(row.int("opened_at")?),
        error: failure(row)?,
        content: ReviewContent {
            reason: reason(row)?,
            proposal: bytes("proposal")?,
            evidence: bytes("evidence")?,
            on_approve: bytes("on_approve")?,
        },
        decision,
    })
}

/// Open reviews of one reason.
pub(super) fn backlog(row: &impl Cells) -> sqlx::Result<ReviewBacklog> {
    let count = u64::try_from(row.int("count")?).unwrap_or_default();
    Ok(ReviewBacklog { reason: reason(row)?, count, oldest: Timestamp(row.int("oldest")?) })
}

fn reason(row: &impl Cells) -> sqlx::Result<ReviewReason> {
    let name = row.text("reason")?;
    ReviewReason::from_name(name).ok_or_else(|| odd(format!("the reason {name:?}")))
}
