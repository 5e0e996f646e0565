//! Operations: what happened to the system itself, apart from any one job. Events, alerts, the incidents that alerts
//! belong to, and the remedies that were tried.

mod alert;
mod incident;
mod remediation;

use crate::clock::Timestamp;
use crate::job::NodeId;

pub use alert::{Alert, AlertNote, Noted, NotedAs, severity_rank};
pub use incident::{FilledPart, Impact, Incident, ReviewPart};
pub use remediation::{
    Begun, NewRemediation, Occurrence, Remediation, RemediationLimits, RemediationState, SuppressedBy, not_done,
};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// An alert began or ended.
    Alert,
    /// A remedy began, ended or was suppressed.
    Action,
    /// A breaker opened or closed.
    Breaker,
    /// The level of load shedding changed.
    Shedding,
    /// A pool changed its size.
    Scaling,
    /// A worker was replaced.
    Worker,
    /// A queue or a type was paused, resumed, drained or purged.
    Pause,
    /// A person, or a program with the role `operate`, changed something.
    Order,
    /// The ledger or the broker was lost, came back or was rebuilt.
    Store,
    /// A node started, stopped or fell silent.
    Node,
    /// The backlog of reviews changed much.
    Review,
    /// Something was found that cannot be unless data is damaged or somebody else wrote it.
    Integrity,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Alert,
        Self::Action,
        Self::Breaker,
        Self::Shedding,
        Self::Scaling,
        Self::Worker,
        Self::Pause,
        Self::Order,
        Self::Store,
        Self::Node,
        Self::Review,
        Self::Integrity,
    ];

    /// The word in the API and the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Action => "action",
            Self::Breaker => "breaker",
            Self::Shedding => "shedding",
            Self::Scaling => "scaling",
            Self::Worker => "worker",
            Self::Pause => "pause",
            Self::Order => "order",
            Self::Store => "store",
            Self::Node => "node",
            Self::Review => "review",
            Self::Integrity => "integrity",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An event on its way to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The run of the daemon that noted it.
    pub node: NodeId,
    /// That node's number of this event: with it a repeated event is known.
    pub mark: i64,
    /// The node's name, for people.
    pub node_name: String,
    /// What it is about.
    pub kind: EventKind,
    /// Which one: a breaker, a pool, an alert.
    pub subject: String,
    /// One sentence for people.
    pub words: String,
    /// Figures, JSON text.
    pub detail: Option<String>,
}

/// Something in the ledger that cannot be unless data is damaged or somebody else wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Which kind; a metric's label.
    pub kind: &'static str,
    /// What and where, one sentence.
    pub words: String,
}

/// An event as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows with every event that is written.
    pub number: i64,
    /// What happened.
    pub event: NewEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
        }
        for state in RemediationState::ALL {
            assert_eq!(RemediationState::from_name(state.name()), Some(state));
        }
        for part in ReviewPart::ALL {
            assert_eq!(ReviewPart::from_name(part.name()), Some(part));
        }
        assert_eq!(EventKind::from_name("nothing"), None);
    }
}
