//! The harness: real servers and daemons that a test starts itself and that leave nothing behind.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of the harness"
)]

pub mod cgroup;
pub mod cluster;
pub mod daemon;
pub mod model_ledger;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod sentinel;
pub mod wait;
