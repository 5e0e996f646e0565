//! What operators do: cancel, retry, replay, delete, pause, resume, drain, purge.
//!
//! Cancel and purge take the entry out of the broker first and commit then, so that whichever of
//! cancel and settlement commits first wins and the other is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::broker::{Removed, Which};
use crate::job::review::Verdict;
use crate::job::{AskedFor, Job, JobId, NewJob, QueueName, Seq, State, TypeName, fingerprint};
use crate::ledger::{LiveEntry, Order, Ordered, Pause, Scope};
use crate::mutant::mutant;
use crate::policy::order;
use crate::telemetry::metrics;

use super::core::Core;
use super::views::{Drained, JobView};
use super::{Refusal, admission, measures, pusher, queries};

/// Live rows looked at in one step of a purge.
const PURGE_PAGE: u32 = 500;

type Result<T> = std::result::Result<T, Refusal>;

fn unknown_job(id: &JobId) -> Refusal {
    Refusal::NotFound { what: "job", name: id.to_string(), known: None }
}

/// One row, or the refusal.
pub(super) async fn row(core: &Core, id: &JobId) -> Result<Job> {
    let rows = core.ledger.jobs(std::slice::from_ref(id)).await?;
    rows.into_iter().next().ok_or_else(|| unknown_job(id))
}

fn need_broker(core: &Core) -> Result<()> {
    core.session.broker().borrow().clone().map_err(Refusal::BrokerUnavailable)
}

/// Carries out one order.
async fn carry_out(core: &Core, order: Order) -> Result<Ordered> {
    let answers = core.ledger.order(&[order], core.clock.now()).await?;
    Ok(answers.into_iter().next().unwrap_or(Ordered::Unknown))
}

/// Cancels a job that is not at rest.
pub(super) async fn cancel(core: &Core, id: &JobId) -> Result<JobView> {
    const ALLOWED: &str = "only a job that is not at rest can be cancelled";
    let job = row(core, id).await?;
    if let Some(rest) = &job.rest {
        return Err(Refusal::WrongState { id: id.clone(), state: rest.state, allowed: ALLOWED });
    }
    need_broker(core)?;
    let life = if mutant!(cancel_leaves_entry) { 0 } else { job.seq };
    if let Err(error) = core.broker.remove(&job.spec.queue, &[(id.clone(), life)], Which::Any).await {
        // It may have been removed all the same, and the row is live.
        core.session.lacks_from(job.seq);
        return Err(error.into());
    }
    let order = Order::Rest { id: id.clone(), seq: Some(job.seq), state: State::Cancelled, error: None };
    match carry_out(core, order).await {
        Ok(Ordered::Done { .. } | Ordered::Decided { .. }) => {}
        Ok(Ordered::Unknown) => return Err(unknown_job(id)),
        Ok(Ordered::WrongState(state)) => return Err(Refusal::WrongState { id: id.clone(), state, allowed: ALLOWED }),
        Err(refusal) => {
            // The row is still live: its entry has to come back.
            core.session.lacks_from(job.seq);
            return Err(refusal);
        }
    }
    rested(core, &job.spec.queue, &job.spec.job_type, State::Cancelled, std::slice::from_ref(id));
    tracing::info!(job.id = %id, "Cancelled job {id}");
    queries::job(core, id).await
}

/// What follows when jobs came to rest by order: handlers stop, waiters wake, figures grow.
fn rested(core: &Core, queue: &QueueName, job_type: &TypeName, state: State, ids: &[JobId]) {
    for id in ids {
        core.running.stop_job(id);
    }
    core.waiters.wake(ids.iter());
    metrics::finished(queue.as_str(), job_type.as_str(), state.name(), ids.len() as u64);
    measures::rested_by_order(core, job_type, state, ids.len());
}

/// Starts a new life of a job at rest that did not succeed.
pub(super) async fn retry(core: &Core, id: &JobId, by: &str) -> Result<JobView> {
    let job = row(core, id).await?;
    let catalog = core.catalog();
    let now = core.clock.now();
    let score =
        catalog.queues.get(&job.spec.queue).map_or(now.millis(), |queue| order::score(queue, job.spec.priority, now));
    match carry_out(core, Order::Revive { id: id.clone(), score, by: by.to_owned() }).await? {
        Ordered::Done { seq } => {
            tracing::info!(job.id = %id, by, "Job {id} starts a new life by an operator's retry");
            if job.rest.is_some_and(|rest| rest.state == State::InReview) {
                metrics::review_decided(Verdict::Retried.name());
            }
            pusher::push_again(core, seq).await;
        }
        Ordered::Unknown => return Err(unknown_job(id)),
        _ => {
            let state = queries::job(core, id).await?.state;
            let allowed = "only a failed, cancelled or expired job, or one in review, can be retried";
            return Err(Refusal::WrongState { id: id.clone(), state, allowed });
        }
    }
    queries::job(core, id).await
}

/// Submits a linked new job with the payload of `id`, or another one.
pub(super) async fn replay(core: &Core, id: &JobId, payload: Option<Bytes>) -> Result<JobView> {
    let job = row(core, id).await?;
    let payload = payload.unwrap_or(job.spec.payload);
    let max = core.params.limits.payload_bytes_max;
    if payload.len() > max {
        return Err(Refusal::TooLarge { what: "payload", bytes: payload.len(), max });
    }
    let value: Value = serde_json::from_slice(&payload)
        .map_err(|error| Refusal::BadField { field: "payload", reason: format!("cannot be read: {error}") })?;
    let catalog = core.catalog();
    let (Some(known), Some(queue)) = (catalog.types.get(&job.spec.job_type), catalog.queues.get(&job.spec.queue))
    else {
        let known = catalog.types.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(", ");
        return Err(Refusal::UnknownType { name: job.spec.job_type.to_string(), known });
    };
    let now = core.clock.now();
    let replayed = NewJob {
        id: core.fresh_id(now),
        id_given: false,
        fingerprint: fingerprint(&known.name, &queue.name, job.spec.priority, AskedFor::Now, &value),
        payload,
        due_at: None,
        score: order::score(queue, job.spec.priority, now),
        max_attempts: known.retry.max_attempts(),
        idempotency_key: None,
        accepted_at: now,
        parent: Some(id.clone()),
        ..job.spec
    };
    let answers = admission::accept(core, vec![Ok(replayed)]).await;
    let submitted = answers.into_iter().next().ok_or(Refusal::Stopping)??;
    queries::job(core, &submitted.id).await
}

/// Forgets a job at rest with its id and keys.
pub(super) async fn delete(core: &Core, id: &JobId) -> Result<()> {
    let job = row(core, id).await?;
    match carry_out(core, Order::Delete { id: id.clone() }).await? {
        Ordered::Done { .. } => tracing::info!(job.id = %id, "Deleted job {id} with its keys"),
        Ordered::Unknown => return Err(unknown_job(id)),
        _ => {
            let state = queries::job(core, id).await?.state;
            let allowed = "only a job at rest can be deleted; cancel it first";
            return Err(Refusal::WrongState { id: id.clone(), state, allowed });
        }
    }
    // Its cached result goes too; a later life under the same id asks the ledger anyway.
    if core.session.is_open()
        && let Err(error) = core.broker.remove(&job.spec.queue, &[(id.clone(), job.seq)], Which::Any).await
    {
        core.session.broker_failed(&error);
    }
    Ok(())
}

/// The queue that a scope stops, or the refusal that names the known ones.
fn queue_of(core: &Core, scope: &Scope) -> Result<QueueName> {
    let catalog = core.catalog();
    let (what, name, found, known) = match scope {
        Scope::Queue(name) => {
            let known: Vec<&str> = catalog.queues.keys().map(QueueName::as_str).collect();
            ("queue", name.to_string(), catalog.queues.get(name).map(|queue| queue.name.clone()), known)
        }
        Scope::Type(name) => {
            let known: Vec<&str> = catalog.types.keys().map(crate::job::TypeName::as_str).collect();
            ("type", name.to_string(), catalog.types.get(name).map(|known| known.queue.clone()), known)
        }
    };
    found.ok_or_else(|| Refusal::NotFound { what, name, known: Some(known.join(", ")) })
}

/// Sets or lifts a pause: committed, then set in the broker where claims check it, then answered.
pub(super) async fn set_pause(core: &Core, scope: &Scope, pause: Option<(&str, &str)>) -> Result<()> {
    let queue = queue_of(core, scope)?;
    // Pausing again without a reason must not wipe out who paused it first and why.
    let standing = core.ledger.pauses().await?.into_iter().find(|known| known.scope == *scope);
    let standing = standing.filter(|_| pause.is_some_and(|(_, reason)| reason.is_empty()));
    let record = pause.map(|(by, reason)| Pause {
        scope: scope.clone(),
        by: by.to_owned(),
        reason: reason.to_owned(),
        since: core.clock.now(),
    });
    let record = standing.or(record);
    if !mutant!(pause_in_broker_only) {
        core.ledger.set_pause(scope, record.as_ref()).await?;
    }
    need_broker(core)?;
    let job_type = match scope {
        Scope::Queue(_) => None,
        Scope::Type(name) => Some(name),
    };
    core.broker.set_paused(&queue, job_type, record.is_some()).await?;
    if let Some(Pause { by, reason, .. }) = &record {
        tracing::info!(by, reason, "Paused {scope}");
    } else {
        tracing::info!("Resumed {scope}");
    }
    Ok(())
}

/// Pauses a queue, then waits until nothing of it runs.
pub(super) async fn drain(
    core: &Core,
    queue: &QueueName,
    by: &str,
    reason: &str,
    patience: Duration,
) -> Result<Drained> {
    set_pause(core, &Scope::Queue(queue.clone()), Some((by, reason))).await?;
    let end = Instant::now() + patience;
    loop {
        let running = core.broker.depth(queue, &[]).await?.leased;
        if running == 0 || Instant::now() >= end || core.is_stopping() {
            return Ok(Drained { done: running == 0, running });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Cancels all waiting jobs of a queue; answers how many.
pub(super) async fn purge(core: &Core, queue: &QueueName, by: &str) -> Result<u64> {
    queue_of(core, &Scope::Queue(queue.clone()))?;
    need_broker(core)?;
    let (mut after, mut count, mut unseen) = (0, 0, Vec::new());
    loop {
        let rows = core.ledger.live_entries(after, PURGE_PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        let rows: Vec<LiveEntry> = rows.into_iter().filter(|row| row.queue == *queue).collect();
        let rested = rest_waiting(core, queue, &rows, State::Cancelled, None, false).await?;
        count += rested.count;
        unseen.extend(rested.unseen);
    }
    if !unseen.is_empty() {
        // Their first push may be under way; it can no longer run them once it is too old to be clean.
        tokio::time::sleep(Duration::from_millis(pusher::CLEAN_MS.unsigned_abs())).await;
        for rows in unseen.chunks(PURGE_PAGE as usize) {
            count += rest_waiting(core, queue, rows, State::Cancelled, None, true).await?.count;
        }
    }
    tracing::info!(by, count, "Purged queue {queue}: {count} waiting jobs were cancelled");
    Ok(count)
}

/// What a step of bringing jobs to rest came to.
pub(super) struct Rested {
    /// How many came to rest.
    pub(super) count: u64,
    /// Live rows that the broker does not know (yet).
    pub(super) unseen: Vec<LiveEntry>,
}

/// Brings those of `rows` to rest that wait; leased ones are left alone, and so are those that the broker
/// does not know, unless `unseen_too` says that no clean push of them can be under way.
pub(super) async fn rest_waiting(
    core: &Core,
    queue: &QueueName,
    rows: &[LiveEntry],
    state: State,
    error: Option<&crate::job::Failure>,
    unseen_too: bool,
) -> Result<Rested> {
    if rows.is_empty() {
        return Ok(Rested { count: 0, unseen: Vec::new() });
    }
    let entries: Vec<(JobId, Seq)> = rows.iter().map(|row| (row.id.clone(), row.seq)).collect();
    let lacks = || core.session.lacks_from(entries.iter().map(|(_, seq)| *seq).min().unwrap_or(0));
    // After an error they may have been removed all the same, and their rows are live.
    let removed = core.broker.remove(queue, &entries, Which::Waiting).await.inspect_err(|_| lacks())?;
    let waited = |removed: &Removed| *removed == Removed::Waiting || (unseen_too && *removed == Removed::Absent);
    let unseen = rows.iter().zip(&removed).filter(|(_, removed)| **removed == Removed::Absent);
    let unseen: Vec<LiveEntry> = unseen.map(|(row, _)| row.clone()).collect();
    let waiting: Vec<&LiveEntry> =
        rows.iter().zip(&removed).filter(|(_, removed)| waited(removed)).map(|(row, _)| row).collect();
    let orders: Vec<Order> = waiting
        .iter()
        .map(|row| Order::Rest { id: row.id.clone(), seq: Some(row.seq), state, error: error.cloned() })
        .collect();
    let answers = match core.ledger.order(&orders, core.clock.now()).await {
        Ok(answers) => answers,
        Err(refusal) => {
            lacks();
            return Err(refusal.into());
        }
    };
    let mut by_type: BTreeMap<&TypeName, Vec<JobId>> = BTreeMap::new();
    for (row, _) in waiting.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Ordered::Done { .. })) {
        by_type.entry(&row.job_type).or_default().push(row.id.clone());
    }
    let count = by_type.values().map(|ids| ids.len() as u64).sum();
    for (job_type, ids) in by_type {
        rested(core, queue, job_type, state, &ids);
    }
    Ok(Rested { count, unseen })
}
