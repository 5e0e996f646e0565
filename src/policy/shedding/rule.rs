//! One rule: enters above one value after some samples, exits at a lower one after some time.

use crate::clock::Timestamp;

/// Why jobs are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An operator says so.
    Manual,
    /// Memory runs out.
    Memory,
    /// CPU runs out.
    Cpu,
    /// The queue is too long.
    QueueDepth,
    /// Answers take too long.
    ResponseTime,
    /// Too many runs fail.
    ErrorRate,
}

/// Some rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleSet(u8);

/// When a rule enters and exits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// It enters above this value.
    pub enter: f64,
    /// It exits at this value or below; below `enter`.
    pub exit: f64,
    /// So many samples above `enter` in a row.
    pub samples: u32,
    /// How long it is active at least, in milliseconds.
    pub dwell_ms: i64,
}

/// The memory of one rule.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    value: Option<f64>,
    above: u32,
    active_since: Option<Timestamp>,
}

/// A rule for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleView {
    /// Which.
    pub rule: Rule,
    /// What was measured last; `None` when unknown.
    pub value: Option<f64>,
    /// When it enters and exits.
    pub threshold: Threshold,
    /// Since when it is active.
    pub active_since: Option<Timestamp>,
}

impl Rule {
    /// All that measure something, the plainest reason first.
    pub const MEASURED: [Self; 5] = [Self::Memory, Self::Cpu, Self::QueueDepth, Self::ResponseTime, Self::ErrorRate];

    /// Its word in the API, in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::QueueDepth => "queue_depth",
            Self::ResponseTime => "response_time_p95",
            Self::ErrorRate => "error_rate",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl RuleSet {
    /// Adds a rule.
    pub fn insert(&mut self, rule: Rule) {
        self.0 |= rule.bit();
    }

    /// Whether `rule` is one of them.
    #[must_use]
    pub fn contains(self, rule: Rule) -> bool {
        self.0 & rule.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The plainest reason.
    #[must_use]
    pub fn first(self) -> Option<Rule> {
        if self.contains(Rule::Manual) { Some(Rule::Manual) } else { self.iter().next() }
    }

    /// All by name, the plainest reason first.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let manual = self.contains(Rule::Manual).then_some(Rule::Manual);
        manual.into_iter().chain(self.iter()).map(|rule| rule.name().to_owned()).collect()
    }

    /// Those that measure something, the plainest reason first.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::MEASURED.into_iter().filter(move |rule| self.contains(*rule))
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut set = Self::default();
        rules.into_iter().for_each(|rule| set.insert(rule));
        set
    }
}

impl std::fmt::Display for RuleSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

impl Watch {
    /// Takes a sample. What is unknown speaks against no one: the rule exits once it has dwelt.
    pub(super) fn look(&mut self, value: Option<f64>, threshold: &Threshold, now: Timestamp) {
        self.value = value.filter(|value| value.is_finite());
        self.above =
            if self.value.is_some_and(|value| value > threshold.enter) { self.above.saturating_add(1) } else { 0 };
        let is_below = self.value.is_none_or(|value| value <= threshold.exit);
        match self.active_since {
            None if self.above >= threshold.samples.max(1) => self.active_since = Some(now),
            Some(since) if is_below && now.since(since) >= threshold.dwell_ms => self.active_since = None,
            _ => {}
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active_since.is_some()
    }

    pub(super) fn view(&self, rule: Rule, threshold: &Threshold) -> RuleView {
        RuleView { rule, value: self.value, threshold: *threshold, active_since: self.active_since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Threshold = Threshold { enter: 0.95, exit: 0.85, samples: 3, dwell_ms: 30_000 };

    fn active(samples: &[(i64, Option<f64>)]) -> bool {
        let mut watch = Watch::default();
        for (second, value) in samples {
            watch.look(*value, &RULE, Timestamp(second * 1_000));
        }
        watch.is_active()
    }

    #[test]
    fn it_enters_above_its_line_after_enough_samples_in_a_row() {
        assert!(!active(&[(0, Some(0.96)), (1, Some(0.96))]));
        assert!(active(&[(0, Some(0.96)), (1, Some(0.96)), (2, Some(0.96))]));
        assert!(!active(&[(0, Some(0.96)), (1, Some(0.95)), (2, Some(0.96)), (3, Some(0.96))]));
        assert!(!active(&[(0, Some(0.96)), (1, None), (2, Some(0.96)), (3, Some(0.96))]));
    }

    #[test]
    fn it_exits_at_its_lower_line_once_it_has_dwelt() {
        let entered = [(0, Some(0.96)), (1, Some(0.96)), (2, Some(0.96))];
        let after = |samples: &[(i64, Option<f64>)]| active(&[&entered[..], samples].concat());
        assert!(after(&[(31, Some(0.5))]), "not within its dwell");
        assert!(!after(&[(32, Some(0.85))]));
        assert!(after(&[(32, Some(0.86)), (99, Some(0.86))]), "between its lines it stays as it is");
        assert!(!after(&[(32, None)]), "unknown for long is no reason");
        assert!(after(&[(31, None)]), "unknown for a moment is no recovery");
        assert!(!after(&[(32, Some(f64::NAN))]));
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set: RuleSet = [Rule::ErrorRate, Rule::Cpu].into_iter().collect();
        assert!(set.contains(Rule::Cpu) && !set.contains(Rule::Memory) && !set.is_empty());
        assert_eq!(set.to_string(), "cpu, error_rate");
        assert!(RuleSet::default().is_empty());
    }
}
