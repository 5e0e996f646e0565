//! The real binary on real stores behind a network that fails, judged by what clients and handlers saw.
//!
//! Each scenario starts a world of its own, breaks something under load, lets everything come to
//! rest, and hands the recorded history to the checker. `GANGER_CHAOS_SEED`, `GANGER_CHAOS_ROUNDS`,
//! `GANGER_CHAOS_RATE` and `GANGER_CHAOS_AWAY_S` replay and lengthen; `scripts/chaos.sh` runs them all
//! for long.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod handler;
mod operator;
mod plan;
mod proxy;
mod story;
mod world;

mod commits;
mod losses;
mod memory;
mod network;
mod nodes;
mod outages;
