//! One pool: named workers, and the dispatcher that claims for them.
//!
//! It claims as many jobs as it has idle workers and never more, so nothing is hoarded. It looks when
//! it is woken (a push, a return, an opened lane), when a worker becomes idle and more is known to
//! wait, and when the next entry becomes due. Behind every wake-up stands a look after a second,
//! counted when it finds work, because a wake-up may be lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::Claimed;
use crate::job::{PoolName, QueueName, WorkerName};
use crate::policy::catalog;
use crate::telemetry::metrics;

use super::core::Core;
use super::dispatch;
use super::worker::{self, Assignment, Idle};

/// Between two looks that nothing asked for; spread by a fifth.
const SAFETY_MS: f64 = 1_000.0;
/// While outcomes wait for the ledger in such numbers that claims stop.
const HELD_UP_PAUSE: Duration = Duration::from_millis(20);
/// After rows that could not be read.
const TROUBLED_PAUSE: Duration = Duration::from_secs(1);
/// After a claim that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(250);

/// Why the dispatcher looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Asked,
    Safety,
}

struct Pool {
    core: Arc<Core>,
    name: PoolName,
    queue: QueueName,
    workers: BTreeMap<usize, Worker>,
    tasks: JoinSet<()>,
    numbers: HashMap<Id, usize>,
    idle_sender: mpsc::Sender<Idle>,
    look_at: Instant,
    cause: Cause,
    /// The rows of the last claims could not be read: no more of them until the ledger answers.
    is_held_up: bool,
    sampled_at: Instant,
}

struct Worker {
    name: WorkerName,
    /// `None` once it is to leave.
    inbox: Option<mpsc::Sender<Assignment>>,
    busy_since: Option<Instant>,
    /// Busy time since the last sample, the present run left out.
    busy: Duration,
}

/// Runs the pool until `stop`.
pub(super) async fn run(core: Arc<Core>, name: PoolName, stop: CancellationToken) {
    let Some(queue) = core.catalog().pools.get(&name).map(|pool| pool.queue.clone()) else {
        return stop.cancelled().await;
    };
    // Subscribed before the first look, so that no wake-up falls between.
    let mut wakes = core.broker.wakes();
    let (mut session, mut phase) = (core.session.broker(), core.phase.clone());
    let (idle_sender, mut idle) = mpsc::channel(256);
    let now = Instant::now();
    let (workers, tasks, numbers) = (BTreeMap::new(), JoinSet::new(), HashMap::new());
    let mut pool = Pool {
        core,
        name,
        queue,
        workers,
        tasks,
        numbers,
        idle_sender,
        look_at: now,
        cause: Cause::Asked,
        is_held_up: false,
        sampled_at: now,
    };
    pool.resize();
    loop {
        let is_held_up = pool.is_held_up && pool.core.session.ledger().is_err();
        let may_claim = pool.idle_count() > 0 && pool.core.may_claim() && !is_held_up;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(Idle { number }) = idle.recv() => {
                pool.note_idle(number);
                while let Ok(Idle { number }) = idle.try_recv() {
                    pool.note_idle(number);
                }
            }
            Some(ended) = pool.tasks.join_next_with_id(), if !pool.tasks.is_empty() => {
                let id = match ended { Ok((id, ())) => id, Err(error) => error.id() };
                pool.bury(id);
            }
            () = woken(&mut wakes, &pool.queue) => pool.ask(),
            () = session.changed() => pool.ask(),
            () = phase.changed() => pool.ask(),
            () = tokio::time::sleep_until(pool.look_at) => {
                if may_claim {
                    pool.look().await;
                } else {
                    pool.rest();
                }
                pool.resize();
                pool.publish();
            }
        }
    }
}

/// Returns when something may have become claimable in `queue`.
async fn woken(wakes: &mut broadcast::Receiver<QueueName>, queue: &QueueName) {
    loop {
        match wakes.recv().await {
            Ok(named) if named == *queue => return,
            Ok(_other_queue) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Pool {
    fn safety(&self) -> Duration {
        Duration::from_secs_f64(SAFETY_MS * self.core.chance.between(0.8, 1.2) / 1_000.0)
    }

    fn idle_count(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_idle()).count()
    }

    /// Looks as soon as a worker is idle.
    fn ask(&mut self) {
        self.look_at = Instant::now();
        self.cause = Cause::Asked;
    }

    /// Nothing can be claimed now. Sessions, phases and workers speak up by themselves; outcomes that
    /// wait for the ledger are looked at again soon.
    fn rest(&mut self) {
        let held_up = self.idle_count() > 0 && self.cause == Cause::Asked && self.core.session.is_open();
        self.look_at = Instant::now() + if held_up { HELD_UP_PAUSE } else { self.safety() };
    }

    fn note_idle(&mut self, number: usize) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        if let Some(since) = worker.busy_since.take() {
            worker.busy += since.elapsed().min(self.sampled_at.elapsed());
        }
        if self.cause == Cause::Asked {
            self.look_at = Instant::now();
        }
    }

    /// One claim, up to the number of idle workers.
    async fn look(&mut self) {
        let cause = self.cause;
        let asked = Instant::now();
        let core = self.core.clone();
        let claiming = core.leases.claiming.read().await;
        let claimed = match dispatch::claim(&core, &self.queue, self.idle_count()).await {
            Ok(claimed) => claimed,
            Err(error) => {
                core.session.broker_failed(&error);
                core.leases.look_for_unknown();
                self.look_at = Instant::now() + FAILED_PAUSE;
                return;
            }
        };
        let Claimed { claims, next_due_in_ms, more } = claimed;
        if cause == Cause::Safety {
            metrics::safety_look(self.queue.as_str(), !claims.is_empty());
        }
        let count = claims.len();
        let (assignments, troubled) = dispatch::prepare(&core, &self.queue, asked, claims).await;
        drop(claiming);
        let dropped = count - assignments.len();
        for assignment in assignments {
            self.assign(assignment).await;
        }
        self.is_held_up = troubled;
        if troubled {
            self.cause = Cause::Asked;
            self.look_at = Instant::now() + TROUBLED_PAUSE;
        } else if more || dropped > 0 {
            self.ask();
        } else {
            let due = next_due_in_ms.and_then(|ms| u64::try_from(ms.max(0)).ok()).map(Duration::from_millis);
            let safety = self.safety();
            let due_first = due.filter(|due| *due <= safety);
            self.cause = if due_first.is_some() { Cause::Asked } else { Cause::Safety };
            self.look_at = Instant::now() + due_first.unwrap_or(safety);
        }
    }

    async fn assign(&mut self, assignment: Assignment) {
        let idle = self.workers.values_mut().find(|worker| worker.is_idle());
        let Some((worker, inbox)) = idle.and_then(|worker| worker.inbox.clone().map(|inbox| (worker, inbox))) else {
            // Never more claims than idle workers; a worker that died meanwhile is the exception.
            return self.core.give_back(&assignment.run, crate::broker::Release::Defer { due_at_ms: None }).await;
        };
        worker.busy_since = Some(Instant::now());
        if let Err(mpsc::error::SendError(assignment)) = inbox.send(assignment).await {
            self.core.give_back(&assignment.run, crate::broker::Release::Defer { due_at_ms: None }).await;
        }
    }

    /// Brings the number of workers to the configured one. Idle workers leave at once, busy ones after
    /// their job.
    fn resize(&mut self) {
        let catalog = self.core.catalog();
        let configured = catalog.pools.get(&self.name);
        let wanted = configured.map_or(0, |pool| pool.min);
        let staying = self.workers.values().filter(|worker| worker.inbox.is_some()).count();
        if let Some(configured) = configured {
            for _ in staying..wanted {
                self.hire(configured);
            }
        }
        for worker in self.workers.values_mut().rev().filter(|w| w.inbox.is_some()).take(staying.saturating_sub(wanted))
        {
            worker.inbox = None;
        }
    }

    fn hire(&mut self, configured: &catalog::Pool) {
        // The smallest free number; there are fewer workers than numbers in this range.
        let free = (1..=self.workers.len() + 1).find(|number| !self.workers.contains_key(number));
        let Some(number) = free else { return };
        let name = WorkerName::stored(&format!("{}-{number}", configured.worker_prefix));
        let (inbox, assignments) = mpsc::channel(1);
        let (core, pool, idle) = (self.core.clone(), self.name.clone(), self.idle_sender.clone());
        let task = self.tasks.spawn(worker::work(core, pool, name.clone(), number, assignments, idle));
        self.numbers.insert(task.id(), number);
        let worker = Worker { name, inbox: Some(inbox), busy_since: None, busy: Duration::ZERO };
        self.workers.insert(number, worker);
    }

    /// A worker's task ended: it left, or it died and is replaced by `resize`.
    fn bury(&mut self, id: Id) {
        let Some(worker) = self.numbers.remove(&id).and_then(|number| self.workers.remove(&number)) else { return };
        if worker.inbox.is_some() {
            tracing::error!(worker.name = %worker.name, "Worker {} died and is replaced", worker.name);
        }
        self.resize();
    }

    /// Shows workers by state and how busy each was.
    fn publish(&mut self) {
        let since = self.sampled_at.elapsed();
        if since < Duration::from_millis(900) {
            return;
        }
        let node = self.core.params.node_name.as_str();
        let worker_type = self.core.catalog().pools.get(&self.name).map(|pool| pool.worker_type.clone());
        let (mut idle, mut busy, mut draining) = (0, 0, 0);
        for worker in self.workers.values_mut() {
            match (&worker.inbox, worker.busy_since) {
                (None, _) => draining += 1,
                (Some(_), Some(_)) => busy += 1,
                (Some(_), None) => idle += 1,
            }
            let present = worker.busy_since.map_or(Duration::ZERO, |from| from.elapsed().min(since));
            let share = (std::mem::take(&mut worker.busy) + present).as_secs_f64() / since.as_secs_f64();
            metrics::utilization(worker_type.as_deref().unwrap_or(""), worker.name.as_str(), node, share.min(1.0));
        }
        metrics::workers(self.name.as_str(), node, idle, busy, draining);
        self.sampled_at = Instant::now();
    }
}

impl Worker {
    fn is_idle(&self) -> bool {
        self.inbox.is_some() && self.busy_since.is_none()
    }
}
