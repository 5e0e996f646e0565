//! The business measures: counters and a histogram of what is observed, and the windows' figures as text.
//!
//! The figures are not kept in the recorder. It never forgets a label that it has seen, and these come from handlers and
//! callers; so they are written anew for each scrape, with the labels that have samples.

use std::fmt::Write as _;

use metrics::{counter, histogram};

use super::catalog::{CATALOG, Kind};
use crate::policy::measures::{Measure, Measured};

/// Bucket edges of evaluations of policies, in milliseconds: from what a table takes to what a model takes.
pub(super) const EVALUATION_MS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0];

/// Why observations of handlers are refused.
const REASONS: [&str; 6] = ["not_an_object", "unknown_kind", "unknown_member", "bad_member", "too_many", "no_room"];

pub(super) fn start_at_zero() {
    for kind in [Measure::CacheLookup, Measure::PolicyEvaluation, Measure::Healing, Measure::Feedback] {
        counter!("ganger_observations_total", "kind" => kind.name()).absolute(0);
    }
    for reason in REASONS {
        observations_refused(reason, 0);
    }
}

/// Counts an observation by kind.
pub fn observed(kind: &'static str) {
    counter!("ganger_observations_total", "kind" => kind).increment(1);
}

/// Counts observations of handlers that were not counted, by why.
pub fn observations_refused(reason: &'static str, count: u64) {
    counter!("ganger_observations_refused_total", "reason" => reason).increment(count);
}

/// Notes how long a policy took.
pub fn policy_evaluated(policy: &str, ms: f64) {
    histogram!("policy_evaluation_duration_ms", "policy" => policy.to_owned()).record(ms);
}

/// The figures as lines of the exposition; those without samples are absent, and so are series that are histograms there.
#[must_use]
pub fn measured(all: &[Measured]) -> String {
    let (mut text, mut last) = (String::new(), "");
    for Measured { series, label, value, .. } in all {
        let known = CATALOG.iter().find(|metric| metric.name == series.name && metric.kind == Kind::Gauge);
        let (Some(known), Some(value)) = (known, value) else { continue };
        if last != known.name {
            // Writing into a string cannot fail.
            writeln!(text, "# HELP {0} {1}\n# TYPE {0} gauge", known.name, known.help).ok();
            last = known.name;
        }
        // Values of labels are names and need no escape.
        match label {
            Some((name, is)) => writeln!(text, "{}{{{name}=\"{is}\"}} {value}", known.name).ok(),
            None => writeln!(text, "{} {value}", known.name).ok(),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::measures::SERIES;

    #[test]
    fn every_series_is_in_the_catalogue_with_its_label() {
        for series in &SERIES {
            let known = CATALOG.iter().find(|metric| metric.name == series.name).unwrap();
            let label = series.measure.label().filter(|_| series.by_label).unwrap_or("");
            assert_eq!(known.labels, label, "{}", series.name);
            assert_eq!(known.kind == Kind::Histogram, series.unit == "ms", "{}", series.name);
        }
    }

    #[test]
    fn figures_are_lines_and_what_has_no_samples_is_absent() {
        let series = |name: &str| SERIES.iter().find(|series| series.name == name).unwrap();
        let measured_as = |name, label: Option<&str>, value| Measured {
            series: series(name),
            label: label.map(|label| ("strategy", label.to_owned())),
            window_min: 5,
            value,
            samples: 3,
        };
        let text = measured(&[
            measured_as("element_healing_success_rate", Some("id_match"), Some(0.5)),
            measured_as("element_healing_success_rate", Some("text_match"), Some(1.0)),
            measured_as("heal_success_rate", None, Some(0.75)),
            measured_as("heal_confidence", None, None),
            measured_as("policy_evaluation_duration_ms", Some("p"), Some(3.0)),
        ]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE element_healing_success_rate gauge",
                "element_healing_success_rate{strategy=\"id_match\"} 0.5",
                "element_healing_success_rate{strategy=\"text_match\"} 1",
                "# TYPE heal_success_rate gauge",
                "heal_success_rate 0.75",
            ]
        );
    }
}
