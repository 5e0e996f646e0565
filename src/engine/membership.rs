//! Who takes part: heartbeats through the ledger, and what nodes tell each other with them.
//!
//! Every heartbeat says that this node lives and which epoch it has heard of; while the broker is not
//! open for it, also which leases it holds. The answer names the other nodes and the ledger's epoch. That
//! is all that a rebuild needs: the node that makes it reads in the ledger who runs what, whatever
//! has become of the broker.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Held, LeaseRef};
use crate::clock::Timestamp;
use crate::job::{Counters, Fence, JobId, NodeId, QueueName, Seq};
use crate::ledger::{Heard, Node};
use crate::mutant::mutant;
use crate::operations::EventKind;
use crate::service::{lock, periodic};

use super::core::Core;
use super::report::{self, Report};

/// What is known of the nodes.
#[derive(Debug)]
pub(super) struct Membership {
    started_at: Timestamp,
    /// Nodes whose heartbeat has not lapsed, this one included.
    living: ArcSwap<Vec<NodeId>>,
    /// All nodes as last heard of.
    nodes: ArcSwap<Vec<Node>>,
    /// When a heartbeat was last answered.
    heard_at: Mutex<Instant>,
    /// When another node was last found to be lost.
    lost_at: Mutex<Option<Instant>>,
    /// The highest epoch that this node has heard of.
    epoch: AtomicI64,
    /// Asks for a heartbeat at once.
    due: Notify,
}

/// What a node shows the others, as JSON in its row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Status {
    /// The highest epoch it has heard of. It starts nothing that an earlier one gave it, but for `leases`.
    pub(super) epoch: i64,
    /// What it holds, while it sees no open broker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leases: Vec<HeldLease>,
    /// What it has and does, for lists over all nodes.
    #[serde(default)]
    pub(super) report: Report,
}

/// One lease in a [`Status`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeldLease {
    pub(super) queue: String,
    id: String,
    seq: Seq,
    fence: Fence,
    /// Attempts, deliveries, crashes, deferrals.
    counters: [u32; 4],
}

impl HeldLease {
    /// The same in the broker's words.
    pub(super) fn held(&self, node: &NodeId) -> Held {
        let [attempts, deliveries, crashes, deferrals] = self.counters;
        Held {
            lease: LeaseRef { id: JobId::stored(&self.id), seq: self.seq, fence: self.fence },
            node: node.clone(),
            counters: Counters { attempts, deliveries, crashes, deferrals },
        }
    }
}

impl Membership {
    pub(super) fn new(node: NodeId, started_at: Timestamp) -> Self {
        Self {
            started_at,
            living: ArcSwap::from_pointee(vec![node]),
            nodes: ArcSwap::default(),
            heard_at: Mutex::new(Instant::now()),
            lost_at: Mutex::default(),
            epoch: AtomicI64::new(0),
            due: Notify::new(),
        }
    }

    /// Nodes whose heartbeat has not lapsed.
    pub(super) fn living(&self) -> Arc<Vec<NodeId>> {
        self.living.load_full()
    }

    /// All nodes as last heard of, with their last words.
    pub(super) fn others(&self) -> Arc<Vec<Node>> {
        self.nodes.load_full()
    }

    /// When this node started.
    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// When a heartbeat was last answered.
    pub(super) fn heard_at(&self) -> Instant {
        *lock(&self.heard_at)
    }

    /// When another node was last found to be lost.
    pub(super) fn lost_at(&self) -> Option<Instant> {
        *lock(&self.lost_at)
    }

    /// Whether this is the one of the living nodes that tells what all of them see.
    pub(super) fn is_speaker(&self, own: &NodeId) -> bool {
        self.living().iter().min().is_none_or(|first| first == own)
    }

    /// The highest epoch that this node has heard of.
    pub(super) fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Notes an epoch of the ledger. From a higher one on, leases of earlier epochs are not started any more,
    /// and the others are told so, with what runs already, as soon as can be.
    pub(super) fn hear_of(&self, epoch: i64) {
        if self.epoch.fetch_max(epoch, Ordering::SeqCst) < epoch {
            self.speak();
        }
    }

    /// Sends a heartbeat at once.
    pub(super) fn speak(&self) {
        self.due.notify_one();
    }
}

/// Says that this node lives, and learns which others do, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let core = &core;
    periodic(core.heartbeat_period(), &core.chance, &core.membership.due, &stop, || async move {
        if let Err(error) = heartbeat(core).await {
            core.session.ledger_failed(&error);
        }
    })
    .await;
}

/// One heartbeat; answers what it heard.
pub(super) async fn heartbeat(core: &Core) -> crate::ledger::Result<Heard> {
    let members = &core.membership;
    // The epoch first: what is added to the running ones after it is not started.
    let epoch = members.epoch();
    let leases = if core.session.is_open_in(epoch) { Vec::new() } else { leases(core) };
    let node = Node {
        id: core.params.node.clone(),
        name: core.params.node_name.clone(),
        started_at: members.started_at,
        heartbeat_at: core.clock.now(),
        alive: true,
        status: serde_json::to_string(&Status { epoch, leases, report: report::own(core) }).unwrap_or_default(),
    };
    let lapse_ms = core.heartbeat_lapse_ms();
    let heard = core.ledger.heartbeat(&node, lapse_ms).await?;
    core.session.ledger_answered();
    members.nodes.store(Arc::new(heard.nodes.clone()));
    members.hear_of(heard.epoch);
    core.session.compare(heard.epoch);
    let silent_ms = std::mem::replace(&mut *lock(&members.heard_at), Instant::now()).elapsed().as_millis();
    // After an outage of the ledger nobody could say that it lives: everyone gets one more beat.
    if silent_ms <= u128::from(lapse_ms.unsigned_abs()) {
        note(core, &heard.nodes);
    }
    Ok(heard)
}

/// Notes who lives. A node that died between a commit and its push leaves jobs that only the ledger
/// knows: they are looked for at once.
fn note(core: &Core, nodes: &[Node]) {
    let known = core.membership.living();
    let lost = nodes.iter().filter(|node| !node.alive && known.contains(&node.id));
    let lost: Vec<&str> = lost.map(|node| node.name.as_str()).collect();
    let living = nodes.iter().filter(|node| node.alive || mutant!(lapse_ignored)).map(|node| node.id.clone());
    core.membership.living.store(Arc::new(living.collect()));
    if !lost.is_empty() {
        let (lost, lapse_ms) = (lost.join(", "), core.heartbeat_lapse_ms());
        tracing::warn!("No heartbeat from {lost} for {lapse_ms} ms: its leases lapse, its last pushes are looked for");
        core.sweep.nudge();
        *lock(&core.membership.lost_at) = Some(Instant::now());
        if core.membership.is_speaker(&core.params.node) {
            let words = format!("No heartbeat from {lost} for {lapse_ms} ms: it is taken for lost");
            core.timeline.note(EventKind::Node, &lost, words, Some(serde_json::json!({ "is_lost": true })));
        }
    }
}

/// Every lease of this node.
pub(super) fn leases(core: &Core) -> Vec<HeldLease> {
    let queues = core.running.by_queue();
    let told = |queue: &QueueName, run: &super::running::Run| HeldLease {
        queue: queue.to_string(),
        id: run.id.to_string(),
        seq: run.seq,
        fence: run.fence,
        counters: [run.counters.attempts, run.counters.deliveries, run.counters.crashes, run.counters.deferrals],
    };
    queues.iter().flat_map(|(queue, runs)| runs.iter().map(move |run| told(queue, run))).collect()
}

/// How long a node that has not been heard since an outage of the ledger may still speak up.
pub(super) fn grace(core: &Core) -> Duration {
    2 * core.heartbeat_period()
}
