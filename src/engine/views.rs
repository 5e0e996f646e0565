//! What the engine shows: the ledger's rows with the broker's leases laid over them.

use crate::broker::{Depth, LeaseView};
use crate::clock::Timestamp;
use crate::job::{Counters, Fence, Job, JobId, QueueName, Review, Seq, State, TypeName};
use crate::ledger::Pause;
use crate::policy::breaker::Record;
use crate::policy::catalog::{JobType, Queue};
use crate::policy::why::Explanation;

/// A job as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The ledger's row.
    pub job: Job,
    /// Its state, `running` included.
    pub state: State,
    /// The counters, the broker's where they are ahead.
    pub counters: Counters,
    /// The highest fence known.
    pub fence: Fence,
    /// The lease, while it runs.
    pub lease: Option<LeaseView>,
}

/// What became of one submit.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The job.
    pub id: JobId,
    /// New, or known already.
    pub fate: Fate,
    /// The job as accepted; only for new ones.
    pub job: Option<Box<Job>>,
}

/// New, or known already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Accepted now.
    Created,
    /// Known and not at rest.
    Active,
    /// Known and at rest.
    Cached,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page starts, if there is one.
    pub next: Option<Seq>,
}

/// A page of reviews.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewPage {
    /// The reviews.
    pub reviews: Vec<Review>,
    /// Where the next page starts, if there may be one.
    pub next: Option<i64>,
}

/// A queue as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    /// Its configuration.
    pub queue: Queue,
    /// What it holds; `None` while the broker is away.
    pub depth: Option<Depth>,
    /// Who paused it and why.
    pub pause: Option<Pause>,
    /// The level of load shedding in force here, 0 to 5.
    pub shed_level: u8,
}

/// A job type as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeView {
    /// Its configuration.
    pub job_type: JobType,
    /// Who paused it and why.
    pub pause: Option<Pause>,
    /// Jobs of it that wait and are due; `None` while the broker is away.
    pub ready: Option<u64>,
    /// Whether this build can run it.
    pub runnable: bool,
}

/// What is stuck.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StuckView {
    /// Jobs, by queue.
    pub jobs: Vec<StuckJob>,
    /// Queues with work that nobody takes.
    pub queues: Vec<StuckQueue>,
    /// Whether there are more jobs.
    pub more: bool,
}

/// A job that is stuck.
#[derive(Debug, Clone, PartialEq)]
pub struct StuckJob {
    /// The job.
    pub job: JobView,
    /// How it is stuck.
    pub kind: StuckKind,
    /// What stands against it.
    pub why: Explanation,
}

/// How a job is stuck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StuckKind {
    /// Its SLA has passed and it is not done.
    PastSla {
        /// The SLA.
        sla_ms: u64,
    },
    /// It runs far longer than its type usually does.
    LongRun {
        /// How long it has run.
        ran_ms: f64,
        /// What 95 % of the type's runs of the last five minutes stayed below.
        usual_ms: f64,
    },
}

/// A queue with work, idle workers (or none at all), and no claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckQueue {
    /// The queue.
    pub name: QueueName,
    /// Jobs that may run.
    pub ready: u64,
    /// Since when nobody took any.
    pub since: Timestamp,
}

/// A breaker as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerView {
    /// Its name.
    pub name: String,
    /// What the nodes share of it.
    pub record: Record,
    /// Counted failures in a row on this node, while closed.
    pub failures: u32,
    /// Runs of this node that need the dependency.
    pub in_flight: u32,
    /// How many of its jobs may run at once on this node while it starts slowly after an opening.
    pub at_once: Option<u32>,
    /// Jobs that are due and wait for it; `None` while the broker is away.
    pub held_jobs: Option<u64>,
    /// When time alone changes what it lets through.
    pub next_change: Option<Timestamp>,
    /// The types that it gates.
    pub types: Vec<TypeName>,
}

/// What a queue drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Whether nothing runs any more.
    pub done: bool,
    /// What still runs.
    pub running: u64,
}

/// How ready this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the ledger answers, or its words.
    pub ledger: Result<(), String>,
    /// Whether the broker is open for claims, or why not.
    pub broker: Result<(), String>,
    /// The MCP servers whose breakers are open or that do not answer. They hold up their own jobs only.
    pub mcp_away: Vec<String>,
    /// Whether the node is on its way out.
    pub stopping: bool,
}

impl Readiness {
    /// Whether the node can accept jobs.
    #[must_use]
    pub fn can_accept(&self) -> bool {
        self.ledger.is_ok() && !self.stopping
    }
}
