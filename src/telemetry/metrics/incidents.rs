//! Metrics of alerts, incidents, the timeline and integrity.
#![expect(clippy::disallowed_macros, reason = "this is the catalogue that the ban points to")]

use metrics::{counter, gauge};

use crate::operations::EventKind;

/// What integrity can be violated by.
const VIOLATIONS: [&str; 6] =
    ["unexplained_repair", "foreign_broker", "live_and_at_rest", "damaged_file", "not_json", "unreadable_row"];

pub(super) fn start_at_zero() {
    for status in ["firing", "resolved", "ignored"] {
        alerts_received(status, 0);
    }
    for kind in VIOLATIONS {
        integrity_violated(kind, 0);
    }
    for kind in EventKind::ALL {
        counter!("ganger_timeline_events_total", "kind" => kind.name()).absolute(0);
    }
    counter!("ganger_timeline_dropped_total").absolute(0);
    incidents(0, 0);
}

/// Counts alerts of webhooks: `firing`, `resolved`, `ignored`.
pub fn alerts_received(status: &'static str, count: u64) {
    counter!("ganger_alerts_received_total", "status" => status).increment(count);
}

/// Shows how many incidents are open, and the number of the newest.
#[expect(clippy::cast_precision_loss, reason = "incidents are few")]
pub fn incidents(open: usize, newest: i64) {
    gauge!("ganger_incidents_open").set(open as f64);
    counter!("ganger_incidents_total").absolute(newest.max(0).unsigned_abs());
}

/// Shows the mean of some times from detection, in milliseconds: `notice`, `response`, `resolution`.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn incident_times(phase: &'static str, times_ms: &[i64]) {
    let seconds = times_ms.iter().map(|ms| *ms as f64 / 1_000.0).sum::<f64>() / times_ms.len() as f64;
    gauge!("ganger_incident_seconds", "phase" => phase).set(seconds);
}

/// Counts an event.
pub fn timeline_noted(kind: &'static str) {
    counter!("ganger_timeline_events_total", "kind" => kind).increment(1);
}

/// Counts events that are lost.
pub fn timeline_dropped(count: u64) {
    counter!("ganger_timeline_dropped_total").increment(count);
}

/// Counts findings that cannot be.
pub fn integrity_violated(kind: &'static str, count: u64) {
    counter!("ganger_integrity_violations_total", "kind" => kind).increment(count);
}
