//! Business measures: what handlers, callers and outcomes say of the work itself, as shares and means of windows.
//!
//! Every fact is a [`Sample`]: a number for a [`Measure`], under the one label that the measure has. Samples are summed
//! by minute ([`book`]), and a [`Series`] is the mean of one measure over its window. A yes or no counts as 1 or 0, so a
//! share is a mean as well.

pub mod book;
pub mod observation;
pub mod series;

use std::collections::BTreeSet;

use crate::job::{Labels, State, TypeName};

pub use series::{Measured, SERIES, Series};

/// The value of a label whose name cannot be one, or for which there is no room.
pub const OTHER: &str = "other";
/// The value of the label of jobs that carry none.
pub const UNSPECIFIED: &str = "unspecified";

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Whether a test succeeded, by environment.
    TestExecution,
    /// Whether an element was healed, by strategy.
    Healing,
    /// How sure a healing was, 0 to 1.
    HealConfidence,
    /// Whether a job went to a person.
    ManualReview,
    /// Whether a look into a cache found something, by its level.
    CacheLookup,
    /// How many milliseconds a policy took to evaluate, by policy.
    PolicyEvaluation,
    /// What users gave a feature.
    Feedback,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TestExecution,
        Self::Healing,
        Self::HealConfidence,
        Self::ManualReview,
        Self::CacheLookup,
        Self::PolicyEvaluation,
        Self::Feedback,
    ];

    /// Its name in the ledger and, of what is observed, the `kind` of an observation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TestExecution => "test_execution",
            Self::Healing => "healing",
            Self::HealConfidence => "heal_confidence",
            Self::ManualReview => "manual_review",
            Self::CacheLookup => "cache_lookup",
            Self::PolicyEvaluation => "policy_evaluation",
            Self::Feedback => "feedback",
        }
    }

    /// The measure with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }

    /// What its label is called; `None`: it has none.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::TestExecution => Some("environment"),
            Self::Healing => Some("strategy"),
            Self::CacheLookup => Some("cache_level"),
            Self::PolicyEvaluation => Some("policy"),
            Self::Feedback => Some("feature"),
            Self::HealConfidence | Self::ManualReview => None,
        }
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Of what.
    pub measure: Measure,
    /// The value of its label; empty for a measure without one.
    pub label: String,
    /// How much; 1 and 0 for yes and no.
    pub value: f64,
}

impl Sample {
    /// A yes or no.
    #[must_use]
    pub fn of(measure: Measure, label: impl Into<String>, yes: bool) -> Self {
        Self { measure, label: label.into(), value: f64::from(u8::from(yes)) }
    }
}

/// What counts, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The window of each series, in minutes, in the order of [`SERIES`].
    pub windows_min: [i64; SERIES.len()],
    /// The most values of one label; further ones are [`OTHER`].
    pub labels_max: usize,
    /// The job types whose outcomes are tests.
    pub test_types: BTreeSet<TypeName>,
    /// The label of such a job that says where it tested.
    pub environment_label: String,
    /// The job types of whose jobs some should not need a person.
    pub review_types: BTreeSet<TypeName>,
    /// The lowest and the highest score of a feedback.
    pub score: (f64, f64),
}

impl Default for Rules {
    /// Those of `config/default.toml`.
    fn default() -> Self {
        Self {
            windows_min: SERIES.map(|series| series.window_min),
            labels_max: 20,
            test_types: BTreeSet::from([TypeName::stored("test_execution")]),
            environment_label: "environment".to_owned(),
            review_types: BTreeSet::from([TypeName::stored("element_healing")]),
            score: (1.0, 5.0),
        }
    }
}

impl Rules {
    /// The longest window over which a measure is looked at, in minutes.
    #[must_use]
    pub fn longest_min(&self, measure: Measure) -> i64 {
        let windows = SERIES.iter().zip(self.windows_min).filter(|(series, _)| series.measure == measure);
        windows.map(|(_, window)| window).max().unwrap_or(0)
    }

    /// Where a job of a type that counts as a test was to test; `None` for other types.
    #[must_use]
    pub fn environment(&self, job_type: &TypeName, labels: &Labels) -> Option<String> {
        self.test_types.contains(job_type).then(|| match labels.get(&self.environment_label) {
            Some(value) => observation::name(value).map_or_else(|_| OTHER.to_owned(), ToOwned::to_owned),
            None => UNSPECIFIED.to_owned(),
        })
    }

    /// What it says that a job came to rest: nothing, where an operator or the time ended it.
    #[must_use]
    pub fn rested(&self, job_type: &TypeName, environment: Option<String>, state: State, late: bool) -> Vec<Sample> {
        if !matches!(state, State::Succeeded | State::Failed | State::InReview) {
            return Vec::new();
        }
        // A test that never started has found nothing out.
        let test = environment.filter(|_| !late);
        let test = test.map(|at| Sample::of(Measure::TestExecution, at, state == State::Succeeded));
        let review = self.review_types.contains(job_type);
        let review = review.then(|| Sample::of(Measure::ManualReview, "", state == State::InReview));
        test.into_iter().chain(review).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_measures_belong_together() {
        for measure in Measure::ALL {
            assert_eq!(Measure::from_name(measure.name()), Some(measure));
        }
        assert_eq!(Measure::from_name("mood"), None);
    }

    #[test]
    fn the_environment_is_the_jobs_label() {
        let rules = Rules::default();
        let test = TypeName::stored("test_execution");
        let at = |value: &str| rules.environment(&test, &[("environment".to_owned(), value.to_owned())].into());
        assert_eq!(at("staging").as_deref(), Some("staging"));
        assert_eq!(at("user 17's machine").as_deref(), Some(OTHER));
        assert_eq!(rules.environment(&test, &Labels::new()).as_deref(), Some(UNSPECIFIED));
        assert_eq!(rules.environment(&TypeName::stored("mail"), &Labels::new()), None);
    }

    #[test]
    fn outcomes_count_unless_an_operator_or_the_time_brought_them() {
        let rules = Rules::default();
        let (test, healing) = (TypeName::stored("test_execution"), TypeName::stored("element_healing"));
        let tested = |state, late| rules.rested(&test, Some("ci".to_owned()), state, late);
        assert_eq!(tested(State::Succeeded, false), [Sample::of(Measure::TestExecution, "ci", true)]);
        assert_eq!(tested(State::Failed, false), [Sample::of(Measure::TestExecution, "ci", false)]);
        assert_eq!(tested(State::InReview, false), [Sample::of(Measure::TestExecution, "ci", false)]);
        assert_eq!(tested(State::InReview, true), []);
        for state in [State::Cancelled, State::Expired, State::Retrying] {
            assert_eq!(tested(state, false), []);
        }
        let healed = |state, late| rules.rested(&healing, None, state, late);
        assert_eq!(healed(State::Succeeded, false), [Sample::of(Measure::ManualReview, "", false)]);
        assert_eq!(healed(State::InReview, true), [Sample::of(Measure::ManualReview, "", true)]);
    }
}
