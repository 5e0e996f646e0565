//! Every Redis key, spelled once; `docs/REDIS.md` lists them with writer and expiry.
//!
//! All keys of a queue carry its name in braces, so that they share one slot of a Redis Cluster. The
//! scripts compute `lane:`, `job_lock:` and `job_result:` from [`Keys::queue`], because they meet
//! types and ids that the caller cannot know beforehand.

use crate::job::{QueueName, TypeName};

/// What a field of the meta hash starts with that names a queue; `enter` and `admit` write it.
pub(super) const QUEUE_FIELD: &str = "queue:";

/// The keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys that start with `prefix`, such as `ganger:`.
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// Hash `{ledger, epoch, open, queue:<name>}`: whom the server serves, and each queue that ever was reset or
    /// opened. One key, because a queue whose name is lost would be one whose loss nobody notices.
    pub(super) fn meta(&self) -> String {
        format!("{}meta", self.prefix)
    }

    /// Hash of the notes that nodes share, by name: `<version>;<text>`. In a cluster it has a slot of its own.
    pub(super) fn notes(&self) -> String {
        format!("{}notes", self.prefix)
    }

    /// Channel on which the names of queues are published that may have something to claim.
    pub(super) fn wakes(&self) -> String {
        format!("{}wakes", self.prefix)
    }

    /// What all keys of a queue start with.
    pub(super) fn queue(&self, queue: &QueueName) -> String {
        format!("{}{{{queue}}}:", self.prefix)
    }

    /// Hash `{ledger, epoch, open, fence, paused, paused:<type>, ready1..ready5}` of a queue.
    pub(super) fn control(&self, queue: &QueueName) -> String {
        format!("{}ctl", self.queue(queue))
    }

    /// Hash of entries by id.
    pub(super) fn jobs(&self, queue: &QueueName) -> String {
        format!("{}jobs", self.queue(queue))
    }

    /// Sorted set of ids by the millisecond at which they become due.
    pub(super) fn later(&self, queue: &QueueName) -> String {
        format!("{}later", self.queue(queue))
    }

    /// Sorted set of ids by the millisecond at which their lease ends.
    pub(super) fn leases(&self, queue: &QueueName) -> String {
        format!("{}leases", self.queue(queue))
    }

    /// Set of the types that ever had a lane.
    pub(super) fn lanes(&self, queue: &QueueName) -> String {
        format!("{}lanes", self.queue(queue))
    }

    /// Sorted set of ids by virtual deadline.
    pub(super) fn lane(&self, queue: &QueueName, job_type: &TypeName) -> String {
        format!("{}lane:{job_type}", self.queue(queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_queue_share_a_slot() {
        let keys = Keys::new("ganger:".into());
        let plan = QueueName::stored("plan");
        assert_eq!(keys.control(&plan), "ganger:{plan}:ctl");
        assert_eq!(keys.lane(&plan, &TypeName::stored("draft")), "ganger:{plan}:lane:draft");
        assert_eq!(keys.meta(), "ganger:meta");
    }
}
