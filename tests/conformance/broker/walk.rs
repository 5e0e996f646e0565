//! Random walks over all steps, on the in-process broker and on Redis side by side: every answer and
//! the depth after every step have to agree.
//!
//! Times are either long past or far ahead, and leases last an hour or no time at all, so that both
//! clocks lead to the same answers.

use ganger::broker::{Claim, Depth, EntryView, LeaseRef, Push, Reaped, Release, Removed, Settle, Which};
use ganger::job::Counters;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::fixture::{self, EPOCH, Fixture, HOUR, LEASE};

const LANES: [&str; 3] = ["fast", "slow", "odd"];
const IDS: usize = 8;

#[derive(Debug, Clone)]
enum Step {
    Push {
        id: usize,
        seq: i64,
        lane: usize,
        priority: u64,
        score: i64,
        is_later: bool,
        is_clean: bool,
    },
    Claim {
        lanes: usize,
        limit: usize,
        lapses: bool,
    },
    /// Names a lease by its place among those seen, spoilt or not.
    Renew {
        which: usize,
        spoilt: bool,
        lapses: bool,
    },
    Settle {
        which: usize,
        spoilt: bool,
        how: usize,
    },
    Reap {
        lives: bool,
    },
    Remove {
        id: usize,
        seq: i64,
    },
    Pause {
        lane: Option<usize>,
        paused: bool,
    },
    Rebuild,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (0..IDS, 1..5_i64, 0..LANES.len(), 1..6_u64, 0..6_i64, prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(id, seq, lane, priority, score, is_later, is_clean)| Step::Push {
            id,
            seq,
            lane,
            priority,
            score,
            is_later,
            is_clean,
        });
    let step = prop_oneof![
        8 => push,
        6 => (0..8_usize, 1..5_usize, prop::bool::weighted(0.3))
            .prop_map(|(lanes, limit, lapses)| Step::Claim { lanes, limit, lapses }),
        2 => (0..12_usize, prop::bool::weighted(0.2), prop::bool::weighted(0.3))
            .prop_map(|(which, spoilt, lapses)| Step::Renew { which, spoilt, lapses }),
        6 => (0..12_usize, prop::bool::weighted(0.1), 0..6_usize)
            .prop_map(|(which, spoilt, how)| Step::Settle { which, spoilt, how }),
        2 => any::<bool>().prop_map(|lives| Step::Reap { lives }),
        1 => (0..IDS, 1..5_i64).prop_map(|(id, seq)| Step::Remove { id, seq }),
        1 => (prop::option::of(0..LANES.len()), prop::bool::weighted(0.3))
            .prop_map(|(lane, paused)| Step::Pause { lane, paused }),
        1 => Just(Step::Rebuild),
    ];
    prop::collection::vec(step, 1..80)
}

/// What a step answered, without what only one clock knows.
#[derive(Debug, PartialEq)]
enum Answer {
    Pushed(Vec<ganger::broker::Pushed>),
    Claimed { claims: Vec<Claim>, has_next_due: bool, more: bool },
    Held(Vec<bool>),
    Reaped(Reaped),
    Removed(Vec<Removed>),
    Nothing,
}

/// Everything that can be asked of a queue.
#[derive(Debug, PartialEq)]
struct Picture {
    depth: Depth,
    views: Vec<Option<EntryView>>,
    leases: Vec<String>,
}

/// One side of the walk.
struct Side<'a> {
    fixture: &'a Fixture,
    epoch: i64,
    seen: Vec<LeaseRef>,
}

impl Side<'_> {
    async fn rebuild(&mut self, epoch: i64) {
        let broker = &self.fixture.broker;
        self.epoch = epoch;
        broker.reset("ledger-1", epoch, &[fixture::queue()]).await.unwrap();
        broker.adopt(epoch);
        broker.open(&[fixture::queue()]).await.unwrap();
    }

    /// Ids of their own in every epoch: locks outlive a rebuild in Redis, and whoever takes one over is
    /// suspect, while the in-process broker has no locks.
    fn name(&self, id: usize) -> String {
        format!("j{}-{id}", self.epoch)
    }

    fn lease(&self, which: usize, spoilt: bool) -> LeaseRef {
        let mut lease = match self.seen.len() {
            0 => fixture::lease_ref("j0", 1, 1),
            // The newest first, since older ones are mostly gone.
            many => self.seen[many - 1 - which % many].clone(),
        };
        lease.fence += i64::from(spoilt);
        lease
    }

    async fn take(&mut self, step: &Step) -> Answer {
        let fixture = self.fixture;
        let (broker, queue) = (&fixture.broker, fixture::queue());
        let now = fixture.now().await;
        match *step {
            Step::Push { id, seq, lane, priority, score, is_later, is_clean } => {
                let push = Push {
                    seq,
                    priority: fixture::priority(priority),
                    due_at_ms: is_later.then_some(now + HOUR),
                    clean_until_ms: if is_clean { now + HOUR } else { 0 },
                    counters: Counters { crashes: u32::from(!is_clean), ..Counters::default() },
                    keyed: id % 2 == 0,
                    ..fixture.entry(&self.name(id), LANES[lane], score)
                };
                Answer::Pushed(fixture.push(&[push.clone(), push]).await)
            }
            Step::Claim { lanes, limit, lapses } => {
                let open: Vec<&str> =
                    LANES.iter().enumerate().filter(|(at, _)| lanes & (1 << at) != 0).map(|(_, lane)| *lane).collect();
                let claimed = fixture.claim_for(if lapses { 0 } else { LEASE }, &open, limit).await;
                self.seen.extend(claimed.claims.iter().map(fixture::lease_of));
                let has_next_due = claimed.next_due_in_ms.is_some();
                Answer::Claimed { claims: claimed.claims, has_next_due, more: claimed.more }
            }
            Step::Renew { which, spoilt, lapses } => {
                let leases = [self.lease(which, spoilt), self.lease(which + 1, false)];
                let lease_ms = if lapses { 0 } else { LEASE };
                Answer::Held(broker.renew(&queue, &leases, lease_ms, HOUR).await.unwrap())
            }
            Step::Settle { which, spoilt, how } => {
                let lease = self.lease(which, spoilt);
                let release = [
                    Release::Done { result: None },
                    Release::Retry { due_at_ms: now + HOUR },
                    Release::Retry { due_at_ms: 1 },
                    Release::Defer { due_at_ms: None },
                    Release::Defer { due_at_ms: Some(now + HOUR) },
                    Release::Crash,
                ][how]
                    .clone();
                let settle = Settle { lease, release };
                Answer::Held(broker.settle(&queue, &[settle.clone(), settle]).await.unwrap())
            }
            Step::Reap { lives } => {
                let living = if lives { vec![fixture::node("node-1")] } else { Vec::new() };
                let mut reaped = broker.reap(&queue, &living, 100).await.unwrap();
                reaped.crashed.sort();
                reaped.deferred.sort();
                Answer::Reaped(reaped)
            }
            Step::Remove { id, seq } => {
                let name = fixture::id(&self.name(id));
                Answer::Removed(broker.remove(&queue, &[(name, seq)], Which::Any).await.unwrap())
            }
            Step::Pause { lane, paused } => {
                let lane = lane.map(|at| fixture::lane(LANES[at]));
                broker.set_paused(&queue, lane.as_ref(), paused).await.unwrap();
                Answer::Nothing
            }
            Step::Rebuild => {
                self.rebuild(self.epoch + 1).await;
                Answer::Nothing
            }
        }
    }

    async fn picture(&self) -> Picture {
        let broker = &self.fixture.broker;
        let depth = self.fixture.depth(&LANES).await;
        let ids: Vec<_> = (0..IDS).map(|n| fixture::id(&self.name(n))).collect();
        let mut views = broker.inspect(&fixture::queue(), &ids).await.unwrap();
        for lease in views.iter_mut().flatten().filter_map(|view| view.lease.as_mut()) {
            lease.claimed_at_ms = 0;
        }
        let held = broker.leases(&fixture::queue(), 100).await.unwrap();
        let mut leases: Vec<String> = held.into_iter().map(|view| view.id.to_string()).collect();
        leases.sort();
        Picture { depth, views, leases }
    }
}

/// The counts have to add up by themselves too, whatever the other side says.
fn check_sums(picture: &Picture) -> Result<(), TestCaseError> {
    let depth = &picture.depth;
    let in_lanes: u64 = depth.lanes.iter().map(|(_, length)| length).sum();
    prop_assert_eq!(depth.ready.iter().sum::<u64>(), in_lanes);
    prop_assert_eq!(in_lanes + depth.later + depth.leased, picture.views.iter().flatten().count() as u64);
    prop_assert_eq!(depth.leased, picture.leases.len() as u64);
    Ok(())
}

async fn walk(sides: &mut [Side<'_>; 2], epoch: i64, steps: &[Step]) -> Result<(), TestCaseError> {
    for side in &mut *sides {
        side.seen.clear();
        side.rebuild(epoch).await;
    }
    for step in steps {
        let answers = [sides[0].take(step).await, sides[1].take(step).await];
        prop_assert_eq!(&answers[0], &answers[1], "{:?}", step);
        let pictures = [sides[0].picture().await, sides[1].picture().await];
        prop_assert_eq!(&pictures[0], &pictures[1], "after {:?}", step);
        check_sums(&pictures[1])?;
    }
    Ok(())
}

/// Each walk starts above every epoch that the one before can have reached.
const EPOCHS_PER_WALK: i64 = 100;

#[test]
fn redis_answers_like_the_in_process_broker_on_any_walk() {
    let seed: [u8; 32] = std::array::from_fn(|_| rand::random());
    println!("seed {seed:?}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (memory, redis) = runtime.block_on(async { (Fixture::memory().await, Fixture::redis().await) });
    let sides = [&memory, &redis].map(|fixture| Side { fixture, epoch: EPOCH, seen: Vec::new() });
    let state = std::cell::RefCell::new((sides, EPOCH));
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let outcome = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let (sides, epoch) = &mut *state.borrow_mut();
        *epoch += EPOCHS_PER_WALK;
        runtime.block_on(walk(sides, *epoch, &steps))
    });
    if let Err(failure) = outcome {
        panic!("{failure}\nseed {seed:?}");
    }
}
