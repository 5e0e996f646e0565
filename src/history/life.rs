//! How a job ends: I1.

use crate::job::State;

use super::event::{Action, Outcome, TypeFacts};
use super::faults::Faults;
use super::reader::{Call, Fate, History, Job, Place, ReadSeen};
use super::verdict::{Invariant, Verdict};

/// Judges the end of one job. Without a drain nothing has to have ended.
pub(super) fn check(history: &History, faults: &Faults, job: &Job, verdict: &mut Verdict) {
    let (Some(drained), Some(seen)) = (history.drained, existence(history, job)) else { return };
    let ordered = |wanted: Action| {
        job.orders.iter().map(|&order| &history.orders[order]).any(|o| o.sent.action == wanted && o.is_possible())
    };
    let finals = job.reads.iter().map(|&read| &history.reads[read]).filter(|read| read.asked >= drained);
    let Some(last) = finals.max_by_key(|read| (read.at, read.place)) else {
        if !ordered(Action::Delete) {
            verdict.report(Invariant::I1, &job.id, "nobody has read how it ended", &[seen]);
        }
        return;
    };
    let mut report = |what: &str| verdict.report(Invariant::I1, &job.id, what, &[seen, last.place]);
    match last.seen.state.as_deref().map(|name| (name, State::from_name(name))) {
        None if ordered(Action::Delete) => {}
        None => report("it is lost"),
        Some((_, Some(state))) if state.is_at_rest() => {
            if let Some(what) = uncaused(history, faults, job, last, state, ordered) {
                report(what);
            }
            verdict.summary.finished += 1;
        }
        Some((name, _)) => report(&format!("after the drain it is {name}")),
    }
}

/// The line that shows that a job exists: an acceptance, a run, or the run that enqueued it.
fn existence(history: &History, job: &Job) -> Option<Place> {
    // A submit with a key and an id may be answered with the key's job; then the id is nobody's.
    let is_this = |call: &&Call| call.fate() == Fate::Accepted && call.accepted_as().is_none_or(|id| id == job.id);
    let accepted = job.calls.iter().map(|&call| &history.calls[call]).find(is_this);
    let ran = || job.runs.first().map(|&run| history.runs[run].place);
    let enqueued = || {
        let parent = history.parent_of(job).or_else(|| history.approved_parent_of(job));
        parent.map(|run| history.runs[run].place)
    };
    accepted.map(|call| call.place).or_else(ran).or_else(enqueued)
}

/// Why nothing that was seen explains how the job ended.
fn uncaused(
    history: &History,
    faults: &Faults,
    job: &Job,
    read: &ReadSeen,
    state: State,
    ordered: impl Fn(Action) -> bool,
) -> Option<&'static str> {
    let runs = || job.runs.iter().map(|&run| &history.runs[run]);
    let mut successes = runs().filter(|run| run.outcome() == Some(Outcome::Succeeded)).peekable();
    match state {
        State::Succeeded if ordered(Action::Approve) => None,
        State::Succeeded if successes.peek().is_none() => Some("it succeeded, and no run did"),
        State::Succeeded => {
            let known = read.seen.result.as_deref();
            let same = |run: &super::reader::RunSeen| run.result().is_none() || run.result() == known;
            (!successes.any(same)).then_some("its result is that of no run")
        }
        State::Failed if ordered(Action::Reject) => None,
        State::Failed => {
            let failed = runs().any(|run| run.outcome() != Some(Outcome::Succeeded));
            let lost = runs().any(|run| faults.answer_lost(run.at, run.ended()))
                || (job.runs.is_empty() && faults.answer_lost(i64::MIN, read.at));
            let timeout = history.type_of(job).map_or(i64::MAX, TypeFacts::timeout);
            let late = runs().any(|run| run.ended().saturating_sub(run.at) + history.limits.grace >= timeout);
            (!failed && !lost && !late).then_some("it failed, and no run did")
        }
        State::Cancelled => {
            let purged = || history.orders.iter().any(|order| order.sent.action == Action::Purge);
            (!ordered(Action::Cancel) && !purged()).then_some("it is cancelled, and nobody has cancelled it")
        }
        State::Expired => {
            let expires = history.type_of(job).is_none_or(|facts| facts.expire_after_ms.is_some());
            (!expires).then_some("it has expired, and its type does not")
        }
        _ => None,
    }
}
