//! Every order of events for three nodes around one breaker, up to a depth: a search over all reachable worlds.
//!
//! Each node has its own view, calls under way, and the last version of the shared note that it saw. What it does
//! with the note is what the engine does: a permit by compare-and-set, all else by reading, merging and writing.

use std::collections::HashSet;

use super::{Breaker, Call, NEVER, Pass, Phase, Record, Rules, Standing, State};
use crate::clock::Timestamp;

/// Nodes.
const ACTORS: usize = 3;
/// How long a probe may take, in ticks.
const PROBE_TICKS: i64 = 2;
/// How far the clock goes.
const TICKS_MAX: i64 = 5;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key(String);

#[derive(Debug, Clone, Default)]
struct Node {
    breaker: Breaker,
    version: Option<u64>,
    call: Option<Pass>,
}

#[derive(Debug, Clone, Default)]
struct World {
    now: i64,
    permits: u64,
    versions: u64,
    note: Option<(u64, Record)>,
    nodes: [Node; ACTORS],
    is_note_lost: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Tick,
    Start(usize),
    Probe(usize),
    Succeed(usize),
    Fail(usize),
    Return(usize),
    Sync(usize),
    Lapse(usize),
    Crash(usize),
    LoseNote,
}

impl World {
    /// The nodes are alike, so which of them is in which state makes no difference.
    fn key(&self) -> Key {
        let describe = |node: &Node| {
            let Node { breaker, version, call } = node;
            format!("{:?} {} {version:?} {call:?}", breaker.record(), breaker.failures())
        };
        let mut nodes = self.nodes.each_ref().map(describe);
        nodes.sort_unstable();
        Key(format!("{} {:?} {nodes:?}", self.now, self.note))
    }

    /// The world after a step; `None` where the step is not possible.
    fn after(&self, step: Step, rules: &Rules) -> Option<Self> {
        let mut next = self.clone();
        let now = Timestamp(self.now);
        match step {
            Step::Tick => {
                (self.now < TICKS_MAX).then_some(())?;
                next.now += 1;
            }
            Step::LoseNote => {
                next.note.take()?;
                next.is_note_lost = true;
            }
            Step::Start(at) => {
                let node = &mut next.nodes[at];
                let is_let_through =
                    matches!(node.breaker.standing(rules, now, 1), Standing::Free | Standing::Capped(_));
                (node.call.is_none() && is_let_through).then(|| node.call = Some(node.breaker.pass()))?;
            }
            Step::Probe(at) => next.take_permit(at, rules)?,
            Step::Succeed(at) => next.conclude(at, Call::Answered(0), rules)?,
            Step::Fail(at) => next.conclude(at, Call::Failed("timeout"), rules)?,
            Step::Return(at) => next.conclude(at, Call::Unknown, rules)?,
            Step::Sync(at) => next.sync(at),
            Step::Lapse(at) => {
                next.sync(at);
                next.nodes[at].breaker.lapse(rules, now)?;
            }
            Step::Crash(at) => next.nodes[at] = Node::default(),
        }
        Some(next)
    }

    /// Compare-and-set: a note that changed since it was seen is read, and no permit is taken.
    fn take_permit(&mut self, at: usize, rules: &Rules) -> Option<()> {
        let (now, id) = (Timestamp(self.now), self.permits + 1);
        let node = &mut self.nodes[at];
        if node.call.is_some() {
            return None;
        }
        let record = node.breaker.with_permits(rules, now, "node", &[id], now.plus_ms(PROBE_TICKS))?;
        if node.version != self.note.as_ref().map(|(version, _)| *version) {
            self.sync(at);
            return Some(());
        }
        self.permits = id;
        self.versions += 1;
        self.note = Some((self.versions, record.clone()));
        node.version = Some(self.versions);
        node.breaker.merge(&record);
        node.call = Some(Pass { generation: record.generation, permit: Some(id) });
        Some(())
    }

    fn conclude(&mut self, at: usize, call: Call<'_>, rules: &Rules) -> Option<()> {
        let node = &mut self.nodes[at];
        let pass = node.call.take()?;
        let before = node.breaker.clone();
        let concluded = node.breaker.conclude(pass, call, rules, Timestamp(self.now));
        if concluded.is_stale {
            assert_eq!(node.breaker, before, "a stale result changed something");
            assert!(concluded.transition.is_none());
        }
        Some(())
    }

    /// Reads, merges, writes what is known better here.
    fn sync(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some((_, record)) = &self.note {
            node.breaker.merge(record);
        }
        let known = node.breaker.record();
        if self.note.as_ref().is_none_or(|(_, record)| record != known) {
            self.versions += 1;
            self.note = Some((self.versions, known.clone()));
        }
        node.version = self.note.as_ref().map(|(version, _)| *version);
    }

    /// What all nodes would agree on.
    fn agreed(&self) -> Record {
        let noted = self.note.iter().map(|(_, record)| record);
        let known = self.nodes.iter().map(|node| node.breaker.record());
        noted.chain(known).fold(Record::default(), Record::merge)
    }

    /// Probes under way that would count.
    fn probes_under_way(&self) -> usize {
        let agreed = Breaker::from_record(self.agreed());
        self.nodes
            .iter()
            .filter_map(|node| node.call)
            .filter(|pass| pass.permit.is_some() && agreed.is_current(*pass))
            .count()
    }

    /// Lets everybody talk and time pass, with no call coming back: somebody must be let through in the end.
    fn is_stuck(&self, rules: &Rules) -> bool {
        let mut world = self.clone();
        for _ in 0..=(rules.open_ms + PROBE_TICKS + 1) {
            for at in (0..ACTORS).chain(0..ACTORS) {
                world.sync(at);
                world.nodes[at].breaker.lapse(rules, Timestamp(world.now));
                world.sync(at);
            }
            let now = Timestamp(world.now);
            if world.nodes.iter().all(|node| node.breaker.standing(rules, now, 1) != Standing::Held) {
                return false;
            }
            world.now += 1;
        }
        true
    }
}

fn steps() -> Vec<Step> {
    let of = |at| {
        [
            Step::Start(at),
            Step::Probe(at),
            Step::Succeed(at),
            Step::Fail(at),
            Step::Return(at),
            Step::Sync(at),
            Step::Lapse(at),
            Step::Crash(at),
        ]
    };
    [Step::Tick, Step::LoseNote].into_iter().chain((0..ACTORS).flat_map(of)).collect()
}

/// Walks every world that `depth` steps lead to; answers how many there are.
fn explore(start: World, rules: &Rules, depth: usize) -> usize {
    let steps = steps();
    let mut seen: HashSet<Key> = HashSet::from([start.key()]);
    let mut edge = vec![start];
    for _ in 0..depth {
        let mut next_edge = Vec::new();
        for world in &edge {
            for next in steps.iter().filter_map(|step| world.after(*step, rules)) {
                if seen.insert(next.key()) {
                    check(&next, rules);
                    next_edge.push(next);
                }
            }
        }
        edge = next_edge;
    }
    seen.len()
}

fn check(world: &World, rules: &Rules) {
    // A note that was lost between a permit and the next look of the others may be given out twice.
    if !world.is_note_lost {
        assert!(world.probes_under_way() <= rules.probes as usize, "too many probes: {world:#?}");
    }
    for node in &world.nodes {
        let State::HalfOpen { permits } = &node.breaker.record().state else { continue };
        let out = permits.iter().filter(|permit| permit.phase == Phase::Out).count();
        assert!(world.is_note_lost || out <= rules.probes as usize, "too many permits: {world:#?}");
    }
    assert!(!world.is_stuck(rules), "nobody is ever let through again: {world:#?}");
}

fn rules(probes: u32) -> Rules {
    Rules { failures: 1, open_ms: 2, probes, slow_start_ms: 1, ..Rules::default() }
}

/// All know that it opened at 0 and may be probed at once.
fn opened() -> World {
    let mut world = World::default();
    world.nodes[0].breaker.trip(Timestamp(-1), Timestamp(0), String::new());
    (0..ACTORS).for_each(|at| world.sync(at));
    world
}

#[test]
fn every_order_of_events_from_closed_keeps_the_promises() {
    let worlds = explore(World::default(), &rules(1), 7);
    println!("{worlds} worlds");
    assert!(worlds > 1_000, "{worlds}");
}

#[test]
fn every_order_of_events_from_open_keeps_the_promises() {
    let worlds = explore(opened(), &rules(1), 7);
    println!("{worlds} worlds");
    assert!(worlds > 1_000, "{worlds}");
}

#[test]
fn every_order_of_events_with_two_probes_keeps_the_promises() {
    let worlds = explore(opened(), &rules(2), 7);
    println!("{worlds} worlds");
    assert!(worlds > 1_000, "{worlds}");
}

/// The search would find a node that takes a permit without asking the others.
#[test]
fn the_search_notices_a_permit_that_was_not_agreed_on() {
    let mut world = opened();
    for at in 0..2 {
        let now = Timestamp(world.now);
        let id = u64::try_from(at).unwrap() + 1;
        let node = &mut world.nodes[at];
        let record = node.breaker.with_permits(&rules(1), now, "n", &[id], now.plus_ms(PROBE_TICKS)).unwrap();
        node.breaker.merge(&record);
        node.call = Some(Pass { generation: record.generation, permit: Some(id) });
    }
    assert_eq!(world.probes_under_way(), 2);
}

#[test]
fn a_forced_opening_without_end_is_the_only_one_that_lasts() {
    let mut breaker = Breaker::default();
    breaker.trip(Timestamp(0), NEVER, String::new());
    assert_eq!(breaker.standing(&rules(1), Timestamp(i64::MAX - 1), 1), Standing::Held);
}
