//! What is configured: queues, pools and job types, as plain checked values.
//!
//! A catalogue is built whole from a configuration and swapped whole at a reload, so no part of the
//! engine ever sees half of one.

use std::collections::BTreeMap;

use crate::job::{PoolName, Priority, QueueName, TypeName};

use super::health::WorkerLimits;
use super::retry::RetryPolicy;

/// All queues, pools and types of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// Queues by name.
    pub queues: BTreeMap<QueueName, Queue>,
    /// Pools by name. Each serves one queue of `queues`.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Types by name. Each belongs to one queue of `queues`.
    pub types: BTreeMap<TypeName, JobType>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// The least urgent priority number it takes: 1 to 5.
    pub priorities: u8,
    /// Within what time a job should be done, in milliseconds; `None` where each type says so itself.
    pub sla_ms: Option<u64>,
    /// How its jobs are ordered.
    pub ordering: Ordering,
    /// Slack by priority (index 0 is priority 1), in milliseconds: the virtual deadline is due time
    /// plus slack. Never falling.
    pub slack_ms: [i64; 5],
}

/// How a queue orders its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// By virtual deadline: no starvation.
    Deadline,
    /// By priority, then by virtual deadline: a flood of urgent jobs starves the others.
    Strict,
}

/// One worker pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// The queue it serves.
    pub queue: QueueName,
    /// The label of its metrics: `plan`, `execution`, `locator`.
    pub worker_type: String,
    /// What its workers' names start with: `exec-worker` gives `exec-worker-1`.
    pub worker_prefix: String,
    /// The fewest workers.
    pub min: usize,
    /// The most workers.
    pub max: usize,
    /// What it scales on.
    pub scale_on: Vec<ScaleSignal>,
    /// Share of CPU it aims at, 0 to 1.
    pub target_cpu: f64,
    /// Share of memory it aims at, 0 to 1.
    pub target_memory: f64,
    /// Waiting jobs per worker it aims at.
    pub target_queue_depth: f64,
    /// What it allows each worker.
    pub limits: WorkerLimits,
    /// The wait that [`ScaleSignal::Latency`] aims at, in milliseconds.
    pub target_latency_ms: u64,
    /// What one worker's work is expected to use, in cores: 100 % of `target_cpu`.
    pub cpu_request: f64,
    /// What one worker's work is expected to use, in bytes: 100 % of `target_memory`.
    pub memory_request_bytes: u64,
}

/// A signal that a pool scales on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleSignal {
    /// CPU of the pool's work.
    Cpu,
    /// Memory of the pool's work.
    Memory,
    /// Jobs that wait.
    QueueDepth,
    /// Arrivals, run times and the wait aimed at.
    Latency,
}

impl ScaleSignal {
    /// The word in the configuration and the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::QueueDepth => "queue_depth",
            Self::Latency => "latency",
        }
    }
}

/// One job type.
#[derive(Debug, Clone, PartialEq)]
pub struct JobType {
    /// Its name.
    pub name: TypeName,
    /// Its queue.
    pub queue: QueueName,
    /// The priority of jobs that do not say one.
    pub priority: Priority,
    /// How long one run may take, in milliseconds.
    pub timeout_ms: u64,
    /// Within what time a job should be done, in milliseconds: its own, else its queue's.
    pub sla_ms: Option<u64>,
    /// Breakers that gate its dispatch beside its handler's own target.
    pub depends_on: Vec<String>,
    /// What happens to a job that is past its SLA before it started.
    pub on_late: OnLate,
    /// Its retry policy.
    pub retry: RetryPolicy,
    /// What does its work.
    pub handler: HandlerSpec,
}

/// What happens to a late job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLate {
    /// It runs all the same.
    Run,
    /// It expires.
    Expire,
    /// A person looks.
    Escalate,
}

/// What does the work of a type.
#[derive(Debug, Clone, PartialEq)]
pub enum HandlerSpec {
    /// A POST to a URL.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// The Standard-Webhooks secret (its bytes), when deliveries are to be signed.
        secret: Option<Secret>,
    },
    /// A child process.
    Command {
        /// The program, found on PATH or by its path.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables added to its environment.
        env: BTreeMap<String, String>,
        /// Error classes by exit code.
        exit_classes: BTreeMap<i32, String>,
    },
    /// Built into the daemon.
    Builtin(Builtin),
    /// A tool of an MCP server.
    Mcp {
        /// The server's name in `mcp_servers`.
        server: String,
        /// The tool; `None` in mode `steps`.
        tool: Option<String>,
    },
}

/// Handlers for smoke tests and benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// Does nothing.
    Noop,
    /// Returns its payload.
    Echo,
    /// Waits `{"ms": n}`.
    Sleep,
    /// Fails `{"class": c, "times": n}`.
    Fail,
}

/// A secret that cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl HandlerSpec {
    /// The word in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Command { .. } => "command",
            Self::Builtin(_) => "builtin",
            Self::Mcp { .. } => "mcp",
        }
    }
}

impl Catalog {
    /// The types of one queue, in the order of their names.
    pub fn types_of<'a>(&'a self, queue: &'a QueueName) -> impl Iterator<Item = &'a JobType> {
        self.types.values().filter(move |known| known.queue == *queue)
    }
}
