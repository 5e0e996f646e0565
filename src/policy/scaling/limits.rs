//! Between what is asked for and what may be: bounds, overrides and the machine.

use crate::clock::Timestamp;
use crate::mutant::mutant;
use crate::policy::catalog::Pool;

use super::proposals::workers;
use super::{Headroom, Rules};

/// What one worker uses until it was measured, in cores: little, as most handlers wait for others.
const CPU_PER_WORKER: f64 = 0.05;

/// What an operator, or a remediation, has set at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Override {
    /// Instead of the pool's `min`.
    pub min: Option<Order>,
    /// Instead of the pool's `max`.
    pub max: Option<Order>,
    /// A size to grow to at once, `max` permitting.
    pub floor: Option<Order>,
}

/// One figure of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// How many workers; at least 1.
    pub workers: usize,
    /// Until when; `None`: until it is lifted.
    pub until: Option<Timestamp>,
}

/// Between what a pool may move now: `1 <= min <= low <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The fewest workers.
    pub min: usize,
    /// The fewest workers, a floor included.
    pub low: usize,
    /// The most workers.
    pub max: usize,
    /// Until when the floor holds that raises `low`, if one does.
    pub floor: Option<Order>,
}

/// Why an override is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}; {expected}")]
pub struct InvalidOverride {
    /// Which figure.
    pub field: &'static str,
    /// What it is.
    pub value: usize,
    /// What would be right.
    pub expected: String,
}

/// The bounds in force. An override that a changed configuration has made absurd is cut, never followed
/// into a floor above a ceiling.
#[must_use]
pub fn bounds(pool: &Pool, overrides: &Override, now: Timestamp) -> Bounds {
    let in_force = |order: Option<Order>| order.filter(|order| order.until.is_none_or(|until| now < until));
    let workers = |order: Option<Order>| in_force(order).map(|order| order.workers);
    let max = workers(overrides.max).unwrap_or(pool.max).max(1);
    let min = workers(overrides.min).unwrap_or(pool.min).clamp(1, max);
    let floor = in_force(overrides.floor).filter(|floor| floor.workers > min);
    let low = floor.map_or(min, |floor| floor.workers.clamp(min, max));
    Bounds { min, low, max, floor }
}

impl Override {
    /// Whether it makes sense for a pool at `now`.
    ///
    /// # Errors
    /// The first figure that does not, and why.
    pub fn check(&self, pool: &Pool, workers_max: usize, now: Timestamp) -> Result<(), InvalidOverride> {
        for (field, order) in [("min", self.min), ("max", self.max), ("floor", self.floor)] {
            let wrong = order.map(|order| order.workers).filter(|workers| !(1..=workers_max).contains(workers));
            if let Some(value) = wrong {
                return Err(InvalidOverride { field, value, expected: format!("expected 1 to {workers_max}") });
            }
        }
        let in_force = |order: Option<Order>| order.filter(|order| order.until.is_none_or(|until| now < until));
        let workers = |order: Option<Order>| in_force(order).map(|order| order.workers);
        let (min, max) = (workers(self.min).unwrap_or(pool.min), workers(self.max).unwrap_or(pool.max));
        if min > max {
            let (field, value, expected) = if self.min.is_some() {
                ("min", min, format!("expected at most the pool's `max`, {max}"))
            } else {
                ("max", max, format!("expected at least the pool's `min`, {min}"))
            };
            return Err(InvalidOverride { field, value, expected });
        }
        match workers(self.floor) {
            Some(value) if value > max => {
                let expected = format!("expected at most the pool's `max`, {max}");
                Err(InvalidOverride { field: "floor", value, expected })
            }
            _ => Ok(()),
        }
    }
}

/// How far a pool may grow now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ceiling {
    /// The most workers that may be asked for; at least [`Bounds::low`].
    pub(super) high: usize,
    /// Whether the machine, not `max`, says so.
    pub(super) is_headroom: bool,
    /// What is full, when no pool may grow at all.
    pub(super) veto: Option<Full>,
}

/// What is full, and how full: 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Full {
    Cpu(f64),
    Memory(f64),
}

impl Ceiling {
    pub(super) fn of(rules: &Rules, headroom: &Headroom, bounds: &Bounds) -> Self {
        let Headroom { cores, memory_limit_bytes, memory_base_bytes, memory_per_worker_bytes, .. } = *headroom;
        let each = headroom.cpu_per_worker.filter(|each| *each > 0.0).unwrap_or(CPU_PER_WORKER);
        let by_cpu = cores.map(|cores| workers((rules.cpu_headroom * cores / each).floor()));
        let by_memory = memory_limit_bytes
            .zip(memory_per_worker_bytes.filter(|each| *each > 0.0))
            .map(|(limit, each)| workers(((rules.memory_headroom * limit - memory_base_bytes) / each).floor()));
        let cap = [by_cpu, by_memory].into_iter().flatten().min().unwrap_or(usize::MAX);
        // A share of all is nobody's wish to stop at it.
        let is_full = |pressure: f64, share: f64| pressure >= share && share < 1.0 && !mutant!(full_machine_ignored);
        let full = |pressure: Option<f64>, share: f64| pressure.filter(|pressure| is_full(*pressure, share));
        let veto = full(headroom.cpu_pressure, rules.cpu_headroom)
            .map(Full::Cpu)
            .or_else(|| full(headroom.memory_pressure, rules.memory_headroom).map(Full::Memory));
        Self { high: cap.min(bounds.max).max(bounds.low), is_headroom: cap < bounds.max, veto }
    }
}
