//! One worker: a named task that runs one job at a time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::broker::Release;
use crate::handler::{Invocation, Ran, SharedHandler};
use crate::job::{Counters, Job, PoolName, WorkerName};
use crate::mutant::mutant;
use crate::telemetry::metrics;

use super::core::Core;
use super::running::{Run, StopReason};
use super::settlement::RunFacts;

/// How long a handler may take to stop after it was told to. A command has its own grace from TERM to
/// KILL (`handlers.term_grace_ms`), which this leaves room for.
const STOP_GRACE: Duration = Duration::from_secs(12);
/// The same when the whole node leaves: the node's own deadline is near.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(400);

/// A claimed job on its way to a worker.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) run: Arc<Run>,
    pub(super) job: Arc<Job>,
    /// The counters of this delivery.
    pub(super) counters: Counters,
    /// Whether this was not the first delivery.
    pub(super) redelivered: bool,
}

/// Forgets a run whose worker dies under it, so that its lease lapses instead of being renewed for ever.
struct Owned<'a> {
    core: &'a Core,
    run: &'a Run,
    concluded: bool,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        if !self.concluded {
            self.core.running.remove(self.run);
        }
    }
}

/// A worker's report that it is idle again.
#[derive(Debug)]
pub(super) struct Idle {
    /// Which worker.
    pub(super) number: usize,
}

/// Works until its inbox closes.
pub(super) async fn work(
    core: Arc<Core>,
    pool: PoolName,
    name: WorkerName,
    number: usize,
    mut inbox: mpsc::Receiver<Assignment>,
    idle: mpsc::Sender<Idle>,
) {
    while let Some(assignment) = inbox.recv().await {
        run(&core, &pool, &name, assignment).await;
        if idle.send(Idle { number }).await.is_err() {
            return;
        }
    }
}

/// Runs one job from claim to outcome.
async fn run(core: &Core, pool: &PoolName, worker: &WorkerName, assignment: Assignment) {
    let Assignment { run, job, counters, redelivered } = assignment;
    let mut owned = Owned { core, run: &run, concluded: false };
    let setup = core.setup.load_full();
    let (Some(handler), Some(known)) = (setup.handlers.get(&run.job_type), setup.catalog.types.get(&run.job_type))
    else {
        // A reload took the type away between claim and start.
        core.give_back(&run, Release::Defer { due_at_ms: None }).await;
        owned.concluded = true;
        return;
    };
    if !run.may_start() {
        metrics::deferred(run.queue.as_str(), "breaker", 1);
        core.give_back(&run, Release::Defer { due_at_ms: None }).await;
        owned.concluded = true;
        return;
    }
    let started_at = core.clock.now();
    let wait_ms = started_at.since(job.waits_from);
    if job.counters.attempts == 0 {
        metrics::waited(run.queue.as_str(), run.job_type.as_str(), seconds(wait_ms));
        core.figures.waited(&run.queue, wait_ms, started_at);
    }
    let timeout_ms = job.spec.timeout_ms.unwrap_or(known.timeout_ms);
    let invocation = Invocation {
        id: run.id.clone(),
        job_type: run.job_type.clone(),
        queue: run.queue.clone(),
        priority: job.spec.priority,
        attempt: job.counters.attempts + 1,
        fence: if mutant!(fence_not_told) { 0 } else { run.fence },
        labels: job.spec.labels.clone(),
        deadline: started_at.plus_ms(i64::try_from(timeout_ms).unwrap_or(i64::MAX)),
        payload: job.spec.payload.clone(),
        result_bytes_max: core.params.limits.result_bytes_max,
        stop: run.stop.clone(),
        footprint: run.footprint.clone(),
    };
    let ran = drive(&run, handler, invocation, Duration::from_millis(timeout_ms)).await;
    let finished_at = core.clock.now();
    let run_ms = finished_at.since(started_at);
    metrics::ran(run.queue.as_str(), run.job_type.as_str(), seconds(run_ms));
    core.figures.ran(&run.queue, pool, run_ms, !matches!(ran, Ran::Returned { .. }), finished_at);
    let facts = RunFacts { worker: worker.clone(), started_at, finished_at, timeout_ms, counters, redelivered };
    core.conclude(&run, &job, &facts, ran).await;
    owned.concluded = true;
}

/// Runs the handler up to its deadline; after that, or when the run is stopped, for its grace.
async fn drive(run: &Run, handler: &SharedHandler, invocation: Invocation, timeout: Duration) -> Ran {
    let handling = AssertUnwindSafe(handler.run(invocation)).catch_unwind();
    tokio::pin!(handling);
    let ended = tokio::select! {
        biased;
        ended = &mut handling => Some(ended),
        () = run.stop.cancelled() => None,
        () = tokio::time::sleep(timeout) => {
            run.stop(StopReason::Deadline);
            None
        }
    };
    let ended = if ended.is_some() {
        ended
    } else {
        let grace = if run.stopped() == Some(StopReason::Shutdown) { SHUTDOWN_GRACE } else { STOP_GRACE };
        tokio::time::timeout(grace, &mut handling).await.ok()
    };
    match ended {
        Some(Ok(ran)) => ran,
        Some(Err(_panic)) => Ran::Crashed { message: "the handler panicked; the log has its words".to_owned() },
        None => {
            metrics::abandoned(run.queue.as_str());
            tracing::error!(job.id = %run.id, "The handler of job {} did not stop in time and was dropped", run.id);
            Ran::Stopped
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
