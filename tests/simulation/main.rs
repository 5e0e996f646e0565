//! Whole clusters on virtual time, with faults that follow from a seed.
//!
//! The nodes are real engines; the ledger is the model that the conformance suite proves, the broker the
//! product's own in-memory one, and between them are wires that fail before the effect, after it, late and
//! out of order. Nothing waits for real time and nothing is left to chance, so one number tells the whole
//! run:
//!
//! ```text
//! GANGER_SIM_SEED=123 cargo test --test simulation -- replay --nocapture
//! scripts/simulate.sh [SEEDS] [FROM]
//! ```
//! Seeds that ever failed are kept in `seeds.txt` and run first.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail by panicking and print for whoever replays them"
)]

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod clients;
mod clock;
mod dice;
mod handler;
mod interleavings;
mod judge;
mod ledger;
mod logbook;
mod run;
mod scenes;
mod schedule;
mod site;
mod story;
mod world;

use tokio::time::Instant;

/// Seeds of the smoke set.
const SMOKE: u64 = 100;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")))
}

/// Seeds that failed once.
fn kept() -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines();
    let seeds = lines.filter_map(|line| line.split('#').next()).map(str::trim).filter(|line| !line.is_empty());
    seeds.map(|seed| seed.parse().unwrap()).collect()
}

fn play(seeds: &[u64]) {
    let begun = Instant::now();
    let sum = run::many(seeds);
    let took = begun.elapsed();
    println!(
        "{} seeds in {took:.1?}: {} calls, {} events, {} hours of virtual time, {} failed",
        sum.seeds,
        sum.calls,
        sum.events,
        sum.lived_ms / 3_600_000,
        sum.failed.len()
    );
    let mut failed: Vec<u64> = sum.failed.iter().map(|ran| ran.seed).collect();
    failed.sort_unstable();
    assert!(
        failed.is_empty(),
        "seeds {failed:?} failed; see one with GANGER_SIM_SEED=N cargo test --test simulation -- replay --nocapture, \
         and keep it in tests/simulation/seeds.txt"
    );
}

#[test]
fn seeds_that_failed_once_pass() {
    play(&kept());
}

#[test]
fn fresh_seeds_pass() {
    let count = number("GANGER_SIM_SEEDS").unwrap_or(SMOKE);
    let from = number("GANGER_SIM_FROM").unwrap_or(1);
    play(&(from..from + count).collect::<Vec<_>>());
}

#[test]
fn one_seed_is_one_run() {
    for seed in 1..=5 {
        let (one, other) = (run::seed(seed, false), run::seed(seed, false));
        assert_eq!((one.digest, one.calls, one.lived_ms), (other.digest, other.calls, other.lived_ms), "seed {seed}");
    }
    assert_ne!(run::seed(1, false).digest, run::seed(2, false).digest);
}

#[test]
fn replay() {
    let Some(seed) = number("GANGER_SIM_SEED") else { return };
    let ran = run::seed(seed, true);
    println!("seed {seed}: digest {:016x}, {} calls, {} events", ran.digest, ran.calls, ran.events);
    println!("{}", ran.wrong.join("\n"));
    assert!(ran.wrong.is_empty(), "seed {seed} failed");
}
