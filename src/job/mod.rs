//! The vocabulary: what a job is. No I/O, no async, no globals.

mod fingerprint;
mod id;
mod priority;
pub mod review;
mod state;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::clock::Timestamp;

pub use fingerprint::{AskedFor, Fingerprint, fingerprint};
pub use id::{InvalidName, JobId, JobIds, NAME_BYTES_MAX, NodeId, PoolName, QueueName, TypeName, WorkerName};
pub use priority::{PRIORITY_NAMES, Priority};
pub use review::{Review, ReviewContent, ReviewReason};
pub use state::{Event, IllegalMove, State, next};

/// One life of a job in the ledger. Every entry into the live table draws a new one, so nothing
/// that belongs to a former life can touch a later one.
pub type Seq = i64;

/// The right to settle, issued at each claim: `epoch << 32 | counter`, strictly growing per queue
/// and always below 2^53, so that Lua and JSON carry it exactly. Zero means "never claimed".
pub type Fence = i64;

/// The epoch in which a fence was given.
#[must_use]
pub fn epoch_of(fence: Fence) -> i64 {
    fence >> 32
}

/// How many fences its queue had given in that epoch, this one included.
#[must_use]
pub fn counter_of(fence: Fence) -> i64 {
    fence & 0xFFFF_FFFF
}

/// Labels that the caller attaches, for filters.
pub type Labels = BTreeMap<String, String>;

/// The most labels a job may carry.
pub const LABELS_MAX: usize = 32;

/// The most bytes of an error message that are kept.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 4096;

/// A job that has passed admission and has not been written yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id, given or generated.
    pub id: JobId,
    /// Whether the caller chose the id; then it is kept among the idempotency keys.
    pub id_given: bool,
    /// Its type.
    pub job_type: TypeName,
    /// Its queue.
    pub queue: QueueName,
    /// Its priority.
    pub priority: Priority,
    /// Its payload, JSON text.
    pub payload: Bytes,
    /// Its labels.
    pub labels: Labels,
    /// When it is due; `None` is at once.
    pub due_at: Option<Timestamp>,
    /// Its virtual deadline in milliseconds since the epoch: the order of its queue.
    pub score: i64,
    /// The caller's own time limit for one run, in milliseconds; `None` is the type's.
    pub timeout_ms: Option<u64>,
    /// How many runs it has, retries included.
    pub max_attempts: u32,
    /// The caller's idempotency key.
    pub idempotency_key: Option<String>,
    /// What makes a repeated submit the same.
    pub fingerprint: Fingerprint,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The job that enqueued it or that it replays.
    pub parent: Option<JobId>,
}

/// The four counters. Only `attempts` meets `max_attempts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Runs whose handler returned a failure or a success.
    pub attempts: u32,
    /// Leases given.
    pub deliveries: u32,
    /// Children, workers or nodes that died under the job.
    pub crashes: u32,
    /// Returns that cost nothing.
    pub deferrals: u32,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word that retry policies name: `timeout`, `http_5xx`, `browser_crash`.
    pub class: String,
    /// For people; at most [`ERROR_MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
}

impl Failure {
    /// A failure whose message is cut to [`ERROR_MESSAGE_BYTES_MAX`] at a character's edge, and whose
    /// class is cut to [`NAME_BYTES_MAX`] and freed of control characters: handlers may say anything.
    #[must_use]
    pub fn new(class: impl Into<String>, message: impl Into<String>) -> Self {
        let (mut class, mut message): (String, String) = (class.into(), message.into());
        if class.len() > NAME_BYTES_MAX {
            class.truncate(class.floor_char_boundary(NAME_BYTES_MAX));
        }
        if class.is_empty() || class.contains(char::is_control) {
            class = class.replace(char::is_control, "_");
            class.push_str(if class.is_empty() { "unspecified" } else { "" });
        }
        if message.len() > ERROR_MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX));
        }
        Self { class, message }
    }
}

/// One finished run, as `history` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub attempt: u32,
    /// The name of the worker that ran it.
    pub worker: String,
    /// The fence it ran under.
    pub fence: Fence,
    /// When it started.
    pub started_at: Timestamp,
    /// When it finished.
    pub finished_at: Timestamp,
    /// The state its settlement led to: `succeeded`, `retrying`, `failed`, `in_review`.
    pub outcome: State,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
}

/// How a job came to rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest {
    /// One of the states at rest.
    pub state: State,
    /// The result, JSON text.
    pub result: Option<Bytes>,
    /// When.
    pub finished_at: Timestamp,
}

/// A job as the ledger records it, live or at rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// This life.
    pub seq: Seq,
    /// What was accepted.
    pub spec: NewJob,
    /// The counters as last written; a running job's broker entry may be ahead.
    pub counters: Counters,
    /// The highest fence that was written.
    pub fence: Fence,
    /// Since when it could have run: its due time, its acceptance, or the start of this life.
    pub waits_from: Timestamp,
    /// Up to three latest crashes, newest first.
    pub crashed_at: Vec<Timestamp>,
    /// Finished runs, oldest first.
    pub history: Vec<Attempt>,
    /// The last failure, or why it is in review.
    pub error: Option<Failure>,
    /// How it ended, when it has.
    pub rest: Option<Rest>,
}

impl Job {
    /// The state that the ledger alone knows at `now`; `running` is the broker's to tell.
    #[must_use]
    pub fn ledger_state(&self, now: Timestamp) -> State {
        match (&self.rest, self.spec.due_at) {
            (Some(rest), _) => rest.state,
            (None, Some(due)) if due > now => {
                if self.counters.attempts > 0 {
                    State::Retrying
                } else {
                    State::Scheduled
                }
            }
            _ => State::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_classes_are_tamed() {
        assert_eq!(Failure::new("", "x").class, "unspecified");
        assert_eq!(Failure::new("a\nb", "x").class, "a_b");
        assert_eq!(Failure::new("c".repeat(900_000), "x").class.len(), NAME_BYTES_MAX);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let failure = Failure::new("x", "ä".repeat(ERROR_MESSAGE_BYTES_MAX));
        assert!(failure.message.len() <= ERROR_MESSAGE_BYTES_MAX);
        assert!(failure.message.chars().all(|c| c == 'ä'));
    }
}
