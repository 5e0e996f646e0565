//! The engine: the moving parts behind the API.
//!
//! `core.rs` draws the way of a job. Every long-lived part is a service under the supervisor;
//! [`Engine::start`] lists them.

mod admission;
mod alerts;
mod breakers;
mod budgets;
mod care;
mod committer;
mod control;
mod core;
mod crew;
mod dispatch;
mod figures;
mod gate;
mod health;
mod incidents;
mod integrity;
mod leases;
mod measures;
mod membership;
mod meter;
mod payloads;
mod pool;
mod post;
mod pusher;
mod queries;
mod rebuild;
mod refusal;
mod remedy;
mod report;
mod retention;
mod reviews;
mod roster;
mod running;
mod scaling;
mod session;
mod settings;
mod settlement;
mod settler;
mod shedding;
mod stuck;
mod submit;
mod summary;
mod sweep;
mod timeline;
mod upkeep;
mod views;
mod waiters;
mod why;
mod worker;
mod workers;

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::host::Host;
use crate::job::{JobId, JobIds, PoolName, QueueName, Review, Seq};
use crate::ledger::{JobFilter, Ledger, RemediationFilter, ReviewFilter, ReviewOrder, Scope};
use crate::operations::{AlertNote, Event, EventKind, FilledPart, Remediation};
use crate::policy::catalog::Catalog;
use crate::policy::incidents::Facts;
use crate::policy::measures::Measured;
use crate::policy::shedding::Mode;
use crate::policy::why::Explanation;
use crate::service::{Phase, Supervisor, lock};
use crate::telemetry::metrics;

use self::core::Core;

pub use admission::TIMEOUT_MS_MAX;
pub use alerts::{AlertsTaken, Fired};
pub use core::{EngineParams, Setup};
pub use health::HealthView;
pub use incidents::IncidentPage;
pub use refusal::{BadItem, Refusal};
pub use remedy::{OverrideView, RemediationView, Remedied, SwitchChange};
pub use reviews::{Edits, Reviewer};
pub use scaling::{Figure, PoolOnNode, PoolView, ProposalView, Scale};
pub use shedding::{NodeShedding, QueueShedding, RuleShedding, SetByHand, SheddingFloor, SheddingView};
pub use stuck::StuckRules;
pub use submit::Submit;
pub use summary::Summary;
pub use views::{
    BreakerView, Drained, Fate, JobPage, JobView, QueueView, Readiness, ReviewPage, StuckJob, StuckKind, StuckQueue,
    StuckView, Submitted, TypeView,
};
pub use workers::{Ordered, WorkerOrder, WorkerState, WorkerView};

/// Tickets, orders and endings that may wait between two steps: about one second of work at full
/// speed would be more than memory should hold, a few batches are enough to keep every step busy.
const QUEUE_MAX: usize = 4_096;
/// How long stopped handlers and outcomes may take before the node leaves without them.
const STOP_PATIENCE: Duration = Duration::from_millis(700);

/// How long the node's sign-off in the ledger may take.
const LEAVE_PATIENCE: Duration = Duration::from_millis(200);

/// Limits that admission and the API hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload of a job, in bytes.
    pub payload_bytes_max: usize,
    /// The largest result of a job, in bytes.
    pub result_bytes_max: usize,
}

/// What the engine works with and did not make.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The record of all jobs.
    pub ledger: Arc<dyn Ledger>,
    /// The live queues.
    pub broker: Arc<dyn Broker>,
    /// The machine below.
    pub host: Arc<dyn Host>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The dice.
    pub chance: Arc<Chance>,
}

/// A handle to the running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    core: Arc<Core>,
    supervisor: Arc<Supervisor>,
    pools: Arc<Mutex<HashSet<PoolName>>>,
}

/// A result of the engine.
pub type Result<T> = std::result::Result<T, Refusal>;

impl Engine {
    /// Builds the engine and starts its services under `supervisor`. Claims begin once the supervisor is
    /// in phase `Running` and the broker is open.
    #[must_use]
    pub fn start(params: EngineParams, setup: Setup, surroundings: Surroundings, supervisor: Arc<Supervisor>) -> Self {
        let Surroundings { ledger, broker, host, clock, chance } = surroundings;
        metrics::start_at_zero(&setup.catalog);
        metrics::remediations_start_at_zero(setup.remediation.actions.keys());
        let (accepts, accept_tickets) = mpsc::channel(QUEUE_MAX);
        let (settles, settle_tickets) = mpsc::channel(QUEUE_MAX);
        let (pushes, orders) = mpsc::channel(QUEUE_MAX);
        let (endings, ended) = mpsc::channel(QUEUE_MAX);
        let (accepters, settlers) = params.committers;
        let timeline = timeline::Timeline::new(clock.clone(), params.node.clone(), params.node_name.clone());
        let timeline = Arc::new(timeline);
        let core = Arc::new(Core {
            shedding: shedding::Shedding::new(&setup.shedding),
            breakers: breakers::Breakers::new(broker.clone(), &setup, timeline.clone()),
            budgets: budgets::Budgets::default(),
            measures: measures::Measures::default(),
            membership: membership::Membership::new(params.node.clone(), clock.now()),
            leases: leases::Leases::default(),
            sweep: sweep::Sweep::default(),
            payloads: payloads::Payloads::new(params.payload_cache_bytes),
            params,
            clock,
            chance,
            ids: JobIds::default(),
            ledger,
            broker,
            host,
            setup: ArcSwap::from_pointee(setup),
            // One writer takes both directions through one queue.
            settles: if settlers == 0 { accepts.clone() } else { settles },
            accepts,
            pushes,
            endings,
            unsettled: std::sync::atomic::AtomicUsize::new(0),
            running: running::Running::new(),
            waiters: waiters::Waiters::default(),
            session: session::Session::new(timeline.clone()),
            figures: figures::Figures::default(),
            growth: retention::Growth::default(),
            settings: settings::Settings::default(),
            roster: roster::Roster::default(),
            scaler: scaling::Scaler::default(),
            stillness: stuck::Stillness::default(),
            health: health::Health::default(),
            alerts: alerts::Alerts::default(),
            remedies: tokio_util::task::TaskTracker::new(),
            refused: incidents::Refused::default(),
            timeline,
            phase: supervisor.phase(),
        });
        let engine = Self { core, supervisor, pools: Arc::default() };
        engine.note(
            EventKind::Node,
            engine.core.params.node_name.as_str(),
            format!("Node {} has started", engine.core.params.node_name),
        );
        engine.start_committers((accepters, accept_tickets), (settlers, settle_tickets));
        let (orders, ended) = (Arc::new(tokio::sync::Mutex::new(orders)), Arc::new(tokio::sync::Mutex::new(ended)));
        engine.service("pusher", move |core, stop| pusher::run(core, orders.clone(), stop));
        engine.service("settler", move |core, stop| settler::run(core, ended.clone(), stop));
        engine.start_upkeep();
        engine.start_pools();
        engine
    }

    /// So many committers for each of the two queues of tickets.
    fn start_committers(
        &self,
        (accepters, accepts): (usize, mpsc::Receiver<committer::Ticket>),
        (settlers, settles): (usize, mpsc::Receiver<committer::Ticket>),
    ) {
        for (name, count, tickets) in [("committer", accepters, accepts), ("settle-committer", settlers, settles)] {
            let tickets = Arc::new(tokio::sync::Mutex::new(tickets));
            for number in 1..=count {
                let tickets = tickets.clone();
                self.service(format!("{name}-{number}"), move |core, stop| committer::run(core, tickets.clone(), stop));
            }
        }
    }

    /// What stands beside the road of a job and looks after it.
    fn start_upkeep(&self) {
        self.service("session", session::run);
        self.service("lease-renewer", leases::renew);
        self.service("reaper", leases::reap);
        self.service("lease-keeper", leases::give_back_unknown);
        self.service("heartbeat", membership::run);
        self.service("settings", settings::run);
        self.service("sweep", sweep::run);
        self.service("late-jobs", upkeep::late_jobs);
        self.service("retention", retention::run);
        self.service("sampler", upkeep::samples);
        self.service("scaling", scaling::run);
        self.service("worker-orders", workers::run);
        self.service("health", health::run);
        self.service("breakers", breakers::run);
        self.service("shedding", shedding::run);
        self.service("stuck", stuck::run);
        self.service("measures", measures::run);
        self.service("remediation", remedy::run);
        self.service("remediation-calls", remedy::obey);
        self.service("remediation-upkeep", remedy::look_after);
        self.service("timeline", timeline::run);
        self.service("alerts", alerts::run);
        self.service("alerts-lapse", alerts::lapse);
        self.service("incidents", incidents::run);
        self.service("integrity", integrity::run);
    }

    fn service<F, R>(&self, name: impl Into<String>, run: F)
    where
        F: Fn(Arc<Core>, CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (core, stop) = (self.core.clone(), self.supervisor.stop_token());
        self.supervisor.start(name, move || run(core.clone(), stop.clone()));
    }

    /// Starts a service for every configured pool that has none.
    fn start_pools(&self) {
        let mut started = lock(&self.pools);
        for name in self.core.catalog().pools.keys() {
            if started.insert(name.clone()) {
                let pool = name.clone();
                self.service(format!("pool {name}"), move |core, stop| pool::run(core, pool.clone(), stop));
            }
        }
    }

    /// Swaps the configured part. A run that ends later is judged by the new policies; only its number of
    /// attempts was fixed at admission.
    pub async fn reload(&self, setup: Setup) {
        metrics::start_at_zero(&setup.catalog);
        metrics::remediations_start_at_zero(setup.remediation.actions.keys());
        let queues: Vec<QueueName> = setup.catalog.queues.keys().cloned().collect();
        // New queues are opened before anyone claims from them; if that fails, the session does it.
        if self.core.session.is_open()
            && let Err(error) = self.core.broker.open(&queues).await
        {
            self.core.session.broker_failed(&error);
        }
        self.core.breakers.configure(&setup);
        self.core.setup.store(Arc::new(setup));
        self.core.scaler.nudge();
        shedding::apply(&self.core);
        self.start_pools();
        self.note(EventKind::Order, "configuration", "The configuration was reloaded");
    }

    /// Notes something in the timeline.
    fn note(&self, kind: EventKind, subject: &str, words: impl Into<String>) {
        self.core.timeline.note(kind, subject, words, None);
    }

    /// Waits until the broker is open for the first time, at most `patience`; then why it is not.
    pub async fn broker_open(&self, patience: Duration) -> std::result::Result<(), String> {
        let mut session = self.core.session.broker();
        let open = tokio::time::timeout(patience, session.wait_for(std::result::Result::is_ok)).await;
        if open.is_ok() { Ok(()) } else { self.core.session.broker().borrow().clone() }
    }

    /// Waits until the broker turns out to be unusable for good; answers why.
    pub async fn broker_unfit(&self) -> String {
        self.core.session.unfit().await
    }

    /// Leaves in order: no new claims, running jobs may finish for `soft`, what remains is stopped and
    /// given back without spending an attempt. The caller then shuts the supervisor down.
    pub async fn drain(&self, soft: Duration) {
        let waiting = self.core.running.count();
        tracing::info!(running = waiting, "Draining: {waiting} jobs may finish");
        let name = self.core.params.node_name.as_str();
        self.note(EventKind::Node, name, format!("Node {name} is stopping; {waiting} jobs may finish"));
        let count = self.let_finish(soft.saturating_sub(STOP_PATIENCE)).await;
        if count > 0 {
            tracing::warn!(running = count, "{count} jobs did not finish in time and are given back");
        }
        self.supervisor.enter(Phase::Stopping);
        self.core.running.stop_all(running::StopReason::Shutdown);
        if tokio::time::timeout(STOP_PATIENCE, self.core.running.none()).await.is_err() {
            tracing::error!("{} jobs could not be given back; their leases lapse", self.core.running.count());
        }
        self.core.remedies.close();
        if tokio::time::timeout(remedy::LEAVE_PATIENCE, self.core.remedies.wait()).await.is_err() {
            tracing::warn!("Remedies that were under way could not be written down; other nodes call them abandoned");
        }
        // A ledger that is away must not hold up the leave; the heartbeat lapses by itself.
        match tokio::time::timeout(LEAVE_PATIENCE, self.core.ledger.leave(&self.core.params.node)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("This node could not sign off: {error}"),
            Err(_elapsed) => tracing::warn!("This node could not sign off: the ledger does not answer"),
        }
    }

    /// Takes no more jobs, until the process ends; jobs that run here may finish. Answers how many still do after
    /// `patience`.
    pub async fn retire(&self, patience: Duration, by: &str, reason: &str) -> usize {
        if *self.core.phase.borrow() < Phase::Draining {
            tracing::warn!(by, reason, "This node takes no more jobs, by order of {by}");
        }
        self.let_finish(patience).await
    }

    async fn let_finish(&self, patience: Duration) -> usize {
        self.supervisor.enter(Phase::Draining);
        // Whoever waited in vain counts what is left.
        tokio::time::timeout(patience, self.core.running.none()).await.ok();
        self.core.running.count()
    }

    /// This node's name for people.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.core.params.node_name
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.core.catalog()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.core.params.limits
    }

    /// Accepts jobs; answers in order, each for itself. A job that is answered as created is durable.
    pub async fn submit(&self, submits: Vec<Submit>) -> Vec<Result<Submitted>> {
        admission::submit(&self.core, submits).await
    }

    /// One job, or [`Refusal::NotFound`].
    pub async fn job(&self, id: &JobId) -> Result<JobView> {
        queries::job(&self.core, id).await
    }

    /// One job once it is at rest, or as it is when `patience` runs out.
    pub async fn wait(&self, id: &JobId, patience: Duration) -> Result<JobView> {
        queries::wait(&self.core, id, patience).await
    }

    /// A page of jobs, newest first, at most `limit` (1 to 1,000), below `before`.
    pub async fn jobs(&self, filter: &JobFilter, before: Option<Seq>, limit: u32) -> Result<JobPage> {
        queries::jobs(&self.core, filter, before, limit).await
    }

    /// Cancels a job that is not at rest.
    pub async fn cancel(&self, id: &JobId) -> Result<JobView> {
        control::cancel(&self.core, id).await
    }

    /// Starts a new life of a job at rest that did not succeed.
    pub async fn retry(&self, id: &JobId, by: &str) -> Result<JobView> {
        control::retry(&self.core, id, by).await
    }

    /// Submits a linked new job with the payload of `id`, or another one.
    pub async fn replay(&self, id: &JobId, payload: Option<Bytes>) -> Result<JobView> {
        control::replay(&self.core, id, payload).await
    }

    /// Forgets a job at rest with its id and keys.
    pub async fn delete(&self, id: &JobId) -> Result<()> {
        control::delete(&self.core, id).await
    }

    /// A page of reviews beyond the number `from`.
    pub async fn reviews(
        &self,
        filter: &ReviewFilter,
        order: ReviewOrder,
        from: Option<i64>,
        limit: u32,
    ) -> Result<ReviewPage> {
        reviews::list(&self.core, filter, order, from, limit).await
    }

    /// The latest review of a job, and the job.
    pub async fn review(&self, id: &JobId) -> Result<(Review, JobView)> {
        reviews::show(&self.core, id).await
    }

    /// The latest reviews of a job, newest first: one for each life that came to review.
    pub async fn reviews_of(&self, id: &JobId) -> Result<Vec<Review>> {
        Ok(self.core.ledger.reviews_of(id).await?)
    }

    /// Takes the proposal of a job in review, with or without edits: the job succeeds, and the jobs that wait for
    /// this are accepted with it.
    pub async fn approve(&self, id: &JobId, edits: Edits, reviewer: Reviewer) -> Result<JobView> {
        reviews::approve(&self.core, id, edits, reviewer).await
    }

    /// Refuses it: the job fails.
    pub async fn reject(&self, id: &JobId, reviewer: Reviewer) -> Result<JobView> {
        reviews::reject(&self.core, id, reviewer).await
    }

    /// A job, and why it does not run now.
    pub async fn why(&self, id: &JobId) -> Result<(JobView, Explanation)> {
        why::why(&self.core, id).await
    }

    /// What is stuck: at most `limit` jobs, each with why, and queues.
    pub async fn stuck(&self, limit: usize) -> Result<StuckView> {
        stuck::list(&self.core, limit).await
    }

    /// All queues.
    pub async fn queues(&self) -> Result<Vec<QueueView>> {
        queries::queues(&self.core).await
    }

    /// All job types.
    pub async fn types(&self) -> Result<Vec<TypeView>> {
        queries::types(&self.core).await
    }

    /// Stops claims of a queue or type on all nodes; durable before it returns.
    pub async fn pause(&self, scope: &Scope, by: &str, reason: &str) -> Result<()> {
        control::set_pause(&self.core, scope, Some((by, reason))).await?;
        self.note(EventKind::Pause, &scope.to_string(), said(&format!("The {scope} was paused"), by, reason));
        Ok(())
    }

    /// Allows them again.
    pub async fn resume(&self, scope: &Scope) -> Result<()> {
        control::set_pause(&self.core, scope, None).await?;
        self.note(EventKind::Pause, &scope.to_string(), format!("The {scope} was resumed"));
        Ok(())
    }

    /// Pauses a queue, then waits up to `patience` until nothing of it runs.
    pub async fn drain_queue(&self, queue: &QueueName, by: &str, reason: &str, patience: Duration) -> Result<Drained> {
        let drained = control::drain(&self.core, queue, by, reason, patience).await?;
        self.note(EventKind::Pause, queue.as_str(), said(&format!("Queue {queue} was paused and drained"), by, reason));
        Ok(drained)
    }

    /// Cancels all waiting jobs of a queue; answers how many.
    pub async fn purge(&self, queue: &QueueName, by: &str) -> Result<u64> {
        let count = control::purge(&self.core, queue, by).await?;
        self.note(EventKind::Pause, queue.as_str(), said(&format!("Queue {queue} was purged of {count} jobs"), by, ""));
        Ok(count)
    }

    /// Load shedding: who decides, the levels and rules of all nodes.
    #[must_use]
    pub fn shedding(&self) -> SheddingView {
        shedding::view(&self.core)
    }

    /// Sets who decides about load shedding, on all nodes; durable before it returns.
    pub async fn set_shedding(&self, mode: Mode, by: &str, reason: &str) -> Result<SheddingView> {
        let view = shedding::set(&self.core, mode, by, reason).await?;
        self.note(EventKind::Order, "shedding", said(&format!("Load shedding was set to {mode}"), by, reason));
        Ok(view)
    }

    /// The workers of all nodes: this one's as they are, the others' as they last told (5 s ago at most).
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerView> {
        workers::everywhere(&self.core)
    }

    /// One worker: `node:name`, or a bare name that only one node has.
    pub fn worker(&self, name: &str) -> Result<WorkerView> {
        workers::find(&self.core, name)
    }

    /// Has a worker drained or replaced, and waits up to `patience` until it has left.
    pub async fn order_worker(
        &self,
        name: &str,
        what: WorkerOrder,
        by: &str,
        reason: &str,
        patience: Duration,
    ) -> Result<Ordered> {
        let ordered = workers::order(&self.core, name, what, by, reason, patience).await?;
        self.note(EventKind::Order, name, said(&format!("Worker {name} was told to {what}"), by, reason));
        Ok(ordered)
    }

    /// How this node is: the runbook's five checks, two of them by its readiness.
    #[must_use]
    pub fn health(&self, readiness: Readiness) -> HealthView {
        health::view(&self.core, readiness)
    }

    /// All breakers.
    pub async fn breakers(&self) -> Vec<BreakerView> {
        breakers::list(&self.core).await
    }

    /// One breaker.
    pub async fn breaker(&self, name: &str) -> Result<BreakerView> {
        breakers::show(&self.core, name).await
    }

    /// Opens a breaker on all nodes until it is reset, or for a time; durable before it returns.
    pub async fn trip_breaker(&self, name: &str, by: &str, reason: &str, for_ms: Option<i64>) -> Result<BreakerView> {
        let view = breakers::trip(&self.core, name, by, reason, for_ms).await?;
        self.note(EventKind::Order, name, said(&format!("Breaker {name} was tripped"), by, reason));
        Ok(view)
    }

    /// Closes a breaker on all nodes.
    pub async fn reset_breaker(&self, name: &str, by: &str, reason: &str) -> Result<BreakerView> {
        let view = breakers::reset(&self.core, name, by, reason).await?;
        self.note(EventKind::Order, name, said(&format!("Breaker {name} was reset"), by, reason));
        Ok(view)
    }

    /// All pools: on this node as they are, on the others as they last told (5 s ago at most).
    #[must_use]
    pub fn pools(&self) -> Vec<PoolView> {
        scaling::everywhere(&self.core)
    }

    /// Changes the bounds of a pool on all nodes; durable before it returns.
    pub async fn scale_pool(&self, name: &str, change: Scale, by: &str, reason: &str) -> Result<()> {
        scaling::scale(&self.core, name, change, by, reason).await?;
        self.note(EventKind::Order, name, said(&format!("Pool {name} was given other bounds"), by, reason));
        Ok(())
    }

    /// Lifts everything that was set of a pool at run time.
    pub async fn lift_pool(&self, name: &str, by: &str, reason: &str) -> Result<()> {
        scaling::lift(&self.core, name, by, reason).await?;
        self.note(
            EventKind::Order,
            name,
            said(&format!("Pool {name} was given its configured bounds again"), by, reason),
        );
        Ok(())
    }

    /// Remediation: whether it works, and what is configured.
    #[must_use]
    pub fn remediation(&self) -> RemediationView {
        remedy::view(&self.core)
    }

    /// Switches remediation on or off, or to dry runs, on all nodes; durable before it returns.
    pub async fn set_remediation(&self, change: SwitchChange, by: &str, reason: &str) -> Result<RemediationView> {
        remedy::set_switch(&self.core, change, by, reason).await?;
        Ok(self.remediation())
    }

    /// A page of the audit, newest first, at most `limit`, below the number `before`.
    pub async fn remediations(
        &self,
        filter: &RemediationFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Remediation>> {
        Ok(self.core.ledger.remediations(filter, before, limit).await?)
    }

    /// Carries out a configured action behind its guards, as an alert with these labels would have it; returns once it
    /// has ended.
    pub async fn remediate(
        &self,
        action: &str,
        labels: BTreeMap<String, String>,
        is_dry: bool,
        by: &str,
    ) -> Result<Remedied> {
        remedy::by_hand(&self.core, action, labels, is_dry, by).await
    }

    /// The business measures as they stand, over all nodes.
    #[must_use]
    pub fn measured(&self) -> Vec<Measured> {
        measures::measured(&self.core)
    }

    /// Sums of them that only this node knows yet; 0 once the ledger has everything that was counted here.
    #[must_use]
    pub fn unkept_measures(&self) -> usize {
        measures::unkept(&self.core)
    }

    /// Counts the observations of one request, all or none of them; answers how many.
    pub fn observe(&self, observations: &[serde_json::Value]) -> Result<usize> {
        measures::observe(&self.core, observations)
    }

    /// Writes down what was counted and is not in the ledger yet. For the end, once nothing counts any more.
    pub async fn keep_measures(&self) {
        match tokio::time::timeout(LEAVE_PATIENCE, measures::keep(&self.core)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("The last seconds of the business measures are lost: {error}"),
            Err(_elapsed) => tracing::warn!("The last seconds of the business measures are lost: no answer in time"),
        }
    }

    /// What this node does, for one line of text.
    #[must_use]
    pub fn summary(&self) -> Summary {
        summary::summary(&self.core)
    }

    /// The services of this node that do not move, though they have something to do: only a restart helps. Stores that
    /// are away are no reason.
    #[must_use]
    pub fn stuck_services(&self) -> Vec<String> {
        self.supervisor.stuck()
    }

    /// Takes the alerts of one webhook; they are durable, and offered to whoever acts on them, when this returns.
    pub async fn note_alerts(&self, notes: Vec<AlertNote>) -> Result<AlertsTaken> {
        alerts::take(&self.core, notes).await
    }

    /// Tells each alert that fires once, on the node that heard of it first; for whoever acts on alerts.
    #[must_use]
    pub fn fired_alerts(&self) -> tokio::sync::broadcast::Receiver<Fired> {
        self.core.alerts.fired()
    }

    /// A page of incidents with numbers below `before`, newest first.
    pub async fn incidents(&self, is_firing: Option<bool>, before: Option<i64>, limit: u32) -> Result<IncidentPage> {
        incidents::list(&self.core, is_firing, before, limit).await
    }

    /// Everything about one incident.
    pub async fn incident(&self, number: i64) -> Result<Facts> {
        incidents::show(&self.core, number).await
    }

    /// Writes parts of the review of an incident.
    pub async fn fill_in(&self, number: i64, parts: &[FilledPart]) -> Result<()> {
        incidents::fill_in(&self.core, number, parts).await
    }

    /// What happened from `from` on and before `until`, oldest first.
    pub async fn timeline(&self, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Event>> {
        incidents::timeline(&self.core, from, until, limit).await
    }

    /// The present moment, by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Writes down what was noted and is not in the ledger yet. For the end.
    pub async fn keep_timeline(&self) {
        incidents::tell_refused(&self.core);
        if tokio::time::timeout(LEAVE_PATIENCE, timeline::write(&self.core)).await != Ok(Ok(())) {
            tracing::warn!("The last events of the timeline are lost: the ledger does not answer");
        }
    }

    /// How ready this node is.
    pub async fn readiness(&self) -> Readiness {
        queries::readiness(&self.core).await
    }
}

/// What was done, by whom and why.
fn said(what: &str, by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("{what} by {by}") } else { format!("{what} by {by}: {reason}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::job::{Counters, Job, NewJob, Priority, TypeName};

    /// A plain live job.
    pub(crate) fn job(seq: Seq) -> Job {
        let spec = NewJob {
            id: JobId::stored(&format!("job-{seq}")),
            id_given: false,
            job_type: TypeName::stored("noop"),
            queue: QueueName::stored("plan"),
            priority: Priority::NORMAL,
            payload: Bytes::from_static(b"null"),
            labels: crate::job::Labels::new(),
            due_at: None,
            score: 0,
            timeout_ms: None,
            max_attempts: 1,
            idempotency_key: None,
            fingerprint: [0; 32],
            accepted_at: Timestamp(0),
            parent: None,
        };
        Job {
            seq,
            waits_from: Timestamp(0),
            spec,
            counters: Counters::default(),
            fence: 0,
            crashed_at: Vec::new(),
            history: Vec::new(),
            error: None,
            rest: None,
        }
    }
}
