//! Callers that wait for a job to come to rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::job::JobId;
use crate::service::lock;

/// Who waits for what on this node.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<JobId, Arc<Notify>>>);

/// One registration; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    waiters: &'a Waiters,
    id: JobId,
    /// Fires when the job came to rest on this node.
    pub(super) rest: Arc<Notify>,
}

impl Waiters {
    /// Registers interest in a job.
    pub(super) fn register(&self, id: &JobId) -> Waiting<'_> {
        let rest = lock(&self.0).entry(id.clone()).or_default().clone();
        Waiting { waiters: self, id: id.clone(), rest }
    }

    /// Wakes whoever waits for these jobs.
    pub(super) fn wake<'a>(&self, ids: impl Iterator<Item = &'a JobId>) {
        let waiters = lock(&self.0);
        if waiters.is_empty() {
            return;
        }
        for rest in ids.filter_map(|id| waiters.get(id)) {
            rest.notify_waiters();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = lock(&self.waiters.0);
        // The map and this registration are the last two holders.
        if Arc::strong_count(&self.rest) <= 2 {
            waiters.remove(&self.id);
        }
    }
}
