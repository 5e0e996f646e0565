//! What holds between two ticks, and what it means for a job.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::job::{Priority, QueueName, TypeName};
use crate::mutant::mutant;

use super::rule::{Rule, RuleSet, RuleView};
use super::{LEVEL_MAX, Mode, QueueFacts, Reach};

/// The bounds of a `Retry-After`, in seconds.
const RETRY_AFTER_S: (f64, f64) = (1.0, 60.0);
/// How far callers are spread, so that they do not come back all at once.
const SPREAD: (f64, f64) = (0.8, 1.2);

/// Levels, rules and figures of one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Who decides.
    pub mode: Mode,
    /// The level that every queue has at least while the rules decide.
    pub floor: u8,
    /// The rules that watch all queues.
    pub rules: Vec<RuleView>,
    /// Each queue.
    pub queues: BTreeMap<QueueName, QueueStanding>,
    pub(super) first: BTreeSet<TypeName>,
    pub(super) depth_exit: f64,
    pub(super) step_down_ms: i64,
    pub(super) probe_share: f64,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueStanding {
    /// The level that its rules have come to; what is in force says [`Standing::level`].
    pub level: u8,
    /// The rules behind it.
    pub rules: RuleSet,
    /// How far they may go.
    pub reach: Reach,
    /// The rule of its depth.
    pub depth: RuleView,
    /// What was measured.
    pub facts: QueueFacts,
}

/// How important a job is to this module: 1 goes first, `None` never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(Option<u8>);

/// What becomes of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is accepted.
    Admit,
    /// It is refused.
    Shed {
        /// By whom.
        rule: Rule,
        /// At which level.
        level: u8,
    },
}

/// How a claim treats a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// As ever.
    Open,
    /// After all open lanes, by workers that would be idle: refusing new work is no reason to keep what waits.
    Last,
    /// Not at all: running it is what there is too little of something for.
    Closed,
}

impl Class {
    /// The level from which on jobs like this are refused.
    #[must_use]
    pub fn level(self) -> Option<u8> {
        self.0
    }
}

impl Standing {
    /// Whether nothing is refused anywhere.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        match self.mode {
            Mode::Off => true,
            Mode::Level(level) => level == 0,
            Mode::Auto => self.floor == 0 && self.queues.values().all(|queue| queue.level == 0),
        }
    }

    /// The level in force in a queue.
    #[must_use]
    pub fn level(&self, queue: &QueueName) -> u8 {
        match self.mode {
            Mode::Off => 0,
            Mode::Level(level) => level.min(LEVEL_MAX),
            Mode::Auto => self.queues.get(queue).map_or(0, |queue| queue.level).max(self.floor),
        }
    }

    /// The rules behind the level in force.
    #[must_use]
    pub fn rules(&self, queue: &QueueName) -> RuleSet {
        match self.mode {
            Mode::Off => RuleSet::default(),
            Mode::Level(_) => RuleSet::from_iter([Rule::Manual]),
            Mode::Auto => {
                let (level, own) = self.queues.get(queue).map_or_else(Default::default, |it| (it.level, it.rules));
                if self.floor > level { own.iter().chain([Rule::Manual]).collect() } else { own }
            }
        }
    }

    /// What a rule measured, in words: `cpu at 0.97`.
    #[must_use]
    pub fn value_of(&self, rule: Rule, queue: &QueueName) -> String {
        let depth = self.queues.get(queue).map(|queue| &queue.depth).filter(|_| rule == Rule::QueueDepth);
        let view = depth.or_else(|| self.rules.iter().find(|view| view.rule == rule));
        match view.and_then(|view| view.value) {
            Some(value) => format!("{rule} at {}", (value * 1_000.0).round() / 1_000.0),
            None => format!("{rule} unknown"),
        }
    }

    /// The class of a job.
    #[must_use]
    pub fn class(&self, job_type: &TypeName, priority: Priority) -> Class {
        match priority.number() {
            1 if !mutant!(urgent_jobs_shed) => Class(None),
            _ if self.first.contains(job_type) => Class(Some(1)),
            number => Class(Some(7 - number.max(2))),
        }
    }

    /// Whether a new job is accepted; `roll` is a share drawn anew for each.
    #[must_use]
    pub fn verdict(&self, job_type: &TypeName, priority: Priority, queue: &QueueName, roll: f64) -> Verdict {
        let level = self.level(queue);
        let Some(needed) = self.class(job_type, priority).level().filter(|needed| *needed <= level) else {
            return Verdict::Admit;
        };
        let rule = self.rule(queue, needed);
        if rule == Rule::ErrorRate && roll < self.probe_share {
            return Verdict::Admit;
        }
        Verdict::Shed { rule, level }
    }

    /// The plainest of the rules that refuse jobs of the class `needed`.
    fn rule(&self, queue: &QueueName, needed: u8) -> Rule {
        let Some(standing) = self.queues.get(queue).filter(|_| self.mode == Mode::Auto) else { return Rule::Manual };
        if needed > standing.level {
            // What the rules do not refuse the floor does.
            return Rule::Manual;
        }
        let reaching = standing.rules.iter().find(|rule| standing.reach.of(*rule) >= needed);
        // A level that is about to fall may be beyond what its rules reach by now.
        reaching.or_else(|| standing.rules.iter().next()).unwrap_or(Rule::Manual)
    }

    /// How claims of `queue` treat the lane of `job_type`. Only whole types have a lane, so only those that are
    /// refused first can be put behind the others.
    #[must_use]
    pub fn lane(&self, job_type: &TypeName, queue: &QueueName) -> Lane {
        if !self.first.contains(job_type) || self.level(queue) == 0 {
            return Lane::Open;
        }
        let rules = self.rules(queue);
        let is_strict = rules.contains(Rule::Cpu) || rules.contains(Rule::Memory) || mutant!(shed_queue_stands_still);
        if is_strict { Lane::Closed } else { Lane::Last }
    }

    /// When a refused caller should come back, in seconds: once the queue has drained to where its rule exits, and not
    /// before the level can have fallen where the rule is not about a queue. `roll` is a share drawn anew for each.
    #[must_use]
    pub fn retry_after_s(&self, queue: &QueueName, rule: Rule, roll: f64, now: Timestamp) -> f64 {
        let (least, most) = RETRY_AFTER_S;
        let standing = self.queues.get(queue);
        let facts = standing.map_or_else(QueueFacts::default, |queue| queue.facts);
        let depth = super::as_f64(facts.depth.unwrap_or(0));
        let drained = |exit: f64| match depth - exit {
            excess if excess <= 0.0 => 0.0,
            excess if facts.drained_per_s > 0.0 => excess / facts.drained_per_s,
            _ => most,
        };
        let wait_s = if rule == Rule::QueueDepth {
            drained(self.depth_exit)
        } else {
            // What is served within half the SLA does not make the queue late.
            let in_time = facts.sla_ms.map_or(0.0, |sla| super::as_f64(sla) / 2_000.0 * facts.drained_per_s);
            drained(in_time).max(self.soonest_s(rule, now))
        };
        wait_s.clamp(least, most) * (SPREAD.0 + (SPREAD.1 - SPREAD.0) * roll)
    }

    /// How long the level stays at least, in seconds.
    fn soonest_s(&self, rule: Rule, now: Timestamp) -> f64 {
        let view = self.rules.iter().find(|view| view.rule == rule);
        let dwell_ms = view.and_then(|view| Some(view.threshold.dwell_ms - now.since(view.active_since?))).unwrap_or(0);
        let ms = self.step_down_ms.saturating_add(dwell_ms.max(0));
        super::as_f64(ms.unsigned_abs()) / 1_000.0
    }
}
