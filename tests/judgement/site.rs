//! One node on a model ledger and the broker in process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ganger::broker::memory::MemoryBroker;
use ganger::chance::Chance;
use ganger::clock::{Clock, Timestamp};
use ganger::engine::{Engine, EngineParams, JobView, Limits, Setup, Submit, Surroundings, WorkerView};
use ganger::handler::SharedHandler;
use ganger::host::{GroupUsage, Host, HostSample};
use ganger::job::{JobId, NodeId, PoolName, Priority, QueueName, TypeName};
use ganger::ledger::Retention;
use ganger::policy::catalog::{Builtin, Catalog, HandlerSpec, JobType, OnLate, Ordering, Pool, Queue};
use ganger::policy::health::{HealthRules, WorkerLimits};
use ganger::policy::measures;
use ganger::policy::retry::{Backoff, Jitter, RetryPolicy};
use ganger::service::pulse::Pulse;
use ganger::service::{Phase, Supervisor, lock};
use ganger::telemetry::metrics;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::broker::WiredBroker;
use crate::ledger::CutLedger;
use crate::support::model_ledger::ModelLedger;
use crate::support::wait::patience;

/// What a node is made of.
pub struct Parts {
    /// The name of its only pool and queue; tests run side by side, and this tells their metrics apart.
    pub name: &'static str,
    pub workers: usize,
    pub timeout_ms: u64,
    pub rules: HealthRules,
    pub measures: measures::Rules,
    pub limits: WorkerLimits,
    pub host: Arc<dyn Host>,
    /// How long a fact may take.
    pub patience: Duration,
    /// Whether time is real.
    pub is_real: bool,
}

impl Parts {
    /// The product's own rules.
    pub fn new(name: &'static str, workers: usize) -> Self {
        Self {
            name,
            workers,
            timeout_ms: 5_000,
            rules: HealthRules::default(),
            measures: measures::Rules::default(),
            limits: WorkerLimits::default(),
            host: Arc::new(Scales::default()),
            patience: Duration::from_secs(3_600),
            is_real: false,
        }
    }

    /// Rules for real time.
    pub fn quick(name: &'static str, workers: usize) -> Self {
        let rules = HealthRules { check_ms: 100, hung_after_ms: 300, ..HealthRules::default() };
        Self { rules, timeout_ms: 500, patience: patience(), is_real: true, ..Self::new(name, workers) }
    }
}

/// A node, alone.
pub struct Site {
    pub engine: Engine,
    pub ledger: CutLedger,
    pub broker: WiredBroker,
    name: &'static str,
    patience: Duration,
    supervisor: Arc<Supervisor>,
    /// Only where time is real: virtual time stands still while a task is under way.
    _pulse: Option<Pulse>,
}

impl Site {
    /// Starts a node whose only job type is `work`.
    pub async fn start(parts: Parts, handler: SharedHandler) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Clockwork::new());
        let ledger = CutLedger::new(ModelLedger::new("11111111-2222-4333-8444-555555555555", clock.clone()));
        let broker = WiredBroker::new(MemoryBroker::new(clock.clone()));
        let supervisor = Arc::new(Supervisor::new());
        exposition();
        let pulse = parts.is_real.then(|| Pulse::start(tokio::runtime::Handle::current()).expect("a thread"));
        let handlers = HashMap::from([(TypeName::stored("work"), handler)]);
        let (health, measures) = (parts.rules.clone(), parts.measures.clone());
        let setup = Setup { health, measures, ..Setup::new(catalog(&parts), handlers) };
        let chance = Arc::new(Chance::seeded(1));
        let host = parts.host.clone();
        let (to_ledger, to_broker) = (Arc::new(ledger.clone()), Arc::new(broker.clone()));
        let surroundings = Surroundings { ledger: to_ledger, broker: to_broker, host, clock, chance };
        let engine = Engine::start(params(&parts), setup, surroundings, supervisor.clone());
        engine.broker_open(Duration::from_secs(5)).await.expect("the broker opens");
        supervisor.enter(Phase::Running);
        let site =
            Self { engine, ledger, broker, name: parts.name, patience: parts.patience, supervisor, _pulse: pulse };
        site.until("all workers are there", |site| site.engine.workers().len() == parts.workers).await;
        site
    }

    /// Submits jobs with these payloads; answers their ids.
    pub async fn submit(&self, payloads: Vec<Value>) -> Vec<JobId> {
        let submits = payloads.into_iter().map(|payload| -> Submit {
            serde_json::from_value(json!({ "type": "work", "payload": payload })).expect("a submit")
        });
        let answers = self.engine.submit(submits.collect()).await;
        answers.into_iter().map(|answer| answer.expect("it is accepted").id).collect()
    }

    /// A job once it is at rest.
    pub async fn at_rest(&self, id: &JobId) -> JobView {
        let job = self.engine.wait(id, self.patience).await.expect("the job");
        assert!(job.state.is_at_rest(), "{job:?}");
        job
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, fact: impl Fn(&Self) -> bool) {
        let end = Instant::now() + self.patience;
        while !fact(self) {
            assert!(Instant::now() < end, "never: {what}\n{:#?}", self.engine.workers());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has services watched that stand still for so many seconds.
    pub fn watch(&self, looks: u32) {
        self.supervisor.watch_progress(Duration::from_secs(1), looks);
    }

    /// Names and times of hiring of those who are to stay.
    pub fn staff(&self) -> Vec<(String, i64)> {
        let workers = self.engine.workers().into_iter().filter(|worker| worker.replaced_by.is_none());
        workers.map(|worker| (worker.name, worker.hired_ms)).collect()
    }

    /// A worker by its name.
    pub fn worker(&self, name: &str) -> Option<WorkerView> {
        self.engine.worker(name).ok()
    }

    /// A series of this node's pool, such as `ganger_worker_replacements_total{reason="hung"}`.
    pub fn count(&self, name: &str, labels: &str) -> f64 {
        let text = exposition().render();
        let pool = format!("pool=\"{}\"", self.name);
        let fits = |line: &&str| line.starts_with(name) && line.contains(&pool) && line.contains(labels);
        text.lines().filter(fits).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Replacements for whatever reason.
    pub fn replacements(&self) -> f64 {
        self.count("ganger_worker_replacements_total", "")
    }

    /// Leaves in order.
    pub async fn stop(self) {
        self.engine.drain(Duration::from_secs(1)).await;
        self.supervisor.shut_down(Duration::from_secs(1)).await;
    }
}

/// The metrics of all tests of this program.
fn exposition() -> &'static metrics_exporter_prometheus::PrometheusHandle {
    static HANDLE: OnceLock<metrics_exporter_prometheus::PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| metrics::install().expect("a recorder"))
}

/// A clock that follows the runtime's time, virtual or real.
#[derive(Debug)]
pub struct Clockwork(Instant);

impl Clockwork {
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_000).plus_ms(i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// A machine on which process groups weigh what the test says.
#[derive(Debug, Default)]
pub struct Scales {
    bytes: Mutex<HashMap<i32, u64>>,
    /// Readings so far.
    pub readings: Mutex<u64>,
}

impl Scales {
    pub fn weigh(&self, group: i32, bytes: u64) {
        lock(&self.bytes).insert(group, bytes);
    }
}

impl Host for Scales {
    fn sample(&self) -> HostSample {
        *lock(&self.readings) += 1;
        HostSample::default()
    }

    fn groups(&self, pgids: &[i32]) -> Vec<GroupUsage> {
        let bytes = lock(&self.bytes);
        let usage =
            |group| GroupUsage { resident_bytes: bytes.get(group).copied().unwrap_or(0), ..GroupUsage::default() };
        pgids.iter().map(usage).collect()
    }

    fn thread_cpu_ns(&self) -> u64 {
        0
    }

    fn reaped_cpu_s(&self) -> f64 {
        0.0
    }
}

pub fn params(parts: &Parts) -> EngineParams {
    EngineParams {
        node: NodeId::stored("node-1"),
        node_name: format!("node of {}", parts.name),
        limits: Limits { payload_bytes_max: 1 << 20, result_bytes_max: 1 << 20 },
        lease_ms: 30_000,
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
        committers: (1, 0),
        payload_cache_bytes: 1 << 20,
    }
}

pub fn catalog(parts: &Parts) -> Catalog {
    let name = QueueName::stored(parts.name);
    let queue = Queue {
        name: name.clone(),
        priorities: 5,
        sla_ms: None,
        ordering: Ordering::Deadline,
        slack_ms: [2_000, 4_000, 6_000, 9_000, 12_000],
    };
    let pool = Pool {
        name: PoolName::stored(parts.name),
        queue: name.clone(),
        worker_type: "execution".to_owned(),
        worker_prefix: "worker".to_owned(),
        min: parts.workers,
        max: parts.workers,
        scale_on: Vec::new(),
        target_cpu: 0.7,
        target_memory: 0.7,
        target_queue_depth: 5.0,
        target_latency_ms: 6_000,
        limits: parts.limits,
        cpu_request: 0.25,
        memory_request_bytes: 256 << 20,
    };
    let work = JobType {
        name: TypeName::stored("work"),
        queue: name.clone(),
        priority: Priority::NORMAL,
        timeout_ms: parts.timeout_ms,
        sla_ms: None,
        depends_on: Vec::new(),
        on_late: OnLate::Run,
        retry: RetryPolicy {
            max_retries: 2,
            backoff: Backoff::Exponential,
            base_delay_ms: 200,
            max_delay_ms: 5_000,
            jitter: Jitter::Full,
            retry_on_errors: Vec::new(),
            no_retry_errors: Vec::new(),
            escalate_on_failure: false,
        },
        handler: HandlerSpec::Builtin(Builtin::Noop),
    };
    Catalog {
        queues: [(name, queue)].into(),
        pools: [(pool.name.clone(), pool)].into(),
        types: [(work.name.clone(), work)].into(),
    }
}
