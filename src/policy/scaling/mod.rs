//! How many workers a pool should have.
//!
//! Kubernetes' horizontal autoscaler, for workers inside one process: each signal proposes a size, the
//! largest proposal wins, so that any signal may ask for more and all must agree on less. Between the
//! proposals and the target stand, in this order, what cannot be measured, the bounds, the
//! stabilisation window, the rate and the headroom of the machine. A local pool adds contenders, not
//! machines: CPU and memory of the whole service only ever say no to growth.
//!
//! [`decide`] is arithmetic over the rules, the pool, its [`History`] and what was measured. The same
//! input gives the same decision, with a reason in words.

mod facts;
mod history;
mod limits;
mod proposals;
mod usage;
mod words;

use crate::clock::Timestamp;
use crate::mutant::mutant;

use super::catalog::Pool;

pub use facts::{Facts, Flow, Headroom, Reading};
pub use history::History;
pub use limits::{Bounds, InvalidOverride, Order, Override, bounds};
pub use proposals::{Proposal, Standing};
pub use usage::Usage;

use limits::Ceiling;

/// `[scaling]`: what holds for every pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How often each pool is looked at, in milliseconds.
    pub tick_ms: u64,
    /// How far a signal may be from its target, as a share of it, without a proposal: above 0.
    pub tolerance: f64,
    /// A pool grows to the smallest size that was asked for within this time, in milliseconds.
    pub up_window_ms: u64,
    /// A pool shrinks to the largest size that was asked for within this time, in milliseconds.
    pub down_window_ms: u64,
    /// How fast a pool grows.
    pub up: Pace,
    /// How fast a pool shrinks.
    pub down: Pace,
    /// Over how long a worker's CPU is averaged, in milliseconds.
    pub cpu_window_ms: u64,
    /// How long a new worker's figures are not believed, in milliseconds.
    pub warmup_ms: u64,
    /// The share of the service's CPU that pools may fill.
    pub cpu_headroom: f64,
    /// The share of the service's memory that pools may fill.
    pub memory_headroom: f64,
    /// The time in which "latency" wants a backlog gone, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Rules {
    /// The algorithms' numbers, which are the configuration's defaults.
    fn default() -> Self {
        Self {
            tick_ms: 5_000,
            tolerance: 0.1,
            up_window_ms: 0,
            down_window_ms: 300_000,
            up: Pace { share: 1.0, workers: 4, period_ms: 15_000 },
            down: Pace { share: 0.1, workers: 1, period_ms: 60_000 },
            cpu_window_ms: 30_000,
            warmup_ms: 10_000,
            cpu_headroom: 0.90,
            memory_headroom: 0.85,
            drain_ms: 30_000,
        }
    }
}

/// How much a pool may change within a period: the larger of a share of its size and a number of workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// A share of the size at the start of the period.
    pub share: f64,
    /// Workers; at least 1.
    pub workers: usize,
    /// The period, in milliseconds.
    pub period_ms: u64,
}

/// What a proposal is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// CPU of the workers.
    Cpu,
    /// Memory of the workers.
    Memory,
    /// Jobs that wait.
    QueueDepth,
    /// Arrivals and run times.
    Latency,
    /// Workers with a job. Never asks for growth: it keeps a pool from shrinking below what it does.
    Busy,
}

/// Which way a decision goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// More workers.
    Up,
    /// Fewer workers.
    Down,
    /// As many.
    Hold,
}

/// What kept a target from being what the proposals ask for, or kept them from asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limiter {
    /// The signal is near enough to its target.
    Tolerance,
    /// Another size was asked for within the window.
    Stabilised,
    /// It may not change faster.
    Rate,
    /// The machine has no room for more.
    Headroom,
    /// The most workers.
    Max,
    /// The fewest workers, or a floor.
    Min,
    /// A signal could not be measured.
    Missing,
    /// Nothing.
    None,
}

/// One decision with its grounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The size before.
    pub current: usize,
    /// The size to have, within the pool's bounds.
    pub target: usize,
    /// What the proposals came to within the bounds, before window and pace: what the history remembers.
    pub recommendation: usize,
    /// Which way it goes.
    pub direction: Direction,
    /// The signal with the largest proposal, if any has one.
    pub metric: Option<Metric>,
    /// What stood between the proposals and the target last.
    pub limiter: Limiter,
    /// Every signal's say, in the order of `scale_on`.
    pub proposals: Vec<Proposal>,
    /// All this in a sentence.
    pub reason: String,
}

/// Decides about one pool. `overrides` are an operator's, in force at `now` or not.
#[must_use]
pub fn decide(
    rules: &Rules,
    pool: &Pool,
    overrides: &Override,
    history: &History,
    facts: &Facts,
    now: Timestamp,
) -> Decision {
    let bounds = bounds(pool, overrides, now);
    let current = history.size();
    let proposals = proposals::all(rules, pool, facts, current);
    let ceiling = Ceiling::of(rules, &facts.headroom, &bounds);

    let (asked, mut limiter) = combine(&proposals, current, bounds.low);
    let recommendation = asked.clamp(bounds.low, ceiling.high);
    if recommendation < asked {
        limiter = if ceiling.is_headroom { Limiter::Headroom } else { Limiter::Max };
    } else if recommendation > asked {
        limiter = Limiter::Min;
    }
    let mut size = recommendation;
    let mut hold = |held: usize, by: Limiter| {
        if held != size {
            (size, limiter) = (held, by);
        }
        size
    };
    let stabilised = hold(history.stabilised(rules, recommendation, now), Limiter::Stabilised);
    let paced = hold(history.paced(rules, stabilised, now), Limiter::Rate);
    // The most and the fewest hold at once, with no window and at any pace.
    let low = if ceiling.veto.is_some() { bounds.min.max(bounds.low.min(current)) } else { bounds.low };
    let bounded = if paced < low { hold(low, Limiter::Min) } else { hold(paced.min(bounds.max), Limiter::Max) };
    if ceiling.veto.is_some() {
        hold(bounded.min(current.max(bounds.min)), Limiter::Headroom);
        if low < bounds.low && size < bounds.low {
            limiter = Limiter::Headroom;
        }
    }

    let decided = Decision {
        current,
        target: size,
        recommendation,
        direction: match size.cmp(&current) {
            std::cmp::Ordering::Greater => Direction::Up,
            std::cmp::Ordering::Less => Direction::Down,
            std::cmp::Ordering::Equal => Direction::Hold,
        },
        metric: proposals::largest(&proposals).map(|winner| winner.metric),
        limiter,
        proposals,
        reason: String::new(),
    };
    let has_turned = history.has_turned(rules, now);
    let reason = words::reason(&decided, &words::Grounds { rules, bounds, ceiling, has_turned });
    Decision { reason, ..decided }
}

/// The size that the proposals ask for together.
fn combine(proposals: &[Proposal], current: usize, low: usize) -> (usize, Limiter) {
    let missing = proposals.iter().any(|proposal| proposal.standing == Standing::Missing);
    match proposals::largest(proposals).map(|winner| (winner.standing, winner.wants.unwrap_or(current))) {
        // On half the facts it may grow and not shrink.
        Some((_, wants)) if wants < current && missing && !mutant!(half_the_facts_shrink) => {
            (current, Limiter::Missing)
        }
        Some((Standing::Tolerated, wants)) => (wants, Limiter::Tolerance),
        Some((_, wants)) => (wants, Limiter::None),
        None if missing => (current, Limiter::Missing),
        // Nothing here speaks for more than the fewest.
        None => (low, Limiter::Min),
    }
}

impl Metric {
    /// The word in the configuration, metrics and API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::QueueDepth => "queue_depth",
            Self::Latency => "latency",
            Self::Busy => "busy",
        }
    }
}

impl Direction {
    /// The word in metrics and API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Hold => "hold",
        }
    }
}

impl Limiter {
    /// Every limiter.
    pub const ALL: [Self; 8] = [
        Self::Tolerance,
        Self::Stabilised,
        Self::Rate,
        Self::Headroom,
        Self::Max,
        Self::Min,
        Self::Missing,
        Self::None,
    ];

    /// The word in metrics and API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tolerance => "tolerance",
            Self::Stabilised => "stabilised",
            Self::Rate => "rate",
            Self::Headroom => "headroom",
            Self::Max => "max",
            Self::Min => "min",
            Self::Missing => "missing",
            Self::None => "none",
        }
    }
}

/// How many workers an offered load needs: `R = arrivals * run time` and `R + sqrt(R)`, the square-root
/// staffing rule, with which few jobs wait.
#[must_use]
pub fn sizing(flow: &Flow) -> (f64, usize) {
    let load = (flow.arrivals_per_s * flow.run_s).max(0.0);
    (load, proposals::workers(load + load.sqrt()))
}

#[cfg(test)]
mod tests;
