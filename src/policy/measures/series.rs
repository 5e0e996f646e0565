//! The series that are shown: each the mean of one measure over its window.

use super::Measure;

/// One series under the runbook's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// What it is the mean of.
    pub measure: Measure,
    /// Whether each value of the measure's label has one of its own; else it is one over all of them.
    pub by_label: bool,
    /// `share` (0 to 1), `score` or `ms`.
    pub unit: &'static str,
    /// Its window by default, in minutes.
    pub window_min: i64,
    /// Whether the window is part of the name, and so cannot be another one.
    pub window_is_fixed: bool,
}

/// Five minutes: what an operator watches.
const OPERATIONAL: i64 = 5;
/// A day: what is rare, or where the runbook says so.
const DAY: i64 = 24 * 60;

const fn series(name: &'static str, measure: Measure, by_label: bool, unit: &'static str, window_min: i64) -> Series {
    Series { name, measure, by_label, unit, window_min, window_is_fixed: false }
}

/// All of them.
pub const SERIES: [Series; 9] = [
    series("test_execution_success_rate", Measure::TestExecution, true, "share", OPERATIONAL),
    series("element_healing_success_rate", Measure::Healing, true, "share", OPERATIONAL),
    Series { window_is_fixed: true, ..series("healing_success_rate_24h", Measure::Healing, false, "share", DAY) },
    series("heal_success_rate", Measure::Healing, false, "share", OPERATIONAL),
    series("heal_confidence", Measure::HealConfidence, false, "share", OPERATIONAL),
    series("manual_review_rate", Measure::ManualReview, false, "share", OPERATIONAL),
    series("user_satisfaction_score", Measure::Feedback, true, "score", DAY),
    series("element_repository_hit_rate", Measure::CacheLookup, true, "share", OPERATIONAL),
    series("policy_evaluation_duration_ms", Measure::PolicyEvaluation, true, "ms", OPERATIONAL),
];

/// A series as it stands, for one value of its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Which.
    pub series: &'static Series,
    /// The label and its value, where it has one.
    pub label: Option<(&'static str, String)>,
    /// Its window, in minutes.
    pub window_min: i64,
    /// The mean of the window; `None` without samples.
    pub value: Option<f64>,
    /// How many samples the window has.
    pub samples: u64,
}
