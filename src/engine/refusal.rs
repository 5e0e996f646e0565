//! Why the engine says no. Nothing that is refused is ever half done.

use crate::broker::BrokerError;
use crate::job::review::Decision;
use crate::job::{JobId, QueueName, State};
use crate::ledger::LedgerError;

/// A request that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text is not what it should be at all.
    #[error("{0}")]
    Malformed(String),
    /// No such job type.
    #[error("there is no job type {name:?}; known are {known}")]
    UnknownType {
        /// As asked.
        name: String,
        /// The configured ones.
        known: String,
    },
    /// A member has a value that cannot be.
    #[error("`{field}` {reason}")]
    BadField {
        /// Which member.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Items of a request that is taken whole or not at all have members that cannot be; at least one.
    #[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
    BadItems(Vec<BadItem>),
    /// More bytes than allowed.
    #[error("{what} is {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// What: `payload`, `the request body`.
        what: &'static str,
        /// Its size, as far as it was read.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The id or idempotency key belongs to another submit.
    #[error("{key} belongs to job {id}, which was submitted with another type, queue, priority, due time or payload")]
    Conflict {
        /// The id or key.
        key: String,
        /// Its owner.
        id: JobId,
    },
    /// No such thing.
    #[error("there is no {what} {name:?}{}", .known.as_ref().map(|k| format!("; known are {k}")).unwrap_or_default())]
    NotFound {
        /// `job`, `queue`, `type`, `worker`.
        what: &'static str,
        /// As asked.
        name: String,
        /// The ones there are, where they are few.
        known: Option<String>,
    },
    /// Several things have that name.
    #[error("{name:?} is the name of more than one {what}; say which: {}", .choices.join(", "))]
    Ambiguous {
        /// `worker`.
        what: &'static str,
        /// As asked.
        name: String,
        /// The full names.
        choices: Vec<String>,
    },
    /// The job is in a state that does not allow it.
    #[error("job {id} is {state}; {allowed}")]
    WrongState {
        /// The job.
        id: JobId,
        /// Its state.
        state: State,
        /// What is allowed when.
        allowed: &'static str,
    },
    /// Somebody has decided on it already.
    #[error("the review of job {id} was {} by {} at {}{}", .decision.verdict.name(), .decision.by, .decision.at,
        if .decision.note.is_empty() { String::new() } else { format!(": {}", .decision.note) })]
    Decided {
        /// The job.
        id: JobId,
        /// Who decided what, when and why.
        decision: Box<Decision>,
    },
    /// The ledger did not answer.
    #[error("{reason}{}", if *.unknown { "; whether the job was accepted is unknown, and repeating the submit with this id or key is safe" } else { "" })]
    LedgerUnavailable {
        /// In its words.
        reason: String,
        /// Whether the effect is unknown.
        unknown: bool,
        /// The id that the submit had or was given.
        id: Option<JobId>,
    },
    /// The broker did not answer, and the request needs it.
    #[error("{0}")]
    BrokerUnavailable(String),
    /// The broker has no room for more waiting jobs.
    #[error("{0}")]
    BrokerFull(String),
    /// There is too much load for jobs like this.
    #[error("queue {queue} sheds jobs like this at level {level}, because of the rule {rule}; try again later")]
    Shed {
        /// Which rule.
        rule: &'static str,
        /// The level in force.
        level: u8,
        /// The queue.
        queue: QueueName,
        /// When another try makes sense, in seconds.
        retry_after_s: u32,
    },
    /// More webhooks wait than there is room for.
    #[error("more alerts come in than can be noted; send this again later")]
    TooManyAlerts,
    /// The node is about to stop.
    #[error("this node is stopping and accepts no more jobs; ask another one")]
    Stopping,
}

/// One item of a request that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` of item {index} {reason}")]
pub struct BadItem {
    /// Which item, counted from 0.
    pub index: usize,
    /// Which member.
    pub field: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::LedgerUnavailable { unknown: error.is_unknown(), reason: error.to_string(), id: None }
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Full { .. } => Self::BrokerFull(error.to_string()),
            _ => Self::BrokerUnavailable(error.to_string()),
        }
    }
}
