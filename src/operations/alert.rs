//! Alerts, as the alerting system tells of them.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// What was told of one alert. One occurrence of it is known by its fingerprint and its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertNote {
    /// Which alert: a digest of its labels.
    pub fingerprint: String,
    /// When it began to fire, as told.
    pub starts_at: Timestamp,
    /// When it ceased to; `None` while it fires.
    pub ends_at: Option<Timestamp>,
    /// Its name.
    pub name: String,
    /// Its severity; empty where it has none.
    pub severity: String,
    /// What tells it from others.
    pub labels: BTreeMap<String, String>,
    /// What is said about it.
    pub annotations: BTreeMap<String, String>,
}

/// One occurrence of an alert as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What was told of it: first, and of its end.
    pub note: AlertNote,
    /// The incident that it belongs to.
    pub incident: i64,
    /// When it was first heard of.
    pub received_at: Timestamp,
    /// When it was last heard of.
    pub heard_at: Timestamp,
}

impl Alert {
    /// When it began to fire. A beginning that was still to come when it was told is somebody's clock.
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        self.note.starts_at.min(self.received_at)
    }
}

/// What became of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The incident that the alert belongs to.
    pub incident: i64,
    /// What the note said.
    pub what: NotedAs,
}

/// What a note said that was not known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotedAs {
    /// The alert fires, and this occurrence was not known.
    New,
    /// Nothing: it was known to fire, or to have ended.
    Known,
    /// It has ended.
    Resolved,
    /// Nothing that is still true: it says that the alert fires, which is known to have ended since.
    Stale,
}

/// How bad a severity is; more is worse. Words that nobody has agreed on count as less than a warning.
#[must_use]
pub fn severity_rank(severity: &str) -> u8 {
    match severity {
        "critical" | "page" => 3,
        "error" | "high" => 2,
        "warning" => 1,
        _ => 0,
    }
}
