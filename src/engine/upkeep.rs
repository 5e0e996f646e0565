//! Upkeep: late jobs, figures.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{Failure, State};
use crate::policy::catalog::{JobType, OnLate, Ordering};
use crate::service::periodic;
use crate::telemetry::metrics::{self, QueueFigures};

use super::core::Core;
use super::{control, pusher, queries, reviews};

/// Between two looks for late jobs.
const LATE_PERIOD: Duration = Duration::from_secs(1);
/// Late jobs of one type that are brought to rest in one step.
const LATE_MAX: u32 = 500;
/// Between two looks at the queues for the metrics.
const SAMPLE_PERIOD: Duration = Duration::from_secs(2);

/// Brings jobs to rest that are too late to start, until `stop`. A claim checks the same; this finds
/// those that wait behind a pause or a full pool.
pub(super) async fn late_jobs(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    periodic(LATE_PERIOD, &core.chance, &never, &stop, || late_once(&core)).await;
}

async fn late_once(core: &Core) {
    if !core.session.is_open() || core.is_stopping() {
        return;
    }
    for known in core.catalog().types.values().filter(|known| known.on_late != OnLate::Run) {
        if let Some(sla_ms) = known.sla_ms
            && let Err(refusal) = rest_late(core, known, sla_ms).await
        {
            tracing::debug!(job.type_ = %known.name, "Late jobs of type {} stay for now: {refusal}", known.name);
        }
    }
}

async fn rest_late(core: &Core, known: &JobType, sla_ms: u64) -> Result<(), super::Refusal> {
    let before = Timestamp(core.clock.now().millis().saturating_sub_unsigned(sla_ms));
    let mut rows = core.ledger.late_entries(&known.name, before, LATE_MAX).await?;
    rows.retain(|row| row.counters.attempts == 0);
    let state = if known.on_late == OnLate::Expire { State::Expired } else { State::InReview };
    let why = Failure::new("late", format!("not started within its SLA of {sla_ms} ms"));
    // Whatever has waited longer than a push may stay clean is safe to take.
    let unseen_too = before.plus_ms(pusher::CLEAN_MS) <= core.clock.now();
    let count = control::rest_waiting(core, &known.queue, &rows, state, Some(&why), unseen_too).await?.count;
    if count > 0 {
        metrics::promised(known.queue.as_str(), known.name.as_str(), false, count);
        tracing::warn!(count, "{count} jobs of type {} were too late to start and are {state}", known.name);
    }
    Ok(())
}

/// Shows the queues, rates and sizes, until `stop`.
pub(super) async fn samples(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    periodic(SAMPLE_PERIOD, &core.chance, &never, &stop, || sample(&core)).await;
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
async fn sample(core: &Core) {
    let catalog = core.catalog();
    let mut lanes = Vec::new();
    for queue in catalog.queues.values() {
        let Some(depth) = queries::depth(core, &queue.name).await else { continue };
        // Under strict order a score is no point in time.
        let head = depth.head_score.filter(|_| queue.ordering == Ordering::Deadline);
        let head_lateness = head.map(|score| (core.broker.now_ms() - score) as f64 / 1_000.0);
        let figures = QueueFigures {
            ready: depth.ready,
            later: depth.later,
            running: depth.leased,
            head_lateness,
            paused: depth.paused.contains(&None),
        };
        metrics::queue(queue.name.as_str(), queue.priorities, &figures);
        lanes.extend(depth.lanes);
    }
    core.breakers.publish_held(&lanes, core.membership.living().len());
    core.figures.publish(&catalog, core.clock.now());
    if let Err(error) = reviews::publish(core, core.clock.now()).await {
        tracing::debug!("Open reviews were not counted: {error}");
    }
    match core.ledger.sizes().await {
        Ok(sizes) => {
            metrics::ledger_size(sizes.live, sizes.finished, sizes.bytes);
            metrics::ledger_disk_free(sizes.disk_free);
        }
        Err(error) if error.is_transient() => core.session.ledger_failed(&error),
        Err(error) => tracing::error!("The ledger's size cannot be read: {error}"),
    }
}
