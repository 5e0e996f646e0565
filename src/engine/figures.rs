//! Rates, waits and shares of the last five minutes on this node.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Timestamp;
use crate::job::{PoolName, QueueName, TypeName};
use crate::policy::catalog::Catalog;
use crate::policy::window::Window;
use crate::service::lock;
use crate::telemetry::metrics;

use super::running::Run;

/// The windows.
#[derive(Debug, Default)]
pub(super) struct Figures {
    waits: Mutex<HashMap<QueueName, Window>>,
    /// The shortest wait of a first start since it was last asked for.
    least_waits: Mutex<HashMap<QueueName, i64>>,
    runs: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    all: Window,
    queues: HashMap<QueueName, Window>,
    types: HashMap<TypeName, Window>,
    pools: HashMap<PoolName, Window>,
}

impl Figures {
    /// Notes the wait of a first start.
    pub(super) fn waited(&self, queue: &QueueName, ms: i64, now: Timestamp) {
        lock(&self.waits).entry(queue.clone()).or_default().record(now, ms, false);
        let mut least = lock(&self.least_waits);
        least.entry(queue.clone()).and_modify(|least| *least = ms.min(*least)).or_insert(ms);
    }

    /// The shortest wait of a first start since the last call, in milliseconds; `None` when there was none.
    pub(super) fn take_least_wait_ms(&self, queue: &QueueName) -> Option<i64> {
        lock(&self.least_waits).remove(queue)
    }

    /// Notes a finished run.
    pub(super) fn ran(&self, run: &Run, pool: &PoolName, ms: i64, failed: bool, now: Timestamp) {
        let mut runs = lock(&self.runs);
        runs.all.record(now, ms, failed);
        runs.queues.entry(run.queue.clone()).or_default().record(now, ms, failed);
        runs.types.entry(run.job_type.clone()).or_default().record(now, ms, failed);
        runs.pools.entry(pool.clone()).or_default().record(now, ms, failed);
    }

    /// How many runs of a pool ended in the last five minutes, how many a second over the last one, and their
    /// mean length in milliseconds; `None` without any.
    pub(super) fn pool_runs(&self, pool: &PoolName, now: Timestamp) -> Option<(u64, f64, f64)> {
        let runs = lock(&self.runs);
        let window = runs.pools.get(pool)?;
        window.mean_ms(now).map(|mean_ms| (window.count(now), window.rate(now), mean_ms))
    }

    /// Runs of a queue that finish a second on this node, over the last minute; 0 without any.
    pub(super) fn drain_rate(&self, queue: &QueueName, now: Timestamp) -> f64 {
        lock(&self.runs).queues.get(queue).map_or(0.0, |window| window.rate(now))
    }

    /// The same as far as it can be foretold; `None` with fewer than ten in the last minute.
    pub(super) fn queue_rate(&self, queue: &QueueName, now: Timestamp) -> Option<f64> {
        lock(&self.runs).queues.get(queue).and_then(|window| window.young_rate(now))
    }

    /// What 95 % of a type's runs stayed below in the last five minutes, in milliseconds; `None` with fewer than
    /// `samples`.
    pub(super) fn usual_run_ms(&self, name: &TypeName, samples: u64, now: Timestamp) -> Option<f64> {
        let runs = lock(&self.runs);
        let window = runs.types.get(name).filter(|window| window.count(now) >= samples)?;
        window.quantile_ms(0.95, now)
    }

    /// Shows everything.
    pub(super) fn publish(&self, catalog: &Catalog, now: Timestamp) {
        let runs = lock(&self.runs);
        metrics::runs(runs.all.failure_share(now), runs.all.quantile_ms(0.95, now));
        let waits = lock(&self.waits);
        for queue in catalog.queues.keys() {
            let rate = runs.queues.get(queue).map_or(0.0, |window| window.rate(now));
            let wait_ms = waits.get(queue).and_then(|window| window.quantile_ms(0.95, now));
            metrics::queue_rates(queue.as_str(), rate, wait_ms.map(|ms| ms / 1_000.0));
        }
        for pool in catalog.pools.values() {
            let rate = runs.pools.get(&pool.name).map_or(0.0, |window| window.rate(now));
            metrics::pool_rate(pool.queue.as_str(), pool.name.as_str(), rate);
        }
    }
}
