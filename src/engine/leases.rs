//! Leases: renewing those of this node, giving back those it does not know, returning those that expired.
//!
//! The broker keeps the leases, but their end does not hang on it alone. While it is away the ledger says
//! whether somebody else has a job by now, since whoever takes one over writes a higher fence there. Only
//! when neither answers a run is stopped at the end of its lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, RwLock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{LeaseRef, Release, Settle};
use crate::job::{QueueName, Seq};
use crate::mutant::mutant;
use crate::service::{periodic, turn};
use crate::telemetry::metrics;

use super::core::Core;
use super::running::{Run, StopReason};

/// Between two looks for expired leases: a lost node's jobs wait a lease and about this long.
const REAP_PERIOD: Duration = Duration::from_secs(1);
/// Leases returned in one step.
const REAP_MAX: usize = 100;
/// Leases of one queue that are looked at for unknown ones.
const LEASES_MAX: usize = 10_000;

/// What the rest of the engine shares with the leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Held for reading from the question for work until its answer is noted in `running`.
    pub(super) claiming: RwLock<()>,
    unknown: Notify,
}

impl Leases {
    /// The answer to a claim may have been lost: look for leases that nobody here knows.
    pub(super) fn look_for_unknown(&self) {
        self.unknown.notify_one();
    }
}

/// How long a lease that was asked for at `asked` can be relied on: a tenth less than it lasts, for clocks
/// that run apart.
pub(super) fn trusted_until(core: &Core, asked: Instant) -> Instant {
    asked + Duration::from_millis(core.params.lease_ms.unsigned_abs()).mul_f64(0.9)
}

/// Renews all leases of this node, one call a queue, until `stop`.
pub(super) async fn renew(core: Arc<Core>, stop: CancellationToken) {
    let period = Duration::from_millis(core.params.renew_ms);
    if mutant!(no_renewal) {
        return stop.cancelled().await;
    }
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = turn(renew_once(&core)) => {}
        }
        // Where a lease can be relied on for less than a period, it is looked at again at its end.
        let next = Instant::now() + period.mul_f64(core.chance.between(0.8, 1.2));
        let next = core.running.first_trusted_until().map_or(next, |end| next.min(end));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

async fn renew_once(core: &Core) {
    let mut cut_off = Vec::new();
    for (queue, runs) in core.running.by_queue() {
        // While it is rebuilt it knows no lease, and that says nothing.
        if !core.session.is_open() {
            cut_off.extend(runs);
            continue;
        }
        let asked = Instant::now();
        let leases: Vec<_> = runs.iter().map(|run| run.lease()).collect();
        match core.broker.renew(&queue, &leases, core.lease_ms(), core.params.lock_ms).await {
            Ok(held) => {
                for (run, held) in runs.iter().zip(held) {
                    if held { run.trust(trusted_until(core, asked)) } else { lost(run, "another holder has it") }
                }
            }
            Err(error) => {
                core.session.broker_failed(&error);
                cut_off.extend(runs);
            }
        }
    }
    if !cut_off.is_empty() {
        ask_ledger(core, cut_off).await;
    }
}

/// Without the broker: runs go on as long as no higher fence stands in the ledger.
async fn ask_ledger(core: &Core, runs: Vec<Arc<Run>>) {
    let asked = Instant::now();
    let seqs: Vec<Seq> = runs.iter().map(|run| run.seq).collect();
    if mutant!(outage_stops_runs) {
        return runs.iter().for_each(|run| lost(run, "the broker does not answer"));
    }
    match core.ledger.fences(&seqs).await {
        Ok(fences) => {
            for (run, fence) in runs.iter().zip(fences) {
                match fence {
                    Some(fence) if fence <= run.fence => run.trust(trusted_until(core, asked)),
                    Some(_) => lost(run, "a later fence stands in the ledger"),
                    None => lost(run, "the job is at rest"),
                }
            }
        }
        Err(error) => {
            core.session.ledger_failed(&error);
            let now = Instant::now();
            for run in runs.iter().filter(|run| run.trusted_until() <= now) {
                lost(run, "neither broker nor ledger answers, and its time is over");
            }
        }
    }
}

fn lost(run: &Run, why: &str) {
    if !run.is_concluded() && !mutant!(lost_lease_runs_on) && run.stop(StopReason::LeaseLost) {
        tracing::warn!(job.id = %run.id, "Lost the lease of job {}: {why}; its run is stopped", run.id);
    }
}

/// Gives back leases that the broker lists for this node and that nobody here knows, until `stop`: the
/// answer to a claim was lost, or a run ended while the broker was away.
pub(super) async fn give_back_unknown(core: Arc<Core>, stop: CancellationToken) {
    let period = Duration::from_millis(core.params.renew_ms);
    periodic(period, &core.chance, &core.leases.unknown, &stop, || turn(give_back_once(&core))).await;
}

async fn give_back_once(core: &Core) {
    for queue in core.queues() {
        if !core.session.is_open() {
            return;
        }
        match core.broker.leases(&queue, LEASES_MAX).await {
            Ok(_) if mutant!(unknown_leases_kept) => {}
            Ok(views) => {
                let ours = views.into_iter().filter_map(|view| {
                    let lease = view.lease.filter(|lease| lease.node == core.params.node)?;
                    Some(LeaseRef { id: view.id, seq: view.seq, fence: lease.fence })
                });
                let unknown: Vec<LeaseRef> = ours.filter(|lease| !core.running.knows(lease)).collect();
                give_back(core, &queue, unknown).await;
            }
            Err(error) => core.session.broker_failed(&error),
        }
    }
}

async fn give_back(core: &Core, queue: &QueueName, mut unknown: Vec<LeaseRef>) {
    if unknown.is_empty() {
        return;
    }
    // Claims that were under way when the leases were read have been noted after this.
    drop(core.leases.claiming.write().await);
    unknown.retain(|lease| !core.running.knows(lease));
    let release = Release::Defer { due_at_ms: None };
    let settles: Vec<Settle> = unknown.into_iter().map(|lease| Settle { lease, release: release.clone() }).collect();
    match core.broker.settle(queue, &settles).await {
        Ok(held) => {
            let count = held.into_iter().filter(|held| *held).count() as u64;
            if count > 0 {
                metrics::repaired("lease", count);
                metrics::deferred(queue.as_str(), "lease", count);
                tracing::warn!(queue.name = %queue, "Gave back {count} leases of queue {queue} that nobody here knew");
            }
        }
        Err(error) => core.session.broker_failed(&error),
    }
}

/// Returns expired leases of all queues until `stop`.
pub(super) async fn reap(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    let period = if mutant!(reaper_without_grace) { Duration::from_millis(10) } else { REAP_PERIOD };
    periodic(period, &core.chance, &never, &stop, || turn(reap_once(&core))).await;
}

async fn reap_once(core: &Core) {
    // After a break, holders that were cut off too get one lease to renew theirs.
    let lease = Duration::from_millis(core.params.lease_ms.unsigned_abs());
    if core.session.open_for() < lease && !mutant!(reaper_without_grace) {
        return;
    }
    let living = if mutant!(outage_is_crash) { Arc::default() } else { core.membership.living() };
    for queue in core.queues() {
        match core.broker.reap(&queue, &living, REAP_MAX).await {
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
