//! Making the broker anew from the ledger, and starting its fences anew.
//!
//! One node, the holder of a term in the ledger, raises the epoch, empties the queues and streams all
//! live rows in as suspect entries. Meanwhile the other nodes tell in the ledger what they hold
//! (`membership.rs`), and get their leases back. Claims open when all have told, or have lapsed, and after one
//! lease at most; what is claimed then and still runs somewhere unseen is settled by the fence alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::{BrokerError, Held, Push, Pushed};
use crate::job::{NodeId, QueueName, Seq};
use crate::ledger::{LedgerError, Node, Scope};
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::telemetry::metrics;

use super::core::Core;
use super::membership::{self, Status};
use super::pusher;
use super::report::Report;
use super::session::Trouble;

/// The term's name in the ledger.
const TERM: &str = "rebuild";
/// The shortest time that a rebuild may be silent before another node takes it over.
const TERM_MS_MIN: i64 = 5_000;
/// Live rows read at once while pushing.
const PAGE: u32 = 5_000;
/// Between two looks at what the others have told.
const TELL_PAUSE: Duration = Duration::from_millis(100);

/// Takes or keeps the right to rebuild; without it another node is at it.
async fn hold_term(core: &Core) -> Result<(), Trouble> {
    let ttl_ms = core.heartbeat_lapse_ms().max(TERM_MS_MIN);
    let held = core.ledger.take_term(TERM, &core.params.node, ttl_ms).await?;
    (held || mutant!(term_ignored)).then_some(()).ok_or(Trouble::Elsewhere)
}

/// Given back, so that a next rebuild on another node need not wait for it to lapse.
async fn leave_term(core: &Core) -> Result<(), LedgerError> {
    core.ledger.take_term(TERM, &core.params.node, 0).await.map(drop)
}

/// Makes the broker anew from the ledger, in `epoch`.
pub(super) async fn rebuild(core: &Core, epoch: i64, ledger_id: &str, server: &str) -> Result<(), Trouble> {
    hold_term(core).await?;
    let started = Instant::now();
    if core.session.is_open() {
        core.session.close("the broker is being rebuilt from the ledger");
    }
    let queues = core.queues();
    // The ledger first: from here on no node may adopt an older epoch.
    if !mutant!(epoch_not_raised) {
        core.ledger.raise_epoch(epoch, server).await?;
    }
    core.membership.hear_of(epoch);
    core.broker.adopt(epoch);
    core.broker.reset(ledger_id, epoch, &queues).await?;
    core.session.lacks_nothing();
    let first = if mutant!(rebuild_without_rows) { Seq::MAX } else { 0 };
    let pushed = push_live(core, first, true).await?;
    let restored = restore(core, epoch).await?;
    if !mutant!(pause_forgotten) {
        apply_pauses(core).await?;
    }
    core.broker.open(&queues).await?;
    if let Some(seq) = pushed.left_from {
        core.session.lacks_from(seq);
    }
    leave_term(core).await?;
    for (queue, count) in &pushed.unknown {
        tracing::warn!(queue.name = %queue, count,
            "Queue {queue} is not configured: {count} live jobs of it wait in the ledger until it is back");
    }
    let (took, entries) = (started.elapsed(), pushed.added);
    metrics::rebuilt(took.as_secs_f64());
    tracing::info!(
        epoch,
        entries,
        restored,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "Rebuilt the broker from the ledger: {entries} live jobs, {restored} of them still running"
    );
    core.session.open(epoch, server);
    let words =
        format!("The broker was rebuilt from the ledger: {entries} live jobs, {restored} of them still running");
    core.timeline.note(EventKind::Store, "broker", words, Some(serde_json::json!({ "is_up": true, "epoch": epoch })));
    Ok(())
}

/// Starts the fences anew in the next epoch, without a rebuild.
pub(super) async fn advance(core: &Core, epoch: i64, server: &str) -> Result<(), Trouble> {
    hold_term(core).await?;
    core.ledger.raise_epoch(epoch, server).await?;
    core.broker.advance(epoch, &core.queues()).await?;
    core.membership.hear_of(epoch);
    core.broker.adopt(epoch);
    leave_term(core).await?;
    core.session.open(epoch, server);
    tracing::info!(epoch, "Entered epoch {epoch} without a rebuild, because the counter of fences had run far");
    Ok(())
}

/// What became of pushing live rows.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Entries that were not there before.
    pub(super) added: u64,
    /// The broker is full: it may lack the entries of lives from here on.
    pub(super) left_from: Option<Seq>,
    /// Rows of queues that are not configured here, which wait in the ledger.
    unknown: BTreeMap<QueueName, u64>,
}

/// Streams live rows after `after` into the broker as suspect entries, until it is full.
pub(super) async fn push_live(core: &Core, mut after: Seq, holds_term: bool) -> Result<Live, Trouble> {
    let (mut live, catalog) = (Live::default(), core.catalog());
    loop {
        let rows = core.ledger.live_entries(after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(live) };
        let mut queues: BTreeMap<&QueueName, Vec<Push>> = BTreeMap::new();
        for row in &rows {
            if catalog.queues.contains_key(&row.queue) {
                queues.entry(&row.queue).or_default().push(pusher::suspect(row));
            } else {
                *live.unknown.entry(row.queue.clone()).or_default() += 1;
            }
        }
        for (queue, entries) in queues {
            for batch in entries.chunks(pusher::BATCH_MAX) {
                let pushed = match core.broker.push(queue, batch).await {
                    Ok(pushed) => pushed,
                    Err(BrokerError::Full { .. }) => {
                        live.left_from = Some(after + 1);
                        return Ok(live);
                    }
                    Err(error) => return Err(error.into()),
                };
                live.added += pushed.iter().filter(|pushed| **pushed == Pushed::Added).count() as u64;
            }
        }
        after = last.seq;
        if holds_term {
            hold_term(core).await?;
        }
    }
}

/// Gives leases back to the nodes that hold them, once all have told; answers how many stand.
async fn restore(core: &Core, epoch: i64) -> Result<usize, Trouble> {
    if mutant!(no_answers) {
        return Ok(0);
    }
    let mut held: BTreeMap<QueueName, Vec<Held>> = BTreeMap::new();
    let mut take = |status: &Status, node: &NodeId| {
        for lease in &status.leases {
            held.entry(QueueName::stored(&lease.queue)).or_default().push(lease.held(node));
        }
    };
    take(&Status { epoch, leases: membership::leases(core), report: Report::default() }, &core.params.node);
    for (node, status) in told(core, epoch).await? {
        take(&status, &node);
    }
    let (mut count, lease_ms, lock_ms) = (0, core.params.lease_ms, core.params.lock_ms);
    for (queue, held) in held.iter().filter(|(queue, _)| core.catalog().queues.contains_key(*queue)) {
        let restored = core.broker.restore(queue, held, lease_ms, lock_ms).await?;
        count += restored.into_iter().filter(|restored| *restored).count();
    }
    Ok(count)
}

/// What the other nodes hold: waits until each has told or lapsed, one lease at most.
async fn told(core: &Core, epoch: i64) -> Result<BTreeMap<NodeId, Status>, Trouble> {
    let started = Instant::now();
    let patience = Duration::from_millis(core.params.lease_ms.unsigned_abs());
    let lapse = Duration::from_millis(core.heartbeat_lapse_ms().unsigned_abs());
    // Where the ledger was away, nobody's silence says anything before its next chance to speak.
    let was_silent = core.membership.heard_at().elapsed() > lapse;
    let grace = if was_silent { membership::grace(core) } else { Duration::ZERO };
    let mut told = BTreeMap::new();
    loop {
        let nodes = membership::heartbeat(core).await?.nodes;
        let others = nodes.iter().filter(|node| node.id != core.params.node);
        let (mut silent, known) = (BTreeSet::new(), core.membership.living());
        for node in others {
            let status: Status = serde_json::from_str(&node.status).unwrap_or_default();
            if status.epoch >= epoch {
                told.insert(node.id.clone(), status);
            } else if node.alive || (known.contains(&node.id) && started.elapsed() < grace) {
                silent.insert(name(node));
            }
        }
        if silent.is_empty() {
            return Ok(told);
        }
        if started.elapsed() >= patience {
            let silent: Vec<String> = silent.into_iter().collect();
            tracing::warn!("Claims open although {} did not tell what it runs", silent.join(", "));
            return Ok(told);
        }
        hold_term(core).await?;
        tokio::time::sleep(TELL_PAUSE).await;
    }
}

fn name(node: &Node) -> String {
    node.name.clone()
}

/// Sets every pause of the ledger in the broker, and lifts those that are not there any more.
pub(super) async fn apply_pauses(core: &Core) -> Result<(), Trouble> {
    let pauses = core.ledger.pauses().await?;
    let catalog = core.catalog();
    for queue in catalog.queues.keys() {
        let stopped = pauses.iter().any(|pause| pause.scope == Scope::Queue(queue.clone()));
        core.broker.set_paused(queue, None, stopped).await?;
        for known in catalog.types_of(queue) {
            let stopped = pauses.iter().any(|pause| pause.scope == Scope::Type(known.name.clone()));
            core.broker.set_paused(queue, Some(&known.name), stopped).await?;
        }
    }
    Ok(())
}
