//! The judge: what must hold of every run, whatever befell it.
//!
//! What clients and handlers saw is judged by the history checker, like every other test's. What the
//! stores did is seen only here, and judged by the functions below.

use std::collections::{BTreeMap, BTreeSet};

use ganger::history::{self, Action, Backoff, Header, Outcome, Part, Place, TypeFacts};
use ganger::job::{Fence, Job, JobId, QueueName, Seq, State};
use ganger::policy::catalog::OnLate;
use ganger::policy::retry;

use crate::clients::token;
use crate::story::{Entry, Event};
use crate::world::World;

/// Everything that is wrong with a run that came to its end.
pub fn judge(world: &World) -> Vec<String> {
    let entries = world.story.entries();
    let mut wrong = checked(world, &entries);
    let store = world.ledger.store();
    let rows: Vec<&Job> = store.live.values().chain(store.finished.values()).map(|row| &row.job).collect();
    wrong.extend(store.violations.clone());
    wrong.extend(intents_have_one_job(&rows));
    wrong.extend(lives_end_once(&entries));
    wrong.extend(fences_grow(&entries));
    wrong.extend(nothing_starts_after_its_end(&entries));
    wrong.extend(pauses_hold(&entries));
    wrong.extend(attempts_are_runs(&entries, &rows));
    wrong.extend(crashes_have_a_cause(world, &entries, &rows));
    wrong
}

/// What the history checker says. Clients and handlers are two recorders, whose clocks agree as well as the
/// nodes' estimates of the broker's clock do.
fn checked(world: &World, entries: &[Entry]) -> Vec<String> {
    let mut files = ["clients", "handlers"].map(|recorder| vec![history::Event::Header(header(world, recorder))]);
    for event in seen(entries) {
        let is_run = matches!(event, history::Event::Run(_) | history::Event::RunEnd(_));
        files[usize::from(is_run)].push(event.clone());
    }
    let mut reader = history::Reader::default();
    for (file, events) in files.iter().enumerate() {
        for (event, line) in events.iter().zip(1..) {
            reader.event(Place { file, line }, event.clone()).expect("the simulation records a history");
        }
    }
    let verdict = history::check(&reader.finish(), false);
    let told = verdict.violations.iter().map(|violation| {
        let line = |place: &Place| serde_json::to_string(&files[place.file][place.line - 1]).unwrap();
        let lines: Vec<String> = violation.seen.iter().map(line).collect();
        format!("{}: job {}: {}: {}", violation.invariant, violation.job, violation.what, lines.join(" "))
    });
    told.collect()
}

fn header(world: &World, recorder: &str) -> Header {
    let types = world.catalog.types.values().map(|known| {
        let facts = TypeFacts {
            max_attempts: known.retry.max_attempts(),
            timeout_ms: known.timeout_ms,
            backoff: match known.retry.backoff {
                retry::Backoff::Exponential => Backoff::Exponential,
                retry::Backoff::Linear => Backoff::Linear,
                retry::Backoff::Immediate => Backoff::Immediate,
            },
            base_delay_ms: known.retry.base_delay_ms,
            max_delay_ms: known.retry.max_delay_ms,
            jitter: known.retry.jitter == retry::Jitter::Full,
            expire_after_ms: known.sla_ms.filter(|_| known.on_late == OnLate::Expire),
        };
        (known.name.to_string(), facts)
    });
    Header {
        version: history::VERSION,
        recorder: recorder.to_owned(),
        wall_ms: crate::clock::BEGIN.millis(),
        clock_error_ms: 50,
        // A renewal tells a handler that it has lost its lease; a stubborn one has its grace after that.
        grace_ms: 25_000,
        settle_ms: 2_000,
        // A lease and a renewal, and the longest that a call is on its way.
        aftermath_ms: 60_000,
        types: types.collect(),
        ..Header::default()
    }
}

/// Events of clients and handlers.
fn seen(entries: &[Entry]) -> impl Iterator<Item = &history::Event> {
    entries.iter().filter_map(|entry| match &entry.event {
        Event::Seen(seen) => Some(seen),
        _ => None,
    })
}

/// How often each job was ordered to begin anew, for all that its clients know.
fn begun_anew(entries: &[Entry]) -> BTreeMap<&str, usize> {
    let mut refused = BTreeSet::new();
    for event in seen(entries) {
        if let history::Event::OrderAnswer(answer) = event
            && matches!(answer.status, Some(400..=499))
        {
            refused.insert(answer.call);
        }
    }
    let mut anew: BTreeMap<&str, usize> = BTreeMap::new();
    for event in seen(entries) {
        if let history::Event::Order(order) = event
            && matches!(order.action, Action::Retry | Action::Delete)
            && !refused.contains(&order.call)
        {
            *anew.entry(order.job.as_deref().unwrap_or("")).or_default() += 1;
        }
    }
    anew
}

/// I6, I11: one intent has at most one job, however often it was repeated; one id has one row.
fn intents_have_one_job(rows: &[&Job]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ids: BTreeSet<&JobId> = BTreeSet::new();
    let mut tokens: BTreeMap<u64, BTreeSet<&JobId>> = BTreeMap::new();
    for row in rows {
        if !ids.insert(&row.spec.id) {
            wrong.push(format!("job {} stands in the ledger twice", row.spec.id));
        }
        // Replays and children carry payloads of others.
        if row.spec.parent.is_none() {
            tokens.entry(token(&row.spec.payload)).or_default().insert(&row.spec.id);
        }
    }
    let doubles = tokens.iter().filter(|(_, ids)| ids.len() > 1);
    wrong.extend(doubles.map(|(token, ids)| format!("submit {token} became {} jobs: {ids:?}", ids.len())));
    wrong
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
    let twice = ends.iter().filter(|(_, count)| **count > 1);
    wrong.extend(twice.map(|(seq, count)| format!("life {seq} ended {count} times")));
    let anew = begun_anew(entries);
    for (id, count) in lives {
        let allowed = 1 + anew.get(id.as_str()).copied().unwrap_or(0);
        if count > allowed {
            wrong.push(format!("job {id} ended {count} times with {allowed} lives"));
        }
    }
    wrong
}

/// I3: fences of one job in one queue only grow, whatever became of the broker.
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
    let mut late: BTreeMap<(&str, Fence), (Seq, i64, i64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match &entry.event {
            Event::Rested { seq, .. } => drop(ended.insert(*seq, entry.at_ms)),
            Event::Granted { id, seq, fence, .. } => {
                if let Some(end) = ended.get(seq) {
                    late.insert((id.as_str(), *fence), (*seq, *end, entry.at_ms));
                }
            }
            Event::Seen(history::Event::Run(run)) => {
                if let Some((seq, end, granted)) = late.get(&(run.job.as_str(), run.fence)) {
                    wrong.push(format!(
                        "job {} started at {} ms under fence {}, given at {granted} ms, though life {seq} ended at {end} ms",
                        run.job, entry.at_ms, run.fence
                    ));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// I4: no lease of a queue is given from the answer to its pause until someone asks to lift it; not judged
/// while the broker is at fault, because then what was lifted before may come there after the pause.
fn pauses_hold(entries: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut pausing, mut lifting): (BTreeMap<u64, &str>, BTreeMap<u64, &str>) = Default::default();
    let mut paused: BTreeMap<&str, i64> = BTreeMap::new();
    let mut faulty_until_us = i64::MIN;
    for entry in entries {
        match &entry.event {
            Event::Seen(history::Event::Fault(fault)) if fault.on == Part::Broker => {
                faulty_until_us = faulty_until_us.max(fault.to_us);
            }
            Event::Seen(history::Event::Order(order)) => match (order.action, order.queue.as_deref()) {
                (Action::Pause, Some(queue)) => drop(pausing.insert(order.call, queue)),
                (Action::Resume, Some(queue)) => {
                    paused.remove(queue);
                    lifting.insert(order.call, queue);
                    // What was asked before may be done later, after this one.
                    pausing.retain(|_, of| *of != queue);
                }
                _ => {}
            },
            Event::Seen(history::Event::OrderAnswer(answer)) => {
                lifting.remove(&answer.call);
                let done = pausing.remove(&answer.call).filter(|_| answer.status == Some(200));
                if let Some(queue) = done.filter(|queue| lifting.values().all(|lifted| lifted != queue)) {
                    paused.insert(queue, entry.at_ms);
                }
            }
            Event::Granted { queue, id, fence, .. } if entry.at_ms * 1_000 > faulty_until_us => {
                if let Some(since) = paused.get(queue.as_str()) {
                    wrong.push(format!(
                        "job {id} was given fence {fence} at {} ms, though queue {queue} is paused since {since} ms",
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
    let mut started: BTreeMap<u64, (&str, Fence)> = BTreeMap::new();
    let mut ends: BTreeMap<(&str, Fence), Outcome> = BTreeMap::new();
    for event in seen(entries) {
        match event {
            history::Event::Run(run) => drop(started.insert(run.run, (run.job.as_str(), run.fence))),
            history::Event::RunEnd(end) => drop(ends.insert(started[&end.run], end.outcome)),
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
            let outcome = ends.get(&(id.as_str(), attempt.fence)).copied();
            let class = attempt.error.as_ref().map_or("", |error| error.class.as_str());
            let failed = matches!(attempt.outcome, State::Retrying | State::Failed | State::InReview);
            let fits = match outcome {
                Some(Outcome::Succeeded) => attempt.outcome == State::Succeeded,
                Some(Outcome::Review) => attempt.outcome == State::InReview,
                Some(Outcome::Failed) => failed,
                Some(Outcome::Dropped) => failed && class == "timeout",
                Some(Outcome::Deferred) | None => false,
            };
            if !fits {
                wrong.push(format!("job {id} has the attempt {attempt:?}, but its handler says {outcome:?}"));
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
fn crashes_have_a_cause(world: &World, entries: &[Entry], rows: &[&Job]) -> Vec<String> {
    let lapsed: BTreeSet<String> =
        world.sites().iter().filter(|site| site.may_have_lapsed()).map(|site| site.id.to_string()).collect();
    let mut causes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut runs: BTreeMap<u64, &str> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Granted { id, node, .. } if lapsed.contains(node.as_str()) => {
                *causes.entry(id.as_str()).or_default() += 1;
            }
            Event::Seen(history::Event::Run(run)) => drop(runs.insert(run.run, run.job.as_str())),
            // A handler that crashes says so with a fault, and the number of its run.
            Event::Seen(history::Event::Fault(fault)) if fault.on == Part::Handler => {
                let number = fault.kind.split(' ').nth(1).and_then(|number| number.parse().ok());
                *causes.entry(runs[&number.expect("a crash names its run")]).or_default() += 1;
            }
            _ => {}
        }
    }
    let mut wrong = Vec::new();
    for row in rows {
        let id = &row.spec.id;
        let causes = causes.get(id.as_str()).copied().unwrap_or(0);
        if row.counters.crashes > causes {
            wrong.push(format!("job {id} counts {} crashes, but {causes} things died under it", row.counters.crashes));
        }
        if row.error.as_ref().is_some_and(|error| error.class == "poison") && causes < 3 {
            wrong.push(format!("job {id} is poison ({:?}), but {causes} things died under it", row.error));
        }
    }
    wrong
}
