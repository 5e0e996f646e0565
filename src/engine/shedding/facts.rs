//! What shedding goes by, gathered once a second.

use std::collections::BTreeMap;

use crate::broker::Depth;
use crate::clock::Timestamp;
use crate::host::HostSample;
use crate::job::{QueueName, TypeName};
use crate::policy::catalog::{JobType, Queue};
use crate::policy::gate::{self, Standing};
use crate::policy::order;
use crate::policy::pressure::{CpuMeter, CpuReading};
use crate::policy::shedding::{Facts, QueueFacts};
use crate::telemetry::metrics;

use super::super::core::{Core, Setup};
use super::super::gate as lanes;
use super::super::queries;

/// What each queue holds; `None` while the broker is away.
pub(super) async fn depths(core: &Core, setup: &Setup) -> BTreeMap<QueueName, Option<Depth>> {
    let mut depths = BTreeMap::new();
    for queue in setup.catalog.queues.keys() {
        depths.insert(queue.clone(), queries::depth(core, queue).await);
    }
    depths
}

/// Everything at one point.
pub(super) fn gather(
    core: &Core,
    setup: &Setup,
    cpu: &mut CpuMeter,
    depths: &BTreeMap<QueueName, Option<Depth>>,
    now: Timestamp,
) -> Facts {
    let sample = core.host.sample();
    let reading = sample.cpu.map(|used| CpuReading { at: now, used_s: used.used_s, cores: sample.cores });
    let (cpu, memory) = (cpu.read(reading), sample.memory.map(|memory| memory.ratio()));
    show(&sample, cpu, memory);
    let (samples, present) = (setup.shedding.samples_min, core.clock.now());
    let known = |queue: &QueueName| depths.get(queue).and_then(Option::as_ref);
    let queues = setup.catalog.queues.values();
    Facts {
        cpu,
        memory,
        error_rate: core.shedding.runs.error_rate(samples, present),
        response_time_p95_ms: core.shedding.runs.response_time_p95_ms(samples, present),
        queues: queues.map(|queue| (queue.name.clone(), of_queue(core, setup, queue, known(&queue.name)))).collect(),
    }
}

fn show(sample: &HostSample, cpu: Option<f64>, memory: Option<f64>) {
    metrics::usage(cpu, memory);
    for (resource, ratio) in [
        ("cpu", cpu),
        ("memory", memory),
        ("cpu_stalled", sample.cpu_stalled),
        ("memory_stalled", sample.memory_stalled),
    ] {
        metrics::pressure(resource, ratio);
    }
}

/// One queue. What a pause, a breaker or an absent broker holds is no depth: more workers would not help it, and fewer
/// submits neither.
fn of_queue(core: &Core, setup: &Setup, queue: &Queue, depth: Option<&Depth>) -> QueueFacts {
    let types: Vec<&JobType> = setup.catalog.types_of(&queue.name).collect();
    let quickest = types.iter().filter_map(|known| known.sla_ms).min();
    let (present, nodes) = (core.clock.now(), core.membership.living().len().max(1));
    let mut facts = QueueFacts {
        depth: None,
        delay_ms: None,
        sla_ms: queue.sla_ms.or(quickest),
        // Every node takes its part; this one knows its own.
        drained_per_s: core.figures.drain_rate(&queue.name, present) * as_f64(nodes),
    };
    let started_ms = core.figures.take_least_wait_ms(&queue.name);
    let Some(depth) = depth else {
        for known in types {
            core.shedding.runs.held(&known.name, present);
        }
        return facts;
    };
    let (mut waiting, mut head) = (0, None::<i64>);
    for known in types {
        let lane = lanes::facts(core, setup, known);
        let is_held = is_held(core, depth, &known.name);
        if !is_held {
            waiting += ready(depth, &known.name);
        }
        if !is_held && matches!(gate::judge(&lane).0, Standing::Open | Standing::Limited(_)) {
            let own = depth.heads.iter().find(|(name, _)| *name == known.name).map(|(_, score)| *score);
            head = [head, own].into_iter().flatten().min();
        } else {
            core.shedding.runs.held(&known.name, present);
        }
    }
    facts.depth = Some(waiting);
    let head_ms = head.map_or(0, |score| order::least_wait_ms(queue, score, &depth.ready, core.broker.now_ms()));
    // A job that failed before stands first with its old deadline; whatever starts beside it says how late the queue is.
    facts.delay_ms = Some(started_ms.map_or(head_ms, |started_ms| head_ms.min(started_ms)));
    facts
}

/// Whether a pause or a breaker holds a lane.
fn is_held(core: &Core, depth: &Depth, lane: &TypeName) -> bool {
    let is_paused = depth.paused.contains(&None) || depth.paused.contains(&Some(lane.clone()));
    is_paused || core.breakers.hold(lane, core.membership.living().len())
}

/// Jobs of a lane that are due.
fn ready(depth: &Depth, lane: &TypeName) -> u64 {
    depth.lanes.iter().find(|(name, _)| name == lane).map_or(0, |(_, count)| *count)
}

/// The jobs of a queue that are due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine) struct Waiting {
    /// Those that wait for a worker: the depth that shedding goes by.
    pub(in crate::engine) for_workers: u64,
    /// Those that a pause or a breaker holds: workers cannot help them.
    pub(in crate::engine) held: u64,
}

/// What waits in a queue, and for what; `None` while the broker is away.
pub(in crate::engine) async fn waiting(core: &Core, queue: &QueueName) -> Option<Waiting> {
    let depth = queries::depth(core, queue).await?;
    let mut waiting = Waiting::default();
    for known in core.catalog().types_of(queue) {
        let count = ready(&depth, &known.name);
        if is_held(core, &depth, &known.name) {
            waiting.held += count;
        } else {
            waiting.for_workers += count;
        }
    }
    Some(waiting)
}

#[expect(clippy::cast_precision_loss, reason = "nodes are few")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
