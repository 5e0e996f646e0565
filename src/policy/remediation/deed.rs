//! What actions do, and by what it is seen that they helped.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::job::TypeName;
use crate::policy::catalog::Secret;

use super::template::Template;

/// What an action does.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Has a pool grow by so many workers, over all nodes, for a while.
    ScalePool {
        /// Which one.
        pool: Selector,
        /// A label that names a queue instead: the pools that serve it.
        queue_label: Option<String>,
        /// How many.
        add: usize,
        /// How long, in milliseconds.
        ttl_ms: i64,
    },
    /// Replaces the workers of a pool that are found to be unhealthy.
    ReplaceUnhealthyWorkers {
        /// Which one; all of them where nothing is said.
        pool: Selector,
    },
    /// Opens new connections to the ledger, on all nodes, and leaves the old ones.
    RenewLedgerPool,
    /// Submits a job.
    EnqueueJob {
        /// Of this type.
        job_type: TypeName,
        /// JSON text.
        payload: String,
    },
    /// Ends the sessions with an MCP server, on all nodes, so that new ones begin.
    RestartMcpServer {
        /// Which one.
        server: Selector,
        /// A command to run then, for a server that is no child of the daemon: program and arguments.
        command: Vec<String>,
    },
    /// Tells every handler another value of something, for a while.
    Override {
        /// What.
        name: String,
        /// A number, a text or a flag.
        value: Value,
        /// How long, in milliseconds.
        ttl_ms: i64,
    },
    /// Has every queue shed at a level at least, for a while.
    SetShedding {
        /// By how much it rises above the highest level in force.
        up: u8,
        /// How high at most.
        level_max: u8,
        /// How long, in milliseconds.
        ttl_ms: i64,
    },
    /// Stops the claims of a queue or a type, for a while.
    PauseLane {
        /// Which queue.
        queue: Selector,
        /// Or which type.
        job_type: Selector,
        /// How long, in milliseconds.
        ttl_ms: i64,
    },
    /// Posts to a URL.
    Post(Call),
    /// Runs a command.
    Command {
        /// The program.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables added to its environment.
        env: BTreeMap<String, String>,
    },
}

/// Where something is posted, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Where; it may hold a password, so it is never shown whole.
    pub url: Secret,
    /// The host and port in it, for people.
    pub place: String,
    /// The Standard-Webhooks secret, when it is to be signed.
    pub secret: Option<Secret>,
    /// The bearer token, when one is to be shown.
    pub token: Option<Secret>,
    /// The members of the body; the facts where there are none.
    pub fields: BTreeMap<String, Template>,
}

/// What is meant: a label of the alert says it, else the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The label.
    pub label: Option<String>,
    /// What is meant where the alert has no such label.
    pub fixed: Option<String>,
}

/// The figure by which it is seen that an action helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// None: what was done counts.
    Nothing,
    /// Fewer jobs than this wait in the target's queues.
    QueueDepth {
        /// How many.
        below: u64,
    },
    /// The target's pools have the workers that they should.
    PoolSize,
    /// No worker of the target's pools is unhealthy.
    WorkersHealthy,
    /// The ledger answers.
    LedgerAnswers,
    /// The target's server answers.
    ServerAnswers,
    /// The job that was submitted has succeeded.
    JobSucceeded,
    /// What was set is in force.
    InForce,
    /// The alert is told as resolved.
    AlertResolved,
}

impl Verify {
    /// The word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::QueueDepth { .. } => "queue_depth",
            Self::PoolSize => "pool_size",
            Self::WorkersHealthy => "workers_healthy",
            Self::LedgerAnswers => "ledger_answers",
            Self::ServerAnswers => "server_answers",
            Self::JobSucceeded => "job_succeeded",
            Self::InForce => "in_force",
            Self::AlertResolved => "alert_resolved",
        }
    }
}

impl Deed {
    /// Every kind, by its word in the configuration.
    pub const KINDS: [&'static str; 10] = [
        "scale_pool",
        "replace_unhealthy_workers",
        "renew_ledger_pool",
        "enqueue_job",
        "restart_mcp_server",
        "override",
        "set_shedding",
        "pause_lane",
        "post",
        "command",
    ];

    /// The word in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ScalePool { .. } => "scale_pool",
            Self::ReplaceUnhealthyWorkers { .. } => "replace_unhealthy_workers",
            Self::RenewLedgerPool => "renew_ledger_pool",
            Self::EnqueueJob { .. } => "enqueue_job",
            Self::RestartMcpServer { .. } => "restart_mcp_server",
            Self::Override { .. } => "override",
            Self::SetShedding { .. } => "set_shedding",
            Self::PauseLane { .. } => "pause_lane",
            Self::Post(_) => "post",
            Self::Command { .. } => "command",
        }
    }

    /// The figures that can tell whether it helped, its own first: what holds where nothing is said.
    #[must_use]
    pub fn figures(&self) -> &'static [Verify] {
        const DEPTH: Verify = Verify::QueueDepth { below: 0 };
        match self {
            Self::ScalePool { .. } => &[Verify::PoolSize, DEPTH, Verify::AlertResolved, Verify::Nothing],
            Self::ReplaceUnhealthyWorkers { .. } => &[Verify::WorkersHealthy, Verify::AlertResolved, Verify::Nothing],
            Self::RenewLedgerPool => &[Verify::LedgerAnswers, Verify::AlertResolved, Verify::Nothing],
            Self::EnqueueJob { .. } => &[Verify::JobSucceeded, Verify::AlertResolved, Verify::Nothing],
            Self::RestartMcpServer { .. } => &[Verify::ServerAnswers, Verify::AlertResolved, Verify::Nothing],
            Self::Override { .. } | Self::SetShedding { .. } | Self::PauseLane { .. } => {
                &[Verify::InForce, Verify::AlertResolved, Verify::Nothing]
            }
            Self::Post(_) | Self::Command { .. } => &[Verify::Nothing, Verify::AlertResolved],
        }
    }
}
