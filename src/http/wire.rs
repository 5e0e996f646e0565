//! Jobs, queues and types as JSON. The order of members is the order they are documented in.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::engine::{JobView, QueueView, TypeView};
use crate::job::{Attempt, Counters, Failure, Fence, Job, PRIORITY_NAMES, Review, State};
use crate::ledger::Pause;
use crate::policy::catalog::{OnLate, Ordering};
use crate::policy::retry::{Backoff, Jitter, RetryPolicy};

use super::reviews::ReviewLine;

/// A job on the wire.
#[derive(serde::Serialize)]
pub(super) struct JobBody<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    job_type: &'a str,
    queue: &'a str,
    priority: u8,
    state: &'static str,
    payload: Raw<'a>,
    result: Option<Raw<'a>>,
    error: Option<FailureBody<'a>>,
    labels: &'a crate::job::Labels,
    attempts: u32,
    max_attempts: u32,
    deliveries: u32,
    crashes: u32,
    deferrals: u32,
    fence: Fence,
    accepted_at: Time,
    run_at: Option<Time>,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    wait_ms: Option<i64>,
    run_ms: Option<i64>,
    history: Vec<AttemptBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reviews: Vec<ReviewLine<'a>>,
}

impl<'a> JobBody<'a> {
    /// A job with its lease, if it has one.
    pub(super) fn of(view: &'a JobView) -> Self {
        let started = view.lease.as_ref().map(|lease| Timestamp(lease.claimed_at_ms));
        Self::new(&view.job, view.state, view.counters, view.fence, started)
    }

    /// A job that was accepted this moment.
    pub(super) fn accepted(job: &'a Job) -> Self {
        Self::new(job, job.ledger_state(job.spec.accepted_at), job.counters, job.fence, None)
    }

    fn new(job: &'a Job, state: State, counters: Counters, fence: Fence, leased_at: Option<Timestamp>) -> Self {
        let spec = &job.spec;
        let last = job.history.last();
        let first_start = job.history.first().map(|run| run.started_at).or(leased_at);
        Self {
            id: spec.id.as_str(),
            job_type: spec.job_type.as_str(),
            queue: spec.queue.as_str(),
            priority: spec.priority.number(),
            state: state.name(),
            payload: Raw(&spec.payload),
            result: job.rest.as_ref().and_then(|rest| rest.result.as_deref()).map(Raw),
            error: job.error.as_ref().map(FailureBody::of),
            labels: &spec.labels,
            attempts: counters.attempts,
            max_attempts: spec.max_attempts,
            deliveries: counters.deliveries,
            crashes: counters.crashes,
            deferrals: counters.deferrals,
            fence,
            accepted_at: Time(spec.accepted_at),
            run_at: spec.due_at.map(Time),
            started_at: leased_at.or(last.map(|run| run.started_at)).map(Time),
            finished_at: job.rest.as_ref().map(|rest| Time(rest.finished_at)),
            wait_ms: first_start.map(|start| start.since(due_before(job, start))),
            // While it runs, its run time is not known yet.
            run_ms: last.filter(|_| leased_at.is_none()).map(|run| run.finished_at.since(run.started_at)),
            history: job.history.iter().map(AttemptBody::of).collect(),
            idempotency_key: spec.idempotency_key.as_deref(),
            timeout_ms: spec.timeout_ms,
            parent: spec.parent.as_ref().map(crate::job::JobId::as_str),
            reviews: Vec::new(),
        }
    }

    /// With its reviews, which are given newest first and shown oldest first, like its history.
    pub(super) fn with_reviews(mut self, reviews: &'a [Review]) -> Self {
        self.reviews = reviews.iter().rev().map(ReviewLine::of).collect();
        self
    }
}

/// Since when the job could have started. A due time after the first start is that of a retry.
fn due_before(job: &Job, start: Timestamp) -> Timestamp {
    job.spec.due_at.filter(|&due| due <= start).unwrap_or(job.spec.accepted_at)
}

#[derive(serde::Serialize)]
struct AttemptBody<'a> {
    attempt: u32,
    worker: &'a str,
    fence: Fence,
    started_at: Time,
    finished_at: Time,
    outcome: &'static str,
    error: Option<FailureBody<'a>>,
}

impl<'a> AttemptBody<'a> {
    fn of(run: &'a Attempt) -> Self {
        Self {
            attempt: run.attempt,
            worker: &run.worker,
            fence: run.fence,
            started_at: Time(run.started_at),
            finished_at: Time(run.finished_at),
            outcome: run.outcome.name(),
            error: run.error.as_ref().map(FailureBody::of),
        }
    }
}

#[derive(serde::Serialize)]
pub(super) struct FailureBody<'a> {
    class: &'a str,
    message: &'a str,
}

impl<'a> FailureBody<'a> {
    pub(super) fn of(failure: &'a Failure) -> Self {
        Self { class: &failure.class, message: &failure.message }
    }
}

/// JSON text that is passed through as it is.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_slice::<&RawValue>(self.0) {
            Ok(json) => json.serialize(serializer),
            // Stored text is JSON; if a store was tampered with, its text is still shown.
            Err(_) => serializer.serialize_str(&String::from_utf8_lossy(self.0)),
        }
    }
}

/// A time in RFC 3339.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Who paused something and why.
#[derive(serde::Serialize)]
struct PauseBody<'a> {
    by: &'a str,
    reason: &'a str,
    since: Time,
}

impl<'a> PauseBody<'a> {
    fn of(pause: &'a Pause) -> Self {
        Self { by: &pause.by, reason: &pause.reason, since: Time(pause.since) }
    }
}

/// A queue on the wire. Figures are null while the broker is away.
#[derive(serde::Serialize)]
pub(super) struct QueueBody<'a> {
    name: &'a str,
    priorities: u8,
    sla_ms: Option<u64>,
    ordering: &'static str,
    depth: Option<DepthBody<'a>>,
    ready: Option<u64>,
    scheduled: Option<u64>,
    running: Option<u64>,
    paused: Option<PauseBody<'a>>,
    shed_level: u8,
    /// The deadline of the job that is next.
    next_deadline: Option<Time>,
}

impl<'a> QueueBody<'a> {
    pub(super) fn of(view: &'a QueueView) -> Self {
        let depth = view.depth.as_ref();
        Self {
            name: view.queue.name.as_str(),
            priorities: view.queue.priorities,
            sla_ms: view.queue.sla_ms,
            ordering: match view.queue.ordering {
                Ordering::Deadline => "deadline",
                Ordering::Strict => "strict",
            },
            depth: depth.map(|depth| DepthBody { ready: &depth.ready, priorities: view.queue.priorities }),
            ready: depth.map(|depth| depth.ready.iter().sum()),
            scheduled: depth.map(|depth| depth.later),
            running: depth.map(|depth| depth.leased),
            paused: view.pause.as_ref().map(PauseBody::of),
            shed_level: view.shed_level,
            next_deadline: depth.and_then(|depth| depth.head_score).map(|score| Time(Timestamp(score))),
        }
    }
}

/// Waiting jobs by the name of their priority, most urgent first.
struct DepthBody<'a> {
    ready: &'a [u64; 5],
    priorities: u8,
}

impl Serialize for DepthBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let counts = PRIORITY_NAMES.iter().zip(self.ready).enumerate();
        // A reload may have taken priorities away while jobs of them still wait.
        for (_, (name, count)) in counts.filter(|(at, (_, count))| *at < usize::from(self.priorities) || **count > 0) {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

/// A job type on the wire.
#[derive(serde::Serialize)]
pub(super) struct TypeBody<'a> {
    name: &'a str,
    queue: &'a str,
    priority: u8,
    timeout_ms: u64,
    sla_ms: Option<u64>,
    depends_on: &'a [String],
    on_late: &'static str,
    handler: HandlerBody,
    retry: RetryBody<'a>,
    ready: Option<u64>,
    runnable: bool,
    paused: Option<PauseBody<'a>>,
}

/// Only the kind: URLs, arguments and variables may hold secrets.
#[derive(serde::Serialize)]
struct HandlerBody {
    kind: &'static str,
}

#[derive(serde::Serialize)]
struct RetryBody<'a> {
    max_retries: u32,
    backoff_strategy: &'static str,
    base_delay_ms: u64,
    max_delay_ms: u64,
    jitter: &'static str,
    retry_on_errors: &'a [String],
    no_retry_errors: &'a [String],
    escalate_on_failure: &'static str,
}

impl<'a> RetryBody<'a> {
    fn of(retry: &'a RetryPolicy) -> Self {
        Self {
            max_retries: retry.max_retries,
            backoff_strategy: match retry.backoff {
                Backoff::Exponential => "exponential",
                Backoff::Linear => "linear",
                Backoff::Immediate => "immediate",
            },
            base_delay_ms: retry.base_delay_ms,
            max_delay_ms: retry.max_delay_ms,
            jitter: match retry.jitter {
                Jitter::Full => "full",
                Jitter::None => "none",
            },
            retry_on_errors: &retry.retry_on_errors,
            no_retry_errors: &retry.no_retry_errors,
            escalate_on_failure: if retry.escalate_on_failure { "manual_review_queue" } else { "" },
        }
    }
}

impl<'a> TypeBody<'a> {
    pub(super) fn of(view: &'a TypeView) -> Self {
        let known = &view.job_type;
        Self {
            name: known.name.as_str(),
            queue: known.queue.as_str(),
            priority: known.priority.number(),
            timeout_ms: known.timeout_ms,
            sla_ms: known.sla_ms,
            depends_on: &known.depends_on,
            on_late: match known.on_late {
                OnLate::Run => "run",
                OnLate::Expire => "expire",
                OnLate::Escalate => "escalate",
            },
            handler: HandlerBody { kind: known.handler.kind() },
            retry: RetryBody::of(&known.retry),
            ready: view.ready,
            runnable: view.runnable,
            paused: view.pause.as_ref().map(PauseBody::of),
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
