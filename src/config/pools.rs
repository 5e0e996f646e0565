//! Pools and how they scale.

use std::collections::BTreeMap;

use crate::job::{PoolName, QueueName};
use crate::policy::catalog::{Pool, Queue, ScaleSignal};
use crate::policy::scaling::{Pace, Rules};

use super::catalog::{named, queue_of};
use super::clash::clash;
use super::reader::{Section, one_of};
use super::{DURATION_MS_MAX, health};

/// More workers than this in one pool of one node are a slip of the pen.
pub(super) const WORKERS_MAX: u64 = 10_000;
/// More than any machine has: 1 PiB.
const BYTES_MAX: u64 = 1 << 50;
/// A longer window or period would need more memory of the past than it is worth: an hour, in milliseconds.
const WINDOW_MS_MAX: u64 = 3_600_000;

/// `[defaults.pool]` and `[pools]`.
pub(super) fn read(
    root: &Section<'_>,
    defaults: &Section<'_>,
    queues: &BTreeMap<QueueName, Queue>,
) -> BTreeMap<PoolName, Pool> {
    pool(defaults, PoolName::stored("default"), QueueName::stored("default"));
    defaults.finish();
    let outer = root.table("pools");
    let mut pools = BTreeMap::new();
    for (name, section) in root.tables("pools") {
        let section = section.with_fallback(defaults);
        let queue = queue_of(&section, queues).unwrap_or_else(|| QueueName::stored("unknown"));
        if let Some(name) = named(&outer, &name, PoolName::new(&name)) {
            let pool = pool(&section, name.clone(), queue);
            pools.insert(name, pool);
        }
        section.finish();
    }
    twins(&outer, &pools);
    pools
}

/// Two pools with one prefix would give two workers the same name.
fn twins(outer: &Section<'_>, pools: &BTreeMap<PoolName, Pool>) {
    let mut seen: BTreeMap<&str, &PoolName> = BTreeMap::new();
    for (name, pool) in pools {
        if let Some(other) = seen.insert(&pool.worker_prefix, name) {
            let prefix = &pool.worker_prefix;
            outer.problem(name.as_str(), format!("its workers' prefix {prefix:?} is that of pool {other} too"));
        }
    }
}

fn pool(section: &Section<'_>, name: PoolName, queue: QueueName) -> Pool {
    let min = section.integer("min", 1, WORKERS_MAX);
    let max = section.integer("max", 1, WORKERS_MAX);
    if min > max {
        clash(&section.says("min", min), ["above", "below"], &section.says("max", max), "");
    }
    let prefix = section.optional_text("worker_prefix").unwrap_or_else(|| {
        let name = name.as_str();
        name.strip_suffix('s').filter(|rest| !rest.is_empty()).unwrap_or(name).to_owned()
    });
    if let Err(error) = QueueName::new(&prefix) {
        section.problem("worker_prefix", error.to_string());
    }
    let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
    Pool {
        worker_type: section.optional_text("worker_type").unwrap_or_else(|| queue.as_str().to_owned()),
        name,
        queue,
        worker_prefix: prefix,
        min: count(min),
        max: count(max),
        scale_on: signals(section),
        target_cpu: section.number("target_cpu", 0.0, 1.0),
        target_memory: section.number("target_memory", 0.0, 1.0),
        target_queue_depth: section.number("target_queue_depth", 0.0, 1_000_000.0),
        target_latency_ms: section.integer("target_latency_ms", 1, DURATION_MS_MAX),
        limits: health::worker_limits(section),
        cpu_request: section.number("cpu_request", 0.0, 1_024.0),
        memory_request_bytes: section.integer("memory_request_bytes", 1, BYTES_MAX),
    }
}

fn signals(section: &Section<'_>) -> Vec<ScaleSignal> {
    let known = [
        ("cpu", ScaleSignal::Cpu),
        ("memory", ScaleSignal::Memory),
        ("queue_depth", ScaleSignal::QueueDepth),
        ("latency", ScaleSignal::Latency),
    ];
    let mut signals = Vec::new();
    for word in section.texts("scale_on") {
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, signal)) if !signals.contains(signal) => signals.push(*signal),
            Some(_) => {}
            None => section.problem(
                "scale_on",
                format!("there is no signal {word:?}; expected {}", one_of(known.iter().map(|(name, _)| *name))),
            ),
        }
    }
    signals
}

/// `[scaling]`
pub(super) fn scaling(section: &Section<'_>) -> Rules {
    let pace = |share: &str, most: f64, workers: &str, period: &str| Pace {
        share: section.number(share, 0.0, most),
        workers: usize::try_from(section.integer(workers, 1, WORKERS_MAX)).unwrap_or(usize::MAX),
        period_ms: section.integer(period, 1_000, WINDOW_MS_MAX),
    };
    let rules = Rules {
        tick_ms: section.integer("tick_ms", 100, 60_000),
        tolerance: section.number("tolerance", 0.0, 0.9),
        up_window_ms: section.integer("up_window_ms", 0, WINDOW_MS_MAX),
        down_window_ms: section.integer("down_window_ms", 1_000, WINDOW_MS_MAX),
        up: pace("up_share", 100.0, "up_workers", "up_period_ms"),
        down: pace("down_share", 1.0, "down_workers", "down_period_ms"),
        cpu_window_ms: section.integer("cpu_window_ms", 1_000, WINDOW_MS_MAX),
        warmup_ms: section.integer("warmup_ms", 0, WINDOW_MS_MAX),
        cpu_headroom: section.number("cpu_headroom", 0.0, 1.0),
        memory_headroom: section.number("memory_headroom", 0.0, 1.0),
        drain_ms: section.integer("drain_ms", 1, DURATION_MS_MAX),
    };
    // Growing must not be slower than shrinking, or a pool that is pushed both ways ends too small.
    if rules.up_window_ms > rules.down_window_ms {
        let up = section.says("up_window_ms", rules.up_window_ms);
        clash(&up, ["above", "below"], &section.says("down_window_ms", rules.down_window_ms), "");
    }
    section.finish();
    rules
}
