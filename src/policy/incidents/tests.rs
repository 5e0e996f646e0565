use super::*;
use crate::job::NodeId;
use crate::operations::{AlertNote, NewEvent, NewRemediation, Occurrence};

const T0: Timestamp = Timestamp(1_767_323_000_000);

fn at(seconds: i64) -> Timestamp {
    T0.plus_ms(seconds * 1_000)
}

fn event(seconds: i64, kind: EventKind, subject: &str, words: &str, detail: &str) -> Event {
    let event = NewEvent {
        at: at(seconds),
        node: NodeId::stored("run"),
        mark: seconds,
        node_name: "ann".to_owned(),
        kind,
        subject: subject.to_owned(),
        words: words.to_owned(),
        detail: Some(detail.to_owned()),
    };
    Event { number: seconds, event }
}

fn remedy(note: &AlertNote) -> Remediation {
    Remediation {
        number: 1,
        asked: NewRemediation {
            ticket: "t".to_owned(),
            incident: Some(4),
            cause: Some(Occurrence { alert: note.name.clone(), fingerprint: "f".to_owned(), starts_at: at(0) }),
            action: "more".to_owned(),
            kind: "scale".to_owned(),
            target: "exec".to_owned(),
            node: NodeId::stored("run"),
            node_name: "ann".to_owned(),
            by: "alert".to_owned(),
            words: "five more".to_owned(),
            before: None,
            is_dry: false,
        },
        began_at: at(31),
        ended_at: Some(at(91)),
        state: RemediationState::Healed,
        reason: String::new(),
        after: None,
    }
}

fn facts() -> Facts {
    let note = AlertNote {
        fingerprint: "f".to_owned(),
        starts_at: at(0),
        ends_at: Some(at(300)),
        name: "QueueDeep|er".to_owned(),
        severity: "critical".to_owned(),
        labels: [("queue".to_owned(), "exec".to_owned())].into(),
        annotations: std::collections::BTreeMap::new(),
    };
    let remediations = vec![remedy(&note)];
    Facts {
        incident: Incident {
            number: 4,
            name: note.name.clone(),
            severity: "critical".to_owned(),
            detected_at: at(0),
            received_at: at(30),
            responded_at: Some(at(31)),
            resolved_at: Some(at(300)),
            alerts: 1,
            firing: 0,
            parts: vec![FilledPart {
                part: ReviewPart::RootCause,
                text: "# a disk".into(),
                by: "bob".into(),
                at: at(900),
            }],
            impact: None,
        },
        alerts: vec![Alert { note, incident: 4, received_at: at(30), heard_at: at(301) }],
        events: vec![
            event(-60, EventKind::Breaker, "mcp:x", "Breaker mcp:x is open: 5 failures", r#"{"to":"open","held":0}"#),
            event(20, EventKind::Shedding, "exec", "Queue exec sheds at level 2 (was 0)", r#"{"from":0,"to":2}"#),
            event(32, EventKind::Scaling, "exec-workers", "Pool exec-workers grows", r#"{"from":5,"to":20,"max":20}"#),
            event(40, EventKind::Shedding, "exec", "Refused 7 jobs", r#"{"refused":7}"#),
            event(
                132,
                EventKind::Scaling,
                "exec-workers",
                "Pool exec-workers shrinks",
                r#"{"from":20,"to":9,"max":20}"#,
            ),
            event(200, EventKind::Breaker, "mcp:x", "Breaker mcp:x is closed", r#"{"to":"closed","held":11}"#),
        ],
        is_cut: false,
        remediations,
        impact: Ok(vec![Impact {
            queue: "exec".to_owned(),
            accepted: 50,
            finished: [("succeeded".to_owned(), 40), ("failed".to_owned(), 3)].into(),
            late: 12,
            put_off: 11,
            open: 7,
        }]),
        quiet_ms: 300_000,
        now: at(2_000),
    }
}

#[test]
fn a_review_shows_what_the_record_has() {
    let text = review(&facts());
    for piece in [
        "# Incident 4: QueueDeep\\|er\n",
        "worst severity critical, first at 2026-01-02T03:03:20.000Z. It was over after 300 s. Healed by their own \
         measure, which the table of remedies names: more on exec.",
        "| Heard of | 2026-01-02T03:03:50.000Z | 30 s |",
        "| First response, by machine or person | 2026-01-02T03:03:51.000Z | 31 s |",
        "| Resolved: the last alert ended | 2026-01-02T03:08:20.000Z | 300 s |",
        "| 2026-01-02T03:03:20.000Z | alert | QueueDeep\\|er began to fire (queue=exec) |  |",
        "| exec | 50 | 40 | 3 | 0 | 0 | 7 | 11 | 12 | 7 |",
        "| more | exec | healed | 60 s | alert | five more |",
        "- The first sign came 60 s before the first alert: Breaker mcp:x is open: 5 failures.",
        "- Breaker mcp:x opened 1 time and held up to 11 jobs.",
        "- Queue exec was shed up to level 2; 7 jobs refused.",
        "\\# a disk  \n\nFilled in by bob at 2026-01-02T03:18:20.000Z.",
        "## Action items\n\n*To be filled in.*",
        "- The alert fired 60 s after the first sign",
        "- Pool exec-workers was at its most workers for 100 s: is `max` too low?",
    ] {
        assert!(text.contains(piece), "{piece}\n---\n{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("# ")).count(), 1);
}

#[test]
fn a_breaker_tells_what_it_held_while_it_is_still_open() {
    let mut open = facts();
    let factor = |facts: &Facts| {
        let text = review(facts);
        text.lines().find(|line| line.starts_with("- Breaker mcp:x opened")).unwrap_or_default().to_owned()
    };
    open.events.truncate(1);
    assert_eq!(factor(&open), "- Breaker mcp:x opened 1 time.");
    let probed = r#"{"from":"open","to":"half_open","held":695}"#;
    open.events.push(event(150, EventKind::Breaker, "mcp:x", "Breaker mcp:x is half_open: it was time", probed));
    assert_eq!(factor(&open), "- Breaker mcp:x opened 1 time and held up to 695 jobs.");
}

#[test]
fn an_alert_whose_beginning_is_to_come_stands_where_it_was_heard_of() {
    let mut ahead = facts();
    ahead.alerts[0].note.starts_at = at(3_000_000_000);
    assert!(review(&ahead).contains("| 2026-01-02T03:03:50.000Z | alert | QueueDeep\\|er began to fire"));
}

#[test]
fn what_goes_on_has_no_end_yet() {
    let mut open = facts();
    open.incident = Incident { resolved_at: None, responded_at: None, firing: 1, ..open.incident };
    open.impact = Err("no answer within 5000 ms".to_owned());
    (open.remediations, open.events) = (Vec::new(), Vec::new());
    let text = review(&open);
    for piece in [
        "It goes on. Nothing was done about it",
        "| Resolved: the last alert ended | not yet |  |",
        "It could not be counted: no answer within 5000 ms.",
        "None was tried.",
        "The record shows none",
    ] {
        assert!(text.contains(piece), "{piece}\n---\n{text}");
    }
    assert_eq!(Standing::of(&open.incident, 1_000, open.now), Standing::Firing);
    assert_eq!(Standing::of(&facts().incident, 2_000_000, open.now), Standing::Quiet);
}

#[test]
fn spans_are_told_as_people_do() {
    assert_eq!([900, 12_345, 605_000, 7_260_000].map(span), ["900 ms", "12 s", "10 min", "2 h 1 min"]);
}
