//! Leases: renewing those of this node, and returning those that expired.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::service::periodic;
use crate::telemetry::metrics;

use super::core::Core;
use super::running::StopReason;

/// Between two looks for expired leases: a lost node's jobs wait a lease and about this long.
const REAP_PERIOD: Duration = Duration::from_secs(1);
/// Leases returned in one step.
const REAP_MAX: usize = 100;

/// Renews all leases of this node, one call a queue, until `stop`.
pub(super) async fn renew(core: Arc<Core>, stop: CancellationToken) {
    let period = Duration::from_millis(core.params.renew_ms);
    let never = Notify::new();
    periodic(period, &core.chance, &never, &stop, || renew_once(&core)).await;
}

async fn renew_once(core: &Core) {
    for (queue, runs) in core.running.by_queue() {
        let leases: Vec<_> = runs.iter().map(|run| run.lease()).collect();
        match core.broker.renew(&queue, &leases, core.params.lease_ms, core.params.lock_ms).await {
            Ok(held) => {
                for (run, _) in runs.iter().zip(held).filter(|(_, held)| !held) {
                    tracing::warn!(job.id = %run.id, "Lost the lease of job {}; its run is stopped", run.id);
                    run.stop(StopReason::LeaseLost);
                }
            }
            // Without the broker the run goes on: if another node takes the job, the ledger refuses ours.
            Err(error) => core.session.broker_failed(&error),
        }
    }
}

/// Returns expired leases of all queues until `stop`.
pub(super) async fn reap(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    periodic(REAP_PERIOD, &core.chance, &never, &stop, || reap_once(&core)).await;
}

async fn reap_once(core: &Core) {
    // After a break, holders that were cut off too get one lease to renew theirs.
    let lease = Duration::from_millis(u64::try_from(core.params.lease_ms).unwrap_or(0));
    if core.session.open_for() < lease {
        return;
    }
    let living = core.living.load_full();
    for queue in core.catalog().queues.keys() {
        match core.broker.reap(queue, &living, REAP_MAX).await {
            Ok(reaped) => {
                for (kind, ids) in [("crash", &reaped.crashed), ("deferral", &reaped.deferred)] {
                    if ids.is_empty() {
                        continue;
                    }
                    metrics::leases_expired(queue.as_str(), kind, ids.len() as u64);
                    tracing::warn!(queue.name = %queue, "Returned {} expired leases of queue {queue} ({kind})", ids.len());
                }
                metrics::crashed(queue.as_str(), reaped.crashed.len() as u64);
                metrics::deferred(queue.as_str(), "lease", reaped.deferred.len() as u64);
            }
            Err(error) => core.session.broker_failed(&error),
        }
    }
}
