//! The history checker: whether what clients and handlers saw can have come from a queue that keeps
//! its promises.
//!
//! It judges only what they recorded themselves, never the ledger's own story, and it knows nothing
//! of how the daemon works: its rules are written a second time here, on purpose. The work grows with
//! the length of the history, sorting aside. `docs/HISTORY.md` has the format and the exact rules.

mod event;
mod faults;
mod life;
mod order;
mod reader;
mod runs;
mod submits;
mod verdict;

pub use event::{
    Action, Backoff, Drained, Event, Fault, Header, Order, OrderAnswer, Outcome, Part, QueueFacts, Read, Run, RunEnd,
    Submit, SubmitAnswer, TypeFacts, VERSION,
};
pub use reader::{History, Malformed, Place, Reader};
pub use verdict::{Invariant, Summary, Verdict, Violation};

use self::faults::Faults;
use self::reader::Fate;

/// Judges a history. Strict judgement excuses nothing with a fault: it is for runs in which nothing
/// was broken.
#[must_use]
pub fn check(history: &History, strict: bool) -> Verdict {
    let faults = Faults::new(&history.faults, &history.limits, strict);
    let mut verdict = Verdict { summary: count(history), ..Verdict::default() };
    for job in &history.jobs {
        runs::check(history, &faults, job, &mut verdict);
        life::check(history, &faults, job, &mut verdict);
    }
    submits::check(history, &mut verdict);
    order::check(history, &faults, &mut verdict);
    verdict.sort();
    verdict
}

fn count(history: &History) -> Summary {
    let fates = |wanted| history.calls.iter().filter(|call| call.fate() == wanted).count() as u64;
    let accepted = |job: &&reader::Job| job.calls.iter().any(|&call| history.calls[call].fate() == Fate::Accepted);
    Summary {
        events: history.events,
        submits: history.calls.len() as u64,
        refused: fates(Fate::Refused),
        unknown: fates(Fate::Unknown),
        accepted: history.jobs.iter().filter(accepted).count() as u64,
        runs: history.runs.len() as u64,
        jobs_run_more_than_once: history.jobs.iter().filter(|job| job.runs.len() > 1).count() as u64,
        orders: history.orders.len() as u64,
        faults: history.faults.len() as u64,
        ..Summary::default()
    }
}
