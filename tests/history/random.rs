//! Random histories: sound ones pass, and one change of any kind is caught.

use std::time::Duration;

use ganger::history::{Action, Event, Invariant, Outcome, Part, Read, Run, RunEnd, Submit};
use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng as _};

use crate::tale::{AFTERMATH, DELAY, GRACE, Tale, broken, tale, us, verdict};

use Outcome::{Deferred, Dropped, Failed, Succeeded};

/// When the only fault begins and ends.
const FAULT: (i64, i64) = (3_000, 3_300);
/// When everything has come to rest.
const DRAINED: i64 = 60_000;
/// The ways a job can go, in [`way`].
const WAYS: usize = 12;

// === sound histories ===

/// A run of 20 to 100 ms; answers when it ended.
fn run(tale: &mut Tale, dice: &mut StdRng, at: i64, job: &str, attempt: u32, outcome: Outcome) -> i64 {
    let key = Some(format!("key of {job}"));
    let payload = Some(format!("of key of {job}"));
    let queue = Some("q".to_owned());
    let start = Run { at_us: us(at), job: job.to_owned(), attempt, key, payload, queue, ..Run::default() };
    let number = tale.start_as(start);
    let end = at + dice.random_range(20..100);
    tale.end(end, number, outcome);
    end
}

/// Runs that fail, then one that ends with `last`.
fn runs(tale: &mut Tale, dice: &mut StdRng, mut at: i64, job: &str, failures: u32, last: Outcome) -> i64 {
    for attempt in 1..=failures {
        let ended = run(tale, dice, at, job, attempt, Failed);
        at = ended + DELAY * (1 << (attempt - 1)) + dice.random_range(0..300);
    }
    run(tale, dice, at, job, failures + 1, last)
}

/// One job on one of its ways, and how it ends.
fn way(tale: &mut Tale, dice: &mut StdRng, at: i64, job: &str, way: usize) {
    let key = format!("key of {job}");
    let other = || Submit { key: Some(key.clone()), fingerprint: "another".to_owned(), ..Submit::default() };
    let end = |tale: &mut Tale, state: &str| {
        tale.read(DRAINED + 10, job, state);
    };
    if way == 4 {
        // Its answer is lost, and the repeated submit finds it or makes it.
        tale.submit(at, &key);
        let call = tale.submit(at + 50, &key);
        tale.answer(at + 51, call, if dice.random() { 200 } else { 201 }, job);
    } else if way == 5 {
        let call = tale.submit(at, &key);
        tale.answer(at + 1, call, 503, "");
        let call = tale.submit(at + 20, &key);
        tale.answer(at + 21, call, 201, job);
    } else if way == 11 {
        let call = tale.submit(at, &key);
        tale.answer(at + 1, call, 503, "");
        return;
    } else {
        tale.accepted(at, job);
    }
    let start = at + 60;
    match way {
        0 | 4 | 5 => {
            run(tale, dice, start, job, 1, Succeeded);
            end(tale, "succeeded");
        }
        1 => {
            let failures = dice.random_range(1..=2);
            runs(tale, dice, start, job, failures, Succeeded);
            end(tale, "succeeded");
        }
        2 => {
            let ended = runs(tale, dice, start, job, 2, Failed);
            tale.read(ended + 20, job, "failed");
            end(tale, "failed");
        }
        3 => {
            tale.order(at + 5, Action::Cancel, job, 200);
            end(tale, "cancelled");
        }
        6 => {
            // In flight at the fault: its caller dies, and it runs again.
            let early = FAULT.0 - dice.random_range(1..15);
            run(tale, dice, early, job, 1, Dropped);
            let again = FAULT.1 + dice.random_range(0..200);
            run(tale, dice, again, job, 1, Succeeded);
            end(tale, "succeeded");
        }
        7 => {
            let call = tale.send(Submit { at_us: us(at + 10), ..other() });
            tale.answer(at + 11, call, 409, "");
            let call = tale.submit(at + 20, &key);
            tale.answer(at + 21, call, 200, job);
            run(tale, dice, start, job, 1, Succeeded);
            end(tale, "succeeded");
        }
        8 => {
            let ended = run(tale, dice, start, job, 1, Deferred);
            let again = ended + dice.random_range(0..500);
            run(tale, dice, again, job, 1, Succeeded);
            end(tale, "succeeded");
        }
        9 => {
            let ended = runs(tale, dice, start, job, 2, Failed);
            tale.order(ended + 50, Action::Retry, job, 200);
            run(tale, dice, ended + 60, job, 1, Succeeded);
            end(tale, "succeeded");
        }
        _ => {
            let (child, result) = (format!("child of {job}"), Some("result".to_owned()));
            let number = tale.start_as(Run { at_us: us(start), job: job.to_owned(), attempt: 1, ..Run::default() });
            let children = vec![child.clone()];
            let (outcome, class) = (Succeeded, None);
            let at_us = us(start + 10);
            tale.end_as(RunEnd { at_us, run: number, outcome, result, class, retry_after_ms: 0, children });
            let run = tale.start_as(Run { at_us: us(start + 20), job: child.clone(), attempt: 1, ..Run::default() });
            tale.end(start + 30, run, Succeeded).read(DRAINED + 10, &child, "succeeded");
            end(tale, "succeeded");
        }
    }
}

fn at_us(event: &Event) -> i64 {
    match event {
        Event::Header(_) => i64::MIN,
        Event::Submit(event) => event.at_us,
        Event::SubmitAnswer(event) => event.at_us,
        Event::Run(event) => event.at_us,
        Event::RunEnd(event) => event.at_us,
        Event::Order(event) => event.at_us,
        Event::OrderAnswer(event) => event.at_us,
        Event::Read(event) => event.at_us,
        Event::Fault(event) => event.to_us,
        Event::Drained(event) => event.at_us,
    }
}

/// In the order of time, with fences in the order of starts, as one recorder would have written it.
fn in_order(mut tale: Tale) -> Vec<Event> {
    tale.events.sort_by_key(at_us);
    let mut fence = 0;
    for event in &mut tale.events {
        if let Event::Run(run) = event {
            fence += 1;
            run.fence = fence;
        }
    }
    tale.events
}

fn sound(seed: u64, jobs: usize) -> Vec<Event> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut tale = tale();
    tale.fault(FAULT.0, FAULT.1, Part::Node).drained(DRAINED);
    for number in 0..jobs {
        let at = dice.random_range(0..10_000);
        // Each way is there at least once.
        let chosen = if number < WAYS { number } else { dice.random_range(0..WAYS) };
        way(&mut tale, &mut dice, if chosen == 6 { at % 1_000 } else { at }, &format!("job {number}"), chosen);
    }
    in_order(tale)
}

// === changes ===

/// One thing that a broken build would do, and what it breaks.
type Change = fn(&mut Vec<Event>, &mut StdRng) -> Invariant;

const CHANGES: &[(&str, Change)] = &[
    ("a job is lost", |events, dice| {
        let job = last_read(events, dice, "succeeded").job;
        events.retain(|event| !matches!(event, Event::Read(read) if read.job == job));
        Invariant::I1
    }),
    ("a job never ends", |events, dice| {
        let job = last_read(events, dice, "succeeded").job;
        for event in events {
            if let Event::Read(read) = event
                && read.job == job
            {
                read.state = Some("running".to_owned());
            }
        }
        Invariant::I1
    }),
    ("a job ends twice", |events, dice| {
        let read = last_read(events, dice, "succeeded");
        events.push(Event::Read(Read { state: Some("cancelled".to_owned()), ..read }));
        Invariant::I2
    }),
    ("a result is replaced", |events, dice| {
        let read = last_read(events, dice, "succeeded");
        events.push(Event::Read(Read { result: Some("another".to_owned()), ..read }));
        Invariant::I2
    }),
    ("a fence runs twice", |events, dice| {
        let run = calm_run(events, dice, |_| true);
        insert_run(events, Run { at_us: run.at_us + us(5), ..run }, Dropped);
        Invariant::I3
    }),
    ("two workers have one job", |events, dice| {
        let run = calm_run(events, dice, |_| true);
        insert_run(events, Run { at_us: run.at_us + us(5), fence: run.fence, ..run }, Succeeded);
        Invariant::I3
    }),
    ("fences fall", |events, dice| {
        let second = calm_run(events, dice, |run| run.attempt == 2);
        for event in events {
            if let Event::Run(run) = event
                && run.run == second.run
            {
                run.fence = 0;
            }
        }
        Invariant::I3
    }),
    ("a finished job runs again", |events, dice| {
        let read = last_read(events, dice, "succeeded");
        let mut run = run_of(events, &read.job);
        (run.at_us, run.fence) = (read.at_us + us(500), 1 << 40);
        insert_run(events, run, Succeeded);
        Invariant::I4
    }),
    ("a cancelled job runs", |events, dice| {
        let job = last_read(events, dice, "cancelled").job;
        let mut run = calm_run(events, dice, |_| true);
        (run.key, run.payload) = (Some(format!("key of {job}")), Some(format!("of key of {job}")));
        (run.at_us, run.fence, run.job) = (us(DRAINED - 100), 1 << 40, job);
        insert_run(events, run, Dropped);
        Invariant::I4
    }),
    ("a paused queue runs", |events, dice| {
        let run = calm_run(events, dice, |run| run.queue.is_some());
        let mut pause = tale();
        pause.order(run.at_us / 1_000 - GRACE - 2, Action::Pause, "q", 200);
        for event in pause.events.split_off(1) {
            events.push(renumbered(event));
        }
        Invariant::I4
    }),
    ("a first run is a second attempt", |events, dice| {
        let first = calm_run(events, dice, |run| run.attempt == 1 && !run.job.starts_with("child"));
        let first = run_of(events, &first.job).run;
        change_run(events, first, |run| run.attempt = 2);
        Invariant::I5
    }),
    ("an attempt too many", |events, dice| {
        let run = calm_run(events, dice, |_| true).run;
        change_run(events, run, |run| run.attempt = 4);
        Invariant::I5
    }),
    ("a drain spends an attempt", |events, dice| {
        let dropped = |events: &[Event], run: u64| {
            let is = |end: &RunEnd| end.run == run && end.outcome == Dropped;
            events.iter().any(|event| matches!(event, Event::RunEnd(end) if is(end)))
        };
        let again = any_run(events, dice, |events, run| {
            let first = run_of(events, &run.job).run;
            first != run.run && dropped(events, first)
        });
        let again = again.run;
        change_run(events, again, |run| run.attempt = 2);
        Invariant::I5
    }),
    ("a failure is not counted", |events, dice| {
        let second = calm_run(events, dice, |run| run.attempt == 2).run;
        change_run(events, second, |run| run.attempt = 1);
        Invariant::I5
    }),
    ("a key names two jobs", |events, dice| {
        change_answer(events, dice, 200, |answer| answer.id = Some("nobody's".to_owned()));
        Invariant::I6
    }),
    ("a job is made twice", |events, dice| {
        // The repeat of a submit that was answered 201.
        let conflicts = calls_with(events, 409);
        let after = conflicts[dice.random_range(0..conflicts.len())] + 1;
        for event in events {
            if let Event::SubmitAnswer(answer) = event
                && answer.call == after
            {
                answer.status = Some(201);
            }
        }
        Invariant::I6
    }),
    ("a conflict is overlooked", |events, dice| {
        let job = |call: u64, events: &[Event]| {
            let wanted = events.iter().find_map(|event| match event {
                Event::Submit(submit) if submit.call == call => submit.key.clone(),
                _ => None,
            });
            wanted.unwrap().trim_start_matches("key of ").to_owned()
        };
        let conflicts = calls_with(events, 409);
        let id = job(conflicts[dice.random_range(0..conflicts.len())], events);
        for event in events {
            if let Event::SubmitAnswer(answer) = event
                && answer.status == Some(409)
            {
                (answer.status, answer.id) = (Some(200), Some(id.clone()));
            }
        }
        Invariant::I6
    }),
    ("a conflict without a difference", |events, dice| {
        let key = Some("needless".to_owned());
        let mut more = tale();
        for status in [201, 409] {
            let call =
                more.send(Submit { at_us: us(dice.random_range(0..100)), key: key.clone(), ..Submit::default() });
            more.answer(200, call, status, if status == 201 { "child of job 10" } else { "" });
        }
        events.extend(more.events.split_off(1).into_iter().map(renumbered));
        Invariant::I6
    }),
    ("a lost answer makes two jobs", |events, dice| {
        let run = calm_run(events, dice, |run| run.key.is_some());
        insert_run(events, Run { job: "its double".to_owned(), fence: 1 << 40, ..run }, Succeeded);
        Invariant::I11
    }),
    ("a retry comes early", |events, dice| {
        let second = calm_run(events, dice, |run| run.attempt == 2);
        let first = run_of(events, &second.job);
        let ended = end_of(events, first.run);
        change_run(events, second.run, |run| run.at_us = ended + us(10));
        Invariant::I12
    }),
    ("a job from nowhere", |events, dice| {
        let run = calm_run(events, dice, |_| true);
        insert_run(events, Run { job: "ghost".to_owned(), key: None, payload: None, fence: 1 << 40, ..run }, Succeeded);
        Invariant::I13
    }),
    ("a refused job runs", |events, dice| {
        let refused = events.iter().find_map(|event| match event {
            Event::Submit(submit) if events.iter().all(|other| !answers(other, submit.call)) => None,
            Event::Submit(submit) if only_refused(events, submit) => Some(submit.clone()),
            _ => None,
        });
        let refused = refused.unwrap();
        let run = calm_run(events, dice, |_| true);
        let at_us = refused.at_us + us(50);
        let payload = Some(refused.payload.clone());
        let (job, key, fence) = ("phantom".to_owned(), refused.key.clone(), 1 << 40);
        insert_run(events, Run { at_us, job, key, payload, fence, ..run }, Succeeded);
        Invariant::I13
    }),
    ("a payload is another's", |events, dice| {
        let run = calm_run(events, dice, |run| run.payload.is_some()).run;
        change_run(events, run, |run| run.payload = Some("another".to_owned()));
        Invariant::I14
    }),
];

fn answers(event: &Event, call: u64) -> bool {
    matches!(event, Event::SubmitAnswer(answer) if answer.call == call)
}

fn only_refused(events: &[Event], submit: &Submit) -> bool {
    let calls = events.iter().filter_map(|event| match event {
        Event::Submit(other) if other.key == submit.key => Some(other.call),
        _ => None,
    });
    let calls: Vec<u64> = calls.collect();
    let refused =
        |event: &Event, call: u64| matches!(event, Event::SubmitAnswer(a) if a.call == call && a.status == Some(503));
    calls.iter().all(|&call| events.iter().any(|event| refused(event, call)))
}

fn pick<T>(from: Vec<T>, dice: &mut StdRng) -> T {
    assert!(!from.is_empty(), "each way is in each history");
    let at = dice.random_range(0..from.len());
    from.into_iter().nth(at).unwrap()
}

fn last_read(events: &[Event], dice: &mut StdRng, state: &str) -> Read {
    let reads = events.iter().filter_map(|event| match event {
        Event::Read(read) if read.state.as_deref() == Some(state) && read.at_us > us(DRAINED) => Some(read.clone()),
        _ => None,
    });
    pick(reads.collect(), dice)
}

fn any_run(events: &[Event], dice: &mut StdRng, wanted: impl Fn(&[Event], &Run) -> bool) -> Run {
    let runs = events.iter().filter_map(|event| match event {
        Event::Run(run) if wanted(events, run) => Some(run.clone()),
        _ => None,
    });
    pick(runs.collect(), dice)
}

/// A run that no fault can excuse.
fn calm_run(events: &[Event], dice: &mut StdRng, wanted: impl Fn(&Run) -> bool) -> Run {
    any_run(events, dice, |events, run| {
        let first = run_of(events, &run.job);
        wanted(run) && first.at_us > us(FAULT.1 + AFTERMATH)
    })
}

/// The first run of a job.
fn run_of(events: &[Event], job: &str) -> Run {
    let runs = events.iter().filter_map(|event| match event {
        Event::Run(run) if run.job == job => Some(run.clone()),
        _ => None,
    });
    runs.min_by_key(|run| run.at_us).unwrap()
}

fn end_of(events: &[Event], run: u64) -> i64 {
    let ends = events.iter().filter_map(|event| match event {
        Event::RunEnd(end) if end.run == run => Some(end.at_us),
        _ => None,
    });
    ends.max().unwrap()
}

fn insert_run(events: &mut Vec<Event>, run: Run, outcome: Outcome) {
    let number = events.len() as u64 + 1_000_000;
    let mut more = tale();
    more.end(run.at_us / 1_000 + 5, number, outcome);
    events.push(Event::Run(Run { run: number, ..run }));
    events.extend(more.events.split_off(1));
}

fn change_run(events: &mut [Event], number: u64, change: impl Fn(&mut Run)) {
    for event in events {
        if let Event::Run(run) = event
            && run.run == number
        {
            change(run);
        }
    }
}

fn calls_with(events: &[Event], status: u16) -> Vec<u64> {
    let calls = events.iter().filter_map(|event| match event {
        Event::SubmitAnswer(answer) if answer.status == Some(status) => Some(answer.call),
        _ => None,
    });
    calls.collect()
}

/// Changes an answer that repeats an earlier one.
fn change_answer(
    events: &mut [Event],
    dice: &mut StdRng,
    status: u16,
    change: impl Fn(&mut ganger::history::SubmitAnswer),
) {
    let conflicts = calls_with(events, 409);
    let repeat = conflicts[dice.random_range(0..conflicts.len())] + 1;
    for event in events {
        if let Event::SubmitAnswer(answer) = event
            && answer.call == repeat
        {
            assert_eq!(answer.status, Some(status));
            change(answer);
        }
    }
}

/// Calls of a second tale do not collide with those of the first.
fn renumbered(event: Event) -> Event {
    const FAR: u64 = 1 << 40;
    match event {
        Event::Order(order) => Event::Order(ganger::history::Order { call: order.call + FAR, ..order }),
        Event::OrderAnswer(answer) => {
            Event::OrderAnswer(ganger::history::OrderAnswer { call: answer.call + FAR, ..answer })
        }
        Event::Submit(submit) => Event::Submit(Submit { call: submit.call + FAR, ..submit }),
        Event::SubmitAnswer(answer) => {
            Event::SubmitAnswer(ganger::history::SubmitAnswer { call: answer.call + FAR, ..answer })
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sound_histories_pass(seed in any::<u64>(), jobs in WAYS..80) {
        let verdict = verdict(&sound(seed, jobs), false);
        prop_assert!(verdict.is_sound(), "{verdict:#?}");
        prop_assert!(verdict.summary.jobs_repeated > 0, "the fault shows");
        prop_assert_eq!(verdict.summary.jobs_repeated_without_fault, 0);
    }

    #[test]
    fn one_change_of_any_kind_is_caught(seed in any::<u64>(), jobs in 60_usize..120) {
        let before = sound(seed, jobs);
        for (name, change) in CHANGES {
            let (mut events, mut dice) = (before.clone(), StdRng::seed_from_u64(seed));
            let expected = change(&mut events, &mut dice);
            let verdict = verdict(&events, false);
            prop_assert!(broken(&verdict).contains(&expected), "{name} breaks {expected}: {verdict:#?}");
        }
    }

    /// The quick sweep finds what looking at every pair finds.
    #[test]
    fn overtaking_is_found_as_by_looking_at_every_pair(
        jobs in prop::collection::vec((0_i64..5_000, 1_u8..=5, 0_i64..5_000), 2..40)
    ) {
        const TOLERANCE: i64 = 50;
        let mut tale = tale();
        for (number, &(at, priority, waits)) in jobs.iter().enumerate() {
            let (key, queue) = (Some(format!("k{number}")), Some("ordered".to_owned()));
            let call = tale.send(Submit { at_us: us(at), key, queue, priority: Some(priority), ..Submit::default() });
            let job = format!("job {number}");
            tale.answer(at + 1, call, 201, &job).ran(at + 2 + waits, &job, number as i64 + 1, 1, Succeeded);
        }
        let deadline = |job: &(i64, u8, i64)| job.0 + 1_000 * i64::from(job.1);
        let start = |job: &(i64, u8, i64)| job.0 + 2 + job.2;
        let overtaken = |job: &(i64, u8, i64)| jobs.iter().any(|other| {
            start(other) > job.0 && start(other) < start(job) - TOLERANCE
                && deadline(other) > deadline(job) + 1 + TOLERANCE
        });
        let expected = jobs.iter().filter(|job| overtaken(job)).count();
        let verdict = tale.verdict(false);
        prop_assert_eq!(verdict.violations.len(), expected, "{:#?}", verdict);
        prop_assert!(broken(&verdict).iter().all(|invariant| *invariant == Invariant::I7));
    }
}

// === the work ===

/// All events about one job, which is what a careless checker would be slow at.
fn one_job(runs: usize) -> Vec<Event> {
    let mut tale = tale();
    tale.accepted(0, "a");
    for number in 0..runs as i64 {
        let run = tale.start(10 + number * 10, "a", number + 1, 1);
        tale.end(15 + number * 10, run, Deferred).read(16 + number * 10, "a", "scheduled");
    }
    tale.events
}

#[test]
fn the_work_grows_with_the_history() {
    // This thread's own work: what else the machine does is not counted. The least of three, for its caches.
    let worked = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let least = |events: &[Event]| {
        let times = (0..3).map(|_| {
            let start = worked();
            assert!(verdict(events, false).is_sound());
            worked() - start
        });
        times.min().unwrap().max(Duration::from_micros(1))
    };
    for (shape, small, large) in
        [("many jobs", sound(1, 1_000), sound(1, 10_000)), ("one job", one_job(2_000), one_job(20_000))]
    {
        let (short, long) = (least(&small), least(&large));
        println!("{shape}: {} events {short:?}, {} events {long:?}", small.len(), large.len());
        let growth = long.as_secs_f64() / short.as_secs_f64();
        assert!(growth < 40.0, "ten times the events took {growth:.0} times as long; quadratic would be 100");
    }
}
