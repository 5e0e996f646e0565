//! After the ledger: leases end in the broker, callers that wait are woken.
//!
//! If the broker does not answer, nothing is lost: the lease lapses, the entry comes back suspect,
//! and the ledger says that its row is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::broker::{Release, Settle};
use crate::job::QueueName;
use crate::service::turn;

use super::core::Core;
use super::running::Run;

/// Leases ended in one round trip.
const BATCH_MAX: usize = 500;

/// The end of one lease.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) run: Arc<Run>,
    pub(super) release: Release,
    /// Whether the job came to rest, so that its waiters are woken.
    pub(super) at_rest: bool,
}

/// Where endings come from.
pub(super) type Endings = Arc<Mutex<mpsc::Receiver<Ending>>>;

/// Ends leases until `stop` has fired and none is left.
pub(super) async fn run(core: Arc<Core>, endings: Endings, stop: CancellationToken) {
    let mut endings = endings.lock().await;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let count = tokio::select! {
            biased;
            count = endings.recv_many(&mut batch, BATCH_MAX) => count,
            () = stop.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        turn(end(&core, std::mem::take(&mut batch))).await;
    }
}

async fn end(core: &Core, batch: Vec<Ending>) {
    core.waiters.wake(batch.iter().filter(|ending| ending.at_rest).map(|ending| &ending.run.id));
    let mut queues: BTreeMap<QueueName, (Vec<Settle>, Vec<Arc<Run>>)> = BTreeMap::new();
    for Ending { run, release, .. } in batch {
        let (settles, runs) = queues.entry(run.queue.clone()).or_default();
        settles.push(Settle { lease: run.lease(), release });
        runs.push(run);
    }
    for (queue, (settles, runs)) in queues {
        if core.session.is_open()
            && let Err(error) = core.broker.settle(&queue, &settles).await
        {
            core.session.broker_failed(&error);
        }
        for run in runs {
            core.running.remove(&run);
        }
    }
}
