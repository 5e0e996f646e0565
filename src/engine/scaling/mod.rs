//! The autoscaler: facts to the policy, its decisions to the pools.
//!
//! Every tick it measures each pool, asks `policy/scaling`, tells the roster the size to have, and remembers it in the
//! ledger, so that a restart resumes it. Each node sizes its own pools, for its part of what waits.

mod facts;
mod orders;
mod views;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::PoolName;
use crate::ledger::Setting;
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::policy::catalog::Pool;
use crate::policy::pressure::CpuMeter;
use crate::policy::scaling::{self, Decision, Direction, Facts, History, Reading, bounds};
use crate::service::lock;
use crate::telemetry::metrics;

use super::core::Core;
use super::settings;

pub(super) use facts::counts_threads;
pub use orders::Figure;
pub use orders::Scale;
pub(super) use orders::{in_force, lift, raise, scale};
pub use views::{PoolOnNode, PoolView, ProposalView};
pub(super) use views::{everywhere, own};

/// The kind of setting that the last size of a pool is.
const SIZE: &str = "pool_size";

/// What the autoscaler remembers.
#[derive(Debug)]
pub(super) struct Scaler {
    /// Asks for a look at once.
    due: Notify,
    pools: Mutex<BTreeMap<PoolName, Past>>,
    gauges: Mutex<Gauges>,
}

/// One pool so far.
#[derive(Debug)]
struct Past {
    history: History,
    /// The last decision, and when.
    decided: Option<(Timestamp, Decision)>,
    /// Jobs that waited or ran, over the last minute.
    load: VecDeque<(Timestamp, f64)>,
    /// Whether its load was compared with its most workers.
    is_sized: bool,
}

/// Readings that are differences.
#[derive(Debug)]
struct Gauges {
    started: tokio::time::Instant,
    cpu: CpuMeter,
    /// What all ended children have used, in seconds of CPU.
    reaped_s: Option<f64>,
}

impl Default for Scaler {
    fn default() -> Self {
        let gauges = Gauges { started: tokio::time::Instant::now(), cpu: CpuMeter::default(), reaped_s: None };
        Self { due: Notify::new(), pools: Mutex::default(), gauges: Mutex::new(gauges) }
    }
}

impl Scaler {
    /// Asks for a look at once.
    pub(super) fn nudge(&self) {
        self.due.notify_one();
    }
}

/// Sizes the pools of this node until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut changes = core.settings.changes();
    loop {
        // Registered before the look, so that a nudge that comes meanwhile is not missed.
        let nudged = core.scaler.due.notified();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = look(&core) => {}
        }
        let tick = Duration::from_millis(core.setup.load().scaling.tick_ms);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = nudged => {}
            () = overridden(&core, &mut changes) => {}
            () = tokio::time::sleep(tick) => {}
        }
    }
}

/// Returns when somebody has set other bounds of a pool, here or on another node.
async fn overridden(core: &Core, changes: &mut crate::service::watch::Receiver<u64>) {
    let before = core.settings.of_kind(orders::OVERRIDE, core.clock.now());
    while core.settings.of_kind(orders::OVERRIDE, core.clock.now()) == before {
        changes.changed().await;
    }
}

/// One look at all pools.
async fn look(core: &Core) {
    if core.is_stopping() {
        return;
    }
    let setup = core.setup.load_full();
    let now = core.clock.now();
    lock(&core.scaler.pools).retain(|name, _| setup.catalog.pools.contains_key(name));
    if !begin(core, &setup.catalog.pools).await {
        return;
    }
    let scene = facts::Scene::of(core, &setup, now);
    for pool in setup.catalog.pools.values() {
        let overrides = orders::in_force(core, &pool.name, now);
        let limits = bounds(pool, &overrides, now);
        // Where the bounds leave no choice nothing needs to be measured.
        let facts = if limits.low == limits.max { facts::nothing() } else { scene.pool(core, pool).await };
        decide(core, pool, &facts, now).await;
    }
}

/// Takes up pools that were not looked at yet, at the size that they had last. False while that cannot be read.
async fn begin(core: &Core, pools: &BTreeMap<PoolName, Pool>) -> bool {
    let known: Vec<PoolName> = lock(&core.scaler.pools).keys().cloned().collect();
    let new: Vec<&Pool> = pools.values().filter(|pool| !known.contains(&pool.name)).collect();
    if new.is_empty() {
        return true;
    }
    // A pool of one size has no other to resume.
    let can_move = new.iter().any(|pool| pool.min < pool.max);
    if can_move && let Err(error) = settings::read(core).await {
        core.session.ledger_failed(&error);
        return false;
    }
    let now = core.clock.now();
    for pool in new {
        let size = core.settings.get(SIZE, pool.name.as_str(), now).filter(|_| !mutant!(size_forgotten));
        let size = size.and_then(|setting| setting.value.parse().ok());
        let limits = bounds(pool, &orders::in_force(core, &pool.name, now), now);
        // A service that was started again finds the pool at work.
        let size = core.roster.told_size(&pool.name).or(size).unwrap_or(limits.min).clamp(limits.min, limits.max);
        let past = Past { history: History::seeded(size, now), decided: None, load: VecDeque::new(), is_sized: false };
        lock(&core.scaler.pools).insert(pool.name.clone(), past);
        core.roster.want(&pool.name, size);
        tracing::debug!(pool.name = %pool.name, size, "Pool {} starts with {size} workers", pool.name);
    }
    true
}

/// One decision, carried out.
async fn decide(core: &Core, pool: &Pool, facts: &Facts, now: Timestamp) {
    let rules = core.setup.load().scaling;
    let overrides = orders::in_force(core, &pool.name, now);
    let decision = {
        let mut pools = lock(&core.scaler.pools);
        let Some(past) = pools.get_mut(&pool.name) else { return };
        size_up(past, pool, facts);
        let decision = scaling::decide(&rules, pool, &overrides, &past.history, facts, now);
        past.history.note(&rules, &decision, now);
        past.decided = Some((now, decision.clone()));
        decision
    };
    let Decision { current, target, direction, metric, limiter, reason, .. } = &decision;
    let (name, node) = (pool.name.as_str(), core.params.node_name.as_str());
    metrics::scaled(name, node, *target, direction.name(), limiter.name());
    core.roster.want(&pool.name, *target);
    if *direction == Direction::Hold {
        return tracing::debug!(pool.name = name, limiter = limiter.name(), "Pool {name} {reason}");
    }
    let metric = metric.map_or("none", scaling::Metric::name);
    metrics::scale_driven(name, direction.name(), metric);
    tracing::info!(pool.name = name, from = current, to = target, direction = direction.name(), metric,
        limiter = limiter.name(), proposals = %words(&decision), "Pool {name} {reason}");
    let max = bounds(pool, &overrides, now).max;
    let detail = serde_json::json!({ "from": current, "to": target, "max": max, "metric": metric,
        "limiter": limiter.name() });
    core.timeline.note(EventKind::Scaling, name, format!("Pool {name} {reason}"), Some(detail));
    remember(core, pool, *target, now).await;
}

/// `cpu=3 queue_depth=12`.
fn words(decision: &Decision) -> String {
    let wants = |wants: Option<usize>| wants.map_or_else(|| "-".to_owned(), |wants| wants.to_string());
    let all: Vec<String> =
        decision.proposals.iter().map(|it| format!("{}={}", it.metric.name(), wants(it.wants))).collect();
    all.join(" ")
}

/// Notes a size for the next start.
async fn remember(core: &Core, pool: &Pool, size: usize, now: Timestamp) {
    let setting = Setting {
        kind: SIZE.to_owned(),
        name: pool.name.to_string(),
        value: size.to_string(),
        by: core.params.node_name.clone(),
        since: now,
        until: None,
    };
    if let Err(refusal) = settings::set(core, &setting).await {
        // A start would resume an older size, and correct it within a window.
        tracing::debug!(pool.name = %pool.name, "The size of pool {} could not be noted: {refusal}", pool.name);
    }
}

/// Compares the load with the most workers, once both arrivals and run times are known.
fn size_up(past: &mut Past, pool: &Pool, facts: &Facts) {
    let Reading::Value(flow) = &facts.flow else { return };
    if std::mem::replace(&mut past.is_sized, true) {
        return;
    }
    let (load, needed) = scaling::sizing(flow);
    let (name, max) = (&pool.name, pool.max);
    if needed > max {
        tracing::warn!(pool.name = %name, load, needed, max,
            "Pool {name} is offered {load:.1} workers' work and would need {needed} so that few jobs wait; its most \
             are {max}");
    } else {
        tracing::info!(pool.name = %name, load, needed, max,
            "Pool {name} is offered {load:.1} workers' work and needs {needed} so that few jobs wait, of at most {max}");
    }
}
