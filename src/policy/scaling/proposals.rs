//! What each signal asks for.

use crate::policy::catalog::{Pool, ScaleSignal};

use super::{Facts, Flow, Metric, Reading, Rules};

/// How busy "latency" wants workers to be: with more, waits grow steeply.
const UTILISATION: f64 = 0.7;
/// Arithmetic on shares is off by less than this; a ratio of 1.1 is within a tolerance of 0.1.
const EPSILON: f64 = 1e-9;

/// What one signal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The signal.
    pub metric: Metric,
    /// How it stands.
    pub standing: Standing,
    /// The size it asks for; `None` where it has no say.
    pub wants: Option<usize>,
    /// What was seen, in words.
    pub text: String,
}

/// How a signal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It asks for a size.
    Asks,
    /// It is near enough to its target, or too little of it is known to say more.
    Tolerated,
    /// It could not be measured.
    Missing,
    /// It does not apply.
    LeftOut,
}

/// Every signal's say, in the order of `scale_on`, busy workers last.
pub(super) fn all(rules: &Rules, pool: &Pool, facts: &Facts, current: usize) -> Vec<Proposal> {
    let mut proposals: Vec<Proposal> = pool
        .scale_on
        .iter()
        .map(|signal| match signal {
            ScaleSignal::Cpu => resource(Metric::Cpu, &facts.cpu, pool.target_cpu, rules.tolerance, current),
            ScaleSignal::Memory => memory(rules, pool, facts, current),
            ScaleSignal::QueueDepth => depth(rules, pool, facts, current),
            ScaleSignal::Latency => latency(rules, pool, facts, current),
        })
        .collect();
    if proposals.iter().any(|proposal| proposal.wants.is_some()) {
        proposals.push(busy(facts, current));
    }
    proposals
}

/// The proposal that counts: the largest, of equal ones the first.
pub(super) fn largest(proposals: &[Proposal]) -> Option<&Proposal> {
    proposals.iter().rev().filter(|proposal| proposal.wants.is_some()).max_by_key(|proposal| proposal.wants)
}

/// CPU or memory against what was requested: as HPA does with resources. A worker without a sample counts
/// as idle where the others ask for growth and as full where they would shrink.
fn resource(
    metric: Metric,
    samples: &Reading<Vec<Option<f64>>>,
    target: f64,
    tolerance: f64,
    current: usize,
) -> Proposal {
    let samples = match samples {
        Reading::Value(samples) => samples,
        Reading::Missing => return Proposal::missing(metric),
        Reading::NoSource => return Proposal::left_out(metric, "has nothing to measure"),
    };
    let known: Vec<f64> = samples.iter().flatten().copied().filter(|share| share.is_finite()).collect();
    if known.is_empty() {
        return Proposal::missing(metric);
    }
    let missing = count(samples.len() - known.len());
    let used: f64 = known.iter().sum();
    let mean = used / count(known.len());
    let ratio = mean / target;
    let filled = if ratio < 1.0 { used + missing } else { used } / count(samples.len()) / target;
    let changed_sides = (ratio < 1.0) != (filled < 1.0);
    let unmeasured = match samples.len() - known.len() {
        0 => String::new(),
        count => format!(", {count} of {} workers unmeasured", samples.len()),
    };
    let (name, at, aim) = (metric.name(), mean * 100.0, target * 100.0);
    let text = format!("{name} is at {at:.0} %, {aim:.0} % aimed at{unmeasured}");
    if (1.0 - filled).abs() <= tolerance + EPSILON || changed_sides {
        return Proposal::tolerated(metric, current, text);
    }
    let wants = workers(filled * count(samples.len()));
    // Fewer samples than workers must not turn a wish to grow into one to shrink, nor the other way round.
    Proposal::asks(metric, if filled < 1.0 { wants.min(current) } else { wants.max(current) }, text)
}

/// A worker's memory hardly falls when others join it, so this signal would always end at `max`: it speaks
/// only while jobs wait.
fn memory(rules: &Rules, pool: &Pool, facts: &Facts, current: usize) -> Proposal {
    match offered(rules, facts) {
        _ if facts.memory == Reading::NoSource => Proposal::left_out(Metric::Memory, "has nothing to measure"),
        Some(waiting) if waiting > 0.0 => {
            resource(Metric::Memory, &facts.memory, pool.target_memory, rules.tolerance, current)
        }
        Some(_) => Proposal::left_out(Metric::Memory, "counts only while jobs wait"),
        None => Proposal::missing(Metric::Memory),
    }
}

/// Waiting jobs a worker: as HPA does with an average value. Refused jobs count as waiting.
fn depth(rules: &Rules, pool: &Pool, facts: &Facts, current: usize) -> Proposal {
    let Some(waiting) = offered(rules, facts) else { return Proposal::missing(Metric::QueueDepth) };
    let ratio = waiting / (pool.target_queue_depth * count(current.max(1)));
    let text = format!("{waiting:.0} jobs wait, {} a worker aimed at", pool.target_queue_depth);
    if (1.0 - ratio).abs() <= rules.tolerance + EPSILON {
        return Proposal::tolerated(Metric::QueueDepth, current, text);
    }
    Proposal::asks(Metric::QueueDepth, workers(waiting / pool.target_queue_depth), text)
}

/// Jobs that wait or would, had they not been refused since the last look.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of a tick")]
fn offered(rules: &Rules, facts: &Facts) -> Option<f64> {
    match facts.waiting {
        Reading::Value(waiting) if waiting.is_finite() => {
            Some(waiting.max(0.0) + facts.shed_per_s.max(0.0) * rules.tick_ms as f64 / 1_000.0)
        }
        // Every pool has a queue.
        _ => None,
    }
}

/// By Little's law: workers for what arrives, and for a backlog above the one that `n` workers clear within
/// the wait aimed at to be gone in time. `n` is the size proposed, not the present one, or growing would
/// take away the reason to have grown. It is the smallest `n` with
/// `n >= (lambda*S + max(0, Q*S - n*T_wait)/T_drain) / 0.7`.
#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn latency(rules: &Rules, pool: &Pool, facts: &Facts, current: usize) -> Proposal {
    let metric = Metric::Latency;
    let (flow, backlog) = match (&facts.flow, offered(rules, facts)) {
        (Reading::NoSource, _) => return Proposal::left_out(metric, "has seen no run yet"),
        (Reading::Value(flow), Some(backlog)) => (*flow, backlog),
        _ => return Proposal::missing(metric),
    };
    let Flow { arrivals_per_s, run_s } = flow;
    let arrivals = arrivals_per_s.max(0.0) + facts.shed_per_s.max(0.0);
    let (wait_s, drain_s) = (pool.target_latency_ms as f64 / 1_000.0, rules.drain_ms as f64 / 1_000.0);
    let steady = arrivals * run_s;
    let needed = (steady / UTILISATION).max((steady + backlog * run_s / drain_s) / (UTILISATION + wait_s / drain_s));
    let text = format!("{arrivals:.2} jobs a second take {run_s:.2} s each and {backlog:.0} wait, {wait_s} s aimed at");
    if !needed.is_finite() {
        return Proposal::missing(metric);
    }
    if (1.0 - needed / count(current.max(1))).abs() <= rules.tolerance + EPSILON {
        return Proposal::tolerated(metric, current, text);
    }
    Proposal::asks(metric, workers(needed), text)
}

/// A worker with a job is needed. Without this a pool without waiting jobs would shrink until they wait, and
/// then grow again, for ever.
fn busy(facts: &Facts, current: usize) -> Proposal {
    let text = format!("{} of {current} workers have a job", facts.busy);
    Proposal::asks(Metric::Busy, facts.busy.min(current), text)
}

impl Proposal {
    fn asks(metric: Metric, wants: usize, text: String) -> Self {
        Self { metric, standing: Standing::Asks, wants: Some(wants), text }
    }

    fn tolerated(metric: Metric, current: usize, text: String) -> Self {
        Self { metric, standing: Standing::Tolerated, wants: Some(current), text }
    }

    fn missing(metric: Metric) -> Self {
        let text = format!("{} cannot be measured", metric.name());
        Self { metric, standing: Standing::Missing, wants: None, text }
    }

    fn left_out(metric: Metric, why: &str) -> Self {
        Self { metric, standing: Standing::LeftOut, wants: None, text: format!("{} {why}", metric.name()) }
    }
}

impl Standing {
    /// The word in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asks => "asks",
            Self::Tolerated => "tolerated",
            Self::Missing => "missing",
            Self::LeftOut => "left_out",
        }
    }
}

/// Whole workers, rounded up; what is not a number is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; negative is none")]
pub(super) fn workers(needed: f64) -> usize {
    (needed - EPSILON).ceil() as usize
}

#[expect(clippy::cast_precision_loss, reason = "workers")]
fn count(workers: usize) -> f64 {
    workers as f64
}
