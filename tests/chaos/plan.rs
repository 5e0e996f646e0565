//! What a round does, and how it is replayed.

use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The stores that a world stands on. Sentinel and Cluster will be further ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footing {
    /// One Redis and one Postgres.
    Plain,
}

/// One round of a scenario.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scenario: &'static str,
    pub seed: u64,
    pub footing: Footing,
    pub nodes: usize,
    /// Jobs offered a second.
    pub rate: u32,
    /// Whether operators cancel, retry, delete and pause at random.
    pub operators: bool,
    /// Whether Redis writes an append-only file.
    pub appendonly: bool,
    /// Whether Postgres is the round's own, to be stopped and killed.
    pub own_postgres: bool,
    /// Further settings of Redis.
    pub redis: Vec<(&'static str, String)>,
}

impl Plan {
    fn new(scenario: &'static str, seed: u64) -> Self {
        // A debug build and a small machine must keep up with what is offered, or nothing comes to rest.
        let rate = variable("RATE").unwrap_or(if cfg!(debug_assertions) { 40 } else { 500 });
        Self {
            scenario,
            seed,
            footing: Footing::Plain,
            nodes: 2,
            rate,
            operators: false,
            appendonly: false,
            own_postgres: false,
            redis: Vec::new(),
        }
    }

    /// Chance that belongs to this round; `part` keeps its users apart.
    pub fn dice(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part))
    }
}

/// The rounds of a scenario, one unless `GANGER_CHAOS_ROUNDS` says otherwise. The seed of each is
/// printed; `GANGER_CHAOS_SEED` gives the first.
pub fn rounds(scenario: &'static str) -> Vec<Plan> {
    let first: u64 = variable("SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let rounds: u64 = variable("ROUNDS").unwrap_or(1);
    (0..rounds).map(|round| Plan::new(scenario, first + round)).collect()
}

/// How long a store stays away: longer than a lease, or `GANGER_CHAOS_AWAY_S`.
pub fn away() -> Duration {
    Duration::from_secs(variable("AWAY_S").unwrap_or(4))
}

/// The variable `GANGER_CHAOS_NAME`, where it is set.
///
/// # Panics
/// When it is no number.
pub fn variable<T: FromStr>(name: &str) -> Option<T> {
    let name = format!("GANGER_CHAOS_{name}");
    let text = std::env::var(&name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
