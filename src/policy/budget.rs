//! The retry budget: retries are a share of the work, not a multiple of it.
//!
//! A dependency that half works makes every job fail once or twice. If each comes back at once, the load on what
//! already struggles doubles, and it stops working altogether. So for each queue and dependency retries may be a
//! share of the first attempts of the last minute, and a few more, so that a quiet queue can retry at all. What
//! does not fit waits some seconds; no attempt is spent.

use crate::clock::Timestamp;

/// How far back counts, in buckets of [`BUCKET_MS`].
const BUCKETS: i64 = 60;
/// What one bucket covers, in milliseconds.
const BUCKET_MS: i64 = 1_000;
/// The shortest wait of a retry that does not fit, in milliseconds; the longest is twice that.
const POSTPONE_MS: f64 = 5_000.0;

/// The size of every budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetRules {
    /// Retries per first attempt, 0 to 1; at 1 and above nothing is held back.
    pub share: f64,
    /// Retries a minute that are allowed in any case.
    pub floor: u32,
}

impl Default for BudgetRules {
    fn default() -> Self {
        Self { share: 0.2, floor: 10 }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    start: i64,
    firsts: u64,
    retries: u64,
}

/// The last minute of one queue and dependency.
#[derive(Debug, Clone)]
pub struct Budget {
    ring: Vec<Bucket>,
}

impl Default for Budget {
    fn default() -> Self {
        let length = usize::try_from(BUCKETS).unwrap_or_default();
        Self { ring: vec![Bucket { start: i64::MIN, ..Bucket::default() }; length] }
    }
}

impl Budget {
    /// Notes a first attempt.
    pub fn first(&mut self, now: Timestamp) {
        self.bucket(now).firsts += 1;
    }

    /// Whether a retry fits now.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "runs of a minute")]
    pub fn has_room(&self, rules: &BudgetRules, now: Timestamp) -> bool {
        let oldest = now.millis().div_euclid(BUCKET_MS) - BUCKETS;
        let recent = || self.ring.iter().filter(move |bucket| bucket.start > oldest);
        let firsts = recent().map(|bucket| bucket.firsts).sum::<u64>() as f64;
        let retries = recent().map(|bucket| bucket.retries).sum::<u64>() as f64;
        rules.share >= 1.0 || retries + 1.0 <= rules.share * firsts + f64::from(rules.floor)
    }

    /// Notes a retry.
    pub fn retry(&mut self, now: Timestamp) {
        self.bucket(now).retries += 1;
    }

    fn bucket(&mut self, now: Timestamp) -> &mut Bucket {
        let start = now.millis().div_euclid(BUCKET_MS);
        let at = usize::try_from(start.rem_euclid(BUCKETS)).unwrap_or_default();
        let bucket = &mut self.ring[at];
        if bucket.start != start {
            *bucket = Bucket { start, ..Bucket::default() };
        }
        bucket
    }
}

/// How long a retry waits that does not fit, in milliseconds; `roll` is a uniform draw from 0 to 1.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "five to ten seconds")]
pub fn postpone_ms(roll: f64) -> u64 {
    (POSTPONE_MS * (1.0 + roll.clamp(0.0, 1.0))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quiet_queue_may_retry_ten_times_a_minute() {
        let (mut budget, rules) = (Budget::default(), BudgetRules::default());
        for _ in 0..10 {
            assert!(budget.has_room(&rules, Timestamp(500)));
            budget.retry(Timestamp(500));
        }
        assert!(!budget.has_room(&rules, Timestamp(59_999)));
        assert!(budget.has_room(&rules, Timestamp(60_000)), "a minute later they are forgotten");
    }

    #[test]
    fn a_share_of_one_holds_nothing_back() {
        let (mut budget, rules) = (Budget::default(), BudgetRules { share: 1.0, floor: 0 });
        (0..1_000).for_each(|_| budget.retry(Timestamp(0)));
        assert!(budget.has_room(&rules, Timestamp(0)));
    }

    #[test]
    fn what_does_not_fit_waits_five_to_ten_seconds() {
        assert_eq!((postpone_ms(0.0), postpone_ms(0.5), postpone_ms(1.0)), (5_000, 7_500, 10_000));
    }

    proptest! {
        /// Every run fails and asks for a retry at once, and again whenever it is put off: over any minute there
        /// are no more retries than a fifth of the first attempts of that minute and the one before, and the floor.
        #[test]
        fn under_total_failure_retries_stay_a_share(arrivals in prop::collection::vec(0_i64..400, 1..400)) {
            let (mut budget, rules) = (Budget::default(), BudgetRules::default());
            let (mut now, mut waiting) = (0, Vec::new());
            let (mut firsts, mut retries): (Vec<i64>, Vec<i64>) = Default::default();
            for gap in arrivals {
                now += gap;
                budget.first(Timestamp(now));
                firsts.push(now);
                waiting.push(now);
                for due in waiting.iter_mut().filter(|due| **due <= now) {
                    // It fails again, and asks again.
                    *due = now + i64::try_from(postpone_ms(0.3)).unwrap();
                    if !budget.has_room(&rules, Timestamp(now)) {
                        continue;
                    }
                    budget.retry(Timestamp(now));
                    retries.push(now);
                    let count = |times: &[i64], within: i64| {
                        u32::try_from(times.iter().filter(|at| now - **at < within).count()).unwrap()
                    };
                    let allowed = 0.2 * f64::from(count(&firsts, 120_000)) + 10.0;
                    prop_assert!(f64::from(count(&retries, 59_000)) <= allowed);
                }
            }
        }
    }
}
