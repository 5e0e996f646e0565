//! Ganger: a job queue and worker daemon that loses nothing it has accepted.
//!
//! The modules are floors; each uses only those above it in this list (`docs/ARCHITECTURE.md` has
//! the map, `tests/tidy.rs` holds imports to it).

mod mutant;

pub mod chance;
pub mod clock;
pub mod job;
pub mod operations;

pub mod history;
pub mod policy;
pub mod telemetry;

pub mod host;
pub mod service;

pub mod broker;
pub mod handler;
pub mod ledger;

pub mod engine;

pub mod http;

#[cfg(feature = "platform-tools")]
pub mod platform;

pub mod app;
pub mod config;

pub mod cli;
