//! Reviews: what waits for a person, and the person's word.

use axum::extract::{Extension, Request, State};
use axum::http::Uri;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::{Edits, JobView, Reviewer};
use crate::job::JobId;
use crate::job::review::{Decision, Review};

use super::auth::Caller;
use super::jobs::{self, Replay, present};
use super::params::{self, Named};
use super::problem::Problem;
use super::queues::{bounded, by};
use super::wire::{FailureBody, JobBody, Raw, Time};
use super::{Api, answer, body};

/// A page ends early when its proposals and evidence reach this size.
const PAGE_BYTES_MAX: usize = 16 << 20;

type Answer = Result<Response, Problem>;

/// A review on the wire.
#[derive(Serialize)]
struct ReviewBody<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    job_type: &'a str,
    queue: &'a str,
    reason: &'static str,
    error: Option<FailureBody<'a>>,
    opened_at: Time,
    proposal: Option<Raw<'a>>,
    evidence: Option<Raw<'a>>,
    /// The jobs that an approval accepts.
    on_approve: Option<Raw<'a>>,
    decision: Option<DecisionBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobBody<'a>>,
}

/// How it was decided.
#[derive(Serialize)]
struct DecisionBody<'a> {
    verdict: &'static str,
    by: &'a str,
    at: Time,
    note: &'a str,
    /// What was put in the place of the proposal.
    #[serde(skip_serializing_if = "Option::is_none")]
    proposal: Option<Raw<'a>>,
}

impl<'a> DecisionBody<'a> {
    fn of(decision: &'a Decision) -> Self {
        Self {
            verdict: decision.verdict.name(),
            by: &decision.by,
            at: Time(decision.at),
            note: &decision.note,
            proposal: decision.proposal.as_deref().map(Raw),
        }
    }
}

impl<'a> ReviewBody<'a> {
    fn of(review: &'a Review, job: Option<JobBody<'a>>) -> Self {
        let content = &review.content;
        Self {
            id: review.job.as_str(),
            job_type: review.job_type.as_str(),
            queue: review.queue.as_str(),
            reason: content.reason.name(),
            error: review.error.as_ref().map(FailureBody::of),
            opened_at: Time(review.opened_at),
            proposal: content.proposal.as_deref().map(Raw),
            evidence: content.evidence.as_deref().map(Raw),
            on_approve: content.on_approve.as_deref().map(Raw),
            decision: review.decision.as_ref().map(DecisionBody::of),
            job,
        }
    }
}

/// A review as its job shows it: without what it was decided on.
#[derive(Serialize)]
pub(super) struct ReviewLine<'a> {
    reason: &'static str,
    error: Option<FailureBody<'a>>,
    opened_at: Time,
    decision: Option<DecisionBody<'a>>,
}

impl<'a> ReviewLine<'a> {
    pub(super) fn of(review: &'a Review) -> Self {
        Self {
            reason: review.content.reason.name(),
            error: review.error.as_ref().map(FailureBody::of),
            opened_at: Time(review.opened_at),
            decision: review.decision.as_ref().map(DecisionBody::of),
        }
    }
}

#[derive(Serialize)]
struct PageBody<'a> {
    reviews: Vec<ReviewBody<'a>>,
    next_cursor: Option<String>,
}

/// `GET /v1/reviews`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    let query = params::reviews(uri.query())?;
    let page = api.engine.reviews(&query.filter, query.order, query.from, query.limit).await?;
    let mut bytes = 0;
    let fits = page.reviews.iter().take_while(|review| {
        let room = bytes < PAGE_BYTES_MAX;
        bytes += review.content.bytes();
        room
    });
    let fits = fits.count();
    let next = if fits < page.reviews.len() { page.reviews.get(fits - 1).map(|last| last.number) } else { page.next };
    let reviews = page.reviews[..fits].iter().map(|review| ReviewBody::of(review, None)).collect();
    Ok(answer::ok(&PageBody { reviews, next_cursor: next.map(params::cursor_text) }))
}

/// `GET /v1/reviews/{id}`
pub(super) async fn show(State(api): State<Api>, Named(id): Named, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let (review, view) = api.engine.review(&params::job_id(&id)?).await?;
    Ok(answer::ok(&ReviewBody::of(&review, Some(JobBody::of(&view)))))
}

/// Who decides, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    by: Option<String>,
    note: Option<String>,
}

/// The same, with what is put in the place of what the handler gave.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    by: Option<String>,
    note: Option<String>,
    #[serde(default, deserialize_with = "present")]
    proposal: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
}

fn reviewer(said: Option<String>, note: Option<String>, caller: Caller) -> Result<Reviewer, Problem> {
    Ok(Reviewer { by: by(said, caller)?, note: bounded("note", note.unwrap_or_default())? })
}

/// `POST /v1/reviews/{id}/approve`
pub(super) async fn approve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
    request: Request,
) -> Answer {
    let id = params::job_id(&id)?;
    let limit = body::Limit {
        // A proposal and a result, each up to the limit.
        bytes_max: 2 * api.engine.limits().result_bytes_max + body::ORDER_BYTES_MAX,
        code: "payload_too_large",
    };
    let asked: Approval = body::optional_json(&api.budget, request, &limit).await?;
    let reviewer = reviewer(asked.by, asked.note, caller)?;
    let text = |json: Box<RawValue>| Bytes::from(Box::<str>::from(json).into_string());
    let edits = Edits { proposal: asked.proposal.map(text), result: asked.result.map(text) };
    let (engine, job) = (api.engine.clone(), id.clone());
    let view = api.whole(async move { engine.approve(&job, edits, reviewer).await }).await??;
    decided(&api, &id, &view).await
}

/// `POST /v1/reviews/{id}/reject`
pub(super) async fn reject(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
    request: Request,
) -> Answer {
    let id = params::job_id(&id)?;
    let asked: Words = body::order(&api.budget, request).await?;
    let reviewer = reviewer(asked.by, asked.note, caller)?;
    let (engine, job) = (api.engine.clone(), id.clone());
    let view = api.whole(async move { engine.reject(&job, reviewer).await }).await??;
    decided(&api, &id, &view).await
}

/// The job after a decision, with its reviews.
async fn decided(api: &Api, id: &JobId, view: &JobView) -> Answer {
    let reviews = api.engine.reviews_of(id).await?;
    Ok(answer::ok(&JobBody::of(view).with_reviews(&reviews)))
}

/// `POST /v1/reviews/{id}/replay`
pub(super) async fn replay(State(api): State<Api>, Named(id): Named, request: Request) -> Answer {
    let id = params::job_id(&id)?;
    let replay: Replay = jobs::replay_body(&api, request).await?;
    // Only what has a review is replayed here; any job is at `/v1/jobs`.
    api.engine.review(&id).await?;
    jobs::replayed(&api, id, replay).await
}
