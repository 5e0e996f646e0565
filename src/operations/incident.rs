//! Incidents: one holds all alerts that overlap in time.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Grows with every incident.
    pub number: i64,
    /// The alert that opened it.
    pub name: String,
    /// The worst severity among its alerts.
    pub severity: String,
    /// When the first of its alerts began to fire.
    pub detected_at: Timestamp,
    /// When this was heard of.
    pub received_at: Timestamp,
    /// When something was first done after its detection, by a machine or a person.
    pub responded_at: Option<Timestamp>,
    /// When the last of its alerts ended; `None` while one fires. A later alert may take it back.
    pub resolved_at: Option<Timestamp>,
    /// How many alerts belong to it.
    pub alerts: u32,
    /// How many of them fire.
    pub firing: u32,
    /// What was filled in by people, each with who and when.
    pub parts: Vec<FilledPart>,
    /// What it cost, JSON text, once it has been counted for good.
    pub impact: Option<String>,
}

/// A part of a review that people fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReviewPart {
    /// Why it came to this.
    RootCause,
    /// What is done so that it does not happen again.
    ActionItems,
    /// Anything else.
    Notes,
}

impl ReviewPart {
    /// Every part, in the order of the review.
    pub const ALL: [Self; 3] = [Self::RootCause, Self::ActionItems, Self::Notes];

    /// The word in the API and the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RootCause => "root_cause",
            Self::ActionItems => "action_items",
            Self::Notes => "notes",
        }
    }

    /// The part with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// A part of a review as somebody filled it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledPart {
    /// Which.
    pub part: ReviewPart,
    /// The text; an empty one takes the part back.
    pub text: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What became of the jobs of one queue within a span of time, from their rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impact {
    /// The queue.
    pub queue: String,
    /// Accepted within it.
    pub accepted: u64,
    /// Come to rest within it, by state.
    pub finished: BTreeMap<String, u64>,
    /// First started within it later than their SLA allows, or at rest within it without having started in time.
    pub late: u64,
    /// Put off at least once (by a breaker, a pause of their node, a busy lock) and come to rest within it.
    pub put_off: u64,
    /// Accepted by the end of it and not at rest when this was counted.
    pub open: u64,
}

impl Impact {
    /// Whether no job was touched.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.accepted + self.late + self.put_off + self.open == 0 && self.finished.is_empty()
    }
}
