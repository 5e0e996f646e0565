//! Admission: from a submit to a checked job, and from there into the ledger.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::job::{
    AskedFor, Failure, InvalidName, JobId, LABELS_MAX, NAME_BYTES_MAX, NewJob, Priority, TypeName, fingerprint,
};
use crate::ledger::Accepted;
use crate::mutant::mutant;
use crate::policy::catalog::{JobType, Queue};
use crate::policy::order;
use crate::telemetry::metrics;

use super::committer::{AcceptAnswer, Entry, Ticket};
use super::core::Core;
use super::shedding;
use super::views::{Fate, Submitted};
use super::{Refusal, Submit};

/// How far ahead a job may be due: ten years, in milliseconds.
const AHEAD_MS_MAX: u64 = 10 * 365 * 24 * 3_600 * 1_000;
/// The longest time limit of one run: thirty days, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 30 * 24 * 3_600 * 1_000;
/// Jobs in one list of a handler's.
const CHILDREN_MAX: usize = 1_000;
/// How long a caller waits for its commit before it is told that the effect is unknown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks and accepts submits; answers in order, each for itself.
pub(super) async fn submit(core: &Core, submits: Vec<Submit>) -> Vec<Result<Submitted, Refusal>> {
    if core.is_stopping() {
        return submits.iter().map(|_| Err(Refusal::Stopping)).collect();
    }
    let mut checked: Vec<_> = submits.into_iter().map(|submit| check(core, submit, None)).collect();
    shedding::refuse(core, &mut checked).await;
    accept(core, checked).await
}

/// Accepts what passed the checks; keeps the others' refusals in their places.
pub(super) async fn accept(core: &Core, mut checked: Vec<Result<NewJob, Refusal>>) -> Vec<Result<Submitted, Refusal>> {
    if core.broker.is_full() && !mutant!(full_after_commit) {
        checked = refuse_full(checked);
    }
    if mutant!(outage_refuses_jobs) && !core.session.is_open() {
        checked = refuse_full(checked);
    }
    let queues: Vec<_> = checked.iter().map(|job| job.as_ref().ok().map(|job| job.queue.clone())).collect();
    let jobs: Vec<NewJob> = checked.iter().filter_map(|job| job.as_ref().ok().cloned()).collect();
    let mut answers = if jobs.is_empty() { Vec::new() } else { commit(core, jobs).await }.into_iter();
    let answers: Vec<_> = checked
        .into_iter()
        .map(|checked| {
            let job = checked?;
            let unknown = || Refusal::LedgerUnavailable {
                reason: "the ledger did not answer in time".to_owned(),
                unknown: true,
                id: Some(job.id.clone()),
            };
            conclude(&job, answers.next().unwrap_or_else(|| Err(unknown())))
        })
        .collect();
    let answers = if mutant!(full_after_commit) && core.broker.is_full() { refuse_full(answers) } else { answers };
    for (queue, answer) in queues.iter().zip(&answers) {
        let decision = match answer {
            Ok(submitted) if submitted.fate == Fate::Created => "created",
            Ok(_) => "existing",
            Err(_) => "refused",
        };
        if let Some(queue) = queue {
            metrics::admitted(queue.as_str(), decision, 1);
        }
    }
    answers
}

/// The broker has no room: refuses what was not refused before.
fn refuse_full<T>(all: Vec<Result<T, Refusal>>) -> Vec<Result<T, Refusal>> {
    let full = || Refusal::BrokerFull("the broker is out of room for new jobs; what it holds goes on".to_owned());
    all.into_iter().map(|one| one.and_then(|_| Err(full()))).collect()
}

/// Sends jobs to the committers and waits; empty when the wait was in vain.
async fn commit(core: &Core, jobs: Vec<NewJob>) -> Vec<AcceptAnswer> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        core.accepts.send(Ticket::Accept { jobs, answer }).await.ok()?;
        answered.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_default()
}

fn conclude(job: &NewJob, answer: AcceptAnswer) -> Result<Submitted, Refusal> {
    match answer? {
        Entry::Created(job) => Ok(Submitted {
            id: job.spec.id.clone(),
            fate: Fate::Created,
            job: Some(Box::new(Arc::unwrap_or_clone(job))),
        }),
        Entry::Existing(Accepted::Existing { id, same: true, at_rest }) => {
            Ok(Submitted { id, fate: if at_rest { Fate::Cached } else { Fate::Active }, job: None })
        }
        Entry::Existing(Accepted::Existing { id, .. }) => {
            let key = match &job.idempotency_key {
                Some(key) if !(job.id_given && job.id == id) => format!("idempotency key {key:?}"),
                _ => format!("id {:?}", job.id.as_str()),
            };
            Err(Refusal::Conflict { key, id })
        }
        Entry::Existing(Accepted::Created { .. }) => {
            Ok(Submitted { id: job.id.clone(), fate: Fate::Created, job: None })
        }
    }
}

/// Checks the jobs that a handler enqueues in the member `list` of its envelope.
pub(super) fn children(core: &Core, parent: &JobId, list: &str, enqueue: &[Value]) -> Result<Vec<NewJob>, Failure> {
    let bad = |at: usize, why: String| Failure::new("bad_enqueue", format!("`{list}[{at}]`: {why}"));
    if enqueue.len() > CHILDREN_MAX {
        return Err(bad(CHILDREN_MAX, format!("{} jobs; at most {CHILDREN_MAX} are allowed", enqueue.len())));
    }
    let child = |(at, value): (usize, &Value)| {
        // Read from text, because the payload is kept as text.
        let submit: Submit = serde_json::from_str(&value.to_string()).map_err(|error| bad(at, error.to_string()))?;
        check(core, submit, Some(parent.clone())).map_err(|refusal| bad(at, refusal.to_string()))
    };
    enqueue.iter().enumerate().map(child).collect()
}

/// Checks one submit and fixes everything about the job that is fixed at admission.
pub(super) fn check(core: &Core, submit: Submit, parent: Option<JobId>) -> Result<NewJob, Refusal> {
    let catalog = core.catalog();
    let Some(known) = catalog.types.get(submit.job_type.as_str()) else {
        let known = catalog.types.keys().map(TypeName::as_str).collect::<Vec<_>>().join(", ");
        return Err(Refusal::UnknownType { name: submit.job_type, known });
    };
    let queue = match &submit.queue {
        Some(name) if *name != known.queue.as_str() => {
            let reason = format!("is {name:?}, but jobs of type {} run in queue {}", known.name, known.queue);
            return Err(Refusal::BadField { field: "queue", reason });
        }
        _ => &catalog.queues[&known.queue],
    };
    let priority = priority(submit.priority.as_ref(), known, queue)?;
    let payload = payload(core, submit.payload.as_deref().map_or("null", |raw| raw.get()))?;
    let now = core.clock.now();
    let asked_for = asked_for(submit.delay_ms.as_ref(), submit.run_at.as_deref())?;
    let due_at = match asked_for {
        AskedFor::Now | AskedFor::DelayMs(0) => None,
        AskedFor::DelayMs(ms) => Some(Timestamp(now.millis().saturating_add_unsigned(ms))),
        AskedFor::At(ms) => Some(Timestamp(ms)).filter(|at| *at > now),
    };
    if due_at.is_some_and(|due| due.since(now).unsigned_abs() > AHEAD_MS_MAX) {
        return Err(Refusal::BadField { field: "run_at", reason: "is more than ten years ahead".to_owned() });
    }
    let id = submit.id.as_deref().map(JobId::given).transpose().map_err(|why| name("id", &why))?;
    let fingerprint = fingerprint(&known.name, &queue.name, priority, asked_for, &payload.1);
    Ok(NewJob {
        id_given: id.is_some(),
        id: id.unwrap_or_else(|| core.fresh_id(now)),
        job_type: known.name.clone(),
        queue: queue.name.clone(),
        priority,
        payload: payload.0,
        labels: labels(submit.labels)?,
        due_at,
        score: order::score(queue, priority, due_at.unwrap_or(now)),
        timeout_ms: timeout(submit.timeout_ms.as_ref())?,
        max_attempts: known.retry.max_attempts(),
        idempotency_key: key(submit.idempotency_key)?,
        fingerprint,
        accepted_at: now,
        parent,
    })
}

fn name(field: &'static str, why: &InvalidName) -> Refusal {
    Refusal::BadField { field, reason: why.to_string() }
}

fn priority(asked: Option<&Value>, known: &JobType, queue: &Queue) -> Result<Priority, Refusal> {
    let Some(asked) = asked else { return Ok(known.priority) };
    let read = match asked {
        Value::Number(number) => number.as_u64().and_then(Priority::from_number),
        Value::String(name) => Priority::from_name(name).or_else(|| name.parse().ok().and_then(Priority::from_number)),
        _ => None,
    };
    read.filter(|priority| priority.number() <= queue.priorities).ok_or_else(|| {
        let names = crate::job::PRIORITY_NAMES[..usize::from(queue.priorities)].join(", ");
        let reason = format!("is {asked}; queue {} takes 1 to {} or {names}", queue.name, queue.priorities);
        Refusal::BadField { field: "priority", reason }
    })
}

/// The payload as it is kept, and as it is hashed.
fn payload(core: &Core, text: &str) -> Result<(Bytes, Value), Refusal> {
    let max = core.params.limits.payload_bytes_max;
    if text.len() > max {
        return Err(Refusal::TooLarge { what: "payload", bytes: text.len(), max });
    }
    let value = serde_json::from_str(text)
        .map_err(|error| Refusal::BadField { field: "payload", reason: format!("cannot be read: {error}") })?;
    Ok((Bytes::copy_from_slice(text.as_bytes()), value))
}

fn asked_for(delay_ms: Option<&Value>, run_at: Option<&str>) -> Result<AskedFor, Refusal> {
    match (delay_ms, run_at) {
        (None, None) => Ok(AskedFor::Now),
        (Some(_), Some(_)) => {
            Err(Refusal::BadField { field: "run_at", reason: "cannot be given together with `delay_ms`".to_owned() })
        }
        (Some(delay), None) => milliseconds("delay_ms", delay, 0, AHEAD_MS_MAX).map(AskedFor::DelayMs),
        (None, Some(text)) => Timestamp::parse(text).map(|at| AskedFor::At(at.millis())).map_err(|error| {
            let reason = format!("is {text:?}, which is not RFC 3339 ({error}); try 2026-01-31T12:00:00Z");
            Refusal::BadField { field: "run_at", reason }
        }),
    }
}

fn timeout(asked: Option<&Value>) -> Result<Option<u64>, Refusal> {
    asked.map(|asked| milliseconds("timeout_ms", asked, 1, TIMEOUT_MS_MAX)).transpose()
}

fn milliseconds(field: &'static str, asked: &Value, min: u64, max: u64) -> Result<u64, Refusal> {
    asked.as_u64().filter(|ms| (min..=max).contains(ms)).ok_or_else(|| Refusal::BadField {
        field,
        reason: format!("is {asked}; it takes whole milliseconds from {min} to {max}"),
    })
}

fn key(key: Option<String>) -> Result<Option<String>, Refusal> {
    let Some(key) = key else { return Ok(None) };
    let reason = if key.is_empty() {
        "is empty".to_owned()
    } else if key.len() > NAME_BYTES_MAX {
        format!("is {} bytes long; at most {NAME_BYTES_MAX} are allowed", key.len())
    } else if let Some(odd) = key.chars().find(|c| !(' '..='~').contains(c)) {
        format!("has the character {odd:?}; allowed is printable ASCII")
    } else {
        return Ok(Some(key));
    };
    Err(Refusal::BadField { field: "idempotency_key", reason })
}

fn labels(labels: crate::job::Labels) -> Result<crate::job::Labels, Refusal> {
    let bad = |reason| Err(Refusal::BadField { field: "labels", reason });
    if labels.len() > LABELS_MAX {
        return bad(format!("has {} members; at most {LABELS_MAX} are allowed", labels.len()));
    }
    for (label, value) in &labels {
        if let Err(why) = TypeName::new(label) {
            return bad(format!("has the name {label:?}, which {why}"));
        }
        if value.len() > NAME_BYTES_MAX || value.chars().any(char::is_control) {
            return bad(format!(
                "has a value of {label:?} that is longer than {NAME_BYTES_MAX} bytes or has control characters"
            ));
        }
    }
    Ok(labels)
}
