//! The golden table, the properties, and the corners.

use proptest::prelude::*;

use super::*;
use crate::job::{PoolName, QueueName};
use crate::policy::catalog::ScaleSignal;
use crate::policy::health::WorkerLimits;

/// `plan-workers`: 2 to 10, CPU 70 %, depth 5.
fn plan() -> Pool {
    Pool {
        name: PoolName::stored("plan-workers"),
        queue: QueueName::stored("plan"),
        worker_type: "plan".into(),
        worker_prefix: "plan-worker".into(),
        min: 2,
        max: 10,
        scale_on: vec![ScaleSignal::Cpu, ScaleSignal::QueueDepth],
        target_cpu: 0.70,
        target_memory: 0.75,
        target_queue_depth: 5.0,
        limits: WorkerLimits::default(),
        target_latency_ms: 6_000,
        cpu_request: 0.25,
        memory_request_bytes: 256 << 20,
    }
}

/// Nothing to do, and room for it.
fn quiet() -> Facts {
    Facts {
        cpu: Reading::NoSource,
        memory: Reading::NoSource,
        waiting: Reading::Value(0.0),
        shed_per_s: 0.0,
        busy: 0,
        flow: Reading::NoSource,
        headroom: Headroom::default(),
    }
}

/// CPU of each worker in percent, 0 for one without a sample, and jobs that wait.
fn seen(cpu: &[u32], waiting: f64) -> Facts {
    let samples = cpu.iter().map(|percent| (*percent > 0).then(|| f64::from(*percent) / 100.0)).collect();
    Facts { cpu: Reading::Value(samples), waiting: Reading::Value(waiting), ..quiet() }
}

/// A pool on the way through time.
struct Story {
    rules: Rules,
    pool: Pool,
    overrides: Override,
    history: History,
    now: Timestamp,
}

impl Story {
    fn of(size: usize) -> Self {
        let now = Timestamp(1_000_000);
        Self {
            rules: Rules::default(),
            pool: plan(),
            overrides: Override::default(),
            history: History::seeded(size, now),
            now,
        }
    }

    fn decide(&self, facts: &Facts) -> Decision {
        decide(&self.rules, &self.pool, &self.overrides, &self.history, facts, self.now)
    }

    /// One decision, carried out.
    fn step(&mut self, facts: &Facts) -> Decision {
        let decision = self.decide(facts);
        self.history.note(&self.rules, &decision, self.now);
        decision
    }

    /// The next one, a tick later.
    fn tick(&mut self, facts: &Facts) -> Decision {
        self.now = self.now.plus_ms(5_000);
        self.step(facts)
    }
}

// === The golden table of the algorithms ===

#[test]
fn the_golden_table() {
    let depth_fails = |cpu: &[u32]| Facts { waiting: Reading::Missing, ..seen(cpu, 0.0) };
    for (current, facts, target, limiter) in [
        (2, seen(&[76; 2], 10.0), 2, Limiter::Tolerance),
        (2, seen(&[78; 2], 10.0), 3, Limiter::None),
        (2, seen(&[50; 2], 60.0), 6, Limiter::Rate),
        (10, seen(&[20; 10], 0.0), 10, Limiter::Stabilised),
        (4, seen(&[90, 90, 90, 0], 20.0), 4, Limiter::Tolerance),
        (4, seen(&[20, 20, 20, 0], 0.0), 4, Limiter::Stabilised),
        (4, depth_fails(&[90; 4]), 6, Limiter::None),
        (4, depth_fails(&[10; 4]), 4, Limiter::Missing),
    ] {
        let decision = Story::of(current).decide(&facts);
        assert_eq!((decision.target, decision.limiter), (target, limiter), "{facts:?}: {decision:?}");
    }
    let wants = |current: usize, facts: &Facts| Story::of(current).decide(facts).recommendation;
    assert_eq!(wants(10, &seen(&[20; 10], 0.0)), 3);
    assert_eq!(wants(4, &seen(&[20, 20, 20, 0], 0.0)), 3, "the missing one counts as 100 % of the request");
}

#[test]
fn a_flood_is_followed_as_fast_as_the_rate_allows() {
    let mut story = Story::of(2);
    let flood = seen(&[50; 2], 60.0);
    let targets: Vec<_> = (0..5)
        .map(|tick| if tick == 0 { story.step(&flood) } else { story.tick(&flood) })
        .map(|it| (it.target, it.limiter))
        .collect();
    let (rate, max) = (Limiter::Rate, Limiter::Max);
    assert_eq!(targets, [(6, rate), (6, rate), (6, rate), (10, max), (10, max)]);
}

#[test]
fn shrinking_waits_for_its_window_and_goes_in_small_steps() {
    let mut story = Story::of(10);
    let idle = seen(&[20; 10], 0.0);
    story.step(&idle);
    let began = story.now;
    let mut shrunk = Vec::new();
    for _ in 0..100 {
        let decision = story.tick(&idle);
        if decision.direction == Direction::Down {
            shrunk.push((story.now.since(began) / 1_000, decision.target));
        }
    }
    assert_eq!(shrunk, [(300, 9), (360, 8), (420, 7), (480, 6)]);
}

// === Signals ===

#[test]
fn what_has_no_source_blocks_nothing_and_what_fails_blocks_shrinking() {
    let after_window = |facts: &Facts| {
        let mut story = Story::of(8);
        story.now = story.now.plus_ms(300_000);
        story.decide(facts).recommendation
    };
    assert_eq!(after_window(&quiet()), 2);
    assert_eq!(after_window(&Facts { cpu: Reading::Missing, ..quiet() }), 8);
    // Not one worker with a sample is the same as no reading.
    assert_eq!(after_window(&seen(&[0; 8], 0.0)), 8);
}

#[test]
fn a_pool_without_signals_stays_at_its_fewest() {
    let mut story = Story::of(2);
    story.pool.scale_on.clear();
    let decision = story.decide(&seen(&[99; 2], 1_000.0));
    assert_eq!((decision.target, decision.limiter, decision.metric), (2, Limiter::Min, None));
    story.pool.scale_on = vec![ScaleSignal::Cpu];
    assert_eq!(story.decide(&Facts { waiting: Reading::Value(1_000.0), ..quiet() }).target, 2);
}

#[test]
fn memory_asks_for_growth_only_while_jobs_wait() {
    let mut story = Story::of(2);
    story.pool.scale_on = vec![ScaleSignal::Memory];
    let full = Facts { memory: Reading::Value(vec![Some(0.95); 2]), ..quiet() };
    assert_eq!(story.decide(&full).target, 2);
    assert_eq!(story.decide(&Facts { waiting: Reading::Value(1.0), ..full.clone() }).target, 3);
    assert_eq!(story.decide(&Facts { waiting: Reading::Missing, ..full }).limiter, Limiter::Missing);
}

#[test]
fn jobs_that_were_shed_count_as_waiting() {
    let story = Story::of(2);
    let shed = Facts { shed_per_s: 4.0, ..quiet() };
    let decision = story.decide(&shed);
    assert_eq!((decision.target, decision.metric), (4, Some(Metric::QueueDepth)));
}

#[test]
fn busy_workers_are_not_given_up_and_never_ask_for_more() {
    let mut story = Story::of(6);
    story.now = story.now.plus_ms(300_000);
    let decision = story.decide(&Facts { busy: 6, ..quiet() });
    assert_eq!((decision.recommendation, decision.metric), (6, Some(Metric::Busy)));
    assert_eq!(story.decide(&Facts { busy: 4, ..quiet() }).recommendation, 4);
    assert_eq!(story.decide(&Facts { busy: 60, ..quiet() }).recommendation, 6);
}

#[test]
fn latency_follows_littles_law() {
    let mut story = Story::of(4);
    story.pool.scale_on = vec![ScaleSignal::Latency];
    let flow = |arrivals_per_s, run_s, waiting| Facts {
        flow: Reading::Value(Flow { arrivals_per_s, run_s }),
        waiting: Reading::Value(waiting),
        ..quiet()
    };
    // 2 a second of 2 s each are 4 workers' work, at 70 % each: 5.7.
    assert_eq!(story.decide(&flow(2.0, 2.0, 0.0)).target, 6);
    // What 6 workers clear within 6 s asks for no more; what they do not clear asks for more.
    assert_eq!(story.decide(&flow(2.0, 2.0, 17.0)).target, 6);
    assert_eq!(story.decide(&flow(2.0, 2.0, 45.0)).target, 8);
    // Within the tolerance.
    assert_eq!(story.decide(&flow(1.5, 2.0, 0.0)).limiter, Limiter::Tolerance);
    let failing = Facts { flow: Reading::Missing, ..quiet() };
    assert_eq!(story.decide(&failing).limiter, Limiter::Missing);
}

#[test]
fn the_reason_is_a_sentence() {
    let reason = |current, facts: &Facts| Story::of(current).decide(facts).reason;
    assert_eq!(
        reason(2, &seen(&[50; 2], 60.0)),
        "grows from 2 to 6: 60 jobs wait, 5 a worker aimed at, which asks for 12; at most +100 % or +4 in 15 s"
    );
    assert_eq!(
        reason(4, &seen(&[90, 90, 90, 0], 20.0)),
        "stays at 4: cpu is at 90 %, 70 % aimed at, 1 of 4 workers unmeasured, which asks for 4; within 10 % of it \
         nothing changes"
    );
    assert_eq!(
        reason(4, &Facts { waiting: Reading::Missing, ..seen(&[10; 4], 0.0) }),
        "stays at 4: cpu is at 10 %, 70 % aimed at, which asks for 1; queue_depth cannot be measured, so it does not \
         shrink"
    );
}

// === Bounds and headroom ===

fn order(workers: usize) -> Order {
    Order { workers, until: None }
}

#[test]
fn a_floor_holds_for_its_time_and_passes_through_the_same_clamps() {
    let mut story = Story::of(2);
    let until = story.now.plus_ms(600_000);
    story.overrides.floor = Some(Order { workers: 7, until: Some(until) });
    let decision = story.step(&quiet());
    assert_eq!((decision.target, decision.limiter), (7, Limiter::Min));
    assert!(decision.reason.contains("a floor of 7 holds until"), "{}", decision.reason);
    story.overrides.floor = Some(Order { workers: 25, until: Some(until) });
    assert_eq!(story.tick(&quiet()).target, 10);
    // The machine has room for three: the floor is an order, what the signals ask for is not.
    let small = Headroom { cores: Some(1.0), cpu_per_worker: Some(0.3), ..Headroom::default() };
    assert_eq!(story.tick(&Facts { headroom: small, ..quiet() }).target, 10);
    while story.now < until.plus_ms(-5_000) {
        assert_eq!(story.tick(&quiet()).target, 10);
    }
    // Afterwards it shrinks as after any other need: a window later, step by step.
    while story.now < until.plus_ms(290_000) {
        assert_eq!(story.tick(&quiet()).target, 10);
    }
    assert_eq!(story.tick(&quiet()).target, 9);
}

#[test]
fn bounds_hold_at_once() {
    let mut story = Story::of(8);
    story.overrides.max = Some(order(5));
    assert_eq!((story.step(&quiet()).target, story.decide(&quiet()).limiter), (5, Limiter::Stabilised));
    story.overrides = Override { min: Some(order(9)), ..Override::default() };
    let full = Headroom { cpu_pressure: Some(0.99), ..Headroom::default() };
    assert_eq!(story.tick(&Facts { headroom: full, ..quiet() }).target, 9);
}

#[test]
fn absurd_overrides_are_refused_and_those_that_became_absurd_are_cut() {
    let (pool, now) = (plan(), Timestamp(0));
    let check = |overrides: Override| overrides.check(&pool, 100, now).map_err(|error| error.field);
    assert_eq!(check(Override { min: Some(order(11)), ..Override::default() }), Err("min"));
    assert_eq!(check(Override { max: Some(order(1)), ..Override::default() }), Err("max"));
    assert_eq!(check(Override { min: Some(order(6)), max: Some(order(5)), floor: None }), Err("min"));
    assert_eq!(check(Override { floor: Some(order(11)), ..Override::default() }), Err("floor"));
    assert_eq!(check(Override { floor: Some(order(0)), ..Override::default() }), Err("floor"));
    assert_eq!(check(Override { max: Some(order(101)), ..Override::default() }), Err("max"));
    assert_eq!(check(Override { min: Some(order(12)), max: Some(order(20)), floor: Some(order(15)) }), Ok(()));
    let found = bounds(&pool, &Override { min: Some(order(12)), max: Some(order(4)), floor: Some(order(9)) }, now);
    assert_eq!((found.min, found.low, found.max), (4, 4, 4));
    let past = Some(Order { workers: 9, until: Some(now) });
    let found = bounds(&pool, &Override { min: past, max: past, floor: past }, now);
    assert_eq!((found.min, found.low, found.max), (2, 2, 10));
}

#[test]
fn no_pool_grows_into_what_the_machine_does_not_have() {
    let busy = seen(&[100; 4], 100.0);
    let with = |headroom| Story::of(4).decide(&Facts { headroom, ..busy.clone() });
    // 0.9 of 4 cores at 0.6 each are 6.
    let decision = with(Headroom { cores: Some(4.0), cpu_per_worker: Some(0.6), ..Headroom::default() });
    assert_eq!((decision.target, decision.limiter), (6, Limiter::Headroom));
    let memory = Headroom {
        memory_limit_bytes: Some(1_000.0),
        memory_base_bytes: 350.0,
        memory_per_worker_bytes: Some(100.0),
        ..Headroom::default()
    };
    assert_eq!(with(memory).target, 5);
    // Unknown until measured: 0.05 cores each.
    assert_eq!(with(Headroom { cores: Some(0.3), ..Headroom::default() }).target, 5);
    let memory_full = Headroom { memory_pressure: Some(0.85), ..Headroom::default() };
    for full in [Headroom { cpu_pressure: Some(0.90), ..Headroom::default() }, memory_full] {
        let decision = with(full);
        assert_eq!((decision.target, decision.limiter), (4, Limiter::Headroom));
        assert!(decision.reason.ends_with("on no pool grows"), "{}", decision.reason);
    }
    // A floor waits until there is room.
    let mut story = Story::of(4);
    story.overrides.floor = Some(order(8));
    let full = Headroom { cpu_pressure: Some(0.95), ..Headroom::default() };
    let decision = story.decide(&Facts { headroom: full, ..quiet() });
    assert_eq!((decision.target, decision.limiter), (4, Limiter::Headroom));
}

#[test]
fn a_machine_without_room_makes_a_pool_shrink_no_faster_than_anything_else() {
    let mut story = Story::of(8);
    let small = Headroom { cores: Some(1.0), cpu_per_worker: Some(0.3), ..Headroom::default() };
    let crowded = Facts { headroom: small, ..seen(&[100; 8], 100.0) };
    assert_eq!(story.step(&crowded).target, 8);
    story.now = story.now.plus_ms(295_000);
    assert_eq!(story.tick(&crowded).target, 7);
}

#[test]
fn square_root_staffing() {
    assert_eq!(sizing(&Flow { arrivals_per_s: 2.0, run_s: 2.0 }), (4.0, 6));
    assert_eq!(sizing(&Flow { arrivals_per_s: 0.0, run_s: 2.0 }), (0.0, 0));
}

#[test]
fn a_pool_that_was_wrong_to_shrink_waits_twice_as_long() {
    let mut story = Story::of(4);
    let (idle, busy) = (quiet(), Facts { waiting: Reading::Value(25.0), ..quiet() });
    story.now = story.now.plus_ms(295_000);
    assert_eq!(story.tick(&idle).target, 3);
    assert_eq!(story.tick(&busy).target, 5);
    let turned = story.now;
    while story.now < turned.plus_ms(595_000) {
        assert_eq!(story.tick(&idle).target, 5);
    }
    assert!(story.decide(&idle).reason.ends_with("it grew again after it had shrunk, so it stays for 600 s"));
    assert_eq!(story.tick(&idle).target, 4);
}

#[test]
fn a_worker_is_judged_by_more_than_its_last_job() {
    let rules = Rules::default();
    let at = |s: i64| Timestamp(s * 1_000);
    let mut usage = Usage::of_new(at(0));
    usage.note(&rules, 5.0, at(5));
    assert_eq!(usage.cores(&rules, at(5)), None, "too new");
    usage.note(&rules, 0.0, at(10));
    assert_eq!(usage.cores(&rules, at(10)), Some(0.5));
    for s in [15, 20, 25, 30] {
        usage.note(&rules, 0.0, at(s));
    }
    assert_eq!(usage.cores(&rules, at(30)), Some(5.0 / 30.0));
    usage.note(&rules, 0.0, at(35));
    assert_eq!(usage.cores(&rules, at(35)), Some(0.0));
}

#[test]
fn a_clock_that_is_set_back_ends_no_window_and_starts_no_endless_one() {
    let mut story = Story::of(10);
    story.step(&quiet());
    story.now = story.now.plus_ms(-3_600_000);
    let began = story.now;
    while story.now < began.plus_ms(295_000) {
        assert_eq!(story.tick(&quiet()).target, 10);
    }
    assert_eq!((story.tick(&quiet()).target, story.tick(&quiet()).target), (10, 9));
}

// === Properties ===

fn reading<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Reading<T>> {
    prop_oneof![8 => value.prop_map(Reading::Value), 1 => Just(Reading::Missing), 1 => Just(Reading::NoSource)]
}

fn shares() -> impl Strategy<Value = Reading<Vec<Option<f64>>>> {
    reading(prop::collection::vec(prop::option::weighted(0.8, 0.0..4.0_f64), 0..12))
}

fn headrooms() -> impl Strategy<Value = Headroom> {
    let figure = |most: f64| prop::option::of(0.0..most);
    (figure(64.0), figure(1.2), figure(1.2), figure(2.0), figure(1e10), 0.0..1e10_f64, figure(1e9)).prop_map(
        |(cores, cpu_pressure, memory_pressure, cpu_per_worker, memory_limit_bytes, memory_base_bytes, each)| {
            Headroom {
                cores,
                cpu_pressure,
                memory_pressure,
                cpu_per_worker,
                memory_limit_bytes,
                memory_base_bytes,
                memory_per_worker_bytes: each,
            }
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    let flows = (0.0..50.0_f64, 0.0..100.0_f64).prop_map(|(arrivals_per_s, run_s)| Flow { arrivals_per_s, run_s });
    (shares(), shares(), reading(0.0..500.0_f64), 0.0..20.0_f64, 0_usize..30, reading(flows), headrooms()).prop_map(
        |(cpu, memory, waiting, shed_per_s, busy, flow, headroom)| Facts {
            cpu,
            memory,
            waiting,
            shed_per_s,
            busy,
            flow,
            headroom,
        },
    )
}

fn pools() -> impl Strategy<Value = Pool> {
    let signals = [ScaleSignal::Cpu, ScaleSignal::Memory, ScaleSignal::QueueDepth, ScaleSignal::Latency];
    (1_usize..10, 0_usize..20, prop::sample::subsequence(signals.to_vec(), 0..=4))
        .prop_map(|(min, more, scale_on)| Pool { min, max: min + more, scale_on, ..plan() })
}

fn overrides() -> impl Strategy<Value = Override> {
    let order = || {
        let until = prop::option::of((0_i64..3_000_000).prop_map(Timestamp));
        prop::option::of((1_usize..40, until).prop_map(|(workers, until)| Order { workers, until }))
    };
    (order(), order(), order()).prop_map(|(min, max, floor)| Override { min, max, floor })
}

/// A pool with any past of up to eight minutes.
fn stories() -> impl Strategy<Value = Story> {
    (1_usize..30, pools(), overrides(), prop::collection::vec(facts(), 0..100)).prop_map(
        |(size, pool, overrides, past)| {
            let mut story = Story { pool, overrides, ..Story::of(size) };
            for facts in &past {
                story.tick(facts);
            }
            story
        },
    )
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?} at {}", self.pool, self.overrides, self.history, self.now)
    }
}

/// The same facts with one of them larger.
fn more(facts: &Facts, which: usize, by: f64) -> Facts {
    let mut more = facts.clone();
    let raise = |samples: &mut Reading<Vec<Option<f64>>>| {
        if let Reading::Value(samples) = samples
            && let Some(share) = samples.iter_mut().flatten().next()
        {
            *share += by;
        }
    };
    match which {
        0 => raise(&mut more.cpu),
        1 => raise(&mut more.memory),
        2 => {
            if let Reading::Value(waiting) = &mut more.waiting {
                *waiting += by * 10.0;
            }
        }
        3 => more.shed_per_s += by,
        4 => more.busy += 1,
        5 | 6 => {
            if let Reading::Value(flow) = &mut more.flow {
                *(if which == 5 { &mut flow.arrivals_per_s } else { &mut flow.run_s }) += by;
            }
        }
        _ => unreachable!(),
    }
    more
}

proptest! {
    #[test]
    fn every_target_is_within_the_bounds(mut story in stories(), facts in facts()) {
        let decision = story.tick(&facts);
        let bounds = bounds(&story.pool, &story.overrides, story.now);
        prop_assert!(1 <= bounds.min && bounds.min <= bounds.low && bounds.low <= bounds.max);
        prop_assert!((bounds.min..=bounds.max).contains(&decision.target), "{:?} {:?}", bounds, decision);
        prop_assert_eq!(story.history.size(), decision.target);
    }

    /// While the machine has the same room, more of any signal never means fewer workers.
    #[test]
    fn more_of_anything_never_means_fewer_workers(
        story in stories(), facts in facts(), which in 0_usize..7, by in 0.0..5.0_f64,
    ) {
        let (less, more) = (story.decide(&facts), story.decide(&more(&facts, which, by)));
        prop_assert!(less.target <= more.target, "{:?}\n{:?}", less, more);
    }

    #[test]
    fn nothing_grows_under_the_veto(story in stories(), mut facts in facts(), by_memory: bool) {
        let headroom = &mut facts.headroom;
        *(if by_memory { &mut headroom.memory_pressure } else { &mut headroom.cpu_pressure }) = Some(0.95);
        let decision = story.decide(&facts);
        let bounds = bounds(&story.pool, &story.overrides, story.now);
        prop_assert!(decision.target <= decision.current.max(bounds.min), "{:?}", decision);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the facts are, as long as they stay the same: the pool goes one way and stops.
    #[test]
    fn constant_input_ends_in_a_fixed_point(mut story in stories(), facts in facts()) {
        story.overrides = Override::default();
        // A window, until the past is silent, and a step a minute from 30 to 1.
        let targets: Vec<usize> = (0..480).map(|_| story.tick(&facts).target).collect();
        prop_assert!(targets[440..].iter().all(|target| *target == targets[479]), "{:?}", targets);
        let after = &targets[61..];
        prop_assert!(after.is_sorted() || after.iter().rev().is_sorted(), "{:?}", targets);
    }

    /// Whatever the facts do.
    #[test]
    fn two_windows_see_two_changes_of_direction_at_most(
        size in 1_usize..30, pool in pools(), facts in prop::collection::vec((facts(), 1_usize..40), 60),
    ) {
        let mut story = Story { pool, ..Story::of(size) };
        // Bounds are held at once, in any direction.
        story.tick(&quiet());
        story.history = History::seeded(story.history.size(), story.now);
        let mut changes: Vec<(Timestamp, Direction)> = Vec::new();
        for (facts, ticks) in &facts {
            for _ in 0..*ticks {
                let direction = story.tick(facts).direction;
                if direction != Direction::Hold {
                    changes.push((story.now, direction));
                }
            }
        }
        let turns: Vec<Timestamp> = changes.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0).collect();
        for three in turns.windows(3) {
            prop_assert!(three[2].since(three[0]) >= 600_000, "{:?}", changes);
        }
    }

    /// The load stays the same and is shared by those who are there.
    #[test]
    fn constant_load_ends_in_a_fixed_point(size in 1_usize..20, cores in 0.0..4.0_f64, waiting in 0.0..80.0_f64) {
        let mut story = Story::of(size);
        let mut targets = Vec::new();
        for _ in 0..400 {
            let size = story.history.size();
            let share = cores / 0.25 / f64::from(u32::try_from(size).unwrap());
            let cpu = vec![Some(share); size];
            targets.push(story.tick(&Facts { cpu: Reading::Value(cpu), waiting: Reading::Value(waiting), ..quiet() }).target);
        }
        prop_assert!(targets[300..].iter().all(|target| *target == targets[399]), "{:?}", targets);
        prop_assert!(targets[1..].is_sorted() || targets[1..].iter().rev().is_sorted(), "{:?}", targets);
    }

    #[test]
    fn a_square_wave_shorter_than_the_window_never_shrinks_a_pool(
        size in 1_usize..12, high in 1_usize..30, low in 1_usize..30, peak in 0.0..100.0_f64, cpu in 1_u32..200,
    ) {
        // Below the 60 ticks of the window.
        prop_assume!(high + low < 60);
        let mut story = Story::of(size.clamp(2, 10));
        let peaks = |size: usize| seen(&vec![cpu; size], peak);
        // The peak itself must not be a reason to shrink: from 10 over 6, 4 and 3 to 2 it is half an hour at most.
        for _ in 0..400 {
            story.tick(&peaks(story.history.size()));
        }
        for tick in 0..600 {
            let size = story.history.size();
            let facts = if tick % (high + low) < high { peaks(size) } else { seen(&vec![1; size], 0.0) };
            let decision = story.tick(&facts);
            prop_assert!(decision.direction != Direction::Down, "{:?}", decision);
        }
    }

    /// A restart forgets what was asked for, not how large the pool is.
    #[test]
    fn a_restart_never_shrinks_a_pool_for_one_window(
        mut story in stories(), later in prop::collection::vec(facts(), 59),
    ) {
        // Bounds that end or change are another matter.
        story.overrides = Override::default();
        story.tick(&quiet());
        let size = story.history.size();
        story.history = History::seeded(size, story.now);
        for facts in &later {
            prop_assert!(story.tick(facts).target >= size);
        }
    }
}
