//! The measures that tools report, in the words of the daemon's contract.

use std::time::Duration;

use serde_json::{Value, json};

/// An element was looked for in a level (`l1`, `l2`) of the repository.
pub fn cache_lookup(cache_level: &str, hit: bool) -> Value {
    json!({ "kind": "cache_lookup", "cache_level": cache_level, "hit": hit })
}

/// A policy took its decision.
pub fn policy_evaluation(policy: &str, took: Duration) -> Value {
    json!({ "kind": "policy_evaluation", "policy": policy, "duration_ms": milliseconds(took) })
}

/// A broken locator was healed by this strategy, or could not be.
pub fn healing(strategy: &str, healed: bool, confidence: f64) -> Value {
    json!({ "kind": "healing", "strategy": strategy, "healed": healed, "confidence": confidence })
}

/// Milliseconds with microseconds behind the point.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
