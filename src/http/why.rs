//! Why a job does not run, and what is stuck.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;

use crate::engine::{StuckJob, StuckKind, StuckQueue};
use crate::policy::why::{Explanation, Reason};

use super::params::{self, Named};
use super::problem::Problem;
use super::wire::Time;
use super::{Api, answer};

/// Stuck jobs of one answer when the caller does not say: each is explained by itself.
const STUCK_DEFAULT: u32 = 50;

/// The most stuck jobs of one answer.
const STUCK_MAX: u32 = 500;

type Answer = Result<Response, Problem>;

#[derive(Serialize)]
struct WhyBody<'a> {
    id: &'a str,
    state: &'static str,
    #[serde(flatten)]
    explanation: ExplanationBody,
}

#[derive(Serialize)]
struct ExplanationBody {
    runnable: bool,
    starts_at: Option<Time>,
    reasons: Vec<ReasonBody>,
}

#[derive(Serialize)]
struct ReasonBody {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
}

impl ExplanationBody {
    fn of(explanation: &Explanation) -> Self {
        let reason = |reason: &Reason| ReasonBody {
            code: reason.code(),
            message: reason.to_string(),
            until: reason.until().map(Time),
        };
        Self {
            runnable: explanation.is_runnable,
            starts_at: explanation.starts_at.map(Time),
            reasons: explanation.reasons.iter().map(reason).collect(),
        }
    }
}

/// `GET /v1/jobs/{id}/why`
pub(super) async fn why(State(api): State<Api>, Named(id): Named, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let (view, explanation) = api.engine.why(&params::job_id(&id)?).await?;
    let explanation = ExplanationBody::of(&explanation);
    Ok(answer::ok(&WhyBody { id: view.job.spec.id.as_str(), state: view.state.name(), explanation }))
}

#[derive(Serialize)]
struct StuckBody<'a> {
    jobs: Vec<StuckJobBody<'a>>,
    queues: Vec<StuckQueueBody<'a>>,
    more: bool,
}

#[derive(Serialize)]
struct StuckJobBody<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    job_type: &'a str,
    queue: &'a str,
    state: &'static str,
    stuck: &'static str,
    since: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    sla_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usual_run_ms: Option<i64>,
    why: ExplanationBody,
}

impl<'a> StuckJobBody<'a> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds for people")]
    fn of(stuck: &'a StuckJob) -> Self {
        let job = &stuck.job.job;
        let (word, sla_ms, run_ms, usual_run_ms) = match stuck.kind {
            StuckKind::PastSla { sla_ms } => ("past_sla", Some(sla_ms), None, None),
            StuckKind::LongRun { ran_ms, usual_ms } => ("long_run", None, Some(ran_ms as i64), Some(usual_ms as i64)),
        };
        Self {
            id: job.spec.id.as_str(),
            job_type: job.spec.job_type.as_str(),
            queue: job.spec.queue.as_str(),
            state: stuck.job.state.name(),
            stuck: word,
            since: Time(job.waits_from),
            sla_ms,
            run_ms,
            usual_run_ms,
            why: ExplanationBody::of(&stuck.why),
        }
    }
}

#[derive(Serialize)]
struct StuckQueueBody<'a> {
    name: &'a str,
    ready: u64,
    since: Time,
}

impl<'a> StuckQueueBody<'a> {
    fn of(stuck: &'a StuckQueue) -> Self {
        Self { name: stuck.name.as_str(), ready: stuck.ready, since: Time(stuck.since) }
    }
}

/// `GET /v1/jobs/stuck`
pub(super) async fn stuck(State(api): State<Api>, uri: Uri) -> Answer {
    let limit = params::limit(uri.query(), STUCK_DEFAULT, STUCK_MAX)?;
    let view = api.engine.stuck(limit as usize).await?;
    Ok(answer::ok(&StuckBody {
        jobs: view.jobs.iter().map(StuckJobBody::of).collect(),
        queues: view.queues.iter().map(StuckQueueBody::of).collect(),
        more: view.more,
    }))
}
