//! What holds whatever is measured, for any pool with any past.

use proptest::prelude::*;

use super::*;

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
