//! The node's own health: the runbook's five checks.
//!
//! Connections are asked when somebody asks; the two shares are checked every `health.check_ms`, so that a spike does not
//! take the node out of its load balancer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::policy::health::{Checks, HealthRules, NodeHealth, Tallied, Tally};
use crate::service::lock;
use crate::telemetry::metrics;

use super::core::Core;
use super::views::Readiness;

/// What the node knows of itself.
#[derive(Debug)]
pub(super) struct Health {
    /// Where its monotonic clock begins. The wall clock may jump, and a jump must not make every worker look hung.
    born: Instant,
    runs: Mutex<Tally>,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    node: NodeHealth,
    memory: Option<f64>,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthView {
    /// The runbook's five.
    pub checks: Checks,
    /// How ready it is.
    pub readiness: Readiness,
    /// Its name.
    pub node: String,
    /// The share of its memory that the service holds, 0 to 1, where that is known.
    pub memory: Option<f64>,
    /// How the runs of the last ten minutes ended, as far as workers answer for it.
    pub runs: Tallied,
    /// The thresholds in force.
    pub rules: HealthRules,
}

impl Default for Health {
    fn default() -> Self {
        Self { born: Instant::now(), runs: Mutex::default(), shares: Mutex::default() }
    }
}

impl Health {
    /// A moment on the node's monotonic clock.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        let ms = moment.saturating_duration_since(self.born).as_millis();
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// The present moment on the node's monotonic clock.
    pub(super) fn moment(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// Notes what the end of a run says about its worker, if anything.
    pub(super) fn ran(&self, went_well: Option<bool>) {
        if let Some(good) = went_well {
            lock(&self.runs).note(self.moment(), good);
        }
    }
}

/// Checks the shares until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        check(&core);
        // Read anew each time: a reload may change it.
        let period = Duration::from_millis(core.setup.load().health.check_ms);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period.mul_f64(core.chance.between(0.8, 1.2))) => {}
        }
    }
}

fn check(core: &Core) {
    let setup = core.setup.load();
    let memory = core.host.sample().memory.map(|memory| memory.ratio());
    let runs = lock(&core.health.runs).recent(core.health.moment());
    let mut shares = lock(&core.health.shares);
    shares.memory = memory;
    shares.node.note(memory, runs, &setup.health);
    let checks = shares.node.checks(true, true, true);
    metrics::health_shares(checks.memory_usage, checks.execution_success_rate);
}

/// How this node is now.
pub(super) fn view(core: &Core, readiness: Readiness) -> HealthView {
    let (checks, memory) = {
        let shares = lock(&core.health.shares);
        let (queue, database) = (readiness.broker.is_ok(), readiness.ledger.is_ok());
        let checks = shares.node.checks(queue, readiness.mcp_away.is_empty(), database);
        (checks, shares.memory)
    };
    HealthView {
        checks,
        readiness,
        node: core.params.node_name.clone(),
        memory,
        runs: lock(&core.health.runs).recent(core.health.moment()),
        rules: core.setup.load().health.clone(),
    }
}
