//! Retries: which failures try again, and when.
//!
//! The keys are the runbook's. `no_retry_errors` always wins; with a non-empty `retry_on_errors`
//! only those classes retry; with both empty everything but `http_4xx` does.

use crate::mutant::mutant;

/// The retry policy of one job type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a failed job runs again; attempts are this plus one.
    pub max_retries: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The first delay, in milliseconds.
    pub base_delay_ms: u64,
    /// The longest delay, in milliseconds.
    pub max_delay_ms: u64,
    /// Whether delays are spread.
    pub jitter: Jitter,
    /// The only classes that retry, when not empty.
    pub retry_on_errors: Vec<String>,
    /// Classes that never retry.
    pub no_retry_errors: Vec<String>,
    /// Whether a final failure goes to a person.
    pub escalate_on_failure: bool,
}

/// How delays grow with the number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// `base * 2^(n-1)`.
    Exponential,
    /// `base * n`.
    Linear,
    /// None for the first two failures; then exponential, so that "immediate" cannot become a storm.
    Immediate,
}

/// How delays are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anywhere from zero to the delay ("full jitter").
    Full,
    /// Exactly the delay.
    None,
}

impl RetryPolicy {
    /// How often a job of this policy runs at most.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.max_retries.saturating_add(1)
    }

    /// Whether a failure of this class may try again.
    #[must_use]
    pub fn retries(&self, class: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|known| known == class);
        if listed(&self.no_retry_errors) {
            return false;
        }
        if !self.retry_on_errors.is_empty() {
            return listed(&self.retry_on_errors);
        }
        !self.no_retry_errors.is_empty() || class != "http_4xx"
    }

    /// The delay after the `failures`-th failure (1 for the first), in milliseconds. `roll` is a
    /// uniform draw from 0 to 1. `floor_ms` is what the target asked for; it is never undercut.
    #[must_use]
    pub fn delay_ms(&self, failures: u32, roll: f64, floor_ms: u64) -> u64 {
        if mutant!(retry_without_backoff) {
            return floor_ms;
        }
        let doubled = |doublings: u32| {
            let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
            self.base_delay_ms.saturating_mul(factor)
        };
        let raw = match self.backoff {
            Backoff::Exponential => doubled(failures.saturating_sub(1)),
            Backoff::Linear => self.base_delay_ms.saturating_mul(u64::from(failures)),
            Backoff::Immediate if failures <= 2 => 0,
            Backoff::Immediate => doubled(failures - 3),
        };
        let raw = raw.min(self.max_delay_ms);
        let spread = match self.jitter {
            Jitter::None => raw,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a delay of days at most, rounded down"
            )]
            Jitter::Full => (raw as f64 * roll.clamp(0.0, 1.0)) as u64,
        };
        spread.max(floor_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(backoff: Backoff, jitter: Jitter) -> RetryPolicy {
        RetryPolicy {
            max_retries: 3,
            backoff,
            base_delay_ms: 1_000,
            max_delay_ms: 10_000,
            jitter,
            retry_on_errors: Vec::new(),
            no_retry_errors: Vec::new(),
            escalate_on_failure: false,
        }
    }

    #[test]
    fn the_delays_are_the_runbooks() {
        let delays = |backoff| {
            let policy = policy(backoff, Jitter::None);
            (1..=6).map(|n| policy.delay_ms(n, 0.5, 0)).collect::<Vec<_>>()
        };
        assert_eq!(delays(Backoff::Exponential), [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(delays(Backoff::Linear), [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]);
        assert_eq!(delays(Backoff::Immediate), [0, 0, 1_000, 2_000, 4_000, 8_000]);
    }

    #[test]
    fn which_classes_retry() {
        let mut policy = policy(Backoff::Linear, Jitter::None);
        assert!(policy.retries("anything") && !policy.retries("http_4xx"));
        policy.no_retry_errors = vec!["assertion_failure".into()];
        assert!(policy.retries("anything") && !policy.retries("assertion_failure"));
        policy.retry_on_errors = vec!["browser_crash".into(), "assertion_failure".into()];
        assert!(policy.retries("browser_crash"));
        assert!(!policy.retries("anything") && !policy.retries("assertion_failure"));
    }

    proptest! {
        #[test]
        fn every_delay_lies_between_the_floor_and_the_cap(
            failures in 1_u32..=u32::MAX, roll in 0.0_f64..=1.0, floor in 0_u64..20_000, base in 0_u64..=u64::MAX,
        ) {
            for backoff in [Backoff::Exponential, Backoff::Linear, Backoff::Immediate] {
                let mut policy = policy(backoff, Jitter::Full);
                policy.base_delay_ms = base;
                let delay = policy.delay_ms(failures, roll, floor);
                prop_assert!(delay >= floor && delay <= policy.max_delay_ms.max(floor));
            }
        }

        #[test]
        fn without_jitter_delays_never_fall(failures in 1_u32..1_000, base in 0_u64..100_000) {
            for backoff in [Backoff::Exponential, Backoff::Linear, Backoff::Immediate] {
                let mut policy = policy(backoff, Jitter::None);
                policy.base_delay_ms = base;
                prop_assert!(policy.delay_ms(failures, 0.0, 0) <= policy.delay_ms(failures + 1, 0.0, 0));
            }
        }
    }

    /// Kolmogorov-Smirnov against the uniform distribution, with a fixed seed.
    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small samples")]
    fn full_jitter_is_uniform() {
        use rand::{RngExt, SeedableRng};
        let mut dice = rand::rngs::SmallRng::seed_from_u64(7);
        let mut policy = policy(Backoff::Linear, Jitter::Full);
        policy.base_delay_ms = 1_000_000;
        policy.max_delay_ms = 1_000_000;
        let mut delays: Vec<f64> =
            (0..10_000).map(|_| policy.delay_ms(1, dice.random::<f64>(), 0) as f64 / 1_000_000.0).collect();
        delays.sort_by(f64::total_cmp);
        let distance = delays.iter().enumerate().map(|(i, d)| (d - i as f64 / 10_000.0).abs()).fold(0.0, f64::max);
        assert!(distance < 0.0163, "1 % level of the test is 0.0163, got {distance}");
    }
}
