//! From the end of a run to what happens to the job: the one place that decides it.

use crate::clock::Timestamp;
use crate::job::{Counters, Event, Failure};
use crate::mutant::mutant;

use super::retry::RetryPolicy;

/// How far crashes are remembered: the third within this time is poison.
pub const CRASH_WINDOW_MS: i64 = 72 * 3_600 * 1_000;

/// Crashes within [`CRASH_WINDOW_MS`] that make a job poison.
pub const CRASHES_MAX: usize = 3;

/// How a run ended, stripped of what the decision does not need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A result.
    Success,
    /// The handler asks for a person, with a reason.
    Review(String),
    /// A failure, and the earliest delay that the target asked for.
    Failure(Failure, u64),
}

/// What happens to the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It comes to rest by this move of the state table.
    Rest(Event),
    /// It runs again after this many milliseconds.
    Retry(u64),
}

/// Decides. `attempts` counts this run already; `roll` is a uniform draw from 0 to 1.
#[must_use]
pub fn decide(policy: &RetryPolicy, attempts: u32, max_attempts: u32, ending: &Ending, roll: f64) -> Decision {
    match ending {
        Ending::Success => Decision::Rest(Event::Succeed),
        Ending::Review(_) => Decision::Rest(Event::Escalate),
        Ending::Failure(failure, floor_ms) => {
            if (attempts < max_attempts || mutant!(retries_for_ever)) && policy.retries(&failure.class) {
                Decision::Retry(policy.delay_ms(attempts, roll, *floor_ms))
            } else if policy.escalate_on_failure {
                Decision::Rest(Event::Escalate)
            } else {
                Decision::Rest(Event::Fail)
            }
        }
    }
}

/// Why a job must not run again before a person has looked, if so: it keeps killing what runs it.
#[must_use]
pub fn poison(counters: &Counters, crashed_at: &[Timestamp], max_attempts: u32, now: Timestamp) -> Option<String> {
    if mutant!(poison_ignored) {
        return None;
    }
    let recent = crashed_at.iter().filter(|&&at| now.since(at) < CRASH_WINDOW_MS).count();
    if recent >= CRASHES_MAX {
        return Some(format!("{recent} crashes within 72 hours"));
    }
    // This delivery is the claim at hand and has not been spent yet.
    let spent = counters.deliveries.saturating_sub(1).saturating_sub(counters.deferrals);
    let bound = max_attempts.saturating_mul(3).max(10);
    (spent >= bound).then(|| format!("{spent} deliveries without an end, at most {bound} are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::retry::{Backoff, Jitter};

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_retries: 1,
            backoff: Backoff::Immediate,
            base_delay_ms: 0,
            max_delay_ms: 0,
            jitter: Jitter::None,
            retry_on_errors: vec!["dom_analysis_timeout".into()],
            no_retry_errors: Vec::new(),
            escalate_on_failure: true,
        }
    }

    fn failure(class: &str, floor: u64) -> Ending {
        Ending::Failure(Failure::new(class, ""), floor)
    }

    #[test]
    fn element_healing_retries_once_at_once_and_then_escalates() {
        let ending = failure("dom_analysis_timeout", 0);
        assert_eq!(decide(&policy(), 1, 2, &ending, 0.9), Decision::Retry(0));
        assert_eq!(decide(&policy(), 2, 2, &ending, 0.9), Decision::Rest(Event::Escalate));
    }

    #[test]
    fn a_class_that_does_not_retry_is_final_and_obeys_escalation() {
        let mut policy = policy();
        assert_eq!(decide(&policy, 1, 2, &failure("other", 0), 0.0), Decision::Rest(Event::Escalate));
        policy.escalate_on_failure = false;
        assert_eq!(decide(&policy, 1, 2, &failure("other", 0), 0.0), Decision::Rest(Event::Fail));
    }

    #[test]
    fn what_the_target_asks_for_is_not_undercut() {
        assert_eq!(decide(&policy(), 1, 2, &failure("dom_analysis_timeout", 1_500), 0.0), Decision::Retry(1_500));
    }

    #[test]
    fn three_crashes_in_72_hours_are_poison_and_older_ones_are_forgotten() {
        let counters = Counters { deliveries: 4, crashes: 3, ..Counters::default() };
        let now = Timestamp(1_000_000_000);
        let crashes = [now, now.plus_ms(-1_000), now.plus_ms(-CRASH_WINDOW_MS + 1)];
        assert!(poison(&counters, &crashes, 4, now).is_some());
        let crashes = [now, now.plus_ms(-1_000), now.plus_ms(-CRASH_WINDOW_MS)];
        assert!(poison(&counters, &crashes, 4, now).is_none());
    }

    #[test]
    fn deliveries_that_lead_nowhere_are_poison_but_deferrals_are_free() {
        let now = Timestamp(0);
        let counters = |deliveries, deferrals| Counters { deliveries, deferrals, ..Counters::default() };
        assert!(poison(&counters(10, 0), &[], 1, now).is_none());
        assert!(poison(&counters(11, 0), &[], 1, now).is_some());
        assert!(poison(&counters(500, 495), &[], 1, now).is_none());
        assert!(poison(&counters(11, 0), &[], 4, now).is_none());
    }
}
