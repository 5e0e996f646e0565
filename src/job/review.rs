//! Reviews: what waits for a person, and how it was decided.

use bytes::Bytes;

use super::{Event, Failure, JobId, QueueName, Seq, TypeName};
use crate::clock::Timestamp;

/// Why a job waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReviewReason {
    /// Its handler asked for one.
    Requested,
    /// Its last failure was final, and its type escalates.
    Failed,
    /// It keeps killing what runs it.
    Poison,
    /// It was too late to start, and its type escalates.
    Late,
}

impl ReviewReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Failed, Self::Poison, Self::Late];

    /// The word in the API, the ledger and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Failed => "failed",
            Self::Poison => "poison",
            Self::Late => "late",
        }
    }

    /// The reason with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Taken as it was proposed.
    Approved,
    /// Taken with another proposal or result.
    Edited,
    /// Refused.
    Rejected,
    /// Nobody judged it: the job was given a new life instead.
    Retried,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Approved, Self::Edited, Self::Rejected, Self::Retried];

    /// The word in the API, the ledger and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Edited => "edited",
            Self::Rejected => "rejected",
            Self::Retried => "retried",
        }
    }

    /// The verdict with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// What it does to the job.
    #[must_use]
    pub fn event(self) -> Event {
        match self {
            Self::Approved | Self::Edited => Event::Approve,
            Self::Rejected => Event::Reject,
            Self::Retried => Event::Revive,
        }
    }
}

/// What a person is shown and decides on. Only handlers that ask for a review give more than a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewContent {
    /// Why.
    pub reason: ReviewReason,
    /// What would be done, JSON text.
    pub proposal: Option<Bytes>,
    /// What it rests on, JSON text.
    pub evidence: Option<Bytes>,
    /// Submits that are accepted with an approval, and only then: a JSON array.
    pub on_approve: Option<Bytes>,
}

impl ReviewContent {
    /// A reason with nothing beside it.
    #[must_use]
    pub fn of(reason: ReviewReason) -> Self {
        Self { reason, proposal: None, evidence: None, on_approve: None }
    }

    /// The bytes of everything in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.proposal, &self.evidence, &self.on_approve].into_iter().flatten().map(Bytes::len).sum()
    }
}

/// Who decided what, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub note: String,
    /// When.
    pub at: Timestamp,
    /// The proposal that was put in the place of the handler's, JSON text.
    pub proposal: Option<Bytes>,
}

/// The review of one life of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Grows with every review that is opened.
    pub number: i64,
    /// The life that came to review.
    pub seq: Seq,
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub job_type: TypeName,
    /// Since when it waits, or when it began to.
    pub opened_at: Timestamp,
    /// The error of the job when it came to review.
    pub error: Option<Failure>,
    /// What is decided on.
    pub content: ReviewContent,
    /// How it was decided; `None` while it is open.
    pub decision: Option<Decision>,
}

#[cfg(test)]
mod tests {
    use super::super::{State, next};
    use super::*;

    #[test]
    fn names_read_back() {
        for reason in ReviewReason::ALL {
            assert_eq!(ReviewReason::from_name(reason.name()), Some(reason));
        }
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_name(verdict.name()), Some(verdict));
        }
    }

    #[test]
    fn every_verdict_is_a_move_out_of_review() {
        let after = Verdict::ALL.map(|verdict| next(State::InReview, verdict.event()).unwrap());
        assert_eq!(after, [State::Succeeded, State::Succeeded, State::Failed, State::Ready]);
    }
}
