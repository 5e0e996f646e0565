//! The history checker: hand-made good and bad histories, and random ones with one thing wrong.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod command;
mod judge;
mod random;
mod tale;
