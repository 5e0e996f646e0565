//! The crew of a pool: its named workers, each a supervised task that runs one job at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::broker::Release;
use crate::job::{PoolName, WorkerName};
use crate::policy::catalog;
use crate::telemetry::metrics;

use super::core::Core;
use super::worker::{self, Assignment, Idle};

/// The workers of one pool.
pub(super) struct Crew {
    core: Arc<Core>,
    pool: PoolName,
    workers: BTreeMap<usize, Worker>,
    tasks: JoinSet<()>,
    numbers: HashMap<Id, usize>,
    idle_sender: mpsc::Sender<Idle>,
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

impl Crew {
    /// A crew without workers, whose workers report to `idle_sender`.
    pub(super) fn new(core: Arc<Core>, pool: PoolName, idle_sender: mpsc::Sender<Idle>) -> Self {
        Self {
            core,
            pool,
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            idle_sender,
            sampled_at: Instant::now(),
        }
    }

    /// How many workers wait for a job.
    pub(super) fn idle_count(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_idle()).count()
    }

    /// Notes that a worker is idle again.
    pub(super) fn note_idle(&mut self, Idle { number }: Idle) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        if let Some(since) = worker.busy_since.take() {
            worker.busy += since.elapsed().min(self.sampled_at.elapsed());
        }
    }

    /// Hands a job to an idle worker.
    pub(super) async fn assign(&mut self, assignment: Assignment) {
        let idle = self.workers.values_mut().find(|worker| worker.is_idle());
        let Some((worker, inbox)) = idle.and_then(|worker| worker.inbox.clone().map(|inbox| (worker, inbox))) else {
            // Never more claims than idle workers; a worker that died meanwhile is the exception.
            return self.core.give_back(&assignment.run, Release::Defer { due_at_ms: None }).await;
        };
        worker.busy_since = Some(Instant::now());
        if let Err(mpsc::error::SendError(assignment)) = inbox.send(assignment).await {
            self.core.give_back(&assignment.run, Release::Defer { due_at_ms: None }).await;
        }
    }

    /// Brings the number of workers to the wanted one. Idle workers leave at once, busy ones after
    /// their job.
    pub(super) fn resize(&mut self) {
        let catalog = self.core.catalog();
        let configured = catalog.pools.get(&self.pool);
        let wanted = configured.map_or(0, |pool| self.core.roster.wanted(pool));
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
        let (core, pool, idle) = (self.core.clone(), self.pool.clone(), self.idle_sender.clone());
        let task = self.tasks.spawn(worker::work(core, pool, name.clone(), number, assignments, idle));
        self.numbers.insert(task.id(), number);
        let worker = Worker { name, inbox: Some(inbox), busy_since: None, busy: Duration::ZERO };
        self.workers.insert(number, worker);
    }

    /// Waits until a worker's task ends; never returns while there is none.
    pub(super) async fn ended(&mut self) -> Result<(Id, ()), JoinError> {
        match self.tasks.join_next_with_id().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// A worker's task ended: it left, or it died and is replaced.
    pub(super) fn bury(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(worker) = self.numbers.remove(&id).and_then(|number| self.workers.remove(&number)) else { return };
        if worker.inbox.is_some() {
            tracing::error!(worker.name = %worker.name, "Worker {} died and is replaced", worker.name);
        }
        self.resize();
    }

    /// Shows workers by state and how busy each was.
    pub(super) fn publish(&mut self) {
        let since = self.sampled_at.elapsed();
        if since < Duration::from_millis(900) {
            return;
        }
        let node = self.core.params.node_name.as_str();
        let worker_type = self.core.catalog().pools.get(&self.pool).map(|pool| pool.worker_type.clone());
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
        metrics::workers(self.pool.as_str(), node, idle, busy, draining);
        self.sampled_at = Instant::now();
    }
}

impl Worker {
    fn is_idle(&self) -> bool {
        self.inbox.is_some() && self.busy_since.is_none()
    }
}
