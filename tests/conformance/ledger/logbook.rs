//! Events, alerts and incidents: once each, whatever is repeated, reordered or told to two nodes at once.

use futures_util::future::join_all;
use ganger::clock::Timestamp;
use ganger::job::{Counters, NewJob, NodeId, State, TypeName};
use ganger::ledger::{IncidentFilter, LogbookRetention, Settlement, Verdict};
use ganger::operations::{AlertNote, EventKind, FilledPart, Impact, Incident, NewEvent, Noted, NotedAs, ReviewPart};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Bench, on_every_ledger};

on_every_ledger! {
    an_event_that_is_repeated_is_written_once
    events_are_read_by_time
    an_alert_opens_an_incident_and_its_end_resolves_it
    alerts_that_overlap_share_an_incident
    a_repeated_webhook_changes_nothing
    an_end_that_comes_first_is_not_undone
    an_alert_within_the_quiet_time_takes_its_incident_back
    an_alert_does_not_fire_twice_at_once
    a_beginning_that_is_still_to_come_is_held_to_now
    an_alert_that_nobody_tells_of_lapses
    nodes_that_are_told_at_the_same_time_open_one_incident
    the_first_order_after_detection_is_the_response
    parts_of_a_review_are_replaced_one_by_one
    impact_is_counted_from_the_rows
    impact_is_kept_until_the_incident_changes
    the_logbook_keeps_what_it_is_told_to
}

/// Long enough to tell a quiet time from a gap.
pub(super) const QUIET_MS: i64 = 300_000;

pub(super) fn event(at: Timestamp, mark: i64, kind: EventKind) -> NewEvent {
    NewEvent {
        at,
        node: NodeId::stored("run-1"),
        mark,
        node_name: "ann".to_owned(),
        kind,
        subject: "exec".to_owned(),
        words: format!("Number {mark} happened"),
        detail: Some("{\"depth\":501}".to_owned()),
    }
}

pub(super) fn fires(fingerprint: &str, starts_at: Timestamp) -> AlertNote {
    AlertNote {
        fingerprint: fingerprint.to_owned(),
        starts_at,
        ends_at: None,
        name: format!("Alert{fingerprint}"),
        severity: "warning".to_owned(),
        labels: [("alertname".to_owned(), format!("Alert{fingerprint}"))].into(),
        annotations: [("summary".to_owned(), "it is \"bad\"\n".to_owned())].into(),
    }
}

pub(super) fn ended(fingerprint: &str, starts_at: Timestamp, ends_at: Timestamp) -> AlertNote {
    AlertNote { ends_at: Some(ends_at), ..fires(fingerprint, starts_at) }
}

async fn note(bench: &Bench, notes: &[AlertNote], now: Timestamp) -> Vec<Noted> {
    bench.ledger.note_alerts(notes, now, QUIET_MS).await.unwrap()
}

async fn note_one(bench: &Bench, told: AlertNote, now: Timestamp) -> Noted {
    note(bench, &[told], now).await[0]
}

async fn all(bench: &Bench) -> Vec<Incident> {
    bench.ledger.incidents(IncidentFilter::default(), None, 100).await.unwrap()
}

async fn an_event_that_is_repeated_is_written_once(bench: &Bench) {
    let events = [event(bench.now, 1, EventKind::Breaker), event(bench.now, 2, EventKind::Scaling)];
    bench.ledger.note_events(&events).await.unwrap();
    bench.ledger.note_events(&events).await.unwrap();
    let other = NewEvent { node: NodeId::stored("run-2"), ..events[0].clone() };
    bench.ledger.note_events(std::slice::from_ref(&other)).await.unwrap();
    let read = bench.ledger.events(bench.now, bench.now.plus_ms(1), 10).await.unwrap();
    let [one, two] = events;
    assert_eq!(read.into_iter().map(|event| event.event).collect::<Vec<_>>(), [one, two, other]);
}

async fn events_are_read_by_time(bench: &Bench) {
    // Told in another order than they happened in: two nodes, or a ledger that was away.
    let marks = [(1, 30), (2, 10), (3, 20), (4, 40)];
    let events = marks.map(|(mark, later)| event(bench.now.plus_ms(later), mark, EventKind::Worker));
    bench.ledger.note_events(&events).await.unwrap();
    let read = async |from, until, limit| {
        let read = bench.ledger.events(bench.now.plus_ms(from), bench.now.plus_ms(until), limit).await.unwrap();
        read.into_iter().map(|event| event.event.mark).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 100, 10).await, [2, 3, 1, 4]);
    assert_eq!(read(20, 40, 10).await, [3, 1]);
    assert_eq!(read(0, 100, 2).await, [2, 3]);
    // A program may print what Postgres takes in no text.
    let odd = NewEvent { words: "a\0b".to_owned(), ..event(bench.now.plus_ms(200), 5, EventKind::Order) };
    bench.ledger.note_events(&[odd]).await.unwrap();
    let read = bench.ledger.events(bench.now.plus_ms(200), bench.now.plus_ms(201), 10).await.unwrap();
    assert_eq!(read[0].event.words, "a\u{fffd}b");
}

async fn an_alert_opens_an_incident_and_its_end_resolves_it(bench: &Bench) {
    let (began, heard, end) = (bench.now.plus_ms(-30_000), bench.now, bench.now.plus_ms(90_000));
    let noted = note_one(bench, fires("a", began), heard).await;
    assert_eq!(noted.what, NotedAs::New);
    let opened = all(bench).await;
    assert_eq!(opened.len(), 1);
    assert_eq!(
        opened[0],
        Incident {
            number: noted.incident,
            name: "Alerta".to_owned(),
            severity: "warning".to_owned(),
            detected_at: began,
            received_at: heard,
            responded_at: None,
            resolved_at: None,
            alerts: 1,
            firing: 1,
            parts: Vec::new(),
            impact: None,
        }
    );
    let told = note_one(bench, ended("a", began, end), end.plus_ms(5_000)).await;
    assert_eq!(told, Noted { incident: noted.incident, what: NotedAs::Resolved });
    let resolved = all(bench).await;
    assert_eq!((resolved[0].resolved_at, resolved[0].firing), (Some(end), 0));
    let alerts = bench.ledger.alerts_of(noted.incident, 10).await.unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].note, ended("a", began, end));
    assert_eq!((alerts[0].received_at, alerts[0].heard_at), (heard, end.plus_ms(5_000)));
    let of = |is_firing| IncidentFilter { is_firing: Some(is_firing), ..IncidentFilter::default() };
    assert_eq!(bench.ledger.incidents(of(true), None, 9).await.unwrap(), []);
    assert_eq!(bench.ledger.incidents(of(false), None, 9).await.unwrap(), resolved);
}

async fn alerts_that_overlap_share_an_incident(bench: &Bench) {
    let at = |seconds: i64| bench.now.plus_ms(seconds * 1_000);
    let critical = AlertNote { severity: "critical".to_owned(), ..fires("b", at(20)) };
    let first = note(bench, &[fires("a", at(10)), critical.clone()], at(30)).await;
    assert_eq!(first[0].incident, first[1].incident);
    note_one(bench, ended("a", at(10), at(60)), at(61)).await;
    assert_eq!(all(bench).await[0].resolved_at, None);
    // One that began before all others and is heard of last moves the detection.
    let earlier = note_one(bench, fires("c", at(5)), at(70)).await;
    assert_eq!(earlier, Noted { incident: first[0].incident, what: NotedAs::New });
    let ends = [ended("c", at(5), at(80)), ended("b", at(20), at(75))];
    assert_eq!(note(bench, &ends, at(90)).await.map_what(), [NotedAs::Resolved; 2]);
    let incidents = all(bench).await;
    assert_eq!(incidents.len(), 1);
    let incident = &incidents[0];
    assert_eq!((incident.detected_at, incident.received_at, incident.resolved_at), (at(5), at(30), Some(at(80))));
    assert_eq!((incident.alerts, incident.severity.as_str()), (3, "critical"));
    // Far from it in time is another one.
    let next = note_one(bench, fires("a", at(80).plus_ms(QUIET_MS + 1)), at(900)).await;
    assert_ne!(next.incident, first[0].incident);
    assert_eq!(all(bench).await.iter().map(|one| one.number).collect::<Vec<_>>(), [next.incident, first[0].incident]);
}

trait Whats {
    /// Only what was said.
    fn map_what(&self) -> Vec<NotedAs>;
}

impl Whats for Vec<Noted> {
    fn map_what(&self) -> Vec<NotedAs> {
        self.iter().map(|noted| noted.what).collect()
    }
}

async fn a_repeated_webhook_changes_nothing(bench: &Bench) {
    let webhook = [fires("a", bench.now), fires("b", bench.now), fires("a", bench.now)];
    let told = note(bench, &webhook, bench.now.plus_ms(10)).await;
    assert_eq!(told.map_what(), [NotedAs::New, NotedAs::New, NotedAs::Known]);
    let before = (all(bench).await, bench.ledger.alerts_of(told[0].incident, 9).await.unwrap());
    for later in [20, 30] {
        let again = note(bench, &webhook, bench.now.plus_ms(later)).await;
        assert_eq!(again.map_what(), [NotedAs::Known; 3]);
    }
    assert_eq!((all(bench).await, bench.ledger.alerts_of(told[0].incident, 9).await.unwrap()), before);
    let end = [ended("a", bench.now, bench.now.plus_ms(50))];
    assert_eq!(note(bench, &end, bench.now.plus_ms(60)).await.map_what(), [NotedAs::Resolved]);
    let other_end = [ended("a", bench.now, bench.now.plus_ms(55))];
    assert_eq!(note(bench, &other_end, bench.now.plus_ms(70)).await.map_what(), [NotedAs::Known]);
    let alerts = bench.ledger.alerts_of(told[0].incident, 9).await.unwrap();
    assert_eq!(alerts[0].note.ends_at, Some(bench.now.plus_ms(50)));
    assert_eq!(bench.ledger.note_alerts(&[], bench.now, QUIET_MS).await.unwrap(), []);
}

async fn an_end_that_comes_first_is_not_undone(bench: &Bench) {
    let (began, end) = (bench.now, bench.now.plus_ms(1_000));
    let first = note_one(bench, ended("a", began, end), end).await;
    assert_eq!(first.what, NotedAs::Resolved);
    let late = note_one(bench, fires("a", began), end.plus_ms(5)).await;
    assert_eq!(late, Noted { incident: first.incident, what: NotedAs::Stale });
    let incidents = all(bench).await;
    assert_eq!((incidents.len(), incidents[0].resolved_at, incidents[0].detected_at), (1, Some(end), began));
    // An end that lies before the beginning, or has not come, is somebody's clock.
    note_one(bench, ended("b", began, began.plus_ms(-9)), end).await;
    note_one(bench, ended("c", began, end.plus_ms(99_000)), end).await;
    let ends: Vec<_> = bench.ledger.alerts_of(first.incident, 9).await.unwrap();
    let end_of = |name: &str| ends.iter().find(|alert| alert.note.fingerprint == name).unwrap().note.ends_at;
    assert_eq!((end_of("b"), end_of("c")), (Some(began), Some(end)));
}

async fn an_alert_within_the_quiet_time_takes_its_incident_back(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let first = note_one(bench, fires("a", at(0)), at(0)).await;
    note_one(bench, ended("a", at(0), at(1_000)), at(1_000)).await;
    let again = note_one(bench, fires("a", at(1_000 + QUIET_MS)), at(1_000 + QUIET_MS)).await;
    assert_eq!(again, Noted { incident: first.incident, what: NotedAs::New });
    assert_eq!((all(bench).await.len(), all(bench).await[0].resolved_at), (1, None));
    let end = at(2_000 + QUIET_MS);
    note_one(bench, ended("a", at(1_000 + QUIET_MS), end), end).await;
    assert_eq!(all(bench).await[0].resolved_at, Some(end));
    let later = note_one(bench, fires("a", end.plus_ms(QUIET_MS + 1)), end.plus_ms(QUIET_MS + 1)).await;
    assert_eq!((later.what, later.incident == first.incident), (NotedAs::New, false));
}

async fn an_alert_does_not_fire_twice_at_once(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let first = note_one(bench, fires("a", at(0)), at(10)).await;
    // Its end was not told; the next occurrence says that there was one.
    assert_eq!(note_one(bench, fires("a", at(5_000)), at(5_010)).await.what, NotedAs::New);
    let ends = |alerts: Vec<ganger::operations::Alert>| {
        alerts.into_iter().map(|alert| (alert.note.starts_at, alert.note.ends_at)).collect::<Vec<_>>()
    };
    let alerts = bench.ledger.alerts_of(first.incident, 9).await.unwrap();
    assert_eq!(ends(alerts), [(at(0), Some(at(5_000))), (at(5_000), None)]);
    // An older occurrence that is heard of late has ended by the same reasoning.
    assert_eq!(note_one(bench, fires("a", at(3_000)), at(6_000)).await.what, NotedAs::Stale);
    let alerts = bench.ledger.alerts_of(first.incident, 9).await.unwrap();
    assert_eq!(alerts[1].note.ends_at, Some(at(5_000)));
    assert_eq!(all(bench).await[0].firing, 1);
}

async fn a_beginning_that_is_still_to_come_is_held_to_now(bench: &Bench) {
    const CENTURY_MS: i64 = 100 * 365 * 86_400_000;
    let at = |ms: i64| bench.now.plus_ms(ms);
    let first = note(bench, &[fires("a", at(CENTURY_MS)), fires("b", at(600_000))], at(0)).await;
    assert_eq!(first.map_what(), [NotedAs::New; 2]);
    // It is known by what was told.
    assert_eq!(note_one(bench, fires("a", at(CENTURY_MS)), at(1_000)).await.what, NotedAs::Known);
    let ends = [ended("a", at(CENTURY_MS), at(CENTURY_MS + 1)), ended("b", at(600_000), at(9_000))];
    assert_eq!(note(bench, &ends, at(9_000)).await.map_what(), [NotedAs::Resolved; 2]);
    let incident = &all(bench).await[0];
    assert_eq!((incident.detected_at, incident.resolved_at), (at(0), Some(at(9_000))));
    let told = bench.ledger.alerts_of(incident.number, 9).await.unwrap();
    let times = |alert: &ganger::operations::Alert| (alert.note.starts_at, alert.began_at(), alert.note.ends_at);
    let times: Vec<_> = told.iter().map(times).collect();
    assert_eq!(
        times,
        [(at(600_000), at(0), Some(at(9_000))), (at(CENTURY_MS), at(0), Some(at(9_000)))],
        "the beginning as told, the beginning, the end"
    );
    // The same alert with a clock that is right begins later, whatever was told before.
    assert_eq!(note_one(bench, fires("a", at(20_000)), at(21_000)).await.what, NotedAs::New);
    let next = note_one(bench, fires("c", at(CENTURY_MS)), at(30_000)).await;
    let lapsed = bench.ledger.lapse_alerts(at(30_001)).await.unwrap();
    assert_eq!(lapsed.iter().map(|alert| alert.note.ends_at.unwrap()).max(), Some(at(30_000)));
    assert_eq!((next.incident, all(bench).await[0].resolved_at), (first[0].incident, Some(at(30_000))));
}

async fn an_alert_that_nobody_tells_of_lapses(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let first = note(bench, &[fires("a", at(0)), fires("b", at(0))], at(10)).await;
    // Told of again after more than a minute, which is written down.
    assert_eq!(note_one(bench, fires("b", at(0)), at(70_000)).await.what, NotedAs::Known);
    let lapsed = bench.ledger.lapse_alerts(at(11)).await.unwrap();
    assert_eq!(lapsed.iter().map(|alert| alert.note.fingerprint.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(lapsed[0].note.ends_at, Some(at(10)));
    assert_eq!((all(bench).await[0].firing, all(bench).await[0].resolved_at), (1, None));
    assert_eq!(bench.ledger.lapse_alerts(at(11)).await.unwrap(), []);
    assert_eq!(bench.ledger.lapse_alerts(at(70_001)).await.unwrap().len(), 1);
    assert_eq!(all(bench).await[0].resolved_at, Some(at(70_000)));
    // It fired all the time, and its alerting system was away.
    let again = note_one(bench, fires("a", at(0)), at(80_000)).await;
    assert_eq!(again, Noted { incident: first[0].incident, what: NotedAs::Known });
    assert_eq!((all(bench).await[0].firing, all(bench).await[0].resolved_at), (1, None));
}

async fn nodes_that_are_told_at_the_same_time_open_one_incident(bench: &Bench) {
    let webhooks = (0..8).map(async |at: i64| {
        let own = fires(&format!("own-{at}"), bench.now.plus_ms(at));
        note(bench, &[fires("a", bench.now), own], bench.now.plus_ms(100 + at)).await
    });
    let told = join_all(webhooks).await;
    let new = told.iter().filter(|noted| noted[0].what == NotedAs::New).count();
    assert_eq!((new, all(bench).await.len()), (1, 1));
    assert_eq!(all(bench).await[0].alerts, 9);
}

async fn the_first_order_after_detection_is_the_response(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let before = [event(at(-10), 1, EventKind::Order), event(at(5), 2, EventKind::Scaling)];
    bench.ledger.note_events(&before).await.unwrap();
    note_one(bench, fires("a", at(0)), at(30)).await;
    assert_eq!(all(bench).await[0].responded_at, None);
    // What was done before the alert was heard of is a response all the same.
    let after = [event(at(20), 3, EventKind::Pause), event(at(40), 4, EventKind::Order)];
    bench.ledger.note_events(&after).await.unwrap();
    assert_eq!(all(bench).await[0].responded_at, Some(at(20)));
    note_one(bench, ended("a", at(0), at(10)), at(60)).await;
    // It was over by itself before anybody did anything.
    assert_eq!(all(bench).await[0].responded_at, None);
}

async fn parts_of_a_review_are_replaced_one_by_one(bench: &Bench) {
    let part = |part, text: &str, by: &str, ms| FilledPart {
        part,
        text: text.to_owned(),
        by: by.to_owned(),
        at: bench.now.plus_ms(ms),
    };
    assert!(!bench.ledger.fill_in(1, &[part(ReviewPart::Notes, "x", "ann", 0)]).await.unwrap());
    let incident = note_one(bench, fires("a", bench.now), bench.now).await.incident;
    let other = note_one(bench, ended("a", bench.now.plus_ms(-9_000_000), bench.now.plus_ms(-8_000_000)), bench.now);
    let other = other.await.incident;
    let first = [part(ReviewPart::Notes, "n\0", "ann", 1), part(ReviewPart::RootCause, "a disk", "ann", 1)];
    assert!(bench.ledger.fill_in(incident, &first).await.unwrap());
    let second = [part(ReviewPart::RootCause, "two disks", "bob", 2), part(ReviewPart::ActionItems, "- buy", "bob", 2)];
    assert!(bench.ledger.fill_in(incident, &second).await.unwrap());
    assert!(bench.ledger.fill_in(other, &second[1..]).await.unwrap());
    let [cause, items] = second;
    let notes = part(ReviewPart::Notes, "n\u{fffd}", "ann", 1);
    let one = |number| IncidentFilter { number: Some(number), ..IncidentFilter::default() };
    let parts = async |number| bench.ledger.incidents(one(number), None, 1).await.unwrap()[0].parts.clone();
    assert_eq!(parts(incident).await, [cause.clone(), items.clone(), notes]);
    assert_eq!(parts(other).await, std::slice::from_ref(&items));
    assert!(bench.ledger.fill_in(incident, &[part(ReviewPart::Notes, "", "bob", 3)]).await.unwrap());
    assert_eq!(parts(incident).await, [cause, items]);
    assert_eq!(bench.ledger.incidents(one(incident + other), None, 1).await.unwrap(), []);
}

/// Settles a job as having waited `waited_ms` before its first run.
async fn run(bench: &Bench, job: NewJob, state: State, waited_ms: i64, finished_at: Timestamp, deferrals: u32) {
    let seq = bench.create(job.clone()).await;
    let verdict = Verdict::Rest { state, result: None, finished_at };
    let mut outcome: Settlement = bench.outcome(&job, seq, 1, verdict);
    outcome.history[0].started_at = job.accepted_at.plus_ms(waited_ms);
    outcome.counters = Counters { deferrals, ..outcome.counters };
    bench.settle(vec![outcome]).await;
}

async fn impact_is_counted_from_the_rows(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let job = |ms| NewJob { accepted_at: at(ms), ..bench.job() };
    run(bench, job(-500), State::Succeeded, 10, at(-400), 0).await;
    run(bench, job(-500), State::Succeeded, 600, at(200), 1).await;
    run(bench, job(10), State::Succeeded, 50, at(100), 0).await;
    run(bench, job(10), State::Failed, 150, at(300), 0).await;
    run(bench, job(10), State::InReview, 20, at(400), 2).await;
    // Began within the span and ended after it; accepted and ended after it.
    run(bench, job(900), State::Succeeded, 99, at(1_500), 0).await;
    run(bench, job(1_100), State::Succeeded, 999, at(2_500), 0).await;
    bench.create(job(500)).await;
    bench.create(job(-900)).await;
    bench.create(job(1_200)).await;
    let other = NewJob { queue: ganger::job::QueueName::new("other").unwrap(), ..job(999) };
    bench.create(other).await;
    let impact = bench.ledger.impact(at(0), at(1_000), &[(TypeName::new("mail").unwrap(), 100)]).await.unwrap();
    let finished = [("succeeded", 2), ("failed", 1), ("in_review", 1)];
    let main = Impact {
        queue: "main".to_owned(),
        accepted: 5,
        finished: finished.map(|(state, count)| (state.to_owned(), count)).into(),
        late: 2,
        put_off: 2,
        open: 2,
    };
    let other = Impact { queue: "other".to_owned(), accepted: 1, open: 1, ..Impact::default() };
    assert_eq!(impact, [main, other]);
    // Types without an SLA are never late.
    let impact = bench.ledger.impact(at(0), at(1_000), &[]).await.unwrap();
    assert_eq!(impact[0].late, 0);
    assert_eq!(bench.ledger.impact(at(-9_000), at(-8_000), &[]).await.unwrap(), []);
}

async fn impact_is_kept_until_the_incident_changes(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let incident = note_one(bench, ended("a", at(0), at(100)), at(100)).await.incident;
    assert!(!bench.ledger.keep_impact(incident, at(99), "{}").await.unwrap());
    assert!(bench.ledger.keep_impact(incident, at(100), "{\"queues\":[]}").await.unwrap());
    assert_eq!(all(bench).await[0].impact.as_deref(), Some("{\"queues\":[]}"));
    note_one(bench, fires("b", at(200)), at(200)).await;
    assert_eq!(all(bench).await[0].impact, None);
    assert!(!bench.ledger.keep_impact(incident, at(100), "{}").await.unwrap());
}

async fn the_logbook_keeps_what_it_is_told_to(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let events: Vec<NewEvent> = (1..=10).map(|mark| event(at(mark * 10), mark, EventKind::Breaker)).collect();
    bench.ledger.note_events(&events).await.unwrap();
    let far = QUIET_MS * 10;
    let old = note_one(bench, ended("a", at(-far), at(-far + 5)), at(-far + 6)).await.incident;
    let firing = note_one(bench, fires("b", at(-2_000)), at(-2_000)).await.incident;
    let part = FilledPart { part: ReviewPart::Notes, text: "x".into(), by: "ann".into(), at: at(0) };
    bench.ledger.fill_in(old, &[part]).await.unwrap();
    let keep = LogbookRetention { max_age_ms: 1_000, events_max: 4 };
    assert!(bench.ledger.retain_logbook(keep, at(1_030)).await.unwrap() > 0);
    while bench.ledger.retain_logbook(keep, at(1_030)).await.unwrap() > 0 {}
    let left = bench.ledger.events(at(0), at(10_000), 100).await.unwrap();
    assert_eq!(left.iter().map(|event| event.event.mark).collect::<Vec<_>>(), [7, 8, 9, 10]);
    // What fires stays, however old.
    assert_eq!(all(bench).await.iter().map(|one| one.number).collect::<Vec<_>>(), [firing]);
    let by_age = LogbookRetention { max_age_ms: 1_000, events_max: 100 };
    while bench.ledger.retain_logbook(by_age, at(1_085)).await.unwrap() > 0 {}
    let left = bench.ledger.events(at(0), at(10_000), 100).await.unwrap();
    assert_eq!(left.iter().map(|event| event.event.mark).collect::<Vec<_>>(), [9, 10]);
}

// === all ledgers alike ===

/// What is told: alert, beginning, end and when, in steps of half the quiet time.
type Told = (u8, i64, Option<i64>, u8);

fn webhook() -> impl Strategy<Value = Vec<Told>> {
    let one = (0..3_u8, 0..8_i64, prop::option::of(0..10_i64), 0..3_u8);
    prop::collection::vec(one, 1..5)
}

#[test]
fn every_ledger_makes_the_same_incidents_of_the_same_webhooks() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let webhooks = prop::collection::vec(webhook(), 1..12);
    let ran = runner.run(&webhooks, |webhooks| {
        runtime.block_on(side_by_side(&webhooks));
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn side_by_side(webhooks: &[Vec<Told>]) {
    let lite = Bench::sqlite().await;
    let post = Bench { now: lite.now, ..Bench::postgres().await };
    let model = Bench { now: lite.now, ..Bench::model() };
    for (step, told) in (1..).zip(webhooks) {
        let at = |steps: i64| lite.now.plus_ms(steps * QUIET_MS / 2);
        let severity = ["", "warning", "critical"];
        let notes: Vec<AlertNote> = told
            .iter()
            .map(|(alert, begins, lasts, rank)| AlertNote {
                severity: severity[usize::from(*rank)].to_owned(),
                ends_at: lasts.map(|lasts| at(begins + lasts)),
                ..fires(&alert.to_string(), at(*begins))
            })
            .collect();
        let mut answers = Vec::new();
        for bench in [&lite, &post, &model] {
            answers.push((note(bench, &notes, at(step)).await, all(bench).await));
        }
        assert_eq!(answers[0], answers[1], "at {told:?}");
        assert_eq!(answers[0], answers[2], "the model at {told:?}");
    }
}
