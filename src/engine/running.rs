//! What runs on this node: every lease it holds, and the way to stop each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Claim, LeaseRef};
use crate::handler::Footprint;
use crate::job::{Counters, Fence, JobId, QueueName, Seq, TypeName};
use crate::service::lock;

use super::breakers::{Leave, Leaves};

/// How long a handler may take to stop when the whole node leaves, whose own deadline is near, or when an operator
/// does not want to wait.
const HURRIED_GRACE: Duration = Duration::from_millis(400);
/// By how much a worker may overrun the grace after which it drops its handler before it counts as hung: it answers late
/// on a busy machine too.
const HUNG_MARGIN: Duration = Duration::from_secs(1);

/// Why a run is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Its time is up.
    Deadline,
    /// Someone else has the job now, or an operator took it away.
    LeaseLost,
    /// This node leaves.
    Shutdown,
    /// An operator replaces its worker and does not wait.
    Replaced,
    /// Its work holds more memory than its worker may.
    Memory,
}

impl StopReason {
    /// How long its handler may take to stop: `hung_after`, which leaves room for a command's own grace, unless
    /// there is a reason to hurry.
    pub(super) fn grace(self, hung_after: Duration) -> Duration {
        match self {
            Self::Deadline | Self::LeaseLost => hung_after,
            Self::Shutdown | Self::Replaced => HURRIED_GRACE,
            // To be dropped takes its processes with it, and that is the point.
            Self::Memory => Duration::ZERO,
        }
    }
}

/// One lease of this node.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: JobId,
    pub(super) seq: Seq,
    pub(super) fence: Fence,
    pub(super) queue: QueueName,
    pub(super) job_type: TypeName,
    pub(super) keyed: bool,
    /// The counters of the claim, this delivery included.
    pub(super) counters: Counters,
    /// Fires when the handler is to stop.
    pub(super) stop: CancellationToken,
    /// The child process group that works for it.
    pub(super) footprint: Footprint,
    reason: OnceLock<(StopReason, Instant)>,
    /// When its handler is told to stop at the latest; not set before it starts.
    deadline: OnceLock<Instant>,
    /// Whether its job was given to somebody else because its handler does not answer.
    given_away: AtomicBool,
    /// Until when the lease can be relied on if nobody is asked again.
    trusted_until: Mutex<Instant>,
    /// Whether the run has ended and its outcome was handed on.
    concluded: AtomicBool,
    /// By whose leave it runs; they end with it.
    leaves: Mutex<Leaves>,
}

impl Run {
    /// Tells the handler to stop; the first reason counts. Answers whether this was the first.
    pub(super) fn stop(&self, reason: StopReason) -> bool {
        let is_first = self.reason.set((reason, Instant::now())).is_ok();
        self.stop.cancel();
        is_first
    }

    /// The lease was confirmed, and can be relied on until then.
    pub(super) fn trust(&self, until: Instant) {
        *lock(&self.trusted_until) = until;
    }

    /// Until when the lease can be relied on.
    pub(super) fn trusted_until(&self) -> Instant {
        *lock(&self.trusted_until)
    }

    /// The run has ended; what is still to come is its record.
    pub(super) fn conclude(&self) {
        self.concluded.store(true, Ordering::Release);
    }

    /// Whether the run has ended.
    pub(super) fn is_concluded(&self) -> bool {
        self.concluded.load(Ordering::Acquire)
    }

    /// Whether all that it depends on may still be called.
    pub(super) fn may_start(&self) -> bool {
        lock(&self.leaves).iter().all(Leave::is_current)
    }

    /// Its leaves, for whoever ends them.
    pub(super) fn take_leaves(&self) -> Leaves {
        std::mem::take(&mut lock(&self.leaves))
    }

    /// Why it was told to stop, if it was.
    pub(super) fn stopped(&self) -> Option<StopReason> {
        self.reason.get().map(|(reason, _)| *reason)
    }

    /// Its handler starts, and is told to stop at `deadline`.
    pub(super) fn begin(&self, deadline: Instant) {
        // A run begins once.
        self.deadline.get_or_init(|| deadline);
    }

    /// When its handler, or the worker that drops it, must have answered; `None` while none runs.
    pub(super) fn answer_by(&self, hung_after: Duration) -> Option<Instant> {
        let deadline = self.deadline.get().filter(|_| !self.is_concluded())?;
        let (reason, told_at) = self.reason.get().copied().unwrap_or((StopReason::Deadline, *deadline));
        Some(told_at + reason.grace(hung_after) + HUNG_MARGIN)
    }

    /// Its job goes to somebody else: whatever its handler still says but a result is void. True the first time.
    pub(super) fn give_away(&self) -> bool {
        let is_first = !self.given_away.swap(true, Ordering::AcqRel);
        // Nothing will be learnt from it any more, and a probe that is lost with it may be made anew.
        drop(self.take_leaves());
        is_first
    }

    /// Whether its job was given to somebody else.
    pub(super) fn is_given_away(&self) -> bool {
        self.given_away.load(Ordering::Acquire)
    }

    /// The lease as the broker knows it.
    pub(super) fn lease(&self) -> LeaseRef {
        LeaseRef { id: self.id.clone(), seq: self.seq, fence: self.fence }
    }
}

/// The leases of this node.
#[derive(Debug)]
pub(super) struct Running {
    /// In order of life and fence, so that steps over all of them come in the same order every time.
    runs: Mutex<BTreeMap<(Seq, Fence), Arc<Run>>>,
    count: watch::Sender<usize>,
}

impl Running {
    pub(super) fn new() -> Self {
        Self { runs: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// Notes a lease. An older lease of the same job on this node is told to stop: it was lost.
    pub(super) fn add(&self, queue: &QueueName, claim: &Claim, leaves: Leaves, trusted_until: Instant) -> Arc<Run> {
        let run = Arc::new(Run {
            id: claim.id.clone(),
            seq: claim.seq,
            fence: claim.fence,
            queue: queue.clone(),
            job_type: claim.job_type.clone(),
            keyed: claim.keyed,
            counters: claim.counters,
            stop: CancellationToken::new(),
            footprint: Footprint::default(),
            reason: OnceLock::new(),
            deadline: OnceLock::new(),
            given_away: AtomicBool::new(false),
            trusted_until: Mutex::new(trusted_until),
            concluded: AtomicBool::new(false),
            leaves: Mutex::new(leaves),
        });
        let mut runs = lock(&self.runs);
        if claim.suspect {
            for older in runs.values().filter(|run| run.id == claim.id && run.fence < claim.fence) {
                older.stop(StopReason::LeaseLost);
            }
        }
        runs.insert((claim.seq, claim.fence), run.clone());
        self.count.send_replace(runs.len());
        run
    }

    /// Forgets a lease.
    pub(super) fn remove(&self, run: &Run) {
        let mut runs = lock(&self.runs);
        runs.remove(&(run.seq, run.fence));
        self.count.send_replace(runs.len());
    }

    /// All leases, by queue.
    pub(super) fn by_queue(&self) -> BTreeMap<QueueName, Vec<Arc<Run>>> {
        let mut queues: BTreeMap<QueueName, Vec<Arc<Run>>> = BTreeMap::new();
        for run in lock(&self.runs).values() {
            queues.entry(run.queue.clone()).or_default().push(run.clone());
        }
        queues
    }

    /// Whether a lease is one of these.
    pub(super) fn knows(&self, lease: &LeaseRef) -> bool {
        lock(&self.runs).contains_key(&(lease.seq, lease.fence))
    }

    /// The first end of a lease that somebody still works under.
    pub(super) fn first_trusted_until(&self) -> Option<Instant> {
        let runs = lock(&self.runs);
        let working = runs.values().filter(|run| run.stopped().is_none() && !run.is_concluded());
        working.map(|run| run.trusted_until()).min()
    }

    /// Tells the runs of one job to stop.
    pub(super) fn stop_job(&self, id: &JobId) {
        for run in lock(&self.runs).values().filter(|run| run.id == *id) {
            run.stop(StopReason::LeaseLost);
        }
    }

    /// Tells every run to stop.
    pub(super) fn stop_all(&self, reason: StopReason) {
        for run in lock(&self.runs).values() {
            run.stop(reason);
        }
    }

    /// Waits until nothing runs.
    pub(super) async fn none(&self) {
        let mut count = self.count.subscribe();
        let _sender_lives_as_long_as_self = count.wait_for(|count| *count == 0).await;
    }

    /// How many leases there are.
    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }
}
