//! Ganger beside programs that nobody here wrote. `scripts/test.sh --all` installs them and runs this; plain
//! `cargo test` leaves it out, and `cargo test --test foreign` runs it once they are there.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod mcp;
mod tools;
