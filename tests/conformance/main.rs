//! One suite per seam, run on every implementation, the real servers included.

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod deadlines;
mod ledger;
