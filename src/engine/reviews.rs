//! Reviews: what handlers ask a person, and what the person answers.
//!
//! A review is opened with the outcome that brings its job to `in_review`. Approving and rejecting is one
//! transaction of the ledger, so of several people exactly one decides; the others are told who did and how.

use bytes::Bytes;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::handler::envelope::ReviewMember;
use crate::job::review::{Decision, Review, ReviewContent, ReviewReason, Verdict};
use crate::job::{Failure, Job, JobId, NewJob, State};
use crate::ledger::{Order, Ordered, ReviewFilter, ReviewOrder, Ruling};
use crate::operations::EventKind;
use crate::policy::approval;
use crate::telemetry::metrics;

use super::core::Core;
use super::views::{JobView, ReviewPage};
use super::{Refusal, admission, committer, control, pusher, queries};

type Result<T> = std::result::Result<T, Refusal>;

/// Who decides, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewer {
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub note: String,
}

/// What an approval puts in the place of what the handler gave, JSON texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Another proposal.
    pub proposal: Option<Bytes>,
    /// Another result.
    pub result: Option<Bytes>,
}

/// What a handler's wish for a review comes to, or why its run is a failure instead.
pub(super) fn content(
    core: &Core,
    job: &JobId,
    result_bytes: usize,
    wish: ReviewMember,
) -> std::result::Result<ReviewContent, Failure> {
    // Judged now, while its handler can still be told; it is judged again with the approval.
    admission::children(core, job, "review.on_approve", &wish.on_approve)?;
    let text = |value: Value| Bytes::from(value.to_string());
    let content = ReviewContent {
        reason: ReviewReason::Requested,
        proposal: wish.proposal.map(text),
        evidence: wish.evidence.map(text),
        on_approve: Some(wish.on_approve).filter(|submits| !submits.is_empty()).map(|submits| text(submits.into())),
    };
    let (bytes, max) = (result_bytes + content.bytes(), core.params.limits.result_bytes_max);
    if bytes > max {
        let words = format!("the result and its review are {bytes} bytes; at most {max} are allowed together");
        return Err(Failure::new("output_too_large", words));
    }
    Ok(content)
}

/// A page of reviews.
pub(super) async fn list(
    core: &Core,
    filter: &ReviewFilter,
    order: ReviewOrder,
    from: Option<i64>,
    limit: u32,
) -> Result<ReviewPage> {
    let reviews = core.ledger.reviews(filter, order, from, limit).await?;
    let is_full = reviews.len() as u64 == u64::from(limit);
    let next = reviews.last().map(|review| review.number).filter(|_| is_full);
    Ok(ReviewPage { reviews, next })
}

/// The latest review of a job, and the job.
pub(super) async fn show(core: &Core, id: &JobId) -> Result<(Review, JobView)> {
    let job = queries::job(core, id).await?;
    let latest = core.ledger.reviews_of(id).await?.into_iter().next();
    let missing = || Refusal::NotFound { what: "review of job", name: id.to_string(), known: None };
    Ok((latest.ok_or_else(missing)?, job))
}

/// Approves: the proposal is applied, with its edits, and the job succeeds.
pub(super) async fn approve(core: &Core, id: &JobId, edits: Edits, reviewer: Reviewer) -> Result<JobView> {
    let (job, review) = open(core, id).await?;
    let own = job.rest.as_ref().and_then(|rest| rest.result.as_ref());
    let proposal = proposal(core, &review, edits.proposal.as_ref())?;
    let edited = edits.proposal.as_ref().and(proposal.as_ref());
    let is_edited = edited.is_some() || (edits.result.is_some() && (own.is_some() || proposal.is_some()));
    bounded(core, "result", edits.result.as_ref())?;
    let result = edits.result.or_else(|| approval::result(own, proposal.as_ref()));
    let result = result.ok_or_else(|| Refusal::BadField {
        field: "result",
        reason: "is missing: the job has no result and its review no proposal, so say what the result is (null is one)"
            .to_owned(),
    })?;
    let children = follow_ups(core, &review, edited)?;
    let verdict = if is_edited { Verdict::Edited } else { Verdict::Approved };
    let decision = decision(core, verdict, reviewer, edits.proposal);
    let ruling = Ruling { id: id.clone(), seq: review.seq, decision, result: Some(result), error: None, children };
    decide(core, ruling).await
}

/// Rejects: the job fails, and nothing follows from it.
pub(super) async fn reject(core: &Core, id: &JobId, reviewer: Reviewer) -> Result<JobView> {
    let (_, review) = open(core, id).await?;
    let words = format!("rejected by {}", reviewer.by);
    let words = if reviewer.note.is_empty() { words } else { format!("{words}: {}", reviewer.note) };
    let error = Some(Failure::new("rejected", words));
    let decision = decision(core, Verdict::Rejected, reviewer, None);
    decide(core, Ruling { id: id.clone(), seq: review.seq, decision, result: None, error, children: Vec::new() }).await
}

fn decision(core: &Core, verdict: Verdict, reviewer: Reviewer, proposal: Option<Bytes>) -> Decision {
    Decision { verdict, by: reviewer.by, note: reviewer.note, at: core.clock.now(), proposal }
}

/// The open review of a job, or who decided on it and how.
async fn open(core: &Core, id: &JobId) -> Result<(Job, Review)> {
    let job = control::row(core, id).await?;
    let latest = core.ledger.reviews_of(id).await?.into_iter().next();
    match latest {
        Some(review) if review.seq == job.seq && review.decision.is_none() => Ok((job, review)),
        Some(Review { decision: Some(decision), .. }) => {
            Err(Refusal::Decided { id: id.clone(), decision: Box::new(decision) })
        }
        _ => {
            let state = queries::job(core, id).await?.state;
            Err(Refusal::WrongState { id: id.clone(), state, allowed: "only a job in review can be decided on" })
        }
    }
}

/// The proposal in force, read.
fn proposal(core: &Core, review: &Review, edited: Option<&Bytes>) -> Result<Option<Value>> {
    bounded(core, "proposal", edited)?;
    let bad = |reason: String| Refusal::BadField { field: "proposal", reason };
    if edited.is_some() && review.content.proposal.is_none() {
        return Err(bad("cannot be edited: this review has none; give a `result` instead".to_owned()));
    }
    let text = edited.or(review.content.proposal.as_ref());
    let read = text.map(|text| serde_json::from_slice(text)).transpose();
    read.map_err(|error| bad(format!("cannot be read: {error}")))
}

fn bounded(core: &Core, what: &'static str, text: Option<&Bytes>) -> Result<()> {
    let (bytes, max) = (text.map_or(0, Bytes::len), core.params.limits.result_bytes_max);
    if bytes > max { Err(Refusal::TooLarge { what, bytes, max }) } else { Ok(()) }
}

/// The jobs that follow from an approval. They were checked when the review was opened; types may have gone since.
fn follow_ups(core: &Core, review: &Review, edited: Option<&Value>) -> Result<Vec<NewJob>> {
    let Some(text) = &review.content.on_approve else { return Ok(Vec::new()) };
    let bad = |reason: String| Refusal::BadField { field: "on_approve", reason };
    let submits = serde_json::from_slice(text).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let submits = approval::follow_ups(submits, edited);
    let jobs = admission::children(core, &review.job, "on_approve", &submits);
    jobs.map_err(|failure| bad(format!("cannot be accepted as it is now: {}", failure.message)))
}

/// Writes a decision; what it accepted is pushed.
async fn decide(core: &Core, ruling: Ruling) -> Result<JobView> {
    let (id, verdict, by) = (ruling.id.clone(), ruling.decision.verdict, ruling.decision.by.clone());
    let submits = ruling.children.clone();
    let order = Order::Decide(Box::new(ruling));
    let Some(Ordered::Decided { children, .. }) =
        core.ledger.order(&[order], core.clock.now()).await?.into_iter().next()
    else {
        // Somebody else came first.
        let (_, review) = open(core, &id).await?;
        let allowed = "it came to review again meanwhile; look at it before you decide";
        return Err(Refusal::WrongState { id: review.job, state: State::InReview, allowed });
    };
    metrics::review_decided(verdict.name());
    tracing::info!(job.id = %id, by, "The review of job {id} was {} by {by}", verdict.name());
    // Not clean: only what comes through the committer is.
    pusher::accepted(core, committer::born(&submits, &children), 0).await;
    queries::job(core, &id).await
}

/// Shows how many reviews are open, and for how long.
pub(super) async fn publish(core: &Core, now: Timestamp) -> std::result::Result<(), crate::ledger::LedgerError> {
    let backlog = core.ledger.review_backlog().await?;
    for reason in ReviewReason::ALL {
        let count = backlog.iter().find(|open| open.reason == reason).map_or(0, |open| open.count);
        metrics::reviews_open(reason.name(), count);
    }
    if core.membership.is_speaker(&core.params.node) {
        let open = backlog.iter().map(|open| open.count).sum();
        core.timeline.note_step(EventKind::Review, "backlog", open, &format!("{open} reviews are open"));
    }
    metrics::oldest_review(backlog.iter().map(|open| now.since(open.oldest)).max());
    Ok(())
}
