//! What is stuck: jobs past their SLA, runs far longer than usual, queues with work that nobody takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{JobId, QueueName};
use crate::policy::catalog::{JobType, Queue};
use crate::service::{lock, periodic};
use crate::telemetry::metrics;

use super::core::Core;
use super::views::{StuckJob, StuckKind, StuckQueue, StuckView};
use super::{Refusal, queries, why};

/// Between two looks for the metrics and the log.
const PERIOD: Duration = Duration::from_secs(5);
/// Late rows of one type that are looked at.
const LATE_MAX: u32 = 1_000;
/// Leases of one queue that are looked at.
const LEASES_MAX: usize = 10_000;
/// Runs that must have ended lately before a type's usual run time is known.
const SAMPLES_MIN: u64 = 20;
/// A run below this, in milliseconds, is never called long: one scheduling hiccup would do.
const LONG_MS_MIN: f64 = 1_000.0;

/// When stillness becomes a finding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StuckRules {
    /// A run is stuck once it takes this many times what 95 % of its type's runs take. Above 1.
    pub run_multiple: f64,
    /// A queue is stalled once it has work, idle workers and no claim for this long, in milliseconds.
    pub stalled_ms: i64,
}

/// Which queues stand still, and since when.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    /// Since when there is work and nobody took any.
    since: Mutex<HashMap<QueueName, Timestamp>>,
}

impl Stillness {
    /// Somebody took jobs.
    pub(super) fn end(&self, queue: &QueueName) {
        lock(&self.since).remove(queue);
    }

    /// Notes a look: whether there is work that somebody should take by now. Answers since when nobody did.
    fn looked(&self, queue: &QueueName, is_work_left: bool, now: Timestamp) -> Option<Timestamp> {
        let mut since = lock(&self.since);
        if !is_work_left {
            since.remove(queue);
            return None;
        }
        Some(*since.entry(queue.clone()).or_insert(now))
    }
}

/// Counts what is stuck and tells of queues that stall, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    let told = Mutex::new(HashMap::new());
    periodic(PERIOD, &core.chance, &never, &stop, || look(&core, &told)).await;
}

async fn look(core: &Core, told: &Mutex<HashMap<QueueName, Timestamp>>) {
    if !core.session.is_open() {
        return;
    }
    for queue in core.catalog().queues.values() {
        let Ok(stalled) = stalled(core, queue).await else { return };
        let before = match &stalled {
            Some(stalled) => lock(told).insert(queue.name.clone(), stalled.since),
            None => lock(told).remove(&queue.name),
        };
        if let Some(stalled) = stalled.as_ref().filter(|stalled| before != Some(stalled.since)) {
            let ready = stalled.ready;
            tracing::error!(queue = %queue.name, ready, "Queue {} has {ready} jobs that may run, and nobody takes them", queue.name);
        }
        let (late, long) = match (late(core, queue).await, long(core, queue).await) {
            (Ok(late), Ok(long)) => (late.len(), long.len()),
            (Err(refusal), _) | (_, Err(refusal)) => {
                tracing::debug!("Stuck jobs of queue {} were not counted: {refusal}", queue.name);
                continue;
            }
        };
        metrics::stuck(queue.name.as_str(), late, long, stalled.is_some());
    }
}

/// Everything that is stuck, at most `limit` jobs, each with why.
pub(super) async fn list(core: &Core, limit: usize) -> Result<StuckView, Refusal> {
    let mut view = StuckView::default();
    for queue in core.catalog().queues.values() {
        view.queues.extend(stalled(core, queue).await?);
        let mut found = late(core, queue).await?;
        found.extend(long(core, queue).await?);
        found.truncate(limit.saturating_sub(view.jobs.len()).saturating_add(1));
        if found.is_empty() {
            continue;
        }
        let scene = why::scene(core, &queue.name).await?;
        let ids: Vec<JobId> = found.iter().map(|(id, _)| id.clone()).collect();
        let views = queries::by_ids(core, &ids).await?;
        for (id, kind) in found {
            // It may have come to rest meanwhile.
            let Some(job) = views.iter().find(|view| view.job.spec.id == id && !view.state.is_at_rest()) else {
                continue;
            };
            if view.jobs.len() == limit {
                view.more = true;
                return Ok(view);
            }
            let explanation = why::explain(core, &scene, &job.job).await?;
            view.jobs.push(StuckJob { job: job.clone(), kind, why: explanation });
        }
    }
    Ok(view)
}

/// Jobs past their SLA that have not come to rest.
async fn late(core: &Core, queue: &Queue) -> Result<Vec<(JobId, StuckKind)>, Refusal> {
    let now = core.clock.now();
    let mut found = Vec::new();
    for known in core.catalog().types_of(&queue.name) {
        let Some(sla_ms) = known.sla_ms else { continue };
        let before = Timestamp(now.millis().saturating_sub_unsigned(sla_ms));
        let rows = core.ledger.late_entries(&known.name, before, LATE_MAX).await?;
        found.extend(rows.into_iter().map(|row| (row.id, StuckKind::PastSla { sla_ms })));
    }
    Ok(found)
}

/// Runs that take far longer than their type's usually do.
async fn long(core: &Core, queue: &Queue) -> Result<Vec<(JobId, StuckKind)>, Refusal> {
    let catalog = core.catalog();
    let usual: HashMap<_, f64> =
        catalog.types_of(&queue.name).filter_map(|known| Some((&known.name, usual_ms(core, known)?))).collect();
    if usual.is_empty() {
        return Ok(Vec::new());
    }
    let (now, multiple) = (core.broker.now_ms(), core.setup.load().stuck.run_multiple);
    let leases = core.broker.leases(&queue.name, LEASES_MAX).await?;
    let mut found = Vec::new();
    for view in leases {
        let Some((lease, usual_ms)) = view.lease.as_ref().zip(usual.get(&view.job_type)) else { continue };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
        let ran_ms = (now - lease.claimed_at_ms) as f64;
        if ran_ms > (usual_ms * multiple).max(LONG_MS_MIN) {
            found.push((view.id, StuckKind::LongRun { ran_ms, usual_ms: *usual_ms }));
        }
    }
    Ok(found)
}

fn usual_ms(core: &Core, known: &JobType) -> Option<f64> {
    core.figures.usual_run_ms(&known.name, SAMPLES_MIN, core.clock.now())
}

/// Whether a queue has work that this node's idle workers should have taken long ago, or that nobody is there for.
async fn stalled(core: &Core, queue: &Queue) -> Result<Option<StuckQueue>, Refusal> {
    let scene = why::scene(core, &queue.name).await?;
    let ready = scene.may_run();
    let should_be_taken = ready > 0 && scene.can_take();
    let now = core.clock.now();
    let since = core.stillness.looked(&queue.name, should_be_taken, now);
    let stalled_ms = core.setup.load().stuck.stalled_ms;
    let stalled = since.filter(|since| now.since(*since) >= stalled_ms);
    Ok(stalled.map(|since| StuckQueue { name: queue.name.clone(), ready, since }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_still_from_the_first_look_without_a_claim_on() {
        let (stillness, queue) = (Stillness::default(), QueueName::stored("plan"));
        assert_eq!(stillness.looked(&queue, true, Timestamp(5)), Some(Timestamp(5)));
        assert_eq!(stillness.looked(&queue, true, Timestamp(9)), Some(Timestamp(5)));
        stillness.end(&queue);
        assert_eq!(stillness.looked(&queue, true, Timestamp(12)), Some(Timestamp(12)));
        assert_eq!(stillness.looked(&queue, false, Timestamp(15)), None);
    }
}
