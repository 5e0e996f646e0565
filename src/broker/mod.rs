//! The broker: which jobs may run now, in what order, and who holds them.
//!
//! It is an index of the ledger and holds nothing that cannot be rebuilt from it: ids, order,
//! leases and small counters. It moves jobs; it decides nothing. Every method is one atomic step
//! (per queue) and one round trip. After an error with [`BrokerError::is_transient`] the step may
//! or may not have happened; a claim whose answer was lost comes back when its lease lapses, and
//! every other step may be repeated. A claim or a reaping that reaches the server after its caller gave
//! up does nothing: the holders that it would judge may have been cut off with it.
//! `tests/conformance/broker.rs` proves the promises below on every implementation.
//!
//! # Shape
//! A queue has one *lane* per job type, ordered by score (the virtual deadline, then the id), a set
//! of entries that are *due later*, and a set of *leases*. An entry that becomes due enters its lane
//! inside the claim itself. A claim takes the smallest scores over the open lanes.
//!
//! # Time
//! Leases, due times and stamps are on the broker's own clock (the Redis server's), never on a
//! node's.

pub mod memory;
pub mod redis;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::job::{Counters, Fence, JobId, NodeId, Priority, QueueName, Seq, TypeName};

/// An entry to put into a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The job.
    pub id: JobId,
    /// Its life.
    pub seq: Seq,
    /// Its lane.
    pub job_type: TypeName,
    /// Its priority; only the depth figures use it.
    pub priority: Priority,
    /// Its virtual deadline, in milliseconds since the epoch: smaller runs sooner.
    pub score: i64,
    /// When it is due, in milliseconds since the epoch; `None` is at once.
    pub due_at_ms: Option<i64>,
    /// The entry is clean only if the broker's clock has not passed this stamp, and no life from its own on was
    /// pushed to the queue as suspect before, or was not there to be removed: then it may be late, and be over
    /// already. Zero: suspect.
    pub clean_until_ms: i64,
    /// Counters to start from; zero for a clean entry.
    pub counters: Counters,
    /// Whether a result is to be kept for the runbook's `job_result` (given id or key).
    pub keyed: bool,
}

/// What became of one push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The entry is in its queue now.
    Added,
    /// The same life is there already; nothing changed.
    Present,
    /// An entry of an older life was replaced.
    Replaced,
    /// A newer life is there; nothing changed.
    Outlived,
}

/// A request for work.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The queue.
    pub queue: QueueName,
    /// The lanes that are open, at most 64.
    pub lanes: Vec<TypeName>,
    /// The most jobs to take; never more than there are free workers.
    pub limit: usize,
    /// Who asks.
    pub node: NodeId,
    /// How long the leases last, in milliseconds.
    pub lease_ms: i64,
    /// How long the runbook's `job_lock` lasts, in milliseconds.
    pub lock_ms: i64,
    /// How long a lock of another program is waited for before the wait counts as a deferral.
    pub lock_wait_ms: i64,
}

/// One lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The job.
    pub id: JobId,
    /// Its life.
    pub seq: Seq,
    /// Its lane.
    pub job_type: TypeName,
    /// Its virtual deadline.
    pub score: i64,
    /// The fence of this lease.
    pub fence: Fence,
    /// Counters, this delivery included.
    pub counters: Counters,
    /// Whether the row must be confirmed before the job runs: not a clean first delivery, or a
    /// `job_result` stands there.
    pub suspect: bool,
    /// See [`Push::keyed`].
    pub keyed: bool,
}

/// The answer to a claim.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// The leases.
    pub claims: Vec<Claim>,
    /// When the next entry becomes due, as a wait from now in milliseconds.
    pub next_due_in_ms: Option<i64>,
    /// Whether open lanes hold more.
    pub more: bool,
}

/// A lease that its holder names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRef {
    /// The job.
    pub id: JobId,
    /// Its life.
    pub seq: Seq,
    /// The fence of the lease.
    pub fence: Fence,
}

/// What happens to a leased entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Release {
    /// The job is at rest (or its row is gone): the entry leaves. `result` is kept as `job_result`.
    Done {
        /// JSON text and how long to keep it, in milliseconds.
        result: Option<(Bytes, i64)>,
    },
    /// It failed and is due again at this point (milliseconds since the epoch), suspect.
    Retry {
        /// When.
        due_at_ms: i64,
    },
    /// It goes back with its score and nothing is spent; `deferrals` grows by one. Suspect.
    Defer {
        /// When it is due; `None` is at once.
        due_at_ms: Option<i64>,
    },
    /// A child or worker died under it: back with its score at once, `crashes` grows by one.
    Crash,
}

/// One entry to settle.
#[derive(Debug, Clone, PartialEq)]
pub struct Settle {
    /// The lease.
    pub lease: LeaseRef,
    /// What happens.
    pub release: Release,
}

/// A lease as its holder knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The lease.
    pub lease: LeaseRef,
    /// Its holder.
    pub node: NodeId,
    /// The counters of the claim, that delivery included.
    pub counters: Counters,
}

/// What one reaping pass found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Expired leases of nodes that are gone: back in their lanes, `crashes` one up.
    pub crashed: Vec<JobId>,
    /// Expired leases of nodes that live: back in their lanes, `deferrals` one up.
    pub deferred: Vec<JobId>,
}

/// Which entries a removal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Waiting and leased ones.
    Any,
    /// Waiting ones; a leased one stays as it is.
    Waiting,
}

/// What became of one removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It waited and is gone.
    Waiting,
    /// It is leased to this node. With [`Which::Any`] the lease is gone and its lock with it.
    Leased(NodeId),
    /// No such entry.
    Absent,
}

/// One waiting or leased entry, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// The job.
    pub id: JobId,
    /// Its life.
    pub seq: Seq,
    /// Its lane.
    pub job_type: TypeName,
    /// The counters as the broker has them.
    pub counters: Counters,
    /// The lease, if it has one.
    pub lease: Option<LeaseView>,
}

/// A lease, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Its fence.
    pub fence: Fence,
    /// Its holder.
    pub node: NodeId,
    /// When it was given, in milliseconds since the epoch.
    pub claimed_at_ms: i64,
}

/// Where one entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The entry.
    pub entry: EntryView,
    /// When it becomes due (milliseconds since the epoch), if it has not entered its lane yet.
    pub due_at_ms: Option<i64>,
    /// How many entries of the lanes asked about would be claimed before it; `None` outside a lane.
    pub ahead: Option<u64>,
    /// The value of its `job_lock`, if one stands there.
    pub lock: Option<String>,
}

/// One entry met by a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The job.
    pub id: JobId,
    /// Its life.
    pub seq: Seq,
    /// Whether it is leased.
    pub leased: bool,
    /// Whether it stands in none of the places it could be claimed or reaped from.
    pub misplaced: bool,
}

/// What a queue holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Depth {
    /// Entries that wait and are due, by priority number 1 to 5 (index 0 is priority 1).
    pub ready: [u64; 5],
    /// The same entries by lane; lanes asked for only.
    pub lanes: Vec<(TypeName, u64)>,
    /// The smallest score of each lane; lanes asked for only, and only those that hold something.
    pub heads: Vec<(TypeName, i64)>,
    /// Entries due later.
    pub later: u64,
    /// Leases.
    pub leased: u64,
    /// The smallest score among entries that wait and are due, with the broker's clock beside it.
    pub head_score: Option<i64>,
    /// Which pauses the broker has in force: the queue itself (`None`) and types.
    pub paused: Vec<Option<TypeName>>,
}

/// A small text that all nodes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub name: String,
    /// Higher with every write, and never one that was given before.
    pub version: u64,
    /// What it says.
    pub text: String,
}

/// What became of a note that was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// It stands there under this version.
    Written(u64),
    /// Somebody else wrote first: what stands there instead.
    Differs(Option<Note>),
}

/// What the broker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerIdentity {
    /// The ledger it serves; `None` when it is empty.
    pub ledger_id: Option<String>,
    /// The epoch it is in; `None` when it is empty.
    pub epoch: Option<i64>,
    /// Whether claims are open.
    pub open: bool,
    /// Which server this is (`run_id` and replication id); changes when data may have been lost.
    pub server: String,
}

/// Why the broker did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be reached, timed out, or is not ready.
    #[error("the broker at {place} is unavailable: {reason}")]
    Unavailable {
        /// The URL without its secret.
        place: String,
        /// In its own words.
        reason: String,
    },
    /// It is out of memory for new entries.
    #[error("the broker at {place} is full")]
    Full {
        /// The URL without its secret.
        place: String,
    },
    /// The call carries an epoch that is over: a rebuild has happened or is needed.
    #[error("the broker at {place} is in epoch {found:?}, not {expected}")]
    Epoch {
        /// The URL without its secret.
        place: String,
        /// What the caller believed.
        expected: i64,
        /// What stands there.
        found: Option<i64>,
    },
    /// The server cannot be used at all: it may evict keys, is too old, or belongs to another ledger.
    #[error("the broker at {place} cannot be used: {reason}")]
    Unfit {
        /// The URL without its secret.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl BrokerError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Unfit { .. })
    }
}

/// A result of the broker.
pub type Result<T> = std::result::Result<T, BrokerError>;

/// The live queues.
///
/// All steps but `identity`, `reset`, `advance`, `set_paused` and those of notes fail with [`BrokerError::Epoch`] unless the
/// broker is in the epoch that was last given to [`Broker::adopt`]. A broker behind a network refuses every
/// step but `identity` as not ready until `adopt` has committed it to a server, and again whenever that server
/// may have lost something.
#[async_trait]
pub trait Broker: Send + Sync + std::fmt::Debug {
    /// Checks that the server is fit for use and says who it is. Connects if needed. Calls go on as before if
    /// it is the server that was adopted; to any other they are refused until the next [`Broker::adopt`], so
    /// that nothing is claimed there before its epoch was compared with the ledger's.
    async fn identity(&self) -> Result<BrokerIdentity>;

    /// From now on calls carry `epoch` and go to the server that [`Broker::identity`] saw last. Local, no round trip.
    fn adopt(&self, epoch: i64);

    /// Empties every queue named, enters `epoch` for `ledger_id`, and leaves claims closed.
    /// Refused when a higher epoch stands there.
    async fn reset(&self, ledger_id: &str, epoch: i64, queues: &[QueueName]) -> Result<()>;

    /// Opens claims of the adopted epoch.
    async fn open(&self, queues: &[QueueName]) -> Result<()>;

    /// Gives leases back to their holders after a reset: an entry of that life that waits and is due becomes
    /// leased under the holder's fence. Answers for each whether it is leased so now.
    async fn restore(&self, queue: &QueueName, held: &[Held], lease_ms: i64, lock_ms: i64) -> Result<Vec<bool>>;

    /// Goes from the adopted epoch to `epoch`, which the caller then adopts, without a rebuild: entries and
    /// leases stay, and fences count anew above all older ones. May be repeated.
    async fn advance(&self, epoch: i64, queues: &[QueueName]) -> Result<()>;

    /// Adds entries; answers in order. Wakes the dispatchers of the queue.
    async fn push(&self, queue: &QueueName, entries: &[Push]) -> Result<Vec<Pushed>>;

    /// Moves what is due into its lane, then leases up to `limit` entries of the open lanes, smallest
    /// score first, each with a fresh fence and the runbook's lock. Nothing while claims are closed or
    /// the queue is paused; lanes of paused types are passed over. An entry whose lock belongs to
    /// another program is put off and looked at again; one whose lock has an equal or higher fence is passed over.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claimed>;

    /// Extends leases and locks; answers for each whether it is still held. A lease that expired and
    /// that nobody took is revived.
    async fn renew(&self, queue: &QueueName, leases: &[LeaseRef], lease_ms: i64, lock_ms: i64) -> Result<Vec<bool>>;

    /// Ends leases; answers for each whether it was still held. Locks are released by compare-and-delete.
    /// A lease that is not held any more is left alone.
    async fn settle(&self, queue: &QueueName, settles: &[Settle]) -> Result<Vec<bool>>;

    /// Returns expired leases to their lanes, at most `limit`. `living` are the nodes that count as alive.
    async fn reap(&self, queue: &QueueName, living: &[NodeId], limit: usize) -> Result<Reaped>;

    /// Takes entries out unless they belong to a later life than asked; answers in order.
    async fn remove(&self, queue: &QueueName, entries: &[(JobId, Seq)], which: Which) -> Result<Vec<Removed>>;

    /// Stops (or allows) claims of a queue or, with `job_type`, of one lane.
    async fn set_paused(&self, queue: &QueueName, job_type: Option<&TypeName>, paused: bool) -> Result<()>;

    /// Moves what is due into its lane and counts.
    async fn depth(&self, queue: &QueueName, lanes: &[TypeName]) -> Result<Depth>;

    /// Entries by id; `None` for those that are not there.
    async fn inspect(&self, queue: &QueueName, ids: &[JobId]) -> Result<Vec<Option<EntryView>>>;

    /// Where one entry stands among those of `lanes`; `None` if it is not there.
    async fn place(&self, queue: &QueueName, id: &JobId, lanes: &[TypeName]) -> Result<Option<Place>>;

    /// Leased entries, at most `limit`, oldest deadline first.
    async fn leases(&self, queue: &QueueName, limit: usize) -> Result<Vec<EntryView>>;

    /// Entries in no order, about `limit` at a time, from `cursor` (`None` at first) on; the next cursor is
    /// `None` at the end. An entry that stays in its place from beginning to end is met.
    async fn scan(
        &self,
        queue: &QueueName,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Scanned>, Option<String>)>;

    /// All notes, in the order of their names. They belong to no epoch and no queue, and may be lost.
    async fn notes(&self) -> Result<Vec<Note>>;

    /// Writes a note if its version is still the `expected` one (`None`: if there is none), also when the broker is full.
    async fn write_note(&self, name: &str, expected: Option<u64>, text: &str) -> Result<Noted>;

    /// Whether there is no room for new entries, by a figure at most a second old; local, no round trip. False
    /// when the figure is older: then nothing is known.
    fn is_full(&self) -> bool;

    /// The broker's clock, in milliseconds since the epoch, as this node estimates it without a round trip.
    fn now_ms(&self) -> i64;

    /// Names each queue in which something may have become claimable. Messages may be lost.
    fn wakes(&self) -> broadcast::Receiver<QueueName>;
}
