//! The judge: what must hold of every run, whatever befell it.

use std::collections::{BTreeMap, BTreeSet};

use ganger::job::{Fence, Job, JobId, QueueName, Seq, State};

use crate::clients::token;
use crate::story::{Entry, Event};
use crate::world::World;

/// Everything that is wrong with a run that came to its end.
pub fn judge(world: &World) -> Vec<String> {
    let entries = world.story.entries();
    let store = world.ledger.store();
    let rows: Vec<&Job> = store.live.values().chain(store.finished.values()).map(|row| &row.job).collect();
    let mut wrong = store.violations.clone();
    wrong.extend(accepted_jobs_end(&entries, &rows));
    wrong.extend(intents_have_one_job(&rows));
    wrong.extend(lives_end_once(&entries));
    wrong.extend(fences_grow(&entries));
    wrong.extend(nothing_starts_after_its_end(&entries));
    wrong.extend(attempts_are_runs(&entries, &rows));
    wrong.extend(crashes_have_a_cause(&entries, &rows));
    wrong
}

/// Orders of a kind that were carried out, or may have been.
fn ordered<'a>(entries: &'a [Entry], kind: &'a str) -> impl Iterator<Item = &'a str> {
    entries.iter().filter_map(move |entry| match &entry.event {
        Event::Ordered { order, id, done } if *order == kind && *done != Some(false) => Some(id.as_str()),
        _ => None,
    })
}

/// I1: what a client was told is accepted is at rest, unless it was deleted; one row for each id.
fn accepted_jobs_end(entries: &[Entry], rows: &[&Job]) -> Vec<String> {
    let mut wrong = Vec::new();
    let deleted: BTreeSet<&str> = ordered(entries, "delete").collect();
    let mut by_id: BTreeMap<&JobId, &Job> = BTreeMap::new();
    for row in rows {
        if by_id.insert(&row.spec.id, row).is_some() {
            wrong.push(format!("job {} stands in the ledger twice", row.spec.id));
        }
    }
    for entry in entries {
        let Event::Accepted { token: asked, id, .. } = &entry.event else { continue };
        match by_id.get(id) {
            None if !deleted.contains(id.as_str()) => wrong.push(format!("accepted job {id} is nowhere")),
            Some(row) if row.rest.is_none() => wrong.push(format!("accepted job {id} is not at rest")),
            Some(row) if token(&row.spec.payload) != *asked && !deleted.contains(id.as_str()) => {
                wrong.push(format!("submit {asked} was answered with job {id} of submit {}", token(&row.spec.payload)));
            }
            _ => {}
        }
    }
    wrong
}

/// I6, I11: one intent has at most one job, however often it was repeated.
fn intents_have_one_job(rows: &[&Job]) -> Vec<String> {
    let mut tokens: BTreeMap<u64, BTreeSet<&JobId>> = BTreeMap::new();
    // Replays and children carry payloads of others.
    for row in rows.iter().filter(|row| row.spec.parent.is_none()) {
        tokens.entry(token(&row.spec.payload)).or_default().insert(&row.spec.id);
    }
    let doubles = tokens.iter().filter(|(_, ids)| ids.len() > 1);
    doubles.map(|(token, ids)| format!("submit {token} became {} jobs: {ids:?}", ids.len())).collect()
}

/// I2: a life comes to rest once, and a job has no more ends than lives that someone asked for.
fn lives_end_once(entries: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ends: BTreeMap<Seq, u32> = BTreeMap::new();
    let mut lives: BTreeMap<&JobId, usize> = BTreeMap::new();
    for entry in entries {
        if let Event::Rested { id, seq, .. } = &entry.event {
            *ends.entry(*seq).or_default() += 1;
            *lives.entry(id).or_default() += 1;
        }
    }
    wrong.extend(
        ends.iter().filter(|(_, count)| **count > 1).map(|(seq, count)| format!("life {seq} ended {count} times")),
    );
    for (id, count) in lives {
        let anew = |kind| ordered(entries, kind).filter(|of| *of == id.as_str()).count();
        let allowed = 1 + anew("retry") + anew("delete");
        if count > allowed {
            wrong.push(format!("job {id} ended {count} times with {allowed} lives"));
        }
    }
    wrong
}

/// Fences of one job in one queue only grow, whatever became of the broker.
fn fences_grow(entries: &[Entry]) -> Vec<String> {
    let mut highest: BTreeMap<(&QueueName, &JobId), Fence> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in entries {
        if let Event::Granted { queue, id, fence, .. } = &entry.event {
            let before = highest.insert((queue, id), *fence);
            if before.is_some_and(|before| before >= *fence) {
                wrong.push(format!("job {id} was given fence {fence} after {before:?}"));
            }
        }
    }
    wrong
}

/// I4: no lease that is given after a life has ended leads to a run of it.
fn nothing_starts_after_its_end(entries: &[Entry]) -> Vec<String> {
    let mut ended: BTreeMap<Seq, i64> = BTreeMap::new();
    let mut late: BTreeMap<(&JobId, Fence), (Seq, i64, i64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match &entry.event {
            Event::Rested { seq, .. } => drop(ended.insert(*seq, entry.at_ms)),
            Event::Granted { id, seq, fence, .. } => {
                if let Some(end) = ended.get(seq) {
                    late.insert((id, *fence), (*seq, *end, entry.at_ms));
                }
            }
            Event::Started { id, fence, .. } => {
                if let Some((seq, end, granted)) = late.get(&(id, *fence)) {
                    wrong.push(format!(
                        "job {id} started at {} ms under fence {fence}, given at {granted} ms, though life {seq} ended at {end} ms",
                        entry.at_ms
                    ));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// I5: attempts stay within their bound, and each is a run that a handler knows of.
fn attempts_are_runs(entries: &[Entry], rows: &[&Job]) -> Vec<String> {
    let mut ends: BTreeMap<(&JobId, Fence), &str> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Ended { id, fence, how, .. } => drop(ends.insert((id, *fence), how)),
            Event::Dropped { id, fence, .. } => drop(ends.insert((id, *fence), "dropped")),
            _ => {}
        }
    }
    let mut wrong = Vec::new();
    for row in rows {
        let id = &row.spec.id;
        if row.counters.attempts > row.spec.max_attempts {
            wrong.push(format!("job {id} had {} attempts of {}", row.counters.attempts, row.spec.max_attempts));
        }
        let mut fences = BTreeSet::new();
        for attempt in &row.history {
            let how = ends.get(&(id, attempt.fence)).copied();
            let class = attempt.error.as_ref().map_or("", |error| error.class.as_str());
            let fits = match (how, attempt.outcome, class) {
                (Some("ok"), State::Succeeded, _)
                | (Some("review"), State::InReview, _)
                | (Some("fail"), State::Retrying | State::Failed | State::InReview, _)
                | (Some("stopped" | "dropped"), State::Retrying | State::Failed | State::InReview, "timeout") => true,
                _ => false,
            };
            if !fits {
                wrong.push(format!("job {id} has the attempt {attempt:?}, but its handler says {how:?}"));
            }
            if !fences.insert(attempt.fence) {
                wrong.push(format!("job {id} has two attempts under fence {}", attempt.fence));
            }
        }
        if (row.counters.attempts as usize) > row.history.len() {
            wrong.push(format!("job {id} counts {} attempts of {} runs", row.counters.attempts, row.history.len()));
        }
    }
    wrong
}

/// I5: crashes are counted only for children and nodes that died, and nothing else makes a job poison.
fn crashes_have_a_cause(entries: &[Entry], rows: &[&Job]) -> Vec<String> {
    let mut causes: BTreeMap<&JobId, u32> = BTreeMap::new();
    let mut granted: BTreeMap<&str, BTreeSet<(&JobId, Fence)>> = BTreeMap::new();
    let mut lapsing: BTreeSet<String> = BTreeSet::new();
    // Without the ledger no node can say that it lives.
    let mut ledger_failed = false;
    for entry in entries {
        match &entry.event {
            Event::Ended { id, how: "crash", .. } => *causes.entry(id).or_default() += 1,
            Event::Granted { id, fence, node, .. } => {
                granted.entry(node.as_str()).or_default().insert((id, *fence));
            }
            Event::Fault(words) => {
                ledger_failed |= words.starts_with("the ledger is away") || words.starts_with("flaky");
                if let Some(node) = words.split(' ').next().filter(|node| node.starts_with("node-")) {
                    if !words.ends_with("starts") {
                        lapsing.insert(node.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    for (node, leases) in &granted {
        if ledger_failed || lapsing.contains(*node) {
            for (id, _) in leases {
                *causes.entry(id).or_default() += 1;
            }
        }
    }
    let mut wrong = Vec::new();
    for row in rows {
        let id = &row.spec.id;
        let causes = causes.get(id).copied().unwrap_or(0);
        if row.counters.crashes > causes {
            wrong.push(format!("job {id} counts {} crashes, but {causes} things died under it", row.counters.crashes));
        }
        if row.error.as_ref().is_some_and(|error| error.class == "poison") && causes < 3 {
            wrong.push(format!("job {id} is poison ({:?}), but {causes} things died under it", row.error));
        }
    }
    wrong
}
