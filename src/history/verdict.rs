//! What the judgement says.

use std::fmt;

use serde::Serialize;

use super::reader::Place;

/// Violations that are told one by one; a broken build breaks every job, and the first ones say why.
const TOLD_MAX: usize = 1_000;

/// What must hold. The numbers are those of `docs/HISTORY.md`; 8 to 10 are kept for shedding, pools
/// and breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every accepted job ends in exactly one state at rest, and somebody has caused it.
    I1,
    /// A state at rest does not change without an operator.
    I2,
    /// No two valid leases of one job overlap, and fences grow.
    I3,
    /// Nothing starts after its end, its cancel, its expiry, or while its queue is paused.
    I4,
    /// Attempts stay within their bound, and only runs that returned spend them.
    I5,
    /// The same key or id is the same job.
    I6,
    /// Nothing overtakes further than its slack allows.
    I7,
    /// A submit with an unknown outcome makes one job at most.
    I11,
    /// A retry waits as long as its policy says.
    I12,
    /// Nothing runs that nobody had accepted.
    I13,
    /// A handler gets the payload that was submitted.
    I14,
}

impl Invariant {
    /// Every invariant that is judged.
    pub const ALL: [Self; 11] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
    ];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A breach of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The job's id, or the key where there is no job.
    pub job: String,
    /// What happened.
    pub what: String,
    /// The lines that show it.
    pub seen: Vec<Place>,
}

/// How much was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Lines with an event.
    pub events: u64,
    /// Submits, repeated ones included.
    pub submits: u64,
    /// Submits that were refused for certain.
    pub refused: u64,
    /// Submits of which their client does not know what became.
    pub unknown: u64,
    /// Jobs that a client knows to be accepted.
    pub accepted: u64,
    /// Jobs read at rest after the drain.
    pub finished: u64,
    /// Runs that started.
    pub runs: u64,
    /// Jobs with more than one run, retries included.
    pub jobs_run_more_than_once: u64,
    /// Jobs that ran again although no run before had failed or been put off.
    pub jobs_repeated: u64,
    /// Of these, jobs that were not in flight at any fault.
    pub jobs_repeated_without_fault: u64,
    /// Orders of operators.
    pub orders: u64,
    /// Faults.
    pub faults: u64,
    /// Violations, told or not.
    pub violations: u64,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The first thousand, in the order of their lines.
    pub violations: Vec<Violation>,
    /// How much was judged.
    pub summary: Summary,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.summary.violations == 0
    }

    pub(super) fn report(&mut self, invariant: Invariant, job: &str, what: impl Into<String>, seen: &[Place]) {
        self.summary.violations += 1;
        self.violations.push(Violation { invariant, job: job.to_owned(), what: what.into(), seen: seen.to_vec() });
    }

    pub(super) fn sort(&mut self) {
        self.violations.sort_by(|a, b| (a.seen.last(), a.invariant).cmp(&(b.seen.last(), b.invariant)));
        self.violations.truncate(TOLD_MAX);
    }
}
