//! Reviews: opened with what brings a life there, closed with the order that takes it out.

use ganger::job::review::{Decision, Review, ReviewContent, ReviewReason};
use ganger::job::{JobId, Seq};
use ganger::ledger::{ReviewBacklog, ReviewFilter, ReviewOrder, ReviewStanding};

use super::Store;

impl Store {
    /// Opens the review of a life that has come to rest.
    pub(super) fn open_review(&mut self, seq: Seq, content: ReviewContent) {
        let Some(row) = self.finished.get(&seq) else { return };
        self.last_review += 1;
        let review = Review {
            number: self.last_review,
            seq,
            job: row.job.spec.id.clone(),
            queue: row.job.spec.queue.clone(),
            job_type: row.job.spec.job_type.clone(),
            opened_at: row.job.rest.as_ref().expect("a finished row is at rest").finished_at,
            error: row.job.error.clone(),
            content,
            decision: None,
        };
        self.reviews.push(review);
    }

    /// Notes how the open review of a life was decided.
    pub(super) fn close_review(&mut self, seq: Seq, decision: &Decision) {
        if let Some(review) = self.reviews.iter_mut().find(|review| review.seq == seq && review.decision.is_none()) {
            let clean = |text: &str| text.replace('\0', "\u{fffd}");
            let (by, note) = (clean(&decision.by), clean(&decision.note));
            review.decision = Some(Decision { by, note, ..decision.clone() });
        }
    }

    /// Forgets the reviews of a job.
    pub(super) fn drop_reviews(&mut self, job: &JobId) {
        self.reviews.retain(|review| review.job != *job);
    }

    pub(super) fn review_page(
        &self,
        filter: &ReviewFilter,
        order: ReviewOrder,
        from: Option<i64>,
        limit: usize,
    ) -> Vec<Review> {
        let fits = |review: &&Review| {
            let stands = match filter.standing {
                ReviewStanding::Open => review.decision.is_none(),
                ReviewStanding::Decided(verdict) => {
                    review.decision.as_ref().is_some_and(|told| verdict.is_none_or(|verdict| told.verdict == verdict))
                }
            };
            stands
                && filter.queue.as_ref().is_none_or(|queue| *queue == review.queue)
                && filter.job_type.as_ref().is_none_or(|name| *name == review.job_type)
                && filter.reason.is_none_or(|reason| reason == review.content.reason)
        };
        let fitting = self.reviews.iter().filter(fits);
        match order {
            ReviewOrder::OldestFirst => {
                fitting.filter(|review| from.is_none_or(|from| review.number > from)).take(limit).cloned().collect()
            }
            ReviewOrder::NewestFirst => {
                let newest = fitting.rev().filter(|review| from.is_none_or(|from| review.number < from));
                newest.take(limit).cloned().collect()
            }
        }
    }

    pub(super) fn review_backlog(&self) -> Vec<ReviewBacklog> {
        let of = |reason: ReviewReason| {
            let is_open = |review: &&Review| review.decision.is_none() && review.content.reason == reason;
            let open = self.reviews.iter().filter(is_open);
            let oldest = open.clone().map(|review| review.opened_at).min()?;
            Some(ReviewBacklog { reason, count: open.count() as u64, oldest })
        };
        ReviewReason::ALL.into_iter().filter_map(of).collect()
    }
}
