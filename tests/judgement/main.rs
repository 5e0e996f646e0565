//! The foreman's judgement in closed loop: decisions act on the world that they are made of. Virtual time, seeded
//! dice, no daemon.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod scaling;
