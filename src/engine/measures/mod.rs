//! Business measures on this node: what it has counted, what it has read of the others, and the figures of both.
//!
//! Counting touches memory only. Every few seconds [`keeping`] adds what is new to the ledger in one statement and
//! reads what other nodes have added, so the windows outlive a restart and all nodes show the same. A node that is
//! killed takes the samples of its last few seconds with it; everything else of a job is in the ledger by then.

mod keeping;
mod runs;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::clock::Timestamp;
use crate::policy::measures::book::{Book, Sum, minute};
use crate::policy::measures::observation::{self, OBSERVATIONS_MAX};
use crate::policy::measures::{Measure, Measured, OTHER, Rules, Sample};
use crate::service::lock;
use crate::telemetry::metrics;

use super::Refusal;
use super::core::Core;
use super::refusal::BadItem;

pub(super) use keeping::{drop_outlived, keep, run};
pub(super) use runs::{Says, observed, rested_by_order};

/// Sums that may wait for the ledger: all that the labels allow for more than an hour, in about a megabyte.
const UNKEPT_MAX: usize = 10_000;
/// The most bad items that one refusal names.
const NAMED_MAX: usize = 20;

/// The figures.
#[derive(Debug, Default)]
pub(super) struct Measures {
    sums: Mutex<Sums>,
    keeping: tokio::sync::Mutex<keeping::Keeping>,
    /// Policies with a histogram of their own since the start: what was shown once stays until the end.
    policies: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Sums {
    /// Everything that the windows look at, over all nodes.
    whole: Book,
    /// What of it the ledger does not have yet, and is not on its way there.
    unkept: Book,
    /// What is on its way there, or may be there already.
    addition: Option<Arc<keeping::Addition>>,
}

impl Measures {
    /// Counts samples, all or none; false when there is no room for them until the ledger has taken some.
    pub(super) fn count(&self, rules: &Rules, samples: &[Sample], now: Timestamp) -> bool {
        {
            let mut sums = lock(&self.sums);
            if sums.unkept.len() + samples.len() > UNKEPT_MAX {
                return false;
            }
            let minute = minute(now);
            for sample in samples {
                let key = (sample.measure, sums.whole.admit(rules, sample), minute);
                let sum = Sum { count: 1, total: sample.value };
                sums.whole.add(key.clone(), sum);
                sums.unkept.add(key, sum);
            }
        }
        for sample in samples {
            match sample.measure {
                Measure::PolicyEvaluation => {
                    metrics::policy_evaluated(&self.policy(rules, &sample.label), sample.value);
                }
                Measure::Healing | Measure::CacheLookup | Measure::Feedback => {}
                // The first is part of a healing, the others are outcomes and not observed.
                Measure::HealConfidence | Measure::TestExecution | Measure::ManualReview => continue,
            }
            metrics::observed(sample.measure.name());
        }
        true
    }

    /// The label of a policy in the histogram.
    fn policy(&self, rules: &Rules, name: &str) -> String {
        let mut known = lock(&self.policies);
        if !known.contains(name) {
            if known.len() >= rules.labels_max {
                return OTHER.to_owned();
            }
            known.insert(name.to_owned());
        }
        name.to_owned()
    }
}

/// All series as they stand.
pub(super) fn measured(core: &Core) -> Vec<Measured> {
    lock(&core.measures.sums).whole.measured(&core.setup.load().measures, core.clock.now())
}

/// Sums that only this node knows yet.
pub(super) fn unkept(core: &Core) -> usize {
    let sums = lock(&core.measures.sums);
    sums.unkept.len() + sums.addition.as_ref().map_or(0, |addition| addition.tallies.len())
}

/// Counts the observations of one request, all or none of them; answers how many.
pub(super) fn observe(core: &Core, observations: &[Value]) -> Result<usize, Refusal> {
    let count = observations.len();
    if count > OBSERVATIONS_MAX {
        let reason = format!("are {count}; at most {OBSERVATIONS_MAX} are taken at a time");
        return Err(Refusal::BadField { field: "observations", reason });
    }
    let setup = core.setup.load();
    let (mut samples, mut bad) = (Vec::new(), Vec::new());
    for (index, observation) in observations.iter().enumerate() {
        if let Err(what) = observation::read(observation, &setup.measures, &mut samples) {
            bad.push(BadItem { index, field: what.field, reason: what.reason });
        }
    }
    if !bad.is_empty() {
        bad.truncate(NAMED_MAX);
        return Err(Refusal::BadItems(bad));
    }
    if core.measures.count(&setup.measures, &samples, core.clock.now()) {
        return Ok(count);
    }
    let reason = "the ledger has been away for so long that no more observations can be held; nothing was counted";
    Err(Refusal::LedgerUnavailable { reason: reason.to_owned(), unknown: false, id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_ledger_is_bounded_and_counted_whole_or_not_at_all() {
        let (measures, rules) = (Measures::default(), Rules { labels_max: usize::MAX, ..Rules::default() });
        let samples: Vec<Sample> =
            (0..UNKEPT_MAX).map(|at| Sample::of(Measure::CacheLookup, format!("l{at}"), true)).collect();
        assert!(measures.count(&rules, &samples[1..], Timestamp(0)));
        assert!(!measures.count(&rules, &samples[..2], Timestamp(0)));
        assert!(measures.count(&rules, &samples[..1], Timestamp(0)));
        assert!(!measures.count(&rules, &samples[..1], Timestamp(0)));
        assert_eq!(lock(&measures.sums).whole.len(), UNKEPT_MAX);
    }

    #[test]
    fn histograms_of_policies_are_bounded_for_good() {
        let (measures, rules) = (Measures::default(), Rules { labels_max: 2, ..Rules::default() });
        let shown = ["a", "b", "c", "a"].map(|name| measures.policy(&rules, name));
        assert_eq!(shown, ["a", "b", OTHER, "a"]);
    }
}
