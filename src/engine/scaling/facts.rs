//! What the policy is told of a pool.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::core::{Core, Setup};
use crate::engine::meter::{self, Used};
use crate::engine::post::Post;
use crate::engine::{gate, queries};
use crate::host::HostSample;
use crate::job::PoolName;
use crate::policy::catalog::{HandlerSpec, Pool, ScaleSignal};
use crate::policy::gate::{Standing, judge};
use crate::policy::pressure::CpuReading;
use crate::policy::scaling::{Facts, Flow, Headroom, Reading};
use crate::service::lock;

/// Over how long arrivals are counted, in milliseconds.
const ARRIVALS_MS: i64 = 60_000;
/// Runs without which the mean run time says nothing.
const RUNS_MIN: u64 = 10;

/// One look at the node, for all its pools.
pub(super) struct Scene {
    setup: Arc<Setup>,
    now: Timestamp,
    machine: HostSample,
    cpu_pressure: Option<f64>,
    /// Workers that are to stay, with what their work uses.
    workers: Vec<(Arc<Post>, bool, Used)>,
    living: usize,
}

/// The facts of a pool that has no choice.
pub(super) fn nothing() -> Facts {
    Facts {
        cpu: Reading::NoSource,
        memory: Reading::NoSource,
        waiting: Reading::NoSource,
        shed_per_s: 0.0,
        busy: 0,
        flow: Reading::NoSource,
        headroom: Headroom::default(),
    }
}

impl Scene {
    pub(super) fn of(core: &Core, setup: &Arc<Setup>, now: Timestamp) -> Self {
        let machine = core.host.sample();
        let mut gauges = lock(&core.scaler.gauges);
        // On a clock that is never set back.
        let at = Timestamp(i64::try_from(gauges.started.elapsed().as_millis()).unwrap_or(i64::MAX));
        let reading = machine.cpu.map(|cpu| CpuReading { at, used_s: cpu.used_s, cores: machine.cores });
        let cpu_pressure = gauges.cpu.read(reading);
        let posts = core.roster.posts();
        let used = meter::look(&*core.host, &posts, &mut gauges.reaped_s, &setup.scaling, now);
        let workers = posts.into_iter().zip(used).filter_map(|(post, used)| {
            let look = post.look();
            look.leaving.is_none().then(|| (post, look.run.is_some(), used))
        });
        let (setup, workers) = (setup.clone(), workers.collect());
        Self { setup, now, machine, cpu_pressure, workers, living: core.membership.living().len().max(1) }
    }

    /// What is known of one pool.
    #[expect(clippy::cast_precision_loss, reason = "bytes and jobs far below 2^52")]
    pub(super) async fn pool(&self, core: &Core, pool: &Pool) -> Facts {
        let workers: Vec<&(Arc<Post>, bool, Used)> =
            self.workers.iter().filter(|(post, ..)| post.pool == pool.name).collect();
        let busy = workers.iter().filter(|(_, is_busy, _)| *is_busy).count();
        let cores: Vec<Option<f64>> = workers.iter().map(|(.., used)| used.cores).collect();
        let bytes: Vec<Option<f64>> =
            workers.iter().map(|(.., used)| used.cores.map(|_| used.memory_bytes as f64)).collect();
        let (has_work, has_children) = self.sources(pool);
        let reading = |samples: &[Option<f64>], request: f64, has_source: bool| match (has_source, samples.is_empty()) {
            (false, _) => Reading::NoSource,
            (true, true) => Reading::Missing,
            (true, false) => Reading::Value(samples.iter().map(|sample| sample.map(|used| used / request)).collect()),
        };
        let waiting = self.waiting(core, pool).await;
        let flow = self.flow(core, &pool.name, waiting.map(|waiting| waiting + busy as f64));
        Facts {
            cpu: reading(&cores, pool.cpu_request, has_work),
            memory: reading(&bytes, pool.memory_request_bytes as f64, has_children),
            waiting: waiting.map_or(Reading::Missing, Reading::Value),
            shed_per_s: core.shedding.refused_per_s(&pool.queue, self.now),
            busy,
            flow,
            headroom: self.headroom(&cores, &bytes),
        }
    }

    /// Whether anything of a pool runs here at all, and whether some of it in processes of its own.
    fn sources(&self, pool: &Pool) -> (bool, bool) {
        let known = self.setup.catalog.types_of(&pool.queue);
        let mut known = known.filter(|known| self.setup.handlers.contains_key(&known.name)).peekable();
        let has_work = known.peek().is_some();
        (has_work, known.any(|known| matches!(known.handler, HandlerSpec::Command { .. })))
    }

    /// This pool's part of the jobs that could run now and wait for a worker; `None` while the broker is away. What a
    /// pause or a breaker holds is not among them: more workers cannot help it.
    #[expect(clippy::cast_precision_loss, reason = "jobs far below 2^52")]
    async fn waiting(&self, core: &Core, pool: &Pool) -> Option<f64> {
        let depth = queries::depth(core, &pool.queue).await?;
        if depth.paused.contains(&None) {
            return Some(0.0);
        }
        let mut waiting = 0;
        for (name, count) in &depth.lanes {
            let Some(known) = self.setup.catalog.types.get(name) else { continue };
            waiting += match judge(&gate::facts(core, &self.setup, known)).0 {
                _ if depth.paused.contains(&Some(name.clone())) => 0,
                Standing::Closed => 0,
                Standing::Limited(allowance) => (*count).min(allowance as u64),
                Standing::Open | Standing::Last => *count,
            };
        }
        // Nodes and pools that serve the same queue share what waits in it.
        let pools = self.setup.catalog.pools.values().filter(|other| other.queue == pool.queue).count().max(1);
        Some(waiting as f64 / self.living as f64 / pools as f64)
    }

    /// Arrivals are what has ended, and what more there is of what waits and runs than a minute ago.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a minute")]
    fn flow(&self, core: &Core, pool: &PoolName, load: Option<f64>) -> Reading<Flow> {
        let before = match (lock(&core.scaler.pools).get_mut(pool), load) {
            (Some(past), Some(load)) => oldest(&mut past.load, load, self.now),
            _ => return Reading::Missing,
        };
        let Some((runs, per_s, mean_ms)) = core.figures.pool_runs(pool, self.now) else { return Reading::NoSource };
        if runs < RUNS_MIN {
            return Reading::NoSource;
        }
        let grown = before
            .map_or(0.0, |(at, before)| (load.unwrap_or(before) - before) * 1_000.0 / self.now.since(at).max(1) as f64);
        Reading::Value(Flow { arrivals_per_s: (per_s + grown).max(0.0), run_s: mean_ms / 1_000.0 })
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    fn headroom(&self, cores: &[Option<f64>], bytes: &[Option<f64>]) -> Headroom {
        let known: Vec<f64> = cores.iter().flatten().copied().collect();
        let each = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        let mut held: Vec<f64> = bytes.iter().flatten().copied().filter(|bytes| *bytes > 0.0).collect();
        held.sort_by(f64::total_cmp);
        let own: f64 = held.iter().sum();
        Headroom {
            cores: Some(self.machine.cores).filter(|cores| *cores > 0.0),
            cpu_pressure: self.cpu_pressure,
            memory_pressure: self.machine.memory.map(|memory| memory.ratio()),
            cpu_per_worker: each,
            memory_limit_bytes: self.machine.memory.map(|memory| memory.limit_bytes as f64),
            memory_base_bytes: self.machine.memory.map_or(0.0, |memory| (memory.used_bytes as f64 - own).max(0.0)),
            memory_per_worker_bytes: held.get((held.len() * 95).div_ceil(100).saturating_sub(1)).copied(),
        }
    }
}

/// Notes a load; answers the oldest of the last minute.
fn oldest(past: &mut VecDeque<(Timestamp, f64)>, load: f64, now: Timestamp) -> Option<(Timestamp, f64)> {
    while past.front().is_some_and(|(at, _)| now.since(*at) > ARRIVALS_MS || *at > now) {
        past.pop_front();
    }
    let before = past.front().copied();
    past.push_back((now, load));
    before
}

/// Whether what handlers take on the daemon's threads has to be measured.
pub(in crate::engine) fn counts_threads(pool: &Pool) -> bool {
    pool.scale_on.contains(&ScaleSignal::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_loads_is_remembered() {
        let at = |s: i64| Timestamp(s * 1_000);
        let mut past = VecDeque::new();
        assert_eq!(oldest(&mut past, 1.0, at(0)), None);
        assert_eq!(oldest(&mut past, 2.0, at(30)), Some((at(0), 1.0)));
        assert_eq!(oldest(&mut past, 3.0, at(60)), Some((at(0), 1.0)));
        assert_eq!(oldest(&mut past, 4.0, at(65)), Some((at(30), 2.0)));
        // The clock was set back.
        assert_eq!(oldest(&mut past, 5.0, at(1)), None);
    }
}
