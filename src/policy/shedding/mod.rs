//! Load shedding: who is turned away while there is too much of something, and who is not.
//!
//! Five rules watch CPU, memory, the depth of each queue, failed runs and response times. Each has a value to enter,
//! a lower one to exit, and a time that it stays active at least, so that nothing flaps about one line. While a rule
//! is active, a queue's *level* rises step by step, and the least important work is refused first:
//!
//! | level | refused as well |
//! |---|---|
//! | 1 | the types listed as `first` |
//! | 2, 3, 4, 5 | jobs of priority 5, 4, 3, 2 |
//!
//! Jobs of priority 1 are never refused. Nothing that was accepted is ever removed.
//!
//! A rule reaches only as far as it knows something of a queue: the depth of a queue says nothing of
//! the others, and more than the types listed first are refused only by the rules of CPU, memory and response time,
//! and only while the queue is *late*: even its next job has waited for longer than half its SLA. So a machine that is
//! busy but keeps its promises turns away level 1 at most, and a queue that recovers is open again at once.
//! Memory near its end is the exception: it does not wait for lateness.

mod ladder;
mod lateness;
mod rule;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::job::{QueueName, TypeName};
use crate::mutant::mutant;

use super::retry::RetryPolicy;

use ladder::Ladder;
use lateness::Lateness;
use rule::Watch;

pub use rule::{Rule, RuleSet, RuleView, Threshold};
pub use standing::{Class, Lane, QueueStanding, Standing, Verdict};

/// The highest level.
pub const LEVEL_MAX: u8 = 5;
/// Where memory that is nearly used up goes at once.
const CRITICAL_LEVEL: u8 = 3;

/// What is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Who decides.
    pub mode: Mode,
    /// The level that every queue has at least while the rules decide: a remedy's word.
    pub floor: u8,
    /// Share of CPU.
    pub cpu: Threshold,
    /// Share of memory.
    pub memory: Threshold,
    /// Share of memory from which on the level goes to 3 at once, whether queues are late or not.
    pub memory_critical: f64,
    /// Jobs that wait in a queue.
    pub queue_depth: Threshold,
    /// Share of runs that failed.
    pub error_rate: Threshold,
    /// 95th percentile of the response time, in milliseconds.
    pub response_time_p95: Threshold,
    /// Types that are refused first.
    pub first: BTreeSet<TypeName>,
    /// Runs without which nothing is said of failures and response times.
    pub samples_min: u64,
    /// From one level to the next higher one, in milliseconds.
    pub step_up_ms: i64,
    /// From one level to the next lower one, in milliseconds.
    pub step_down_ms: i64,
    /// Share of each refused class that the error-rate rule lets through, 0 to 1, so that a recovery is seen.
    pub probe_share: f64,
}

/// Who decides on the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The rules.
    Auto,
    /// Nobody: nothing is refused.
    Off,
    /// An operator: this level, 1 to 5, in every queue.
    Level(u8),
}

impl Settings {
    /// Nothing is refused, and nothing would be: for an engine that is given no settings.
    #[must_use]
    pub fn off() -> Self {
        let never = Threshold { enter: f64::MAX, exit: 0.0, samples: 1, dwell_ms: 0 };
        Self {
            mode: Mode::Off,
            floor: 0,
            cpu: never,
            memory: never,
            memory_critical: f64::MAX,
            queue_depth: never,
            error_rate: never,
            response_time_p95: never,
            first: BTreeSet::new(),
            samples_min: 1,
            step_up_ms: 1,
            step_down_ms: 1,
            probe_share: 0.0,
        }
    }
}

impl Mode {
    /// Reads `auto`, `off` or a level, 1 to 5.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            _ => text.parse().ok().filter(|level| (1..=LEVEL_MAX).contains(level)).map(Self::Level),
        }
    }
}

impl std::fmt::Display for Mode {
    /// As [`Mode::parse`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Level(level) => write!(f, "{level}"),
        }
    }
}

/// What is measured at one point.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Share of the allowed CPU in use, smoothed; `None` when unknown, as for all of these.
    pub cpu: Option<f64>,
    /// Share of the allowed memory in use.
    pub memory: Option<f64>,
    /// Share of the last minutes' runs that failed for no fault of their input.
    pub error_rate: Option<f64>,
    /// 95th percentile of the last minutes' response times, in milliseconds, of types that promise to be quick.
    pub response_time_p95_ms: Option<f64>,
    /// Each queue.
    pub queues: BTreeMap<QueueName, QueueFacts>,
}

/// What is measured of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueueFacts {
    /// Jobs that wait, those left out that a pause, a breaker or an absent broker holds.
    pub depth: Option<u64>,
    /// How long the job that would run next has waited, in milliseconds, lanes that are held or refused left out;
    /// `None` when unknown, 0 when none waits.
    pub delay_ms: Option<i64>,
    /// Within what time its jobs should be done, in milliseconds; `None`: it is never late.
    pub sla_ms: Option<u64>,
    /// Jobs that leave it in a second.
    pub drained_per_s: f64,
}

/// A level that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub queue: QueueName,
    /// The level before.
    pub from: u8,
    /// The level now.
    pub to: u8,
    /// The rules that hold it there or, on the way down, held it last.
    pub rules: RuleSet,
}

/// The memory of the rules and ladders.
#[derive(Debug)]
pub struct Shedder {
    settings: Settings,
    cpu: Watch,
    memory: Watch,
    error_rate: Watch,
    response_time: Watch,
    memory_is_critical: bool,
    queues: BTreeMap<QueueName, QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    depth: Watch,
    lateness: Lateness,
    ladder: Ladder,
    facts: QueueFacts,
}

impl Shedder {
    /// At level 0, with no rule active.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            cpu: Watch::default(),
            memory: Watch::default(),
            error_rate: Watch::default(),
            response_time: Watch::default(),
            memory_is_critical: false,
            queues: BTreeMap::new(),
        }
    }

    /// Goes by other settings from now on; what is known of rules and queues stays.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes the facts of `now`, which never goes back; answers which levels changed. To be called about once a
    /// second: the samples of [`Threshold::samples`] are calls.
    pub fn tick(&mut self, facts: &Facts, now: Timestamp) -> Vec<Change> {
        let settings = &self.settings;
        self.cpu.look(facts.cpu, &settings.cpu, now);
        self.memory.look(facts.memory, &settings.memory, now);
        self.error_rate.look(facts.error_rate, &settings.error_rate, now);
        self.response_time.look(facts.response_time_p95_ms, &settings.response_time_p95, now);
        // Off again only where the rule itself would enter, so that a value about the line does not flap.
        self.memory_is_critical = match facts.memory {
            Some(memory) if memory >= settings.memory_critical => true,
            Some(memory) => self.memory_is_critical && memory > settings.memory.enter,
            None => false,
        };
        self.queues.retain(|queue, _| facts.queues.contains_key(queue));
        let mut changes = Vec::new();
        for (queue, facts) in &facts.queues {
            let state = self.queues.entry(queue.clone()).or_default();
            state.facts = *facts;
            state.depth.look(facts.depth.map(as_f64), &settings.queue_depth, now);
            state.lateness.look(facts.delay_ms, facts.sla_ms, now);
        }
        let global = self.active();
        let all_are_deep = mutant!(depth_of_another_queue) && self.queues.values().any(|it| it.depth.is_active());
        for (queue, state) in &mut self.queues {
            let mut active = global;
            if state.depth.is_active() || all_are_deep {
                active.insert(Rule::QueueDepth);
            }
            let reach = Reach { is_late: state.lateness.is_late(), memory_is_critical: self.memory_is_critical };
            let from = state.ladder.level();
            state.ladder.step(active, reach, (settings.step_up_ms, settings.step_down_ms), now);
            let (to, rules) = (state.ladder.level(), state.ladder.rules());
            if from != to {
                changes.push(Change { queue: queue.clone(), from, to, rules });
            }
        }
        changes
    }

    /// The rules that are active on all queues.
    fn active(&self) -> RuleSet {
        let watches = [
            (Rule::Cpu, &self.cpu),
            (Rule::Memory, &self.memory),
            (Rule::ErrorRate, &self.error_rate),
            (Rule::ResponseTime, &self.response_time),
        ];
        watches.into_iter().filter(|(_, watch)| watch.is_active()).map(|(rule, _)| rule).collect()
    }

    /// What holds until the next tick.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let settings = &self.settings;
        let queue = |state: &QueueState| QueueStanding {
            level: state.ladder.level(),
            rules: state.ladder.rules(),
            reach: Reach { is_late: state.lateness.is_late(), memory_is_critical: self.memory_is_critical },
            depth: state.depth.view(Rule::QueueDepth, &settings.queue_depth),
            facts: state.facts,
        };
        Standing {
            mode: settings.mode,
            floor: settings.floor.min(LEVEL_MAX),
            rules: vec![
                self.cpu.view(Rule::Cpu, &settings.cpu),
                self.memory.view(Rule::Memory, &settings.memory),
                self.error_rate.view(Rule::ErrorRate, &settings.error_rate),
                self.response_time.view(Rule::ResponseTime, &settings.response_time_p95),
            ],
            queues: self.queues.iter().map(|(name, state)| (name.clone(), queue(state))).collect(),
            first: settings.first.clone(),
            depth_exit: settings.queue_depth.exit,
            step_down_ms: settings.step_down_ms,
            probe_share: settings.probe_share,
        }
    }
}

/// How far rules may go in a queue now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Even its next job has waited for longer than half its SLA.
    pub is_late: bool,
    /// Memory is nearly used up.
    pub memory_is_critical: bool,
}

impl Reach {
    /// The highest level that `rule` alone may hold.
    #[must_use]
    pub fn of(self, rule: Rule) -> u8 {
        match rule {
            Rule::QueueDepth if mutant!(depth_sheds_everything) => LEVEL_MAX,
            Rule::QueueDepth => 1,
            Rule::ErrorRate => 2,
            Rule::Memory if self.memory_is_critical => LEVEL_MAX,
            Rule::Cpu | Rule::Memory | Rule::ResponseTime => {
                if self.is_late {
                    LEVEL_MAX
                } else {
                    1
                }
            }
            Rule::Manual => LEVEL_MAX,
        }
    }
}

/// Error classes that say something of the input, and nothing of load.
const INPUTS_FAULT: [&str; 5] = ["http_3xx", "http_4xx", "bad_payload", "bad_enqueue", "bad_envelope"];

/// Whether a failure is the fault of its input: by its class, or because its type never retries it.
#[must_use]
pub fn is_inputs_fault(class: &str, retry: &RetryPolicy) -> bool {
    INPUTS_FAULT.contains(&class) || retry.no_retry_errors.iter().any(|known| known == class)
}

#[expect(clippy::cast_precision_loss, reason = "jobs and milliseconds far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
