//! What holds whatever is measured.

use proptest::prelude::*;

use super::*;

/// Values below, between and above the lines of a rule, and unknown ones.
fn value(low: f64, high: f64) -> impl Strategy<Value = Option<f64>> {
    prop_oneof![1 => Just(None), 6 => (low..high).prop_map(Some)]
}

prop_compose! {
    fn queue_facts()(
        depth in prop::option::weighted(0.9, 0_u64..2_000),
        delay_ms in prop::option::weighted(0.9, 0_i64..20_000),
        sla_ms in prop::option::weighted(0.9, 4_000_u64..20_000),
        drained_per_s in 0.0..200.0,
    ) -> QueueFacts {
        QueueFacts { depth, delay_ms, sla_ms, drained_per_s }
    }
}

prop_compose! {
    /// Facts that hold for some seconds.
    fn spell()(
        cpu in value(0.5, 1.0),
        memory in value(0.5, 1.0),
        error_rate in value(0.0, 0.5),
        response_time_p95_ms in value(0.0, 60_000.0),
        plan in queue_facts(),
        exec in queue_facts(),
        seconds in 1_i64..60,
    ) -> (Facts, i64) {
        let queues = BTreeMap::from([(name("plan"), plan), (name("exec"), exec)]);
        (Facts { cpu, memory, error_rate, response_time_p95_ms, queues }, seconds)
    }
}

fn spells() -> impl Strategy<Value = Vec<(Facts, i64)>> {
    prop::collection::vec(spell(), 1..12)
}

/// From the least to the most important.
const IMPORTANCE: [(&str, u64); 6] =
    [("batch", 5), ("other", 5), ("other", 4), ("other", 3), ("other", 2), ("other", 1)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Within one tick nothing is refused while something less important is admitted; probes aside, which chance
    /// chooses and which a roll of 0.99 never is.
    #[test]
    fn nothing_is_refused_before_what_is_less_important(spells in spells()) {
        let mut shedder = Shedder::new(settings());
        let mut now = 0;
        for (facts, seconds) in spells {
            for _ in 0..seconds {
                shedder.tick(&facts, second(now));
                now += 1;
                let standing = shedder.standing();
                let admitted: Vec<bool> = IMPORTANCE
                    .iter()
                    .map(|(job_type, priority)| verdict(&standing, job_type, *priority, 0.99) == Verdict::Admit)
                    .collect();
                prop_assert!(admitted.is_sorted(), "{admitted:?} at level {}", standing.level(&name("plan")));
                prop_assert!(admitted[5], "the first priority is always admitted");
            }
        }
    }

    /// Levels change in no quick succession, and upwards by one, unless the queue goes on where it just was; only
    /// memory near its end jumps.
    #[test]
    fn changes_are_at_least_a_step_apart(spells in spells()) {
        let mut shedder = Shedder::new(settings());
        let (mut now, mut changed) = (0, BTreeMap::<QueueName, i64>::new());
        let mut levels = BTreeMap::<QueueName, Vec<u8>>::new();
        for (facts, seconds) in spells {
            for _ in 0..seconds {
                for Change { queue, from, to, rules } in shedder.tick(&facts, second(now)) {
                    let jumped = from < CRITICAL_LEVEL
                        && to >= CRITICAL_LEVEL
                        && facts.memory.is_some_and(|memory| memory > 0.9);
                    prop_assert!(to <= LEVEL_MAX && (!rules.is_empty() || to == 0));
                    let before = levels.get(&queue).map_or(&[][..], Vec::as_slice);
                    let lately = before.iter().rev().take(5 * 30 + 5).max().copied().unwrap_or(0);
                    prop_assert!(to <= from + 1 || to <= lately || jumped, "{from} to {to}");
                    if let Some(before) = changed.insert(queue, now) {
                        prop_assert!(now - before >= 5 || jumped, "{from} to {to} after {} s", now - before);
                    }
                }
                for (queue, state) in &shedder.queues {
                    levels.entry(queue.clone()).or_default().push(state.ladder.level());
                }
                now += 1;
            }
        }
    }

    /// No rule holds a queue beyond what it knows of it.
    #[test]
    fn no_level_goes_beyond_its_rules(spells in spells()) {
        let mut shedder = Shedder::new(settings());
        let (mut now, mut above) = (0, BTreeMap::new());
        for (facts, seconds) in spells {
            for _ in 0..seconds {
                shedder.tick(&facts, second(now));
                now += 1;
                for (queue, state) in shedder.standing().queues {
                    let reach = state.rules.iter().map(|rule| state.reach.of(rule)).max().unwrap_or(0);
                    // The level falls to what its rules reach with its next step, five seconds after its last one.
                    let beyond = above.entry(queue).or_insert(0);
                    *beyond = if state.level > reach { *beyond + 1 } else { 0 };
                    prop_assert!(*beyond < 5, "level {} of {reach} for {beyond} s", state.level);
                }
            }
        }
    }

    /// Below the exits, or without any sample, everything is admitted again within the longest dwell and five steps.
    #[test]
    fn calm_or_unknown_facts_lead_back_to_level_zero(spells in spells(), unknown in any::<bool>()) {
        let mut shedder = Shedder::new(settings());
        let mut now = 0;
        for (facts, seconds) in spells {
            for _ in 0..seconds {
                shedder.tick(&facts, second(now));
                now += 1;
            }
        }
        let nothing = BTreeMap::from([(name("plan"), QueueFacts::default()), (name("exec"), QueueFacts::default())]);
        let after = if unknown { Facts { queues: nothing, ..Facts::default() } } else { calm() };
        let levels = run(&mut shedder, now, 60 + 5 * 30 + 1, &after);
        prop_assert_eq!(levels[levels.len() - 1], [0, 0]);
        prop_assert!(shedder.standing().queues.values().all(|state| state.rules.is_empty()));
    }
}
