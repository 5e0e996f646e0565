//! Remedies: begun once for an occurrence, within their limits over all nodes, and written down whatever becomes of
//! them.

use futures_util::future::join_all;
use ganger::clock::Timestamp;
use ganger::job::NodeId;
use ganger::ledger::{LogbookRetention, RemediationFilter};
use ganger::operations::{
    Begun, NewRemediation, Occurrence, Remediation, RemediationLimits, RemediationState, SuppressedBy,
};

use super::logbook::{QUIET_MS, ended, fires};
use super::{Bench, on_every_ledger};

on_every_ledger! {
    a_remedy_is_written_from_its_beginning_to_its_end
    an_action_begins_once_for_an_occurrence
    a_ticket_is_answered_the_same_again
    a_target_cools_down
    budgets_are_kept_by_action_and_over_all
    nodes_that_begin_at_the_same_time_keep_the_limits
    dry_runs_have_limits_of_their_own
    what_is_suppressed_is_written_once_for_each_reason
    remedies_of_a_node_that_is_gone_are_abandoned
    a_remedy_is_a_response_to_its_incident
    remedies_are_read_in_pages_and_kept_for_long
}

const LIMITS: RemediationLimits = RemediationLimits { cool_down_ms: 60_000, per_hour_max: 5, all_per_hour_max: 20 };

fn remedy(ticket: &str, action: &str, target: &str, starts_at: Timestamp) -> NewRemediation {
    NewRemediation {
        ticket: ticket.to_owned(),
        incident: Some(7),
        cause: Some(Occurrence { alert: "Deep".to_owned(), fingerprint: "f".to_owned(), starts_at }),
        action: action.to_owned(),
        kind: "scale".to_owned(),
        target: target.to_owned(),
        node: NodeId::stored("run-1"),
        node_name: "ann".to_owned(),
        by: "rule".to_owned(),
        words: "five more".to_owned(),
        before: Some("{\"depth\":501}".to_owned()),
        is_dry: false,
    }
}

/// A remedy that somebody asked for.
fn by_hand(ticket: &str, action: &str, target: &str) -> NewRemediation {
    NewRemediation { cause: None, incident: None, by: "bob".to_owned(), ..remedy(ticket, action, target, Timestamp(0)) }
}

async fn begin(bench: &Bench, asked: &NewRemediation, now: Timestamp) -> Begun {
    bench.ledger.begin_remediation(asked, &LIMITS, now).await.unwrap()
}

async fn all(bench: &Bench) -> Vec<Remediation> {
    bench.ledger.remediations(&RemediationFilter::default(), None, 100).await.unwrap()
}

fn number(begun: Begun) -> i64 {
    match begun {
        Begun::Begun(number) => number,
        Begun::Suppressed(limit) => panic!("suppressed by {limit:?}"),
    }
}

async fn a_remedy_is_written_from_its_beginning_to_its_end(bench: &Bench) {
    let asked = remedy("t1", "more", "exec", bench.now);
    let number = number(begin(bench, &asked, bench.now.plus_ms(5)).await);
    let running = Remediation {
        number,
        asked: asked.clone(),
        began_at: bench.now.plus_ms(5),
        ended_at: None,
        state: RemediationState::Running,
        reason: String::new(),
        after: None,
    };
    assert_eq!(all(bench).await, std::slice::from_ref(&running));
    let end = async |state, ms| {
        let after = Some("{\"depth\":3}");
        bench.ledger.end_remediation(number, state, "it fell", after, bench.now.plus_ms(ms)).await.unwrap()
    };
    assert!(end(RemediationState::Healed, 900).await);
    assert!(!end(RemediationState::Failed, 999).await);
    let ended = Remediation {
        asked: NewRemediation { words: "it fell".to_owned(), ..asked },
        ended_at: Some(bench.now.plus_ms(900)),
        state: RemediationState::Healed,
        after: Some("{\"depth\":3}".to_owned()),
        ..running
    };
    assert_eq!(all(bench).await, [ended]);
}

async fn an_action_begins_once_for_an_occurrence(bench: &Bench) {
    let first = begin(bench, &remedy("t1", "more", "exec", bench.now), bench.now).await;
    let later = bench.now.plus_ms(LIMITS.cool_down_ms + 1);
    bench.ledger.end_remediation(number(first), RemediationState::Failed, "", None, later).await.unwrap();
    let again = begin(bench, &remedy("t2", "more", "plan", bench.now), later).await;
    assert_eq!(again, Begun::Suppressed(SuppressedBy::Repeated));
    // Another action for it, and the same for its next occurrence.
    number(begin(bench, &remedy("t3", "pause", "exec", bench.now), later).await);
    number(begin(bench, &remedy("t4", "more", "exec", bench.now.plus_ms(1)), later).await);
}

async fn a_ticket_is_answered_the_same_again(bench: &Bench) {
    let asked = remedy("t1", "more", "exec", bench.now);
    let first = begin(bench, &asked, bench.now).await;
    assert_eq!(begin(bench, &asked, bench.now.plus_ms(1)).await, first);
    let refused = by_hand("t2", "more", "exec");
    let answer = begin(bench, &refused, bench.now.plus_ms(1)).await;
    assert_eq!(answer, Begun::Suppressed(SuppressedBy::CoolDown));
    assert_eq!(begin(bench, &refused, bench.now.plus_ms(LIMITS.cool_down_ms + 1)).await, answer);
    assert_eq!(all(bench).await.len(), 2);
}

async fn a_target_cools_down(bench: &Bench) {
    number(begin(bench, &by_hand("t1", "more", "exec"), bench.now).await);
    let just = bench.now.plus_ms(LIMITS.cool_down_ms - 1);
    assert_eq!(begin(bench, &by_hand("t2", "more", "exec"), just).await, Begun::Suppressed(SuppressedBy::CoolDown));
    let held = all(bench).await.swap_remove(0);
    let words = "not done: it was done on the same target less than 60 s ago; what was asked for: five more";
    assert_eq!(held.asked.words, words, "what held it back comes first");
    number(begin(bench, &by_hand("t3", "more", "plan"), just).await);
    number(begin(bench, &by_hand("t4", "less", "exec"), just).await);
    number(begin(bench, &by_hand("t5", "more", "exec"), bench.now.plus_ms(LIMITS.cool_down_ms)).await);
}

async fn budgets_are_kept_by_action_and_over_all(bench: &Bench) {
    for at in 0..5 {
        number(begin(bench, &by_hand(&format!("a{at}"), "more", &format!("p{at}")), bench.now).await);
    }
    let sixth = begin(bench, &by_hand("a5", "more", "p5"), bench.now.plus_ms(3_599_999)).await;
    assert_eq!(sixth, Begun::Suppressed(SuppressedBy::ActionBudget));
    for at in 5..20 {
        let action = format!("other{}", at % 5);
        number(begin(bench, &by_hand(&format!("b{at}"), &action, &format!("p{at}")), bench.now).await);
    }
    let last = begin(bench, &by_hand("c", "fresh", "p"), bench.now.plus_ms(1)).await;
    assert_eq!(last, Begun::Suppressed(SuppressedBy::Budget));
    // An hour later the budget is there again.
    number(begin(bench, &by_hand("d", "more", "p9"), bench.now.plus_ms(3_600_000)).await);
}

async fn nodes_that_begin_at_the_same_time_keep_the_limits(bench: &Bench) {
    let same = (0..6).map(async |at| begin(bench, &remedy(&format!("s{at}"), "once", "x", bench.now), bench.now).await);
    let begun = join_all(same).await;
    assert_eq!(begun.iter().filter(|one| matches!(one, Begun::Begun(_))).count(), 1);
    let many =
        (0..9).map(async |at| begin(bench, &by_hand(&format!("m{at}"), "many", &format!("p{at}")), bench.now).await);
    let begun = join_all(many).await;
    assert_eq!(begun.iter().filter(|one| matches!(one, Begun::Begun(_))).count(), 5);
}

async fn dry_runs_have_limits_of_their_own(bench: &Bench) {
    let dry = NewRemediation { is_dry: true, ..remedy("t1", "more", "exec", bench.now) };
    number(begin(bench, &dry, bench.now).await);
    let written = &all(bench).await[0];
    assert_eq!((written.state, written.ended_at), (RemediationState::DryRun, Some(bench.now)));
    let again = NewRemediation { ticket: "t2".to_owned(), ..dry };
    assert_eq!(begin(bench, &again, bench.now).await, Begun::Suppressed(SuppressedBy::Repeated));
    number(begin(bench, &remedy("t3", "more", "exec", bench.now), bench.now).await);
}

async fn what_is_suppressed_is_written_once_for_each_reason(bench: &Bench) {
    let suppress = async |ticket: &str, target: &str, reason: &str| {
        let asked = remedy(ticket, "more", target, bench.now);
        bench.ledger.suppress_remediation(&asked, reason, bench.now).await.unwrap();
    };
    suppress("t1", "exec", "disabled").await;
    suppress("t2", "exec", "disabled").await;
    suppress("t3", "exec", "overflow").await;
    suppress("t4", "plan", "disabled").await;
    let written = all(bench).await;
    let reasons: Vec<_> = written.iter().map(|one| (one.asked.target.as_str(), one.reason.as_str())).collect();
    assert_eq!(reasons, [("plan", "disabled"), ("exec", "overflow"), ("exec", "disabled")]);
    assert!(written.iter().all(|one| one.ended_at == Some(bench.now)));
    // It did not begin, so it may.
    number(begin(bench, &remedy("t5", "more", "exec", bench.now), bench.now).await);
}

async fn remedies_of_a_node_that_is_gone_are_abandoned(bench: &Bench) {
    let old = number(begin(bench, &by_hand("t1", "more", "exec"), bench.now).await);
    let young = number(begin(bench, &by_hand("t2", "more", "plan"), bench.now.plus_ms(500)).await);
    let now = bench.now.plus_ms(900);
    let abandoned = bench.ledger.abandon_remediations(bench.now.plus_ms(500), "its node is gone", now);
    assert_eq!(abandoned.await.unwrap(), 1);
    let states: Vec<_> = all(bench).await.iter().map(|one| (one.number, one.state, one.ended_at)).collect();
    assert_eq!(states, [(young, RemediationState::Running, None), (old, RemediationState::Failed, Some(now))]);
}

async fn a_remedy_is_a_response_to_its_incident(bench: &Bench) {
    let at = |ms: i64| bench.now.plus_ms(ms);
    let noted = bench.ledger.note_alerts(&[fires("a", at(0))], at(10), QUIET_MS).await.unwrap()[0];
    let asked = |ticket: &str| NewRemediation { incident: Some(noted.incident), ..remedy(ticket, "more", "x", at(0)) };
    bench.ledger.suppress_remediation(&asked("t0"), "disabled", at(20)).await.unwrap();
    let dry = NewRemediation { is_dry: true, ..asked("t1") };
    number(begin(bench, &dry, at(30)).await);
    let responded_at = async || {
        let incidents = bench.ledger.incidents(ganger::ledger::IncidentFilter::default(), None, 1).await.unwrap();
        incidents[0].responded_at
    };
    assert_eq!(responded_at().await, None);
    number(begin(bench, &asked("t2"), at(40)).await);
    assert_eq!(responded_at().await, Some(at(40)));
    bench.ledger.note_alerts(&[ended("a", at(0), at(90))], at(90), QUIET_MS).await.unwrap();
    assert_eq!(responded_at().await, Some(at(40)));
}

async fn remedies_are_read_in_pages_and_kept_for_long(bench: &Bench) {
    for at in 0..4_i64 {
        let action = if at == 2 { "pause" } else { "more" };
        let asked = NewRemediation { incident: Some(at), ..by_hand(&format!("t{at}"), action, &format!("p{at}")) };
        number(begin(bench, &asked, bench.now.plus_ms(at)).await);
    }
    let read = async |filter: RemediationFilter, before, limit| {
        let read = bench.ledger.remediations(&filter, before, limit).await.unwrap();
        read.into_iter().map(|one| (one.number, one.asked.ticket)).collect::<Vec<_>>()
    };
    let newest = read(RemediationFilter::default(), None, 2).await;
    assert_eq!(newest.iter().map(|(_, ticket)| ticket.as_str()).collect::<Vec<_>>(), ["t3", "t2"]);
    let rest = read(RemediationFilter::default(), Some(newest[1].0), 9).await;
    assert_eq!(rest.iter().map(|(_, ticket)| ticket.as_str()).collect::<Vec<_>>(), ["t1", "t0"]);
    let pauses = RemediationFilter { action: Some("pause".to_owned()), ..RemediationFilter::default() };
    assert_eq!(read(pauses, None, 9).await.len(), 1);
    let of_one = RemediationFilter { incident: Some(3), ..RemediationFilter::default() };
    assert_eq!(read(of_one, None, 9).await.len(), 1);
    bench.ledger.end_remediation(rest[1].0, RemediationState::Healed, "", None, bench.now).await.unwrap();
    let running = RemediationFilter { state: Some(RemediationState::Running), ..RemediationFilter::default() };
    assert_eq!(read(running, None, 9).await.len(), 3);
    // One that runs stays, however old.
    let keep = LogbookRetention { max_age_ms: 10, events_max: 100 };
    assert_eq!(bench.ledger.retain_logbook(keep, bench.now.plus_ms(10_000)).await.unwrap(), 1);
    assert_eq!(all(bench).await.len(), 3);
}
