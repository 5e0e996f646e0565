//! The engine: the moving parts behind the API.

mod refusal;
mod submit;
mod views;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::job::{JobId, QueueName, Seq};
use crate::ledger::{JobFilter, Scope};
use crate::policy::catalog::Catalog;

pub use refusal::Refusal;
pub use submit::Submit;
pub use views::{Drained, Fate, JobPage, JobView, QueueView, Readiness, Submitted, TypeView};

/// Limits that admission and the API hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload of a job, in bytes.
    pub payload_bytes_max: usize,
    /// The largest result of a job, in bytes.
    pub result_bytes_max: usize,
}

/// A handle to the running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<()>,
}

/// A result of the engine.
pub type Result<T> = std::result::Result<T, Refusal>;

impl Engine {
    /// The catalogue in force.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        let _ = &self.inner;
        unimplemented!()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        unimplemented!()
    }

    /// Accepts jobs; answers in order, each for itself. A job that is answered as created is durable.
    pub async fn submit(&self, submits: Vec<Submit>) -> Vec<Result<Submitted>> {
        let _ = submits;
        unimplemented!()
    }

    /// One job, or [`Refusal::NotFound`].
    pub async fn job(&self, id: &JobId) -> Result<JobView> {
        let _ = id;
        unimplemented!()
    }

    /// One job once it is at rest, or as it is when `patience` runs out.
    pub async fn wait(&self, id: &JobId, patience: Duration) -> Result<JobView> {
        let _ = (id, patience);
        unimplemented!()
    }

    /// A page of jobs, newest first, at most `limit` (1 to 1,000), below `before`.
    pub async fn jobs(&self, filter: &JobFilter, before: Option<Seq>, limit: u32) -> Result<JobPage> {
        let _ = (filter, before, limit);
        unimplemented!()
    }

    /// Cancels a job that is not at rest.
    pub async fn cancel(&self, id: &JobId) -> Result<JobView> {
        let _ = id;
        unimplemented!()
    }

    /// Starts a new life of a job at rest that did not succeed.
    pub async fn retry(&self, id: &JobId) -> Result<JobView> {
        let _ = id;
        unimplemented!()
    }

    /// Submits a linked new job with the payload of `id`, or another one.
    pub async fn replay(&self, id: &JobId, payload: Option<Bytes>) -> Result<JobView> {
        let _ = (id, payload);
        unimplemented!()
    }

    /// Forgets a job at rest with its id and keys.
    pub async fn delete(&self, id: &JobId) -> Result<()> {
        let _ = id;
        unimplemented!()
    }

    /// All queues.
    pub async fn queues(&self) -> Result<Vec<QueueView>> {
        unimplemented!()
    }

    /// All job types.
    pub async fn types(&self) -> Result<Vec<TypeView>> {
        unimplemented!()
    }

    /// Stops claims of a queue or type on all nodes; durable before it returns.
    pub async fn pause(&self, scope: &Scope, by: &str, reason: &str) -> Result<()> {
        let _ = (scope, by, reason);
        unimplemented!()
    }

    /// Allows them again.
    pub async fn resume(&self, scope: &Scope) -> Result<()> {
        let _ = scope;
        unimplemented!()
    }

    /// Pauses a queue, then waits up to `patience` until nothing of it runs.
    pub async fn drain(&self, queue: &QueueName, by: &str, reason: &str, patience: Duration) -> Result<Drained> {
        let _ = (queue, by, reason, patience);
        unimplemented!()
    }

    /// Cancels all waiting jobs of a queue; answers how many.
    pub async fn purge(&self, queue: &QueueName, by: &str) -> Result<u64> {
        let _ = (queue, by);
        unimplemented!()
    }

    /// How ready this node is.
    pub async fn readiness(&self) -> Readiness {
        unimplemented!()
    }
}
