//! What is refused at which level, what must hold whatever happens, and a queue under three times its load.

mod closed_loop;
mod properties;

use super::*;
use crate::job::Priority;
use crate::policy::retry::{Backoff, Jitter};

fn second(second: i64) -> Timestamp {
    Timestamp(second * 1_000)
}

fn name(queue: &str) -> QueueName {
    QueueName::stored(queue)
}

/// The defaults of `config/default.toml`, with `batch` as the type that goes first.
fn settings() -> Settings {
    let rule = |enter, exit, samples, dwell_ms| Threshold { enter, exit, samples, dwell_ms };
    Settings {
        floor: 0,
        mode: Mode::Auto,
        cpu: rule(0.95, 0.85, 3, 30_000),
        memory: rule(0.90, 0.82, 1, 30_000),
        memory_critical: 0.95,
        queue_depth: rule(1_000.0, 800.0, 2, 30_000),
        error_rate: rule(0.20, 0.10, 2, 60_000),
        response_time_p95: rule(30_000.0, 20_000.0, 2, 60_000),
        first: BTreeSet::from([TypeName::stored("batch")]),
        samples_min: 20,
        step_up_ms: 5_000,
        step_down_ms: 30_000,
        probe_share: 0.2,
    }
}

fn queue(depth: u64, delay_ms: i64) -> QueueFacts {
    QueueFacts { depth: Some(depth), delay_ms: Some(delay_ms), sla_ms: Some(12_000), drained_per_s: 100.0 }
}

/// Calm facts of two queues.
fn calm() -> Facts {
    let queues = BTreeMap::from([(name("plan"), queue(3, 10)), (name("exec"), queue(3, 10))]);
    Facts { cpu: Some(0.3), memory: Some(0.3), error_rate: Some(0.0), response_time_p95_ms: Some(100.0), queues }
}

/// Ticks once a second from `from` for `seconds`; the levels of plan and exec after each.
fn run(shedder: &mut Shedder, from: i64, seconds: i64, facts: &Facts) -> Vec<[u8; 2]> {
    let tick = |at| {
        shedder.tick(facts, second(at));
        let standing = shedder.standing();
        [standing.level(&name("plan")), standing.level(&name("exec"))]
    };
    (from..from + seconds).map(tick).collect()
}

fn verdict(standing: &Standing, job_type: &str, priority: u64, roll: f64) -> Verdict {
    let priority = Priority::from_number(priority).unwrap();
    standing.verdict(&TypeName::stored(job_type), priority, &name("plan"), roll)
}

fn refused(standing: &Standing) -> Vec<String> {
    let jobs = [("batch", 3), ("other", 5), ("other", 4), ("other", 3), ("other", 2), ("other", 1), ("batch", 1)];
    let shed = |(job_type, priority): &(&str, u64)| verdict(standing, job_type, *priority, 0.9) != Verdict::Admit;
    jobs.iter().filter(|job| shed(job)).map(|(job_type, priority)| format!("{job_type} {priority}")).collect()
}

#[test]
fn each_level_refuses_one_class_more_and_never_the_first_priority() {
    let mut told = Vec::new();
    for level in 0..=5 {
        let mut shedder = Shedder::new(Settings { mode: Mode::Level(level), ..settings() });
        shedder.tick(&calm(), second(0));
        told.push(refused(&shedder.standing()).join(", "));
    }
    assert_eq!(
        told,
        [
            "",
            "batch 3",
            "batch 3, other 5",
            "batch 3, other 5, other 4",
            "batch 3, other 5, other 4, other 3",
            "batch 3, other 5, other 4, other 3, other 2"
        ]
    );
}

#[test]
fn a_floor_refuses_so_much_at_least_and_bows_to_an_operator() {
    let floored = |mode| Settings { mode, floor: 2, ..settings() };
    let mut shedder = Shedder::new(floored(Mode::Auto));
    shedder.tick(&calm(), second(0));
    let standing = shedder.standing();
    assert!(!standing.is_calm());
    assert_eq!(refused(&standing).join(", "), "batch 3, other 5");
    assert_eq!(verdict(&standing, "batch", 3, 0.0), Verdict::Shed { rule: Rule::Manual, level: 2 });
    assert_eq!(standing.lane(&TypeName::stored("batch"), &name("plan")), Lane::Last);
    // What a rule refuses by itself is the rule's, and what it reaches beyond the floor holds.
    let mut facts = calm();
    facts.queues.insert(name("plan"), queue(1_001, 60_000));
    run(&mut shedder, 0, 10, &facts);
    let standing = shedder.standing();
    assert_eq!(verdict(&standing, "batch", 3, 0.0), Verdict::Shed { rule: Rule::QueueDepth, level: 2 });
    assert_eq!(verdict(&standing, "other", 5, 0.0), Verdict::Shed { rule: Rule::Manual, level: 2 });
    for (mode, level) in [(Mode::Off, 0), (Mode::Level(1), 1)] {
        shedder.set(floored(mode));
        assert_eq!(shedder.standing().level(&name("plan")), level, "{mode}");
    }
}

#[test]
fn the_depth_rule_acts_on_its_own_queue_and_level_one_only() {
    let mut shedder = Shedder::new(settings());
    let mut facts = calm();
    facts.queues.insert(name("plan"), queue(1_001, 60_000));
    let levels = run(&mut shedder, 0, 120, &facts);
    assert_eq!((levels[0], levels[1], levels[119]), ([0, 0], [1, 0], [1, 0]));
    let standing = shedder.standing();
    assert_eq!(verdict(&standing, "batch", 3, 0.0), Verdict::Shed { rule: Rule::QueueDepth, level: 1 });
    assert_eq!(standing.lane(&TypeName::stored("batch"), &name("plan")), Lane::Last);
    assert_eq!(standing.lane(&TypeName::stored("batch"), &name("exec")), Lane::Open);
    assert_eq!(standing.lane(&TypeName::stored("other"), &name("plan")), Lane::Open);
    // Between exit and enter it stays; at exit it goes, half a minute later the level too.
    facts.queues.insert(name("plan"), queue(801, 60_000));
    assert!(run(&mut shedder, 120, 60, &facts).iter().all(|levels| *levels == [1, 0]));
    facts.queues.insert(name("plan"), queue(800, 60_000));
    let levels = run(&mut shedder, 180, 31, &facts);
    assert_eq!((levels[28], levels[30]), ([1, 0], [0, 0]));
}

#[test]
fn cpu_goes_beyond_level_one_only_where_the_queue_is_late() {
    let mut shedder = Shedder::new(settings());
    let mut facts = Facts { cpu: Some(0.99), ..calm() };
    facts.queues.insert(name("plan"), queue(50, 6_001));
    let levels = run(&mut shedder, 0, 40, &facts);
    assert_eq!(levels[1], [0, 0]);
    assert_eq!(levels[2], [1, 1], "three samples");
    assert_eq!(levels[39], [5, 1]);
    assert_eq!(shedder.standing().lane(&TypeName::stored("batch"), &name("exec")), Lane::Closed);
    assert_eq!(verdict(&shedder.standing(), "other", 2, 0.0), Verdict::Shed { rule: Rule::Cpu, level: 5 });
    // Only while: as soon as its next job has not waited long, the rest is admitted again.
    facts.queues.insert(name("plan"), queue(50, 5_900));
    assert_eq!(run(&mut shedder, 40, 1, &facts), [[1, 1]]);
}

#[test]
fn memory_near_its_end_waits_for_nothing() {
    let mut shedder = Shedder::new(settings());
    let levels = run(&mut shedder, 0, 15, &Facts { memory: Some(0.951), ..calm() });
    assert_eq!((levels[0], levels[5], levels[14]), ([3, 3], [4, 4], [5, 5]));
    let levels = run(&mut shedder, 15, 20, &Facts { memory: Some(0.91), ..calm() });
    assert_eq!(levels[19], [5, 5], "not at the first better sample");
    let levels = run(&mut shedder, 35, 10, &Facts { memory: Some(0.90), ..calm() });
    assert_eq!(levels[9], [1, 1], "but no further than the rule itself from its own line on");
}

#[test]
fn the_error_rate_alone_stays_at_two_and_lets_probes_through() {
    let mut shedder = Shedder::new(settings());
    let mut facts = Facts { error_rate: Some(0.5), ..calm() };
    facts.queues.insert(name("plan"), queue(50, 60_000));
    let levels = run(&mut shedder, 0, 60, &facts);
    assert_eq!((levels[1], levels[6], levels[59]), ([1, 1], [2, 2], [2, 2]));
    let standing = shedder.standing();
    assert_eq!(verdict(&standing, "batch", 3, 0.19), Verdict::Admit);
    assert_eq!(verdict(&standing, "batch", 3, 0.2), Verdict::Shed { rule: Rule::ErrorRate, level: 2 });
    assert_eq!(verdict(&standing, "other", 5, 0.19), Verdict::Admit);
    assert_eq!(verdict(&standing, "other", 4, 0.99), Verdict::Admit);
    assert_eq!(standing.lane(&TypeName::stored("batch"), &name("plan")), Lane::Last);
    // Another rule beside it lets no probe through where it reaches itself.
    facts = Facts { cpu: Some(0.99), error_rate: Some(0.5), ..calm() };
    run(&mut shedder, 60, 3, &facts);
    assert_eq!(verdict(&shedder.standing(), "batch", 3, 0.0), Verdict::Shed { rule: Rule::Cpu, level: 2 });
    assert_eq!(verdict(&shedder.standing(), "other", 5, 0.19), Verdict::Admit);
}

#[test]
fn an_operator_overrides_the_rules_and_they_go_on_measuring() {
    let mut shedder = Shedder::new(Settings { mode: Mode::Off, ..settings() });
    let hot = Facts { cpu: Some(0.99), ..calm() };
    assert!(run(&mut shedder, 0, 30, &hot).iter().all(|levels| *levels == [0, 0]));
    assert_eq!(shedder.standing().lane(&TypeName::stored("batch"), &name("plan")), Lane::Open);
    shedder.set(Settings { mode: Mode::Level(2), ..settings() });
    assert_eq!(verdict(&shedder.standing(), "other", 5, 0.0), Verdict::Shed { rule: Rule::Manual, level: 2 });
    assert_eq!(shedder.standing().lane(&TypeName::stored("batch"), &name("plan")), Lane::Last);
    shedder.set(settings());
    assert_eq!(verdict(&shedder.standing(), "batch", 3, 0.0), Verdict::Shed { rule: Rule::Cpu, level: 1 });
}

#[test]
fn callers_are_told_to_come_back_when_the_queue_has_drained() {
    let mut shedder = Shedder::new(settings());
    let mut facts = calm();
    let mut told = |depth, rate, roll| {
        facts.queues.insert(name("plan"), QueueFacts { drained_per_s: rate, ..queue(depth, 0) });
        shedder.tick(&facts, second(0));
        shedder.standing().retry_after_s(&name("plan"), Rule::QueueDepth, roll, second(0))
    };
    assert!((told(1_800, 100.0, 0.5) - 10.0).abs() < 1e-9, "(1800 - 800) / 100");
    assert!((told(1_800, 100.0, 0.0) - 8.0).abs() < 1e-9, "spread by a fifth");
    assert!((told(1_001, 1_000.0, 0.5) - 1.0).abs() < 1e-9, "a second at least");
    assert!((told(9_999, 1.0, 0.5) - 60.0).abs() < 1e-9, "a minute at most");
    assert!((told(9_999, 0.0, 1.0) - 72.0).abs() < 1e-9, "and where nothing drains");
}

#[test]
fn callers_refused_for_cpu_come_back_when_the_level_can_have_fallen() {
    let mut shedder = Shedder::new(settings());
    run(&mut shedder, 0, 3, &Facts { cpu: Some(0.99), ..calm() });
    let after = |rule, at| shedder.standing().retry_after_s(&name("plan"), rule, 0.5, second(at));
    assert!((after(Rule::Cpu, 12) - 50.0).abs() < 1e-9, "20 s until the rule may exit, 30 s for the step");
    assert!((after(Rule::Cpu, 90) - 30.0).abs() < 1e-9);
    assert!((after(Rule::Manual, 90) - 30.0).abs() < 1e-9);
}

#[test]
fn a_failure_of_the_input_says_nothing_of_load() {
    let retry = RetryPolicy {
        max_retries: 0,
        backoff: Backoff::Immediate,
        base_delay_ms: 0,
        max_delay_ms: 0,
        jitter: Jitter::None,
        retry_on_errors: Vec::new(),
        no_retry_errors: vec!["element_not_found".to_owned()],
        escalate_on_failure: false,
    };
    for (class, is_its_fault) in [
        ("http_4xx", true),
        ("bad_payload", true),
        ("element_not_found", true),
        ("timeout", false),
        ("http_5xx", false),
        ("crash", false),
    ] {
        assert_eq!(is_inputs_fault(class, &retry), is_its_fault, "{class}");
    }
}
