//! The world: one ledger, one broker, and nodes that come and go.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering as Memory};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::broker::memory::{MemoryBroker, Snapshot};
use ganger::chance::Chance;
use ganger::engine::{Engine, EngineParams, Limits, Setup, Surroundings};
use ganger::handler::SharedHandler;
use ganger::history::Part;
use ganger::host::ManualHost;
use ganger::job::{JobId, NodeId, Priority, QueueName, TypeName};
use ganger::ledger::Retention;
use ganger::policy::catalog::{Builtin, Catalog, HandlerSpec, JobType, OnLate, Ordering, Pool, Queue};
use ganger::policy::health::WorkerLimits;
use ganger::policy::retry::{Backoff, Jitter, RetryPolicy};
use ganger::service::{Phase, Supervisor, lock};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::broker::SiteBroker;
use crate::clock::SimClock;
use crate::dice::Dice;
use crate::handler::Scripted;
use crate::ledger::SiteLedger;
use crate::site::Site;
use crate::story::Story;
use crate::support::model_ledger::ModelLedger;

/// How long a lease lasts, as in the product.
pub const LEASE_MS: i64 = 30_000;

/// How long after the loss of a node or of the broker's data everything is as before: the leases that were held
/// lapse, or their holders answer.
pub const RECOVERY: Duration = Duration::from_secs(45);

/// Tasks of the world itself, which no node's death ends.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0).spawn(task);
    }
}

/// How often each job was run, over all nodes.
#[derive(Debug, Clone, Default)]
pub struct Runs(Arc<Mutex<BTreeMap<JobId, u64>>>);

impl Runs {
    /// The number of this run, 0 for the first.
    pub fn next(&self, id: &JobId) -> u64 {
        let mut runs = lock(&self.0);
        let count = runs.entry(id.clone()).or_default();
        *count += 1;
        *count - 1
    }
}

/// One node.
#[derive(Debug)]
pub struct Node {
    pub site: Arc<Site>,
    running: Mutex<Option<(Engine, Arc<Supervisor>)>>,
}

impl Node {
    /// The engine, while the node lives. Whoever holds it lets go of it when the site dies.
    pub fn engine(&self) -> Option<Engine> {
        lock(&self.running).as_ref().map(|(engine, _)| engine.clone())
    }

    /// Ends it as SIGKILL does.
    pub fn crash(&self) {
        self.site.story.fault(Part::Node, format!("{} is killed", self.site.id), RECOVERY);
        self.site.lapse();
        self.site.die();
        drop(lock(&self.running).take());
    }

    /// Ends it as SIGTERM does.
    pub async fn leave(&self, soft: Duration) {
        let Some((engine, supervisor)) = lock(&self.running).clone() else { return };
        let time = soft + Duration::from_secs(5);
        self.site.story.fault(Part::Node, format!("{} is told to leave", self.site.id), time);
        self.site.lapse();
        let leaving = async {
            engine.drain(soft).await;
            supervisor.shut_down(Duration::from_secs(2)).await;
        };
        tokio::select! {
            biased;
            () = self.site.death() => return,
            () = leaving => {}
        }
        self.site.story.note(format!("{} has left", self.site.id));
        self.site.die();
        drop(lock(&self.running).take());
    }
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub clock: Arc<SimClock>,
    pub story: Arc<Story>,
    pub ledger: ModelLedger,
    pub broker: MemoryBroker,
    pub tasks: Tasks,
    dice: Dice,
    runs: Runs,
    nodes: Mutex<Vec<Arc<Node>>>,
    sites: Mutex<Vec<Arc<Site>>>,
    made: Mutex<u64>,
    servers: Mutex<u64>,
    full: Arc<AtomicBool>,
    pub shape: Shape,
    pub catalog: Catalog,
}

/// What is drawn once for a whole run.
#[derive(Debug, Clone)]
pub struct Shape {
    pub workers: usize,
    pub committers: (usize, usize),
    pub payload_cache_bytes: usize,
    /// How wrong nodes' clocks may be, in milliseconds.
    pub skew_ms: i64,
}

impl World {
    pub fn new(dice: Dice, shape: Shape, loud: bool) -> Arc<Self> {
        let clock = SimClock::new(Instant::now(), 0);
        let story = Arc::new(Story::new(clock.clone(), loud));
        let broker_clock = clock.skewed(dice.signed(shape.skew_ms.min(1_000)));
        let broker = MemoryBroker::new(broker_clock);
        broker.roll_back(None, "server-0");
        Arc::new(Self {
            ledger: ModelLedger::new("11111111-2222-4333-8444-555555555555", clock.clone()),
            clock,
            story,
            broker,
            tasks: Tasks::default(),
            dice,
            runs: Runs::default(),
            nodes: Mutex::default(),
            sites: Mutex::default(),
            made: Mutex::new(0),
            servers: Mutex::new(0),
            full: Arc::default(),
            catalog: catalog(&shape),
            shape,
        })
    }

    /// Nodes that live, in the order they were started.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes = lock(&self.nodes);
        nodes.retain(|node| lock(&node.running).is_some());
        nodes.clone()
    }

    /// The places of all nodes there ever were.
    pub fn sites(&self) -> Vec<Arc<Site>> {
        lock(&self.sites).clone()
    }

    /// Starts a node as `ganger serve` does.
    pub fn start_node(&self) -> Arc<Node> {
        self.start_node_on(&self.ledger)
    }

    /// Starts a node that serves another ledger.
    pub fn start_node_on(&self, ledger: &ModelLedger) -> Arc<Node> {
        let number = {
            let mut made = lock(&self.made);
            *made += 1;
            *made
        };
        let id = NodeId::stored(&format!("node-{number}"));
        self.story.note(format!("{id} starts"));
        let dice = self.dice.part();
        let clock = self.clock.skewed(dice.signed(self.shape.skew_ms));
        let estimate_ms = dice.signed(self.shape.skew_ms.min(30));
        let site = Site::new(id, clock.clone(), self.story.clone(), dice, self.tasks.clone());
        let supervisor = Arc::new(Supervisor::new());
        let surroundings = Surroundings {
            ledger: Arc::new(SiteLedger::new(site.clone(), ledger.clone())),
            broker: Arc::new(SiteBroker::new(site.clone(), &self.broker, self.full.clone(), &self.tasks, estimate_ms)),
            host: Arc::new(ManualHost::default()),
            clock,
            chance: Arc::new(Chance::seeded(site.dice.bits())),
        };
        let (params, setup) = (params(&self.shape, &site.id), setup(&self.shape, &site, &self.runs));
        let engine = Engine::start(params, setup, surroundings, supervisor.clone());
        let node =
            Arc::new(Node { site: site.clone(), running: Mutex::new(Some((engine.clone(), supervisor.clone()))) });
        lock(&self.nodes).push(node.clone());
        lock(&self.sites).push(site.clone());
        let opening = async move {
            // As the daemon does: claims begin once the broker is open, or without it after a while.
            let _opens_later = engine.broker_open(Duration::from_secs(5)).await;
            supervisor.enter(Phase::Running);
            let words = supervisor.failed().await;
            panic!("a node gave up: {words}");
        };
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = site.death() => {}
                () = opening => {}
            }
        });
        node
    }

    /// Gives a node another number of workers.
    pub async fn reload(&self, node: &Node, workers: usize) {
        let shape = Shape { workers, ..self.shape.clone() };
        if let Some(engine) = node.engine() {
            tokio::select! {
                biased;
                () = node.site.death() => {}
                () = engine.reload(setup(&shape, &node.site, &self.runs)) => {}
            }
        }
    }

    /// Sets whether the broker has room for new entries.
    pub fn fill_broker(&self, full: bool) {
        self.full.store(full, Memory::Relaxed);
    }

    /// Restarts the broker's server with what it held at `to`, or empty.
    pub fn restart_broker(&self, to: Option<&Snapshot>) {
        let number = {
            let mut servers = lock(&self.servers);
            *servers += 1;
            *servers
        };
        self.broker.roll_back(to, &format!("server-{number}"));
    }

    /// Empties the broker's server while it runs.
    pub fn flush_broker(&self) {
        let number = *lock(&self.servers);
        self.broker.roll_back(None, &format!("server-{number}"));
    }
}

fn params(shape: &Shape, node: &NodeId) -> EngineParams {
    EngineParams {
        node: node.clone(),
        node_name: node.to_string(),
        limits: Limits { payload_bytes_max: 1 << 20, result_bytes_max: 1 << 20 },
        lease_ms: LEASE_MS,
        renew_ms: 10_000,
        lock_ms: 300_000,
        lock_wait_ms: 10_000,
        result_ttl_ms: 3_600_000,
        retention: Retention {
            max_age_ms: i64::MAX / 4,
            max_jobs: 1 << 40,
            max_bytes: 1 << 50,
            key_age_ms: i64::MAX / 4,
        },
        committers: shape.committers,
        payload_cache_bytes: shape.payload_cache_bytes,
    }
}

/// The queues of every simulation.
pub const QUEUES: [&str; 2] = ["main", "side"];

fn setup(shape: &Shape, site: &Arc<Site>, runs: &Runs) -> Setup {
    let catalog = catalog(shape);
    let handler: SharedHandler = Arc::new(Scripted::new(site.clone(), runs.clone()));
    let handlers: HashMap<TypeName, SharedHandler> =
        catalog.types.keys().map(|name| (name.clone(), handler.clone())).collect();
    Setup::new(catalog, handlers)
}

fn catalog(shape: &Shape) -> Catalog {
    let queue = |name: &str| Queue {
        name: QueueName::stored(name),
        priorities: 5,
        sla_ms: None,
        ordering: Ordering::Deadline,
        slack_ms: [2_000, 4_000, 6_000, 9_000, 12_000],
    };
    let pool = |name: &str| Pool {
        name: ganger::job::PoolName::stored(name),
        queue: QueueName::stored(name),
        worker_type: "execution".to_owned(),
        worker_prefix: format!("{name}-worker"),
        min: shape.workers,
        max: shape.workers,
        scale_on: Vec::new(),
        target_cpu: 0.7,
        target_memory: 0.7,
        target_queue_depth: 5.0,
        limits: WorkerLimits::default(),
        target_latency_ms: 6_000,
        cpu_request: 0.25,
        memory_request_bytes: 256 << 20,
    };
    let retry = |max_retries, escalate_on_failure| RetryPolicy {
        max_retries,
        backoff: Backoff::Exponential,
        base_delay_ms: 200,
        max_delay_ms: 5_000,
        jitter: Jitter::Full,
        retry_on_errors: Vec::new(),
        no_retry_errors: Vec::new(),
        escalate_on_failure,
    };
    let job_type = |name: &str, queue: &str, retry: RetryPolicy| JobType {
        name: TypeName::stored(name),
        queue: QueueName::stored(queue),
        priority: Priority::NORMAL,
        timeout_ms: 60_000,
        sla_ms: None,
        depends_on: Vec::new(),
        on_late: OnLate::Run,
        retry,
        handler: HandlerSpec::Builtin(Builtin::Noop),
    };
    let types = [
        job_type("plain", "main", retry(3, false)),
        JobType { timeout_ms: 3_000, ..job_type("short", "main", retry(1, true)) },
        job_type("side", "side", retry(2, false)),
        JobType { sla_ms: Some(5_000), on_late: OnLate::Expire, ..job_type("late", "side", retry(1, false)) },
    ];
    Catalog {
        queues: QUEUES.map(|name| (QueueName::stored(name), queue(name))).into(),
        pools: QUEUES.map(|name| (ganger::job::PoolName::stored(name), pool(name))).into(),
        types: types.map(|known| (known.name.clone(), known)).into(),
    }
}
