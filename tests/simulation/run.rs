//! One seed, or many on all cores.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ganger::service::lock;

use crate::dice::Dice;
use crate::handler::PANIC;
use crate::world::World;
use crate::{judge, schedule};

/// What became of one seed.
#[derive(Debug, Clone)]
pub struct Ran {
    pub seed: u64,
    /// Everything that was wrong.
    pub wrong: Vec<String>,
    /// The digest of the whole run.
    pub digest: u64,
    /// Calls to the stores.
    pub calls: u64,
    /// Events of clients, handlers and stores.
    pub events: u64,
    /// How long the world lived, in its own milliseconds.
    pub lived_ms: i64,
}

thread_local! {
    /// Panics of the engine on this thread.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Counts panics, and keeps quiet about those that payloads ask for.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&PANIC) {
                PANICS.set(PANICS.get() + 1);
                before(panic);
            }
        }));
    });
}

/// Plays one seed.
pub fn seed(seed: u64, loud: bool) -> Ran {
    watch_panics();
    PANICS.set(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let dice = Dice::seeded(seed);
    let (mut wrong, world, lived_ms) = runtime.block_on(async {
        let shape = schedule::shape(&dice);
        let world = World::new(dice.part(), shape, loud);
        let rested = schedule::play(&world, &dice).await;
        let mut wrong = Vec::new();
        if !rested {
            let live: Vec<String> = world.ledger.store().live.values().map(|row| row.job.spec.id.to_string()).collect();
            let entries = schedule::entries(&world).await;
            wrong.push(format!("no rest: live jobs {live:?}, {entries} entries in the broker"));
        }
        if rested {
            schedule::read_all(&world, &dice).await;
        }
        for node in world.nodes() {
            node.leave(Duration::from_secs(5)).await;
        }
        let lived_ms = world.clock.elapsed_ms();
        (wrong, world, lived_ms)
    });
    wrong.extend(judge::judge(&world));
    if PANICS.get() > 0 {
        wrong.push(format!("{} panics", PANICS.get()));
    }
    let (digest, calls) = world.story.digest();
    let (events, lived_ms) = (world.story.entries().len() as u64, lived_ms);
    drop(runtime);
    Ran { seed, wrong, digest, calls, events, lived_ms }
}

/// Figures of many seeds.
#[derive(Debug, Default)]
pub struct Sum {
    pub seeds: u64,
    pub calls: u64,
    pub events: u64,
    pub lived_ms: i64,
    pub failed: Vec<Ran>,
}

/// Plays seeds on all cores. Failures are told as they come.
pub fn many(seeds: &[u64]) -> Sum {
    let next = AtomicU64::new(0);
    let sum = std::sync::Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&number) = seeds.get(at) else { return };
                    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| seed(number, false)));
                    let ran = ran.unwrap_or_else(|_| Ran {
                        seed: number,
                        wrong: vec!["the simulation itself panicked".to_owned()],
                        digest: 0,
                        calls: 0,
                        events: 0,
                        lived_ms: 0,
                    });
                    let mut sum = lock(&sum);
                    sum.seeds += 1;
                    sum.calls += ran.calls;
                    sum.events += ran.events;
                    sum.lived_ms += ran.lived_ms;
                    if !ran.wrong.is_empty() {
                        println!("seed {number}: {}", ran.wrong.join("\n    "));
                        sum.failed.push(ran);
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap()
}
