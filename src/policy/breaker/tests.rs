use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp(1_000_000);

fn at(ms: i64) -> Timestamp {
    START.plus_ms(ms)
}

fn fail(breaker: &mut Breaker, ms: i64) -> Concluded {
    let pass = breaker.pass();
    breaker.conclude(pass, Call::Failed("timeout"), &Rules::default(), at(ms))
}

/// Opened by five failures at 0.
fn open() -> Breaker {
    let mut breaker = Breaker::default();
    (0..5).for_each(|_| drop(fail(&mut breaker, 0)));
    assert_eq!(breaker.record().state.name(), "open");
    breaker
}

/// Takes a permit as a single node does.
fn probe(breaker: &mut Breaker, rules: &Rules, ms: i64, id: u64) -> Pass {
    let record = breaker.with_permits(rules, at(ms), "a", &[id], at(ms + 60_000)).expect("a free permit");
    breaker.merge(&record);
    Pass { generation: record.generation, permit: Some(id) }
}

#[test]
fn five_failures_in_a_row_open_it_and_each_of_them_costs_an_attempt() {
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        assert_eq!(fail(&mut breaker, 0), Concluded::default());
    }
    let fifth = fail(&mut breaker, 0);
    assert!(!fifth.spares_attempt && !fifth.is_stale);
    let transition = fifth.transition.unwrap();
    assert_eq!((transition.from, transition.to), ("closed", "open"));
    assert_eq!(transition.why, "5 failures in a row, the last of class timeout");
    assert_eq!(breaker.standing(&Rules::default(), at(59_999), 1), Standing::Held);
    assert_eq!(breaker.standing(&Rules::default(), at(60_000), 1), Standing::Probe(1));
    assert_eq!(breaker.next_change(&Rules::default(), at(0)), Some(at(60_000)));
}

#[test]
fn an_answer_in_between_starts_the_count_anew() {
    let mut breaker = Breaker::default();
    (0..4).for_each(|_| drop(fail(&mut breaker, 0)));
    let pass = breaker.pass();
    breaker.conclude(pass, Call::Unknown, &Rules::default(), at(0));
    assert_eq!(breaker.failures(), 4);
    breaker.conclude(pass, Call::Answered(3), &Rules::default(), at(0));
    (0..4).for_each(|_| drop(fail(&mut breaker, 0)));
    assert_eq!(breaker.record().state.name(), "closed");
}

#[test]
fn what_was_under_way_when_it_opened_changes_nothing_and_costs_nothing() {
    let mut breaker = Breaker::default();
    let early = breaker.pass();
    (0..5).for_each(|_| drop(fail(&mut breaker, 0)));
    let before = breaker.clone();
    let late = breaker.conclude(early, Call::Failed("timeout"), &Rules::default(), at(1));
    assert_eq!(late, Concluded { is_stale: true, spares_attempt: true, transition: None });
    let late = breaker.conclude(early, Call::Answered(1), &Rules::default(), at(1));
    assert_eq!(late, Concluded { is_stale: true, spares_attempt: false, transition: None });
    let late = breaker.conclude(early, Call::Unknown, &Rules::default(), at(1));
    assert_eq!(late, Concluded::default());
    assert_eq!(breaker, before);
}

#[test]
fn a_probe_that_succeeds_closes_it_and_calls_come_back_slowly() {
    let (mut breaker, rules) = (open(), Rules::default());
    let pass = probe(&mut breaker, &rules, 60_000, 7);
    assert_eq!(breaker.standing(&rules, at(60_000), 1), Standing::Held, "one probe at a time");
    let closed = breaker.conclude(pass, Call::Answered(20), &rules, at(61_000));
    assert_eq!(closed.transition.unwrap().to, "closed");
    let standing = |ms: i64| breaker.standing(&rules, at(61_000 + ms), 1);
    let caps: Vec<_> = (0..7).map(|step| standing(step * 5_000)).collect();
    let capped = |cap| Standing::Capped(cap);
    assert_eq!(caps, [capped(1), capped(2), capped(4), capped(8), capped(16), capped(32), Standing::Free]);
    assert_eq!(breaker.standing(&rules, at(61_000 + 10_000), 3), Standing::Capped(1), "a third of four");
    assert_eq!(breaker.next_change(&rules, at(61_000)), Some(at(66_000)));
    assert_eq!(breaker.next_change(&rules, at(61_000 + 30_000)), None);
}

#[test]
fn the_first_failure_after_a_reset_opens_it_again_and_costs_no_attempt() {
    let (mut breaker, rules) = (open(), Rules::default());
    breaker.reset(at(1_000), "by ann".to_owned());
    let pass = breaker.pass();
    let concluded = breaker.conclude(pass, Call::Failed("connection"), &rules, at(1_100));
    assert!(concluded.spares_attempt, "it was still down");
    assert_eq!(concluded.transition.unwrap().to, "open");
    breaker.reset(at(2_000), "by ann".to_owned());
    let pass = breaker.pass();
    assert_eq!(breaker.conclude(pass, Call::Answered(20), &rules, at(2_100)), Concluded::default());
    let concluded = breaker.conclude(pass, Call::Failed("connection"), &rules, at(2_200));
    assert_eq!(concluded, Concluded::default(), "from the first answer on it takes five in a row, and each counts");
}

#[test]
fn a_probe_that_fails_opens_it_again_and_costs_no_attempt() {
    let (mut breaker, rules) = (open(), Rules::default());
    let pass = probe(&mut breaker, &rules, 60_000, 7);
    let concluded = breaker.conclude(pass, Call::Failed("connection"), &rules, at(60_500));
    assert!(concluded.spares_attempt && !concluded.is_stale);
    assert_eq!(concluded.transition.unwrap().why, "a probe failed with class connection");
    assert_eq!(breaker.standing(&rules, at(60_500 + 59_999), 1), Standing::Held);
    assert_eq!(breaker.standing(&rules, at(60_500 + 60_000), 1), Standing::Probe(1));
}

#[test]
fn a_probe_that_nobody_reports_on_has_failed_and_a_late_report_changes_nothing() {
    let (mut breaker, rules) = (open(), Rules::default());
    let pass = probe(&mut breaker, &rules, 60_000, 7);
    assert_eq!(breaker.lapse(&rules, at(119_999)), None);
    assert_eq!(breaker.next_change(&rules, at(60_001)), Some(at(120_000)));
    let why = breaker.lapse(&rules, at(125_000)).unwrap().why;
    assert_eq!(why, "a probe of a timed out, or its node died: nobody reported on it by its deadline");
    assert_eq!(breaker.next_change(&rules, at(125_000)), Some(at(180_000)), "counted from the deadline");
    let late = breaker.conclude(pass, Call::Answered(1), &rules, at(125_001));
    assert!(late.is_stale);
    assert_eq!(breaker.record().state.name(), "open");
}

#[test]
fn a_probe_that_reaches_its_time_limit_is_reported_before_its_permit_ends() {
    let (mut breaker, rules) = (open(), Rules::default());
    let deadline = rules.probe_deadline(at(60_000), 5_000);
    let record = breaker.with_permits(&rules, at(60_000), "a", &[7], deadline).unwrap();
    breaker.merge(&record);
    let ended = at(60_000 + 5_000 + 50);
    assert_eq!(breaker.lapse(&rules, ended), None, "its run is ended now, and its node says so");
    let pass = Pass { generation: record.generation, permit: Some(7) };
    let told = breaker.conclude(pass, Call::Failed("timeout"), &rules, ended);
    assert_eq!(told.transition.unwrap().why, "a probe failed with class timeout");
    assert!(rules.probe_deadline(at(0), 600_000) < at(rules.probe_ms_max + 5_000), "whatever the job may take");
}

#[test]
fn a_permit_that_was_not_used_is_free_again() {
    let (mut breaker, rules) = (open(), Rules::default());
    let pass = probe(&mut breaker, &rules, 60_000, 7);
    let concluded = breaker.conclude(pass, Call::Unknown, &rules, at(60_001));
    assert_eq!(concluded, Concluded::default());
    let again = probe(&mut breaker, &rules, 60_002, 8);
    assert!(again.generation > pass.generation);
    assert!(matches!(&breaker.record().state, State::HalfOpen { permits } if permits.len() == 1));
}

#[test]
fn with_several_probes_all_must_succeed_and_the_first_failure_decides() {
    let rules = Rules { probes: 3, ..Rules::default() };
    let mut breaker = open();
    let passes = [1, 2, 3].map(|id| probe(&mut breaker, &rules, 60_000, id));
    assert_eq!(breaker.standing(&rules, at(60_000), 1), Standing::Held);
    assert!(breaker.conclude(passes[0], Call::Answered(1), &rules, at(60_001)).transition.is_none());
    assert_eq!(breaker.standing(&rules, at(60_001), 1), Standing::Held, "what has passed is not made again");
    let mut failing = breaker.clone();
    assert!(failing.conclude(passes[1], Call::Failed("timeout"), &rules, at(60_002)).transition.is_some());
    assert!(failing.conclude(passes[2], Call::Answered(1), &rules, at(60_003)).is_stale);
    breaker.conclude(passes[1], Call::Answered(1), &rules, at(60_002));
    let last = breaker.conclude(passes[2], Call::Answered(1), &rules, at(60_003));
    assert_eq!(last.transition.unwrap().to, "closed");
}

#[test]
fn a_probe_that_passed_counts_although_another_was_returned() {
    let rules = Rules { probes: 2, ..Rules::default() };
    let mut breaker = open();
    let passes = [1, 2].map(|id| probe(&mut breaker, &rules, 60_000, id));
    breaker.conclude(passes[0], Call::Answered(1), &rules, at(60_001));
    breaker.conclude(passes[1], Call::Unknown, &rules, at(60_002));
    let last = probe(&mut breaker, &rules, 60_003, 3);
    assert_eq!(breaker.conclude(last, Call::Answered(1), &rules, at(60_004)).transition.unwrap().to, "closed");
}

#[test]
fn a_target_that_asks_for_a_pause_gets_it() {
    let (mut breaker, rules) = (Breaker::default(), Rules::default());
    let pass = breaker.pass();
    let concluded = breaker.conclude(pass, Call::Pushback(at(7_000)), &rules, at(0));
    assert!(!concluded.spares_attempt);
    assert_eq!(concluded.transition.unwrap().why, "it asked for a pause");
    assert_eq!(breaker.next_change(&rules, at(0)), Some(at(7_000)));
    assert_eq!(breaker.record().openings, 0, "a pause that was asked for is no outage");
}

#[test]
fn openings_grow_while_it_keeps_failing_and_are_forgiven() {
    let rules = Rules { open_multiplier: 2.0, failures: 1, ..Rules::default() };
    let mut breaker = Breaker::default();
    let mut now = 0;
    let mut lengths = Vec::new();
    for id in 0..6 {
        let pass = if id == 0 { breaker.pass() } else { probe(&mut breaker, &rules, now, id) };
        breaker.conclude(pass, Call::Failed("timeout"), &rules, at(now));
        let until = breaker.next_change(&rules, at(now)).unwrap();
        lengths.push(until.since(at(now)) / 1_000);
        now = until.since(START);
    }
    assert_eq!(lengths, [60, 120, 240, 480, 600, 600]);
    let pass = probe(&mut breaker, &rules, now, 99);
    breaker.conclude(pass, Call::Answered(1), &rules, at(now));
    let mut soon = breaker.clone();
    soon.conclude(soon.pass(), Call::Failed("timeout"), &rules, at(now + 1_000));
    assert_eq!(soon.record().openings, 7);
    breaker.conclude(breaker.pass(), Call::Failed("timeout"), &rules, at(now + 600_000));
    assert_eq!(breaker.record().openings, 1);
}

#[test]
fn an_operator_opens_and_closes_it() {
    let rules = Rules::default();
    let mut breaker = Breaker::default();
    breaker.trip(at(0), NEVER, "ada: maintenance".to_owned());
    assert_eq!(breaker.standing(&rules, at(i64::from(u32::MAX)), 1), Standing::Held);
    assert_eq!(breaker.next_change(&rules, at(0)), None);
    let transition = breaker.reset(at(10), "ada: done".to_owned());
    assert_eq!((transition.from, transition.to), ("forced_open", "closed"));
    assert_eq!(breaker.standing(&rules, at(10), 1), Standing::Capped(1));
    breaker.trip(at(20), at(30), String::new());
    assert_eq!(breaker.standing(&rules, at(30), 1), Standing::Probe(1), "a trip with an end is probed after it");
    let mut untouched = Breaker::default();
    untouched.reset(at(0), String::new());
    assert_eq!(untouched.standing(&rules, at(0), 1), Standing::Free, "nothing was held back");
}

#[test]
fn slow_calls_open_it_where_that_is_asked_for() {
    let rules = Rules { slow_call_ms: Some(100), slow_call_share: 0.5, ..Rules::default() };
    let slow = |step_ms: i64| {
        let mut breaker = Breaker::default();
        let calls = (0..20).map(|n| (n, if n % 2 == 0 { 100 } else { 99 }));
        calls
            .filter_map(|(n, took)| {
                breaker.conclude(breaker.pass(), Call::Answered(took), &rules, at(n * step_ms)).transition
            })
            .last()
    };
    assert_eq!(slow(10).unwrap().why, "10 of the last 20 calls were slow");
    assert!(slow(4_000).is_none(), "too few of them within a minute");
    let mut breaker = open();
    let pass = probe(&mut breaker, &rules, 60_000, 1);
    assert_eq!(breaker.conclude(pass, Call::Answered(100), &rules, at(60_100)).transition.unwrap().to, "open");
}

#[test]
fn a_record_is_a_small_text_and_comes_back_from_it() {
    let (mut breaker, rules) = (open(), Rules::default());
    probe(&mut breaker, &rules, 60_000, u64::MAX);
    let text = breaker.record().to_text();
    assert!(text.len() < 300, "{text}");
    assert_eq!(Record::from_text(&text).as_ref(), Some(breaker.record()));
    breaker.trip(at(70_000), NEVER, "é".repeat(500));
    let text = breaker.record().to_text();
    assert!(text.len() < 500, "{text}");
    assert_eq!(Record::from_text(&text).as_ref(), Some(breaker.record()));
    assert_eq!(Record::from_text("{}"), None);
}

#[test]
fn what_was_decided_later_wins_over_a_state_from_before_a_loss() {
    // A node that knew an old closed state meets one that opened after the shared record was lost.
    let mut old = Breaker::default();
    for _ in 0..3 {
        old.trip(at(0), NEVER, String::new());
        old.reset(at(0), String::new());
    }
    let mut fresh = Breaker::default();
    fresh.trip(at(1_000), NEVER, String::new());
    assert_eq!(old.merge(fresh.record()).unwrap().to, "forced_open");
}

fn states() -> impl Strategy<Value = State> {
    let permit = (0_u64..4, 0_i64..3, 0_usize..3).prop_map(|(id, deadline, phase)| Permit {
        id,
        node: format!("n{}", id % 2),
        deadline: Timestamp(deadline),
        phase: [Phase::Out, Phase::Returned, Phase::Passed][phase],
    });
    let permits = prop::collection::btree_map(0_u64..4, permit, 0..3);
    let half_open = permits.prop_map(|by_id| State::HalfOpen {
        permits: by_id
            .into_iter()
            .map(|(id, permit)| Permit { id, deadline: Timestamp(5), node: format!("n{id}"), ..permit })
            .collect(),
    });
    prop_oneof![
        any::<bool>().prop_map(|slow_start| State::Closed { slow_start }),
        (0_i64..3).prop_map(|until| State::Open { until: Timestamp(until) }),
        (0_i64..3).prop_map(|until| State::Forced { until: Timestamp(until) }),
        half_open,
    ]
}

fn records() -> impl Strategy<Value = Record> {
    (0_i64..3, states(), 0_i64..2, 0_u32..2).prop_map(|(generation, state, since, openings)| Record {
        generation,
        state,
        since: Timestamp(since),
        openings,
        why: String::new(),
    })
}

proptest! {
    #[test]
    fn merging_needs_no_order(a in records(), b in records(), c in records()) {
        prop_assert_eq!(a.clone().merge(&b), b.clone().merge(&a));
        prop_assert_eq!(a.clone().merge(&b).merge(&c), a.clone().merge(&b.clone().merge(&c)));
        let merged = a.clone().merge(&b);
        prop_assert_eq!(merged.clone().merge(&a), merged);
    }

    /// Whatever is reported in whatever order: it never lets through more probes than its rules allow, opens only
    /// for a reason, and some time later lets somebody through again.
    #[test]
    fn it_never_stays_shut(
        probes in 1_u32..=3,
        steps in prop::collection::vec((0_u8..8, 0_usize..6, 1_i64..40_000), 1..120),
    ) {
        let rules = Rules { probes, ..Rules::default() };
        let (mut breaker, mut passes, mut now) = (Breaker::default(), Vec::new(), 0);
        for (id, (what, which, passed)) in steps.into_iter().enumerate() {
            now += passed;
            let standing = breaker.standing(&rules, at(now), 1);
            match what {
                0..=2 => match standing {
                    Standing::Free | Standing::Capped(_) => passes.push(breaker.pass()),
                    Standing::Probe(_) => passes.push(probe(&mut breaker, &rules, now, id as u64)),
                    Standing::Held => {}
                },
                3 => drop(breaker.lapse(&rules, at(now))),
                _ if !passes.is_empty() => {
                    let pass = passes.swap_remove(which % passes.len());
                    let call = [Call::Failed("timeout"), Call::Answered(1), Call::Pushback(at(now + 500)), Call::Unknown];
                    let (before, was_current) = (breaker.clone(), breaker.is_current(pass));
                    let concluded = breaker.conclude(pass, call[which % 4], &rules, at(now));
                    if !was_current {
                        prop_assert_eq!(&breaker, &before);
                        prop_assert!(concluded.transition.is_none());
                    }
                }
                _ => {}
            }
            let under_way = passes.iter().filter(|pass| pass.permit.is_some() && breaker.is_current(**pass)).count();
            prop_assert!(under_way <= probes as usize);
            let mut later = breaker.clone();
            later.lapse(&rules, at(now + 60_000));
            prop_assert!(later.standing(&rules, at(now + 121_000), 1) != Standing::Held);
        }
    }
}
