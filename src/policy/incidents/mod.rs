//! Incidents: which alerts open one, what its figures are, and its review in Markdown.

mod figures;
mod markdown;
mod review;

use crate::operations::AlertNote;

pub use figures::{Figures, Standing, Thresholds};
pub use review::{Facts, review};

/// How alerts become incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long no alert may fire before an incident is over, in milliseconds.
    pub quiet_ms: i64,
    /// After how long an alert that nobody tells of counts as ended, in milliseconds.
    pub lapse_ms: i64,
    /// Names and severities of alerts that open no incident.
    pub ignore: Vec<String>,
    /// How long events, incidents and remedies are kept, in milliseconds.
    pub retention_ms: i64,
    /// The most events, and the most remedies.
    pub events_max: u64,
}

impl Default for Rules {
    fn default() -> Self {
        const DAY_MS: i64 = 86_400_000;
        Self {
            quiet_ms: 300_000,
            lapse_ms: DAY_MS,
            ignore: ["Watchdog", "info"].map(ToOwned::to_owned).into(),
            retention_ms: 90 * DAY_MS,
            events_max: 100_000,
        }
    }
}

impl Rules {
    /// Whether an alert opens no incident and is not acted on.
    #[must_use]
    pub fn ignores(&self, note: &AlertNote) -> bool {
        self.ignore.iter().any(|ignored| *ignored == note.name || *ignored == note.severity)
    }
}
