//! The order of a queue, and its pauses: I7, and I4 for paused queues.

use std::collections::HashMap;

use super::event::Action;
use super::faults::Faults;
use super::reader::{At, Call, Fate, History, Job, Place, RunSeen};
use super::verdict::{Invariant, Verdict};

/// The first start of a job, and what is known of its place in the queue.
struct First<'h> {
    job: &'h str,
    place: Place,
    start: At,
    /// It was ready at this time at the latest.
    ready: At,
    /// Its virtual deadline lies between these.
    earliest: At,
    latest: At,
}

/// Judges order and pauses.
pub(super) fn check(history: &History, faults: &Faults, verdict: &mut Verdict) {
    overtaking(history, faults, verdict);
    pauses(history, faults, verdict);
}

// === I7 ===

fn overtaking(history: &History, faults: &Faults, verdict: &mut Verdict) {
    let mut queues: HashMap<&str, Vec<First<'_>>> = HashMap::new();
    for job in &history.jobs {
        if let Some((queue, first)) = first_of(history, job) {
            queues.entry(queue).or_default().push(first);
        }
    }
    for (queue, mut starts) in queues {
        let Some(facts) = history.queues.get(queue) else { continue };
        let tolerance = i64::from(facts.tolerance_ms) * 1_000 + history.limits.clocks;
        starts.sort_by_key(|first| (first.start, first.place));
        // Starts so far, each with a later deadline than all after it: the first one that is not
        // older than a moment has the latest deadline since then.
        let mut latest: Vec<&First<'_>> = Vec::new();
        let mut counted = 0;
        for first in &starts {
            while starts[counted].start < first.start - tolerance {
                while latest.last().is_some_and(|last| last.earliest <= starts[counted].earliest) {
                    latest.pop();
                }
                latest.push(&starts[counted]);
                counted += 1;
            }
            let since_ready = latest.partition_point(|other| other.start < first.ready);
            let Some(other) = latest.get(since_ready) else { continue };
            if other.earliest > first.latest + tolerance && !faults.held_up(first.ready, first.start) {
                let ahead = (other.earliest - first.latest) / 1_000;
                let what = format!("{} overtook it, whose deadline is {ahead} ms later", other.job);
                verdict.report(Invariant::I7, first.job, what, &[other.place, first.place]);
            }
        }
    }
}

/// The first start of a job that waited in an ordered queue, undisturbed by operators.
fn first_of<'h>(history: &'h History, job: &'h Job) -> Option<(&'h str, First<'h>)> {
    let run = job.runs.iter().map(|&run| &history.runs[run]).min_by_key(|run| (run.at, run.place))?;
    let calls = || job.calls.iter().map(|&call| &history.calls[call]).filter(|call| call.fate() != Fate::Refused);
    let sent: &Call = calls().min_by_key(|call| (call.at, call.place))?;
    let answered = calls().filter(|call| call.fate() == Fate::Accepted);
    let answered = answered.filter_map(|call| call.answer.as_ref().map(|(_, at, _)| *at)).min()?;
    let queue = sent.sent.queue.as_deref()?;
    let slack_ms = &history.queues.get(queue)?.slack_ms;
    let slack_ms = slack_ms.get(usize::from(sent.sent.priority?).checked_sub(1)?)?;
    if !job.orders.is_empty() {
        return None;
    }
    let delay = i64::try_from(sent.sent.delay_ms).unwrap_or(i64::MAX / 2_000).saturating_mul(1_000);
    let slack = slack_ms.saturating_mul(1_000);
    let first = First {
        job: &job.id,
        place: run.place,
        start: run.at,
        ready: answered.saturating_add(delay),
        earliest: sent.at.saturating_add(delay).saturating_add(slack),
        latest: answered.saturating_add(delay).saturating_add(slack),
    };
    Some((queue, first))
}

// === pauses ===

/// I4: nothing of a paused queue starts.
fn pauses(history: &History, faults: &Faults, verdict: &mut Verdict) {
    let mut changes: HashMap<&str, Vec<(At, Option<Place>)>> = HashMap::new();
    for order in &history.orders {
        let (Some(queue), action) = (&order.sent.queue, order.sent.action) else { continue };
        match (action, order.done()) {
            (Action::Pause, Some((place, at))) => changes.entry(queue).or_default().push((at, Some(place))),
            // From the moment it is asked for a resume may have happened.
            (Action::Resume, _) => changes.entry(queue).or_default().push((order.at, None)),
            _ => {}
        }
    }
    for changes in changes.values_mut() {
        changes.sort_unstable();
    }
    for run in &history.runs {
        let Some(changes) = run.seen.queue.as_deref().and_then(|queue| changes.get(queue)) else { continue };
        paused_at(history, faults, changes, run, verdict);
    }
}

fn paused_at(
    history: &History,
    faults: &Faults,
    changes: &[(At, Option<Place>)],
    run: &RunSeen,
    verdict: &mut Verdict,
) {
    let before = changes.partition_point(|(at, _)| *at < run.at);
    let Some((at, Some(place))) = before.checked_sub(1).map(|last| changes[last]) else { return };
    if run.at > at + history.limits.grace && !faults.stale(run.at) {
        verdict.report(Invariant::I4, &run.seen.job, "it starts while its queue is paused", &[place, run.place]);
    }
}
