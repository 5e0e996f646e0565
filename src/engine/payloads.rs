//! Hot payloads: the jobs that this node accepted a moment ago, so that the common path reads none
//! back from the ledger. Bounded in bytes; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::job::{Job, Seq};
use crate::service::lock;

/// What a job costs in memory beside its payload, roughly.
const OVERHEAD_BYTES: usize = 512;

/// The cache.
#[derive(Debug)]
pub(super) struct Payloads {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    jobs: HashMap<Seq, Arc<Job>>,
    order: VecDeque<(Seq, usize)>,
    bytes: usize,
}

impl Payloads {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::default() }
    }

    /// Keeps jobs.
    pub(super) fn put(&self, jobs: impl Iterator<Item = Arc<Job>>) {
        let mut held = lock(&self.held);
        for job in jobs {
            let cost = job.spec.payload.len() + OVERHEAD_BYTES;
            held.bytes += cost;
            held.order.push_back((job.seq, cost));
            held.jobs.insert(job.seq, job);
        }
        while held.bytes > self.bytes_max {
            let Some((seq, cost)) = held.order.pop_front() else { break };
            held.bytes -= cost;
            held.jobs.remove(&seq);
        }
    }

    /// Hands jobs out and forgets them; `None` for those that are not here.
    pub(super) fn take(&self, seqs: impl Iterator<Item = Seq>) -> Vec<Option<Arc<Job>>> {
        let mut held = lock(&self.held);
        seqs.map(|seq| held.jobs.remove(&seq)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::job;

    #[test]
    fn the_oldest_go_first_when_it_is_full() {
        let cache = Payloads::new(2 * (OVERHEAD_BYTES + 4));
        cache.put((1..=3).map(|seq| Arc::new(job(seq))));
        let there: Vec<bool> = cache.take(1..=3).iter().map(Option::is_some).collect();
        assert_eq!(there, [false, true, true]);
        assert!(cache.take(3..=3)[0].is_none(), "a job is handed out once");
    }
}
