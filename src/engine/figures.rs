//! Rates, waits and shares of the last five minutes on this node.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Timestamp;
use crate::job::{PoolName, QueueName};
use crate::policy::catalog::Catalog;
use crate::policy::window::Window;
use crate::service::lock;
use crate::telemetry::metrics;

/// The windows.
#[derive(Debug, Default)]
pub(super) struct Figures {
    waits: Mutex<HashMap<QueueName, Window>>,
    runs: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    all: Window,
    queues: HashMap<QueueName, Window>,
    pools: HashMap<PoolName, Window>,
}

impl Figures {
    /// Notes the wait of a first start.
    pub(super) fn waited(&self, queue: &QueueName, ms: i64, now: Timestamp) {
        lock(&self.waits).entry(queue.clone()).or_default().record(now, ms, false);
    }

    /// Notes a finished run.
    pub(super) fn ran(&self, queue: &QueueName, pool: &PoolName, ms: i64, failed: bool, now: Timestamp) {
        let mut runs = lock(&self.runs);
        runs.all.record(now, ms, failed);
        runs.queues.entry(queue.clone()).or_default().record(now, ms, failed);
        runs.pools.entry(pool.clone()).or_default().record(now, ms, failed);
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
