//! Health: which workers are sick, which of them may be replaced now, and whether the node is well.
//!
//! A check that looks at the wrong thing does more harm than none: when the database is down, every worker's jobs
//! fail, and a foreman who replaces workers for that replaces all of them and heals nothing. So a worker is judged
//! only by what is its own doing: whether it answers, what memory its work holds, and how often it crashes. Whether
//! stores and servers can be reached is readiness: it closes lanes and turns `/health` red, and is no input here.
//!
//! Judgements are debounced, replacements have a budget, and where most of a pool is sick the cause is shared and
//! nobody is replaced: [`replacing`] has the rules.

pub mod node;
pub mod replacing;
pub mod tally;
pub mod worker;

pub use node::{Checks, NodeHealth};
pub use replacing::{Plan, Staff, panics, plan};
pub use tally::{Tallied, Tally};
pub use worker::{Condition, Facts, Verdict, Why, WorkerLimits};

/// The numbers of `[health]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthRules {
    /// Between two checks, in milliseconds.
    pub check_ms: u64,
    /// Bad checks in a row after which something is unhealthy; at least 1.
    pub unhealthy_after: u32,
    /// Good checks in a row after which it is healthy again; at least 1.
    pub healthy_after: u32,
    /// The share of its limit that a worker's work, and the whole service, may hold in memory, 0 to 1.
    pub memory: f64,
    /// The share of runs that must not end in a crash, a hang or a kill, 0 to 1.
    pub success_rate: f64,
    /// Runs in ten minutes below which no share is looked at.
    pub samples_min: u64,
    /// How long past its deadline, or the word to stop, a handler may be silent before its worker counts as hung, in
    /// milliseconds.
    pub hung_after_ms: u64,
    /// The share of a pool that may be replaced within `replace_window_ms`, 0 to 1; one worker always may.
    pub replace_share: f64,
    /// See `replace_share`; in milliseconds.
    pub replace_window_ms: u64,
    /// Above this share of unhealthy workers the cause is shared and nobody is replaced, 0 to 1.
    pub panic_share: f64,
}

impl Default for HealthRules {
    /// The runbook's thresholds and the algorithms' numbers.
    fn default() -> Self {
        Self {
            check_ms: 10_000,
            unhealthy_after: 3,
            healthy_after: 2,
            memory: 0.85,
            success_rate: 0.90,
            samples_min: 20,
            hung_after_ms: 12_000,
            replace_share: 0.20,
            replace_window_ms: 30_000,
            panic_share: 0.50,
        }
    }
}

/// Turns a row of good and bad checks into a judgement that does not flap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Debounce {
    is_bad: bool,
    /// Checks in a row that contradict `is_bad`.
    against: u32,
}

impl Debounce {
    /// Notes one check; answers whether it counts as bad now.
    pub fn note(&mut self, bad: bool, rules: &HealthRules) -> bool {
        if bad == self.is_bad {
            self.against = 0;
            return self.is_bad;
        }
        self.against += 1;
        let enough = if bad { rules.unhealthy_after } else { rules.healthy_after };
        if self.against >= enough {
            *self = Self { is_bad: bad, against: 0 };
        }
        self.is_bad
    }

    /// Whether it counts as bad.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.is_bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_bad_checks_make_it_bad_and_two_good_ones_good() {
        let rules = HealthRules::default();
        let table =
            [("bbb", "..x"), ("bbgbbb", ".....x"), ("bbbgg", "..xx."), ("bbbgbgbgg", "..xxxxxx."), ("gggg", "....")];
        for (checks, expected) in table {
            let mut debounce = Debounce::default();
            let told: String =
                checks.chars().map(|check| if debounce.note(check == 'b', &rules) { 'x' } else { '.' }).collect();
            assert_eq!(told, expected, "{checks}");
        }
    }

    proptest! {
        #[test]
        fn it_changes_only_after_enough_checks_in_a_row(
            checks in prop::collection::vec(any::<bool>(), 0..60),
            after in 1_u32..5,
            back in 1_u32..5,
        ) {
            let rules = HealthRules { unhealthy_after: after, healthy_after: back, ..HealthRules::default() };
            let mut debounce = Debounce::default();
            for at in 0..checks.len() {
                let before = debounce.is_bad();
                let told = debounce.note(checks[at], &rules);
                if told != before {
                    let needed = if told { after } else { back } as usize;
                    prop_assert!(at + 1 >= needed);
                    prop_assert!(checks[at + 1 - needed..=at].iter().all(|bad| *bad == told));
                }
            }
        }
    }
}
