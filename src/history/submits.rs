//! Keys, ids and where jobs come from: I6, I11, I13.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::event::Action;
use super::reader::{At, Call, Fate, History, Place};
use super::verdict::{Invariant, Verdict};

/// Judges all submits.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    let mut by_key: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    let mut by_id: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &history.calls {
        if let Some(key) = &call.sent.key {
            by_key.entry(key).or_default().push(call);
        }
        if let Some(id) = &call.sent.id {
            by_id.entry(id).or_default().push(call);
        }
    }
    let mut ran: BTreeMap<&str, BTreeMap<&str, Place>> = BTreeMap::new();
    for run in &history.runs {
        if let Some(key) = &run.seen.key {
            ran.entry(key).or_default().entry(&run.seen.job).or_insert(run.place);
        }
    }
    for (name, calls) in by_key.iter_mut().chain(by_id.iter_mut()) {
        calls.sort_by_key(|call| (call.at, call.place));
        same_job(history, name, calls, verdict);
        fingerprints(history, name, calls, verdict);
    }
    for (key, jobs) in &ran {
        twice(history, key, by_key.get(key).map_or(&[], Vec::as_slice), jobs, verdict);
    }
    origins(history, &by_key, verdict);
}

/// Whether a job may have been deleted between two moments, which frees its key and its id.
fn deleted(history: &History, id: &str, from: At, to: At) -> bool {
    let Some(&job) = history.by_id.get(id) else { return false };
    let orders = history.jobs[job].orders.iter().map(|&order| &history.orders[order]);
    orders.into_iter().any(|order| {
        let until = order.settled_by(history.limits.aftermath);
        order.sent.action == Action::Delete && order.is_possible() && order.at <= to && until >= from
    })
}

/// I6: all acceptances of one key name one job, and only the first made it.
fn same_job(history: &History, name: &str, calls: &[&Call], verdict: &mut Verdict) {
    let mut first: Option<(&Call, &str)> = None;
    let mut made: Option<&Call> = None;
    for call in calls {
        let (Some(id), Some((place, at, answer))) = (call.accepted_as(), &call.answer) else { continue };
        if let Some((before, known)) = first {
            if deleted(history, known, before.at, *at) {
                (first, made) = (None, None);
            } else if known != id {
                let what = format!("one key is answered with two jobs, {known} and {id}");
                verdict.report(Invariant::I6, name, what, &[before.place, *place]);
            }
        }
        if answer.status == Some(201) {
            if let Some(before) = made {
                verdict.report(Invariant::I6, name, "it was made twice", &[before.place, *place]);
            }
            made = Some(call);
        }
        first = first.or(Some((call, id)));
    }
}

/// I6: another fingerprint under a known key is a conflict, and nothing else is.
fn fingerprints(history: &History, name: &str, calls: &[&Call], verdict: &mut Verdict) {
    let mut accepted: Option<(&Call, &str)> = None;
    let distinct: HashSet<&str> = calls.iter().map(|call| call.sent.fingerprint.as_str()).collect();
    for call in calls {
        let Some((place, at, answer)) = &call.answer else { continue };
        if let Some(id) = call.accepted_as() {
            match accepted {
                Some((before, known)) if !deleted(history, known, before.at, *at) => {
                    if before.sent.fingerprint != call.sent.fingerprint {
                        let what = "another fingerprint under the same key was accepted";
                        verdict.report(Invariant::I6, name, what, &[before.place, *place]);
                    }
                }
                _ => accepted = Some((call, id)),
            }
        }
        // With a key and an id at once the conflict may be the other one's.
        let one_name = call.sent.key.is_none() || call.sent.id.is_none();
        if answer.status == Some(409) && distinct.len() == 1 && one_name {
            verdict.report(Invariant::I6, name, "a conflict, and nothing differs", &[call.place, *place]);
        }
    }
}

/// I11: however often a key was sent without an answer, one job runs under it.
fn twice(history: &History, key: &str, calls: &[&Call], jobs: &BTreeMap<&str, Place>, verdict: &mut Verdict) {
    let mut seen: Vec<(&str, Place)> = jobs.iter().map(|(id, place)| (*id, *place)).collect();
    for call in calls {
        if let (Some(id), Some((place, ..))) = (call.accepted_as(), &call.answer)
            && !jobs.contains_key(id)
        {
            seen.push((id, *place));
        }
    }
    seen.sort_by_key(|(_, place)| *place);
    seen.dedup_by_key(|(id, _)| *id);
    let freed = seen.iter().any(|(id, _)| deleted(history, id, At::MIN, At::MAX));
    let ids: BTreeSet<&str> = seen.iter().map(|(id, _)| *id).collect();
    if ids.len() > 1 && !freed {
        let names = ids.into_iter().collect::<Vec<_>>().join(", ");
        let places: Vec<Place> = seen.iter().map(|(_, place)| *place).collect();
        verdict.report(Invariant::I11, key, format!("one key has become the jobs {names}"), &places);
    }
}

/// I13, and I11 for submits that carry no name.
fn origins(history: &History, by_key: &BTreeMap<&str, Vec<&Call>>, verdict: &mut Verdict) {
    let mut budget: HashMap<&str, u64> = HashMap::new();
    for call in history.calls.iter().filter(|call| call.fate() == Fate::Unknown) {
        if call.sent.id.is_none() && call.answer.as_ref().is_none_or(|(_, _, answer)| answer.id.is_none()) {
            *budget.entry(&call.sent.payload).or_default() += 1;
        }
    }
    let replays = history.orders.iter().filter(|order| order.sent.action == Action::Replay && order.is_possible());
    let mut replays = replays.filter(|order| order.done().is_none()).count();
    for job in &history.jobs {
        let Some(&first) = job.runs.first() else { continue };
        let run = &history.runs[first];
        let clocks = history.limits.clocks;
        let calls = || job.calls.iter().map(|&call| &history.calls[call]);
        let keyed = run.seen.key.as_deref().and_then(|key| by_key.get(key)).into_iter().flatten().copied();
        let mut sent = calls().chain(keyed).filter(|call| call.fate() != Fate::Refused).peekable();
        if sent.peek().is_some() {
            if sent.all(|call| call.at > run.at + clocks) {
                verdict.report(Invariant::I13, &job.id, "it runs before it was submitted", &[run.place]);
            }
            continue;
        }
        if !job.parents.is_empty() {
            if history.parent_of(job).is_none() && !history.may_be_approved(job) {
                let parent = history.runs[job.parents[0]].place;
                let what = "it was enqueued by a run whose success was not recorded";
                verdict.report(Invariant::I13, &job.id, what, &[parent, run.place]);
            }
            continue;
        }
        if !job.replays.is_empty() {
            continue;
        }
        if let Some(call) = calls().next() {
            verdict.report(Invariant::I13, &job.id, "it was refused and runs", &[call.place, run.place]);
            continue;
        }
        let unnamed = run.seen.payload.as_deref().and_then(|payload| budget.get_mut(payload));
        match unnamed {
            Some(left) if *left > 0 => *left -= 1,
            Some(_) => {
                let what = "more jobs run with its payload than submits of it went unanswered";
                verdict.report(Invariant::I11, &job.id, what, &[run.place]);
            }
            None if replays > 0 => replays -= 1,
            None => verdict.report(Invariant::I13, &job.id, "nobody has submitted it", &[run.place]),
        }
    }
}
