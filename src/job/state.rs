//! The states of a job and the one table of moves between them.
//!
//! `docs/STATES.md` holds the picture. The ledger's constraints and the headers of the broker's
//! scripts say the same thing a second time; `tests/tidy.rs` holds the three together.

use std::fmt;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Due later, and no run of it has failed. Admission moves a job in, or a target that asks for later; its
    /// due time moves it out, to `Ready`.
    Scheduled,
    /// Accepted and due; it waits for a worker. A claim moves it out.
    Ready,
    /// Leased to a worker. Its settlement moves it out, or the loss of its lease.
    Running,
    /// Failed with attempts left, due again later. Its due time moves it out, to `Ready`.
    Retrying,
    /// At rest: the handler returned a result, or a reviewer approved one.
    Succeeded,
    /// At rest: the last failure was final.
    Failed,
    /// At rest until a person decides: approve, reject, or retry.
    InReview,
    /// At rest: an operator cancelled it.
    Cancelled,
    /// At rest: it was late before it started, and its type says not to run it then.
    Expired,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its due time came.
    Due,
    /// A worker was given its lease.
    Claim,
    /// The handler returned a result.
    Succeed,
    /// The handler failed and may try again later.
    Retry,
    /// The handler failed for good.
    Fail,
    /// A person has to look: an escalated failure, a poisonous job, or the handler's own wish.
    Escalate,
    /// The lease ended without an outcome: drain, crash, lost node, a busy lock.
    Release,
    /// Its target asked for later: no attempt is spent.
    PutOff,
    /// It came too late to start.
    Expire,
    /// An operator cancelled it.
    Cancel,
    /// An operator started a new life under the same id.
    Revive,
    /// A reviewer took the proposal.
    Approve,
    /// A reviewer refused the proposal.
    Reject,
}

/// A move that the table does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot {event}")]
pub struct IllegalMove {
    /// The state it was in.
    pub from: State,
    /// What was to happen.
    pub event: Event,
}

/// The table: the state after `event`, or the refusal.
///
/// # Errors
/// [`IllegalMove`] for every pair that is not a move.
#[expect(clippy::match_same_arms, reason = "one line a reason to move; the table is read by people")]
pub fn next(state: State, event: Event) -> Result<State, IllegalMove> {
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Scheduled | S::Retrying, E::Due) => Ok(S::Ready),
        (S::Ready, E::Claim) => Ok(S::Running),

        (S::Running, E::Succeed) => Ok(S::Succeeded),
        (S::Running, E::Retry) => Ok(S::Retrying),
        (S::Running, E::Fail) => Ok(S::Failed),
        (S::Running, E::Release) => Ok(S::Ready),
        (S::Running, E::PutOff) => Ok(S::Scheduled),

        // A job that waits too long or is cancelled never starts; one that runs is told to stop.
        (S::Scheduled | S::Ready | S::Retrying | S::Running, E::Escalate) => Ok(S::InReview),
        (S::Scheduled | S::Ready | S::Retrying | S::Running, E::Expire) => Ok(S::Expired),
        (S::Scheduled | S::Ready | S::Retrying | S::Running, E::Cancel) => Ok(S::Cancelled),

        (S::Failed | S::InReview | S::Cancelled | S::Expired, E::Revive) => Ok(S::Ready),
        (S::InReview, E::Approve) => Ok(S::Succeeded),
        (S::InReview, E::Reject) => Ok(S::Failed),

        (from, event) => Err(IllegalMove { from, event }),
    }
}

impl State {
    /// Every state, in the order of a job's way.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Ready,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::InReview,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether nothing more happens without a person.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::InReview | Self::Cancelled | Self::Expired)
    }

    /// The name used in the API, the ledger and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::InReview => "in_review",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 13] = [
        Self::Due,
        Self::Claim,
        Self::Succeed,
        Self::Retry,
        Self::Fail,
        Self::Escalate,
        Self::Release,
        Self::PutOff,
        Self::Expire,
        Self::Cancel,
        Self::Revive,
        Self::Approve,
        Self::Reject,
    ];

    /// The verb, as the script headers and messages spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Due => "become due",
            Self::Claim => "be claimed",
            Self::Succeed => "succeed",
            Self::Retry => "be retried by its policy",
            Self::Fail => "fail",
            Self::Escalate => "be escalated",
            Self::Release => "be given back",
            Self::PutOff => "be put off",
            Self::Expire => "expire",
            Self::Cancel => "be cancelled",
            Self::Revive => "be retried",
            Self::Approve => "be approved",
            Self::Reject => "be rejected",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = Event> {
        prop::sample::select(Event::ALL.to_vec())
    }

    proptest! {
        /// Walks random events from both entry states; an illegal event changes nothing.
        #[test]
        fn rest_is_left_only_by_a_person(
            start in prop::sample::select(vec![State::Scheduled, State::Ready]),
            events in prop::collection::vec(any_event(), 0..64),
        ) {
            let mut state = start;
            for event in events {
                let Ok(after) = next(state, event) else { continue };
                if state.is_at_rest() {
                    prop_assert!(matches!(event, Event::Revive | Event::Approve | Event::Reject));
                }
                if after == State::Running {
                    prop_assert_eq!(state, State::Ready);
                }
                if after == State::Succeeded {
                    prop_assert!(matches!(state, State::Running | State::InReview));
                }
                state = after;
            }
        }
    }

    #[test]
    fn every_state_that_is_not_final_has_a_way_to_rest() {
        for state in State::ALL.into_iter().filter(|s| !s.is_at_rest()) {
            let to_rest = Event::ALL.iter().filter_map(|&e| next(state, e).ok()).any(State::is_at_rest);
            assert!(to_rest, "{state} cannot come to rest");
        }
    }

    #[test]
    fn a_result_is_final() {
        assert!(Event::ALL.iter().all(|&event| next(State::Succeeded, event).is_err()));
    }

    #[test]
    fn names_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
        }
        assert_eq!(
            next(State::Succeeded, Event::Cancel).unwrap_err().to_string(),
            "a job that is succeeded cannot be cancelled"
        );
    }
}
