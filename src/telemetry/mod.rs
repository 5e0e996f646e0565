//! What is going on: the catalogue of metrics and the log.

pub mod logging;
pub mod metrics;
