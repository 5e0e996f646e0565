//! The numbers of a breaker.

use crate::clock::Timestamp;

/// How many times the slow start doubles before it lets everything through.
const DOUBLINGS: i64 = 6;
/// Milliseconds from the end of a probe's time to the end of its permit: its node ends the run and says so.
const REPORT_MS: i64 = 1_000;

/// When a breaker opens, for how long, and how it closes. One set for all breakers.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Counted failures in a row that open it; at least 1.
    pub failures: u32,
    /// How long it stays open the first time, in milliseconds.
    pub open_ms: i64,
    /// By what the time grows with each opening in a row; 1 keeps it, at least 1.
    pub open_multiplier: f64,
    /// The longest opening, in milliseconds.
    pub open_ms_max: i64,
    /// How long it must have been closed for an opening to count as the first again, in milliseconds.
    pub forgive_ms: i64,
    /// Probes that must succeed, and that may be under way at once: 1 to 3.
    pub probes: u32,
    /// The longest time for a probe, in milliseconds; a shorter job timeout is kept.
    pub probe_ms_max: i64,
    /// One step of the slow start, in milliseconds; 0 lets everything through at once.
    pub slow_start_ms: i64,
    /// From how many milliseconds on a call is slow; `None`: no call is.
    pub slow_call_ms: Option<i64>,
    /// The share of slow calls among the last 20 that opens it, 0 to 1.
    pub slow_call_share: f64,
    /// The error classes that are counted.
    pub errors: Vec<String>,
}

impl Default for Rules {
    /// The runbook's: five failures, a minute, one probe.
    fn default() -> Self {
        let errors = ["connection", "timeout", "temporary_failure", "http_5xx", "unavailable", "spawn_failed"];
        Self {
            failures: 5,
            open_ms: 60_000,
            open_multiplier: 1.0,
            open_ms_max: 600_000,
            forgive_ms: 600_000,
            probes: 1,
            probe_ms_max: 60_000,
            slow_start_ms: 5_000,
            slow_call_ms: None,
            slow_call_share: 0.5,
            errors: errors.map(str::to_owned).to_vec(),
        }
    }
}

impl Rules {
    /// Whether a failure of this class says that the dependency is down.
    #[must_use]
    pub fn counts(&self, class: &str) -> bool {
        self.errors.iter().any(|counted| counted == class)
    }

    /// When a probe of a job that may take `timeout_ms` counts as failed if nobody reports on it. One that reaches the
    /// job's own time limit is reported as what it is, a timeout.
    #[must_use]
    pub fn probe_deadline(&self, now: Timestamp, timeout_ms: u64) -> Timestamp {
        now.plus_ms(i64::try_from(timeout_ms).unwrap_or(i64::MAX).min(self.probe_ms_max)).plus_ms(REPORT_MS)
    }

    /// How long the `opening`-th opening in a row lasts (1 for the first), in milliseconds.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "milliseconds, capped before")]
    pub(super) fn opening_ms(&self, opening: u32) -> i64 {
        let doublings = i32::try_from(opening.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.open_ms as f64 * self.open_multiplier.powi(doublings);
        grown.min(self.open_ms_max.max(self.open_ms) as f64) as i64
    }

    /// How many calls may be under way at once over all nodes, when it closed at `since`; `None`: any number.
    pub(super) fn slow_start_cap(&self, since: Timestamp, now: Timestamp) -> Option<u32> {
        let step = now.since(since).checked_div(self.slow_start_ms)?;
        (step < DOUBLINGS).then(|| 1_u32 << step)
    }

    /// When the next step of a slow start begins.
    pub(super) fn next_step(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let step = now.since(since).checked_div(self.slow_start_ms)?;
        (step < DOUBLINGS).then(|| since.plus_ms((step + 1).saturating_mul(self.slow_start_ms)))
    }

    pub(super) fn is_slow(&self, took_ms: i64) -> bool {
        self.slow_call_ms.is_some_and(|slow_ms| took_ms >= slow_ms)
    }

    #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
    pub(super) fn is_share_of_slow(&self, slow: usize, of: usize) -> bool {
        slow as f64 >= self.slow_call_share * of as f64
    }
}
