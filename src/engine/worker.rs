//! One worker: a named task that runs one job at a time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::Release;
use crate::handler::{Invocation, Ran, SharedHandler};
use crate::job::{Counters, Job};
use crate::mutant::mutant;
use crate::policy::catalog::HandlerSpec;
use crate::telemetry::metrics;

use super::core::Core;
use super::post::Post;
use super::running::{Run, StopReason};
use super::scaling;
use super::settlement::RunFacts;

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

/// A worker's report to its crew.
#[derive(Debug)]
pub(super) struct Report {
    /// Which worker.
    pub(super) number: usize,
    /// What it says.
    pub(super) news: News,
}

/// What a worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is at its post.
    Up,
    /// It is idle again.
    Idle,
}

/// Works until its inbox closes.
pub(super) async fn work(
    core: Arc<Core>,
    post: Arc<Post>,
    number: usize,
    mut inbox: mpsc::Receiver<Assignment>,
    reports: mpsc::Sender<Report>,
) {
    if reports.send(Report { number, news: News::Up }).await.is_err() {
        return;
    }
    while let Some(assignment) = inbox.recv().await {
        run(&core, &post, assignment).await;
        if reports.send(Report { number, news: News::Idle }).await.is_err() {
            return;
        }
    }
}

/// Runs one job from claim to outcome.
async fn run(core: &Core, post: &Post, assignment: Assignment) {
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
    post.take_up(&run, started_at);
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
        overrides: core.settings.overrides(started_at),
        payload: job.spec.payload.clone(),
        result_bytes_max: core.params.limits.result_bytes_max,
        stop: run.stop.clone(),
        footprint: run.footprint.clone(),
    };
    let hung_after = Duration::from_millis(setup.health.hung_after_ms);
    let driving = drive(&run, handler, invocation, Duration::from_millis(timeout_ms), hung_after);
    let is_charged = setup.catalog.pools.get(&post.pool).is_some_and(scaling::counts_threads);
    let (ran, was_dropped) = if is_charged { post.meter.charge(&*core.host, driving).await } else { driving.await };
    let finished_at = core.clock.now();
    let run_ms = finished_at.since(started_at);
    if matches!(known.handler, HandlerSpec::Command { .. }) {
        post.meter.command_ended(run_ms);
    }
    metrics::ran(run.queue.as_str(), run.job_type.as_str(), seconds(run_ms));
    core.figures.ran(&run, &post.pool, run_ms, !matches!(ran, Ran::Returned { .. }), finished_at);
    let went_well = says_of_worker(&ran, was_dropped, run.stopped());
    core.health.ran(went_well.filter(|_| !run.is_given_away()));
    let facts = RunFacts { worker: post.name.clone(), started_at, finished_at, timeout_ms, counters, redelivered };
    core.conclude(&run, &job, &facts, ran).await;
    owned.concluded = true;
    post.put_down(went_well, core.health.moment(), finished_at);
}

/// What the end of a run says about its worker, if anything. What a handler reports as a failure, bad input and
/// dependencies that are down among it, is not the worker's doing.
fn says_of_worker(ran: &Ran, was_dropped: bool, stopped: Option<StopReason>) -> Option<bool> {
    match ran {
        Ran::Returned { .. } => Some(true),
        Ran::Crashed { .. } => Some(false),
        Ran::Stopped if stopped == Some(StopReason::Memory) => Some(false),
        Ran::Stopped if was_dropped && stopped == Some(StopReason::Deadline) => Some(false),
        Ran::Failed { .. } if mutant!(failures_make_sick) => Some(false),
        Ran::Failed { .. } | Ran::Deferred { .. } | Ran::Stopped => None,
    }
}

/// Runs the handler up to its deadline; after that, or when the run is stopped, for its grace. The flag says that it
/// did not stop by then and was dropped.
async fn drive(
    run: &Run,
    handler: &SharedHandler,
    invocation: Invocation,
    timeout: Duration,
    hung_after: Duration,
) -> (Ran, bool) {
    run.begin(Instant::now() + timeout);
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
        let grace = run.stopped().unwrap_or(StopReason::Deadline).grace(hung_after);
        tokio::time::timeout(grace, &mut handling).await.ok()
    };
    match ended {
        Some(Ok(ran)) => (ran, false),
        Some(Err(_panic)) => {
            (Ran::Crashed { message: "the handler panicked; the log has its words".to_owned() }, false)
        }
        None if run.stopped() == Some(StopReason::Memory) => (Ran::Stopped, true),
        None => {
            metrics::abandoned(run.queue.as_str());
            tracing::error!(job.id = %run.id, "The handler of job {} did not stop in time and was dropped", run.id);
            (Ran::Stopped, true)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
