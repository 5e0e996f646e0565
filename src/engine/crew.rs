//! The crew of a pool: its named workers, each a supervised task that runs one job at a time.
//!
//! Who leaves is never interrupted and never missed: first somebody is hired in its place, and only when that one is
//! at its post the old one's inbox closes; it finishes its job and goes. Only an emergency does not wait. A name is
//! free again when the task behind it has ended, however long that takes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::broker::Release;
use crate::job::{PoolName, WorkerName};
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::policy::catalog;
use crate::telemetry::metrics;

use super::core::Core;
use super::post::Post;
use super::running::StopReason;
use super::said;
use super::worker::{self, Assignment, News, Report};
use super::workers::{Order, WorkerOrder};

/// Workers hired in one go; between two goes the pool hears what it is told and claims.
const HIRES_MAX: usize = 100;

/// The workers of one pool.
pub(super) struct Crew {
    pub(super) core: Arc<Core>,
    pub(super) pool: PoolName,
    pub(super) workers: BTreeMap<usize, Worker>,
    tasks: JoinSet<()>,
    numbers: HashMap<Id, usize>,
    reports: mpsc::Sender<Report>,
    sampled_at: Instant,
    /// What `care.rs` remembers.
    pub(super) chart: Chart,
}

/// What those who look after the workers remember from one look to the next.
pub(super) struct Chart {
    pub(super) looked_at: Instant,
    pub(super) check_at: Instant,
    /// When workers were replaced without an order, within the window.
    pub(super) replaced: VecDeque<Instant>,
    pub(super) panic: bool,
}

pub(super) struct Worker {
    pub(super) post: Arc<Post>,
    /// `None` once it is to leave.
    inbox: Option<mpsc::Sender<Assignment>>,
    /// Whether it has said that it is at its post.
    is_up: bool,
    /// Whether it takes no more jobs; its inbox stays open until its replacement is up.
    pub(super) is_leaving: bool,
    /// Who was hired in its place.
    replaced_by: Option<usize>,
    /// Whether it was given up while its handler did not answer.
    pub(super) is_lost: bool,
    busy_since: Option<Instant>,
    /// Busy time since the last sample, the present run left out.
    busy: Duration,
}

impl Crew {
    /// A crew without workers, whose workers report to `reports`.
    pub(super) fn new(core: Arc<Core>, pool: PoolName, reports: mpsc::Sender<Report>) -> Self {
        let now = Instant::now();
        core.roster.open(&pool);
        let chart = Chart { looked_at: now, check_at: now, replaced: VecDeque::new(), panic: false };
        Self {
            core,
            pool,
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            reports,
            sampled_at: now,
            chart,
        }
    }

    /// How many workers wait for a job.
    pub(super) fn idle_count(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_idle()).count()
    }

    /// Notes what a worker reports.
    pub(super) fn note(&mut self, Report { number, news }: Report) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        if news == News::Up {
            worker.is_up = true;
            return self.release();
        }
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

    /// Brings the number of workers to the wanted one; answers the first that was hired. Of too many, idle ones leave
    /// first, busy ones after their job.
    pub(super) fn resize(&mut self) -> Option<usize> {
        let catalog = self.core.catalog();
        let configured = catalog.pools.get(&self.pool);
        let wanted = configured.map_or(0, |pool| self.core.roster.wanted(pool));
        let staying: Vec<usize> = self.staying().collect();
        if let Some(configured) = configured.filter(|_| staying.len() < wanted) {
            let missing = wanted - staying.len();
            let hired: Vec<usize> = (0..missing.min(HIRES_MAX)).filter_map(|_| self.hire(configured)).collect();
            if missing > HIRES_MAX {
                self.core.roster.told(&self.pool).notify_one();
            }
            return hired.first().copied();
        }
        let mut surplus = staying;
        let spare = surplus.len() - wanted.min(surplus.len());
        if spare == 0 {
            return None;
        }
        surplus.sort_by_key(|number| (self.workers[number].busy_since.is_some(), std::cmp::Reverse(*number)));
        for number in surplus.into_iter().take(spare) {
            self.part_with(number, None);
        }
        None
    }

    /// The numbers of those who are to stay.
    pub(super) fn staying(&self) -> impl Iterator<Item = usize> {
        self.workers.iter().filter(|(_, worker)| !worker.is_leaving).map(|(number, _)| *number)
    }

    fn hire(&mut self, configured: &catalog::Pool) -> Option<usize> {
        // The smallest free number; there are fewer workers than numbers in this range.
        let number = (1..=self.workers.len() + 1).find(|number| !self.workers.contains_key(number))?;
        let name = WorkerName::stored(&format!("{}-{number}", configured.worker_prefix));
        let post = Arc::new(Post::new(name, self.pool.clone(), self.core.clock.now()));
        let (inbox, assignments) = mpsc::channel(1);
        let working = worker::work(self.core.clone(), post.clone(), number, assignments, self.reports.clone());
        let task = self.tasks.spawn(working);
        self.numbers.insert(task.id(), number);
        self.core.roster.add(&post);
        let worker = Worker {
            post,
            inbox: Some(inbox),
            is_up: false,
            is_leaving: false,
            replaced_by: None,
            is_lost: false,
            busy_since: None,
            busy: Duration::ZERO,
        };
        self.workers.insert(number, worker);
        Some(number)
    }

    /// Hires somebody in a worker's place, and lets the worker go once that one is up. Without an effect on one that
    /// is leaving already.
    pub(super) fn drain(&mut self, number: usize) {
        let Some(worker) = self.workers.get_mut(&number).filter(|worker| !worker.is_leaving) else { return };
        worker.is_leaving = true;
        mutant!(drain_interrupts => { worker.stop_run(StopReason::Replaced); });
        let hired = if mutant!(replaced_after_leaving) { None } else { self.resize() };
        self.part_with(number, hired);
    }

    /// Hires somebody in a worker's place and does not wait for it: what it runs is stopped.
    pub(super) fn replace(&mut self, number: usize, reason: StopReason) {
        self.drain(number);
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.inbox = None;
            worker.stop_run(reason);
        }
    }

    /// Gives up a worker whose handler does not answer. Its job is somebody else's from now on; its name stays taken.
    pub(super) async fn abandon(&mut self, number: usize) {
        self.replace(number, StopReason::Deadline);
        let Some(worker) = self.workers.get_mut(&number) else { return };
        worker.is_lost = true;
        worker.post.lose();
        if let Some(run) = worker.post.run().filter(|run| !mutant!(hang_keeps_the_job) && run.give_away()) {
            metrics::crashed(run.queue.as_str(), 1);
            let words = format!("Worker {} hangs; its job {} is given back", worker.post.name, run.id);
            let detail = serde_json::json!({ "pool": self.pool.as_str(), "is_replaced": false });
            self.core.timeline.note(EventKind::Worker, worker.post.name.as_str(), words, Some(detail));
            self.core.health.ran(Some(false));
            tracing::error!(worker.name = %worker.post.name, job.id = %run.id,
                "Worker {} hangs: its handler does not answer; job {} is given back as a crash", worker.post.name, run.id);
            self.core.give_back(&run, Release::Crash).await;
        }
        self.core.roster.changed();
    }

    /// Notes that a worker leaves, and who comes instead.
    fn part_with(&mut self, number: usize, replaced_by: Option<usize>) {
        let name = replaced_by.and_then(|number| self.workers.get(&number)).map(|worker| worker.post.name.clone());
        if let Some(worker) = self.workers.get_mut(&number) {
            (worker.is_leaving, worker.replaced_by) = (true, replaced_by);
            worker.post.leave(name);
        }
        self.release();
        self.core.roster.changed();
    }

    /// Closes the inboxes of those who leave and whose replacements are up.
    fn release(&mut self) {
        let waits =
            |worker: &Worker| worker.replaced_by.and_then(|by| self.workers.get(&by)).is_some_and(|by| !by.is_up);
        let leaving = self.workers.iter().filter(|(_, worker)| worker.is_leaving && !waits(worker));
        let free: Vec<usize> = leaving.map(|(number, _)| *number).collect();
        for number in free {
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.inbox = None;
            }
        }
    }

    /// Carries out what operators have ordered.
    pub(super) fn obey(&mut self) {
        for Order { worker, hired_at, what, by, reason } in self.core.roster.take_orders(&self.pool) {
            let meant = self.workers.iter().find(|(_, w)| w.post.name == worker && w.post.hired_at == hired_at);
            let Some(number) = meant.map(|(number, _)| *number) else { continue };
            tracing::info!(worker.name = %worker, by, reason, "Worker {worker} is to {what}, says {by}");
            if !self.workers[&number].is_leaving {
                metrics::worker_replaced(self.pool.as_str(), what.name());
                self.tell(&worker, said(&format!("Worker {worker} is to {what}"), &by, &reason), true);
            }
            match what {
                WorkerOrder::Drain => self.drain(number),
                WorkerOrder::Replace => self.replace(number, StopReason::Replaced),
            }
        }
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
        if !worker.is_leaving {
            metrics::worker_replaced(self.pool.as_str(), "died");
            tracing::error!(worker.name = %worker.post.name, "Worker {} died and is replaced", worker.post.name);
            self.tell(&worker.post.name, format!("Worker {} died and is replaced", worker.post.name), true);
        }
        let worker_type = self.worker_type();
        metrics::worker_left(&worker_type, worker.post.name.as_str(), self.core.params.node_name.as_str());
        self.core.roster.remove(&worker.post);
        self.resize();
        self.release();
    }

    /// Notes what became of a worker in the timeline.
    pub(super) fn tell(&self, worker: &WorkerName, words: String, is_replaced: bool) {
        let detail = serde_json::json!({ "pool": self.pool.as_str(), "is_replaced": is_replaced });
        self.core.timeline.note(EventKind::Worker, worker.as_str(), words, Some(detail));
    }

    fn worker_type(&self) -> String {
        self.core.catalog().pools.get(&self.pool).map(|pool| pool.worker_type.clone()).unwrap_or_default()
    }

    /// Shows workers by state and how busy each was.
    pub(super) fn publish(&mut self) {
        let since = self.sampled_at.elapsed();
        if since < Duration::from_millis(900) {
            return;
        }
        let node = self.core.params.node_name.as_str();
        let worker_type = self.worker_type();
        let setup = self.core.setup.load();
        let mut counts = metrics::WorkerCounts::default();
        for worker in self.workers.values_mut() {
            let count = if worker.is_lost || worker.post.is_hung(&setup.health) {
                &mut counts.hung
            } else if worker.is_leaving {
                &mut counts.draining
            } else if worker.busy_since.is_some() {
                &mut counts.busy
            } else {
                &mut counts.idle
            };
            *count += 1;
            counts.running += usize::from(worker.busy_since.is_some() && !worker.is_lost);
            let present = worker.busy_since.map_or(Duration::ZERO, |from| from.elapsed().min(since));
            let share = (std::mem::take(&mut worker.busy) + present).as_secs_f64() / since.as_secs_f64();
            metrics::utilization(&worker_type, worker.post.name.as_str(), node, share.min(1.0));
        }
        metrics::workers(self.pool.as_str(), node, &counts);
        self.sampled_at = Instant::now();
    }
}

impl Worker {
    fn is_idle(&self) -> bool {
        self.inbox.is_some() && !self.is_leaving && self.busy_since.is_none()
    }

    fn stop_run(&self, reason: StopReason) {
        if let Some(run) = self.post.run() {
            run.stop(reason);
        }
    }
}
