//! The order of a queue: virtual deadlines.
//!
//! Strict priorities starve whoever is less urgent, and ageing tasks that re-score queues cost work
//! for every waiting job. A score that is fixed at admission needs neither: a job's virtual deadline
//! is its due time plus a slack that grows with its priority number, and the smallest deadline runs
//! first. Because every score moves with the clock at the same speed, a waiting job rises against
//! all later ones by itself.
//!
//! The bound is exact: a job with slack `s` can be overtaken only by jobs that are due less than
//! `s - s'` after it, where `s'` is the slack of the overtaking priority; never by one due later
//! than `s - min(slack)`. (Earliest-deadline-first with relative deadlines; see `docs/adr`.)

use crate::clock::Timestamp;
use crate::job::Priority;

use super::catalog::{Ordering, Queue};

/// The distance between two priorities under [`Ordering::Strict`], in milliseconds. Larger than any
/// age a job can reach, small enough that a score stays below 2^53.
const STRICT_STEP_MS: i64 = 1 << 50;

/// The virtual deadline of a job of `queue` that is due at `due`.
#[must_use]
pub fn score(queue: &Queue, priority: Priority, due: Timestamp) -> i64 {
    let index = usize::from(priority.number() - 1);
    match queue.ordering {
        Ordering::Deadline => due.millis().saturating_add(queue.slack_ms[index]),
        Ordering::Strict => due.millis().saturating_add(STRICT_STEP_MS * i64::from(priority.number())),
    }
}

/// How long the job of this virtual deadline has waited at least at `now_ms`, in milliseconds, when jobs of these
/// priorities wait (`ready` counts them; index 0 is priority 1): its priority cannot be read off its deadline.
#[must_use]
pub fn least_wait_ms(queue: &Queue, score: i64, ready: &[u64; 5], now_ms: i64) -> i64 {
    let slack_ms = match queue.ordering {
        Ordering::Deadline => {
            let present = ready.iter().position(|count| *count > 0).unwrap_or(0);
            queue.slack_ms[present]
        }
        // The distance between priorities is far larger than any age.
        Ordering::Strict => STRICT_STEP_MS * ((score - now_ms + STRICT_STEP_MS / 2) / STRICT_STEP_MS),
    };
    (now_ms - (score - slack_ms)).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::QueueName;
    use proptest::prelude::*;

    fn queue(ordering: Ordering) -> Queue {
        Queue {
            name: QueueName::stored("plan"),
            priorities: 5,
            sla_ms: Some(12_000),
            ordering,
            slack_ms: [2_000, 4_000, 6_000, 9_000, 12_000],
        }
    }

    fn arrivals() -> impl Strategy<Value = Vec<(i64, u64)>> {
        prop::collection::vec((1_700_000_000_000_i64..1_700_000_060_000, 1_u64..=5), 2..80)
    }

    #[test]
    fn a_wait_is_never_overstated_and_exact_where_one_priority_waits() {
        let (due, now) = (1_700_000_000_000, 1_700_000_007_000);
        for ordering in [Ordering::Deadline, Ordering::Strict] {
            let queue = queue(ordering);
            for number in 1..=5_u64 {
                let priority = Priority::from_number(number).unwrap();
                let mut ready = [0; 5];
                ready[usize::from(priority.number() - 1)] = 3;
                let score = score(&queue, priority, Timestamp(due));
                assert_eq!(least_wait_ms(&queue, score, &ready, now), 7_000, "{ordering:?} {number}");
                assert!(least_wait_ms(&queue, score, &[1; 5], now) <= 7_000, "{ordering:?} {number}");
                assert_eq!(least_wait_ms(&queue, score, &ready, due - 5), 0);
            }
        }
    }

    proptest! {
        /// For all arrival sequences: whoever runs before an earlier job was due less than the
        /// difference of their slacks after it.
        #[test]
        fn overtaking_stays_inside_the_bound(arrivals in arrivals()) {
            let queue = queue(Ordering::Deadline);
            let mut order: Vec<_> = arrivals
                .iter()
                .map(|&(due, number)| {
                    let priority = Priority::from_number(number).unwrap();
                    (score(&queue, priority, Timestamp(due)), due, priority)
                })
                .collect();
            order.sort_unstable();
            for (at, &(_, due, priority)) in order.iter().enumerate() {
                for &(_, earlier_due, earlier_priority) in &order[at + 1..] {
                    if earlier_due < due {
                        let slack = |p: Priority| queue.slack_ms[usize::from(p.number() - 1)];
                        prop_assert!(due - earlier_due <= slack(earlier_priority) - slack(priority));
                    }
                }
            }
        }

        #[test]
        fn strict_order_never_lets_a_lower_priority_overtake(arrivals in arrivals()) {
            let queue = queue(Ordering::Strict);
            let scores: Vec<_> = arrivals
                .iter()
                .map(|&(due, n)| (n, score(&queue, Priority::from_number(n).unwrap(), Timestamp(due))))
                .collect();
            for &(n, s) in &scores {
                prop_assert!(s < (1 << 53));
                prop_assert!(scores.iter().all(|&(m, t)| n >= m || s < t));
            }
        }
    }
}
