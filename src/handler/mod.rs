//! Handlers: what does a job's work. Every kind gets the same facts and gives the same answers.

pub mod builtin;
mod child;
pub mod command;
pub mod envelope;
pub mod facts;
pub mod footprint;
pub mod http;
pub mod mcp;
pub mod outside;
pub mod overrides;
pub mod reach;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{Failure, Fence, JobId, Labels, Priority, QueueName, TypeName};

pub use envelope::{Envelope, Observation};
pub use footprint::Footprint;
pub use overrides::Overrides;
pub use reach::Reach;

/// One run of one job, as its handler sees it.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The job.
    pub id: JobId,
    /// Its type.
    pub job_type: TypeName,
    /// Its queue.
    pub queue: QueueName,
    /// Its priority.
    pub priority: Priority,
    /// Which run this is; 1 for the first.
    pub attempt: u32,
    /// The fence of the lease, for systems that can refuse older ones.
    pub fence: Fence,
    /// Its labels.
    pub labels: Labels,
    /// When the run must be over.
    pub deadline: Timestamp,
    /// What is told otherwise at present.
    pub overrides: Overrides,
    /// The payload, JSON text.
    pub payload: Bytes,
    /// The most bytes of output that count; more is a failure `output_too_large`.
    pub result_bytes_max: usize,
    /// Fires when the run is to stop: deadline, cancel, lost lease, shutdown. The handler then
    /// stops its work as fast as it can and returns [`Ran::Stopped`].
    pub stop: CancellationToken,
    /// Where the handler notes the child process group that works for it.
    pub footprint: Footprint,
}

/// How one run ended, in the handler's view.
#[derive(Debug, Clone, PartialEq)]
pub enum Ran {
    /// It returned, and its envelope names no error.
    Returned {
        /// The result, JSON text, the envelope taken out.
        result: Bytes,
        /// The reserved member of the reply.
        envelope: Box<Envelope>,
    },
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// Do not try again before this many milliseconds.
        retry_after_ms: Option<u64>,
        /// The reserved member of the reply, where there was one.
        envelope: Box<Envelope>,
    },
    /// The target asked for later: no attempt is spent.
    Deferred {
        /// Milliseconds.
        retry_after_ms: u64,
        /// For people.
        reason: String,
    },
    /// A child died by a signal that Ganger did not send.
    Crashed {
        /// For people.
        message: String,
    },
    /// It stopped because it was told to.
    Stopped,
}

impl Ran {
    /// A plain failure.
    #[must_use]
    pub fn failed(class: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::new(class, message), retry_after_ms: None, envelope: Box::default() }
    }

    /// What a handler's reply says. `failure` is what its exit code or status says; an error inside
    /// the envelope beats it. `retry_after_ms` holds where the envelope says nothing else.
    #[must_use]
    pub fn replied(output: &[u8], failure: Option<Failure>, retry_after_ms: Option<u64>) -> Self {
        Self::settled(envelope::read_reply(output), failure, retry_after_ms)
    }

    /// The same of a reply that was taken apart already.
    #[must_use]
    pub fn settled(
        reply: Result<envelope::Reply, Failure>,
        failure: Option<Failure>,
        retry_after_ms: Option<u64>,
    ) -> Self {
        let (envelope::Reply { result, envelope }, failure) = match (reply, failure) {
            (Ok(reply), failure) => (reply, failure),
            (Err(bad), None) => return Self::Failed { failure: bad, retry_after_ms, envelope: Box::default() },
            (Err(bad), Some(failure)) => {
                let message = format!("{}; and {}", failure.message, bad.message);
                let failure = Failure::new(failure.class, message);
                return Self::Failed { failure, retry_after_ms, envelope: Box::default() };
            }
        };
        let named = envelope.error.as_ref().map(|error| Failure::new(error.class.clone(), error.message.clone()));
        match named.or(failure) {
            None => Self::Returned { result, envelope: Box::new(envelope) },
            Some(failure) => {
                let retry_after_ms = envelope.retry_after_ms.or(retry_after_ms);
                Self::Failed { failure, retry_after_ms, envelope: Box::new(envelope) }
            }
        }
    }

    /// A plain success.
    #[must_use]
    pub fn returned(result: impl Into<Bytes>) -> Self {
        Self::Returned { result: result.into(), envelope: Box::default() }
    }
}

/// Does the work of one job type.
#[async_trait]
pub trait Handler: Send + Sync + std::fmt::Debug {
    /// Runs one job. Never panics on a job's data. Dropping the future stops the work too.
    async fn run(&self, invocation: Invocation) -> Ran;
}

/// A shared handler.
pub type SharedHandler = Arc<dyn Handler>;
