//! From the ledger to the broker: accepted jobs enter their queues.
//!
//! A job is accepted when its row is committed, so a push that fails refuses nothing: the session
//! notes from which life on the broker may lack entries and pushes them again as suspect.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::broker::Push;
use crate::job::{Counters, Job, QueueName, Seq};
use crate::ledger::LiveEntry;
use crate::mutant::mutant;
use crate::service::turn;

use super::committer::Replies;
use super::core::Core;

/// How long after its commit a first push may still enter clean: less than the age at which upkeep
/// starts to look at a row.
pub(super) const CLEAN_MS: i64 = 5_000;
/// Entries in one round trip.
pub(super) const BATCH_MAX: usize = 500;

/// What the pusher is asked, in this order.
#[derive(Debug)]
pub(super) enum PushOrder {
    /// Push an entry.
    Push { queue: QueueName, push: Push },
    /// Answer the callers of a batch, once its entries were pushed: whoever hears of a job can cancel it,
    /// and a push that came after the cancel would run it all the same.
    Answer(Replies),
}

/// Where orders come from.
pub(super) type Orders = Arc<Mutex<mpsc::Receiver<PushOrder>>>;

/// Until when jobs may enter clean whose commit begins now, on the broker's clock.
pub(super) fn clean_until_ms(core: &Core) -> i64 {
    core.broker.now_ms().saturating_add(CLEAN_MS)
}

/// Hands freshly accepted jobs to the pusher. `clean_until_ms` is zero where the commit was repeated:
/// someone else may have pushed and even finished them already.
pub(super) async fn accepted(core: &Core, jobs: Vec<Arc<Job>>, clean_until_ms: i64) {
    if jobs.is_empty() {
        return;
    }
    let orders: Vec<PushOrder> = jobs.iter().map(|job| order(job, clean_until_ms)).collect();
    core.payloads.put(jobs.into_iter());
    for order in orders {
        // The pusher ends after the committers; what it no longer takes is in the ledger.
        let _gone = core.pushes.send(order).await;
    }
}

/// Answers callers once everything that was ordered before is pushed, or has failed to be.
pub(super) async fn answer_after_push(core: &Core, replies: Replies) {
    if !replies.is_empty() {
        let _gone = core.pushes.send(PushOrder::Answer(replies)).await;
    }
}

fn order(job: &Job, clean_until_ms: i64) -> PushOrder {
    let push = Push {
        id: job.spec.id.clone(),
        seq: job.seq,
        job_type: job.spec.job_type.clone(),
        priority: job.spec.priority,
        score: job.spec.score,
        due_at_ms: job.spec.due_at.map(crate::clock::Timestamp::millis),
        clean_until_ms,
        counters: Counters::default(),
        keyed: job.spec.id_given || job.spec.idempotency_key.is_some(),
    };
    PushOrder::Push { queue: job.spec.queue.clone(), push }
}

/// The suspect entry of a live row.
pub(super) fn suspect(entry: &LiveEntry) -> Push {
    Push {
        id: entry.id.clone(),
        seq: entry.seq,
        job_type: entry.job_type.clone(),
        priority: crate::job::Priority::from_number(u64::from(entry.priority)).unwrap_or(crate::job::Priority::NORMAL),
        score: entry.score,
        due_at_ms: entry.due_at.map(crate::clock::Timestamp::millis),
        clean_until_ms: if mutant!(clean_always) { i64::MAX } else { 0 },
        counters: entry.counters,
        keyed: entry.keyed,
    }
}

/// Pushes one live row as suspect: a new life that an operator started.
pub(super) async fn push_again(core: &Core, seq: Seq) {
    let row = core.ledger.live_entries(seq - 1, 1).await;
    match row.ok().and_then(|rows| rows.into_iter().next()) {
        Some(row) if row.seq == seq => push(core, &row.queue, &[suspect(&row)]).await,
        _ => core.session.lacks_from(seq),
    }
}

/// Pushes until `stop` has fired and no order is left.
pub(super) async fn run(core: Arc<Core>, orders: Orders, stop: CancellationToken) {
    let mut orders = orders.lock().await;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let count = tokio::select! {
            biased;
            count = orders.recv_many(&mut batch, BATCH_MAX) => count,
            () = stop.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        let mut queues: BTreeMap<QueueName, Vec<Push>> = BTreeMap::new();
        let mut replies = Vec::new();
        for order in batch.drain(..) {
            match order {
                PushOrder::Push { queue, push } => queues.entry(queue).or_default().push(push),
                PushOrder::Answer(reply) => replies.push(reply),
            }
        }
        for (queue, entries) in queues {
            turn(push(&core, &queue, &entries)).await;
        }
        replies.into_iter().for_each(Replies::send);
    }
}

/// Pushes one batch; what fails is left to the session.
async fn push(core: &Core, queue: &QueueName, entries: &[Push]) {
    let first = entries.iter().map(|entry| entry.seq).min().unwrap_or(0);
    if !core.session.is_open() || core.broker.is_full() {
        core.session.lacks_from(first);
        return;
    }
    if let Err(error) = core.broker.push(queue, entries).await {
        core.session.lacks_from(first);
        core.session.broker_failed(&error);
    }
}
