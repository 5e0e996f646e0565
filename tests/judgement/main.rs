//! The foreman's judgement on real engines: handlers, children and stores that are sick in known ways, and what he
//! makes of it.
//!
//! Most tests run on virtual time, with the product's own periods; those with real children or blocked threads run on
//! real time, with short ones.
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

mod broker;
mod handlers;
mod hangs;
mod ledger;
mod life;
mod measures;
mod scaling;
mod sickness;
mod site;
mod wedges;
mod why;
