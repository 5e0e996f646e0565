//! Each invariant: histories that keep it, however odd, and histories that break it and nothing else.

use ganger::history::{Action, Event, Header, Invariant, Outcome, Part, Place, Read, Reader, Run, RunEnd, Submit};

use crate::tale::{AFTERMATH, DELAY, GRACE, TIMEOUT, header, tale, us};

use Outcome::{Deferred, Dropped, Failed, Review, Succeeded};

// === I1: an end, and a cause ===

#[test]
fn a_job_that_succeeds_is_sound() {
    let mut tale = tale();
    tale.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).drained(900).read(1_000, "a", "succeeded").is_sound();
    let summary = tale.verdict(true).summary;
    assert_eq!((summary.submits, summary.accepted, summary.finished, summary.runs), (1, 1, 1, 1));
    assert_eq!((summary.events, summary.jobs_repeated), (7, 0));
}

#[test]
fn an_accepted_job_must_be_read_at_rest() {
    tale().accepted(0, "a").drained(900).breaks(Invariant::I1);
    tale().accepted(0, "a").drained(900).read(1_000, "a", "ready").breaks(Invariant::I1);
    tale().accepted(0, "a").drained(900).read_as(1_000, "a", None, None).breaks(Invariant::I1);
    tale().accepted(0, "a").read(1_000, "a", "ready").is_sound();
}

#[test]
fn a_job_of_which_only_a_handler_knows_must_end_too() {
    let mut tale = tale();
    tale.submit(0, "k");
    let run = tale.start_as(Run { key: Some("k".into()), fence: 1, attempt: 1, job: "a".into(), ..Run::default() });
    tale.end(50, run, Succeeded).drained(900).breaks(Invariant::I1);
}

#[test]
fn a_deleted_job_is_not_lost() {
    let mut tale = tale();
    tale.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).order(300, Action::Delete, "a", 200).drained(900);
    tale.read_as(1_000, "a", None, None).is_sound();
}

#[test]
fn every_end_has_a_cause() {
    let end = |state: &str| {
        let mut tale = tale();
        tale.accepted(0, "a").drained(900).read(1_000, "a", state);
        tale
    };
    for state in ["succeeded", "failed", "cancelled", "expired"] {
        end(state).breaks(Invariant::I1);
    }
    let mut cancelled = tale();
    cancelled.accepted(0, "a").order(5, Action::Cancel, "a", 200).drained(900).read(1_000, "a", "cancelled").is_sound();
    let mut refused = tale();
    refused.accepted(0, "a").order(5, Action::Cancel, "a", 409).drained(900).read(1_000, "a", "cancelled");
    refused.breaks(Invariant::I1);
    tale().accepted(0, "a").ran(10, "a", 1, 1, Failed).drained(900).read(1_000, "a", "failed").is_sound();
    tale().accepted(0, "a").ran(10, "a", 1, 1, Succeeded).drained(900).read(1_000, "a", "failed").breaks(Invariant::I1);
    let mut other = tale();
    other.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).drained(900);
    other.read_as(1_000, "a", Some("succeeded"), Some("another".into())).breaks(Invariant::I1);
}

// === I2: rest is rest ===

#[test]
fn rest_changes_only_by_an_operator() {
    let ended = || {
        let mut tale = tale();
        tale.accepted(0, "a").ran(10, "a", 1, 1, Failed).read(200, "a", "failed");
        tale
    };
    ended().read(300, "a", "cancelled").breaks(Invariant::I2);
    ended().read(300, "a", "retrying").breaks(Invariant::I2);
    ended().order(250, Action::Retry, "a", 409).read(300, "a", "ready").breaks(Invariant::I2);
    ended().order(250, Action::Retry, "a", 200).read(300, "a", "ready").is_sound();
    ended().order(250, Action::Retry, "a", 0).read(300, "a", "ready").is_sound();
    ended().order(250, Action::Reject, "a", 200).read(300, "a", "failed").is_sound();
    let mut result = tale();
    result.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).read(200, "a", "succeeded");
    result.read_as(300, "a", Some("succeeded"), Some("another".into())).breaks(Invariant::I2);
}

#[test]
fn a_read_that_was_asked_earlier_may_show_less() {
    let mut tale = tale();
    tale.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).read(200, "a", "succeeded");
    tale.events.push(Event::Read(Read {
        asked_us: us(150),
        at_us: us(205),
        job: "a".into(),
        state: Some("running".into()),
        ..Read::default()
    }));
    tale.is_sound();
}

// === I3: leases and fences ===

#[test]
fn a_fence_runs_once_and_fences_grow() {
    let mut twice = tale();
    twice.accepted(0, "a").fault(0, 900, Part::Node);
    twice.ran(10, "a", 7, 1, Dropped).ran(200, "a", 7, 1, Succeeded).breaks(Invariant::I3);
    let mut back = tale();
    back.accepted(0, "a").ran(10, "a", 8, 1, Failed).ran(10 + 100 + DELAY, "a", 7, 2, Succeeded);
    back.breaks(Invariant::I3);
}

#[test]
fn overlapping_runs_need_a_fault() {
    let overlap = || {
        let mut tale = tale();
        tale.accepted(0, "a");
        let first = tale.start(10, "a", 1, 1);
        let second = tale.start(500, "a", 2, 1);
        tale.end(900, first, Succeeded).end(600, second, Succeeded);
        tale
    };
    overlap().breaks(Invariant::I3);
    let mut excused = overlap();
    excused.fault(100, 400, Part::Node).is_sound().is_strictly(Invariant::I3);
    overlap().fault(600, 700, Part::Node).breaks(Invariant::I3);
}

#[test]
fn who_is_told_to_stop_has_a_moment() {
    let mut soon = tale();
    soon.accepted(0, "a");
    let first = soon.start(10, "a", 1, 1);
    soon.order(300, Action::Cancel, "a", 200).order(320, Action::Retry, "a", 200);
    let second = soon.start(350, "a", 2, 1);
    soon.end(350 + GRACE, first, Dropped).end(600, second, Succeeded).is_sound();
    let mut late = tale();
    late.accepted(0, "a");
    let first = late.start(10, "a", 1, 1);
    late.order(300, Action::Cancel, "a", 200).order(320, Action::Retry, "a", 200);
    let second = late.start(350, "a", 2, 1);
    late.end(350 + GRACE + 1, first, Dropped).end(600, second, Succeeded).breaks(Invariant::I3);
}

#[test]
fn a_run_past_its_deadline_no_longer_counts() {
    let mut tale = tale();
    tale.accepted(0, "a");
    let first = tale.start(0, "a", 1, 1);
    let second = tale.start(TIMEOUT + DELAY, "a", 2, 2);
    tale.end(TIMEOUT + 900, first, Succeeded).end(TIMEOUT + 500, second, Succeeded).is_sound();
}

#[test]
fn a_node_that_stood_still_may_start_late() {
    let late = |fault: bool| {
        let mut tale = tale();
        tale.accepted(0, "a");
        if fault {
            tale.fault(0, 1_000, Part::Node);
        }
        tale.ran(500, "a", 2, 1, Succeeded).read(700, "a", "succeeded");
        tale.ran(1_000 + AFTERMATH, "a", 1, 1, Succeeded);
        tale
    };
    late(false).breaks(Invariant::I3);
    late(true).is_sound().is_strictly(Invariant::I3);
}

#[test]
fn a_run_is_not_given_up_for_nothing() {
    let mut tale = tale();
    tale.accepted(0, "a").ran(10, "a", 1, 1, Dropped).ran(300, "a", 2, 1, Succeeded).breaks(Invariant::I3);
    tale.fault(50, 60, Part::Node).is_sound();
    let summary = tale.verdict(false).summary;
    assert_eq!((summary.jobs_repeated, summary.jobs_repeated_without_fault), (1, 0));
}

// === I4: nothing starts after its end ===

#[test]
fn nothing_starts_after_its_end() {
    let mut read = tale();
    read.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).read(200, "a", "succeeded");
    read.fault(0, 900, Part::Broker).ran(300, "a", 2, 1, Succeeded).breaks(Invariant::I4);
    let mut returned = tale();
    returned.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).ran(300, "a", 2, 1, Succeeded).breaks(Invariant::I4);
    assert_eq!(returned.verdict(false).summary.jobs_repeated_without_fault, 1);
    returned.fault(105, 105, Part::Broker).is_sound();
    returned.read(500, "a", "succeeded").is_sound();
    let mut retried = tale();
    retried.accepted(0, "a").ran(10, "a", 1, 1, Failed).read(200, "a", "failed");
    retried.order(210, Action::Retry, "a", 200).ran(300, "a", 2, 1, Succeeded).read(500, "a", "succeeded").is_sound();
}

#[test]
fn nothing_starts_after_its_cancel_was_answered() {
    let cancelled = |start: i64| {
        let mut tale = tale();
        tale.accepted(0, "a").order(10, Action::Cancel, "a", 200).ran(start, "a", 1, 1, Dropped);
        tale
    };
    cancelled(11 + GRACE).is_sound();
    cancelled(12 + GRACE).breaks(Invariant::I4);
    cancelled(500).fault(5, 450, Part::Node).is_sound();
    let mut read = tale();
    read.accepted(0, "a").order(10, Action::Cancel, "a", 0).read(50, "a", "cancelled");
    read.ran(300, "a", 1, 1, Dropped).breaks(Invariant::I4);
}

#[test]
fn nothing_starts_after_it_has_expired() {
    let first = |at: i64| {
        let mut tale = tale();
        let call = tale.send(Submit { job_type: "once".into(), key: Some("k".into()), ..Submit::default() });
        tale.answer(1, call, 201, "a");
        let run = tale.start_as(Run {
            at_us: us(at),
            job: "a".into(),
            fence: 1,
            attempt: 1,
            job_type: "once".into(),
            ..Run::default()
        });
        tale.end(at + 10, run, Succeeded);
        tale
    };
    first(1_000 + GRACE).is_sound();
    first(1_002 + GRACE).breaks(Invariant::I4);
}

#[test]
fn nothing_starts_while_its_queue_is_paused() {
    let start = |at: i64| {
        let mut tale = tale();
        tale.accepted(0, "a").order(10, Action::Pause, "q", 200).order(500, Action::Resume, "q", 200);
        let queue = Some("q".to_owned());
        let run = tale.start_as(Run { at_us: us(at), job: "a".into(), fence: 1, attempt: 1, queue, ..Run::default() });
        tale.end(at + 10, run, Succeeded);
        tale
    };
    start(11 + GRACE).is_sound();
    start(400).breaks(Invariant::I4);
    start(501).is_sound();
}

// === I5: attempts ===

#[test]
fn attempts_stay_within_their_bound() {
    let mut tale = tale();
    tale.accepted(0, "a");
    let mut at = 10;
    for (attempt, delay) in [(1, DELAY), (2, 2 * DELAY), (3, 4 * DELAY)] {
        tale.ran(at, "a", i64::from(attempt), attempt, Failed);
        at += 100 + delay;
    }
    tale.is_sound();
    tale.ran(at, "a", 4, 4, Failed).breaks(Invariant::I5);
}

#[test]
fn only_runs_that_returned_spend_attempts() {
    let second = |outcome: Outcome, attempt: u32| {
        let mut tale = tale();
        tale.accepted(0, "a").fault(50, 60, Part::Node);
        tale.ran(10, "a", 1, 1, outcome).ran(10 + 100 + DELAY, "a", 2, attempt, Succeeded);
        tale
    };
    second(Dropped, 1).is_sound();
    second(Dropped, 2).breaks(Invariant::I5);
    second(Deferred, 1).is_sound();
    second(Deferred, 2).breaks(Invariant::I5);
    second(Failed, 2).is_sound();
    second(Failed, 3).breaks(Invariant::I5);
    second(Failed, 1).is_sound();
    let mut uncounted = tale();
    uncounted.accepted(0, "a").ran(10, "a", 1, 1, Failed).ran(500, "a", 2, 1, Succeeded).breaks(Invariant::I5);
    // An answer that was lost on its way is a failure to the caller.
    second(Succeeded, 2).breaks(Invariant::I5);
    second(Succeeded, 2).fault(105, 115, Part::Handler).is_sound();
}

#[test]
fn a_first_run_is_attempt_one() {
    tale().accepted(0, "a").ran(10, "a", 1, 2, Succeeded).breaks(Invariant::I5);
    let mut new_life = tale();
    new_life.accepted(0, "a").ran(10, "a", 1, 1, Failed).ran(110 + DELAY, "a", 2, 2, Failed);
    new_life.order(900, Action::Retry, "a", 200).ran(1_000, "a", 3, 1, Succeeded).is_sound();
    let mut fallen = tale();
    fallen.accepted(0, "a").ran(10, "a", 1, 1, Failed).ran(110 + DELAY, "a", 2, 2, Dropped);
    fallen.fault(110 + DELAY, 900, Part::Node).ran(1_000, "a", 3, 1, Succeeded).breaks(Invariant::I5);
}

// === I6: keys ===

#[test]
fn one_key_is_one_job() {
    let second = |status: u16, id: &str| {
        let mut tale = tale();
        tale.accepted(0, "a");
        let call = tale.submit(100, "key of a");
        tale.answer(101, call, status, id);
        tale
    };
    second(200, "a").is_sound();
    second(200, "b").breaks(Invariant::I6);
    second(201, "a").breaks(Invariant::I6);
    second(409, "").breaks(Invariant::I6);
    let mut deleted = tale();
    deleted.accepted(0, "a").ran(10, "a", 1, 1, Succeeded).order(200, Action::Delete, "a", 200);
    let call = deleted.submit(300, "key of a");
    deleted.answer(301, call, 201, "b").is_sound();
}

#[test]
fn another_fingerprint_is_a_conflict() {
    let second = |status: u16, id: &str| {
        let mut tale = tale();
        tale.accepted(0, "a");
        let call = tale.send(Submit {
            at_us: us(100),
            key: Some("key of a".into()),
            fingerprint: "another".into(),
            ..Submit::default()
        });
        tale.answer(101, call, status, id);
        tale
    };
    second(409, "").is_sound();
    second(200, "a").breaks(Invariant::I6);
}

// === I7: order ===

fn ordered(jobs: &[(&str, i64, u8, i64)]) -> crate::tale::Tale {
    let mut tale = tale();
    for (number, &(job, at, priority, start)) in jobs.iter().enumerate() {
        let call = tale.send(Submit {
            at_us: us(at),
            key: Some(job.into()),
            queue: Some("ordered".into()),
            priority: Some(priority),
            ..Submit::default()
        });
        tale.answer(at + 1, call, 201, job).ran(start, job, number as i64 + 1, 1, Succeeded);
    }
    tale.events.sort_by_key(|event| match event {
        Event::Submit(event) => event.at_us,
        Event::SubmitAnswer(event) => event.at_us,
        Event::Run(event) => event.at_us,
        Event::RunEnd(event) => event.at_us,
        _ => i64::MIN,
    });
    tale
}

#[test]
fn overtaking_has_a_bound() {
    // Priority 5 has 4 s more slack than priority 1.
    ordered(&[("low", 0, 5, 5_000), ("high", 3_900, 1, 4_000)]).is_sound();
    ordered(&[("low", 0, 5, 5_000), ("high", 4_500, 1, 4_600)]).breaks(Invariant::I7);
    ordered(&[("a", 0, 3, 5_000), ("b", 100, 3, 4_000)]).breaks(Invariant::I7);
    ordered(&[("a", 0, 3, 5_000), ("b", 100, 3, 4_000)]).fault(90, 100, Part::Broker).is_sound();
    // It was not there yet.
    ordered(&[("low", 0, 5, 10), ("high", 100, 1, 200)]).is_sound();
}

// === I11 and I13: where jobs come from ===

#[test]
fn an_unanswered_submit_makes_one_job_at_most() {
    let runs = |jobs: &[&str]| {
        let mut tale = tale();
        tale.submit(0, "k");
        for (number, job) in jobs.iter().enumerate() {
            let run = tale.start_as(Run {
                at_us: us(10),
                key: Some("k".into()),
                fence: number as i64 + 1,
                attempt: 1,
                job: (*job).to_owned(),
                ..Run::default()
            });
            tale.end(20, run, Succeeded);
        }
        tale
    };
    runs(&[]).is_sound();
    runs(&["a"]).is_sound();
    runs(&["a", "b"]).breaks(Invariant::I11);
}

#[test]
fn an_unanswered_submit_without_a_name_is_known_by_its_payload() {
    let runs = |count: i64| {
        let mut tale = tale();
        tale.send(Submit { payload: "p".into(), ..Submit::default() });
        for number in 1..=count {
            let payload = Some("p".to_owned());
            let job = format!("job {number}");
            let run = tale.start_as(Run { job, payload, fence: number, attempt: 1, ..Run::default() });
            tale.end(20, run, Succeeded);
        }
        tale
    };
    runs(1).is_sound();
    runs(2).breaks(Invariant::I11);
}

#[test]
fn nothing_runs_that_nobody_submitted() {
    tale().ran(10, "a", 1, 1, Succeeded).breaks(Invariant::I13);
    let mut early = tale();
    early.ran(10, "a", 1, 1, Succeeded).accepted(500, "a").breaks(Invariant::I13);
    let mut refused = tale();
    let call = refused.send(Submit { id: Some("a".into()), ..Submit::default() });
    refused.answer(1, call, 503, "").ran(10, "a", 1, 1, Succeeded).breaks(Invariant::I13);
}

#[test]
fn children_come_from_the_run_that_was_recorded() {
    let family = |parent: Outcome, result: &str, runs: bool, state: Option<&str>| {
        let mut tale = tale();
        tale.accepted(0, "a");
        let run = tale.start(10, "a", 1, 1);
        tale.end_as(RunEnd {
            at_us: us(100),
            run,
            outcome: parent,
            result: Some(result.into()),
            class: None,
            retry_after_ms: 0,
            children: vec!["child".into()],
        });
        if runs {
            tale.ran(200, "child", 2, 1, Succeeded);
        }
        tale.drained(900).read_as(950, "a", Some("succeeded"), Some("won".into()));
        if let Some(state) = state {
            tale.read(960, "child", state);
        }
        tale
    };
    family(Succeeded, "won", true, Some("succeeded")).is_sound();
    family(Succeeded, "won", false, None).breaks(Invariant::I1);
    let told = |tale: crate::tale::Tale| crate::tale::broken(&tale.verdict(false));
    assert!(told(family(Succeeded, "lost", true, Some("succeeded"))).contains(&Invariant::I13));
    assert!(told(family(Failed, "won", true, Some("succeeded"))).contains(&Invariant::I13));
    let mut deleted = family(Succeeded, "won", true, Some("succeeded"));
    deleted.order(970, Action::Delete, "a", 200).read_as(980, "a", None, None).is_sound();
}

#[test]
fn a_decision_on_a_review_is_the_operators_to_take() {
    let reviewed = |decision: Option<(Action, u16)>, child: bool, end: &str| {
        let mut tale = tale();
        tale.accepted(0, "a");
        let run = tale.start(10, "a", 1, 1);
        let (class, result) = (None, Some("proposal".into()));
        let children = vec!["child".into()];
        tale.end_as(RunEnd { at_us: us(100), run, outcome: Review, result, class, retry_after_ms: 0, children });
        tale.read(150, "a", "in_review");
        if let Some((action, status)) = decision {
            tale.order(200, action, "a", status);
        }
        if child {
            tale.ran(300, "child", 2, 1, Succeeded);
        }
        tale.drained(900).read_as(950, "a", Some(end), Some("edited".into()));
        if child {
            tale.read(960, "child", "succeeded");
        }
        tale
    };
    let (approve, reject) = (|status| Some((Action::Approve, status)), |status| Some((Action::Reject, status)));
    reviewed(approve(200), true, "succeeded").is_sound();
    reviewed(approve(0), true, "succeeded").is_sound();
    reviewed(approve(0), false, "succeeded").is_sound();
    reviewed(reject(200), false, "failed").is_sound();
    // A promised follow-up is lost; one runs that nobody has approved.
    reviewed(approve(200), false, "succeeded").breaks(Invariant::I1);
    let told = |tale: crate::tale::Tale| crate::tale::broken(&tale.verdict(false));
    assert!(told(reviewed(approve(409), true, "succeeded")).contains(&Invariant::I13));
    assert!(told(reviewed(reject(200), true, "failed")).contains(&Invariant::I13));
    assert!(told(reviewed(None, false, "succeeded")).contains(&Invariant::I1));
}

// === I12: delays ===

#[test]
fn a_retry_waits_as_its_policy_says() {
    let again = |after: i64| {
        let mut tale = tale();
        tale.accepted(0, "a").ran(10, "a", 1, 1, Failed).ran(110 + after, "a", 2, 2, Succeeded);
        tale
    };
    again(DELAY).is_sound();
    again(DELAY - 20).breaks(Invariant::I12);
    again(DELAY + 2_001).breaks(Invariant::I12);
    again(DELAY + 2_001).fault(115, 120, Part::Broker).is_sound();
    again(DELAY - 20).fault(115, 120, Part::Clock).is_sound();
    let mut tolerant = again(DELAY - 20);
    tolerant.events[0] = Event::Header(Header { early_ms: 20, ..header() });
    tolerant.is_sound();
    let asked = |after: i64| {
        let mut tale = tale();
        tale.accepted(0, "a");
        let run = tale.start(10, "a", 1, 1);
        tale.end_as(RunEnd {
            at_us: us(110),
            run,
            outcome: Deferred,
            result: None,
            class: None,
            retry_after_ms: 500,
            children: Vec::new(),
        });
        tale.ran(110 + after, "a", 2, 1, Succeeded);
        tale
    };
    asked(500).is_sound();
    asked(400).breaks(Invariant::I12);
}

// === I14: payloads ===

#[test]
fn a_handler_gets_what_was_submitted() {
    let run = |payload: &str| {
        let mut tale = tale();
        tale.accepted(0, "a");
        let payload = Some(payload.to_owned());
        let run = tale.start_as(Run { job: "a".into(), at_us: us(5), fence: 1, attempt: 1, payload, ..Run::default() });
        tale.end(10, run, Succeeded);
        tale
    };
    run("of key of a").is_sound();
    run("something else").breaks(Invariant::I14);
}

// === the format ===

#[test]
fn recorders_are_aligned_by_their_wall_clocks() {
    let other = Header { recorder: "other".into(), at_us: us(777), wall_ms: header().wall_ms + 1_000, ..header() };
    let mut reader = Reader::default();
    let mut line = |file: usize, line: usize, event: Event| reader.event(Place { file, line }, event);
    line(1, 1, Event::Header(other)).unwrap();
    let run =
        Run { run: 1, at_us: us(0), job: "a".into(), fence: 1, attempt: 1, job_type: "t".into(), ..Run::default() };
    // On its own clock the submit comes later than the run; on the common one it is earlier.
    line(1, 2, Event::Run(Run { at_us: us(800), ..run })).unwrap();
    line(0, 1, Event::Header(header())).unwrap();
    let submit = Submit { call: 1, at_us: us(900), id: Some("a".into()), ..Submit::default() };
    line(0, 2, Event::Submit(submit)).unwrap();
    let verdict = ganger::history::check(&reader.finish(), false);
    assert!(verdict.is_sound(), "{verdict:?}");
}

#[test]
fn what_is_no_history_is_refused_with_its_place() {
    let refused = |lines: &[&str]| {
        let mut reader = Reader::default();
        let place = |line: usize| Place { file: 0, line };
        let mut read = lines.iter().enumerate().map(|(number, text)| reader.line(place(number + 1), text));
        let malformed = read.find_map(Result::err).expect("a refusal");
        assert_eq!(malformed.place.line, lines.len());
        malformed.reason
    };
    let header = serde_json::to_string(&Event::Header(header())).unwrap();
    let run = r#"{"run":{"at_us":0,"run":1,"job":"a","fence":1,"attempt":1,"type":"t"}}"#;
    for (lines, words) in [
        (&["nonsense"][..], "expected"),
        (&[run], "header"),
        (&[header.as_str(), r#"{"run":{"at_us":0,"jobs":"a"}}"#], "unknown field `jobs`"),
        (&[&header, r#"{"read":{"at_us":0}}"#], "missing field"),
        (&[&header, r#"{"submit_answer":{"at_us":0,"call":7,"status":201}}"#], "call 7"),
        (&[&header, r#"{"run_end":{"at_us":0,"run":7,"outcome":"failed"}}"#], "run 7"),
        (&[&header, run, run], "started before"),
        (&[&header.replace("\"version\":1", "\"version\":9")], "version 9"),
        (&[&header, &header.replace("\"max_attempts\":3", "\"max_attempts\":4")], "otherwise"),
    ] {
        let reason = refused(lines);
        assert!(reason.contains(words), "{lines:?}: {reason}");
    }
}
