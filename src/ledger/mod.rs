//! The ledger: what was accepted and how it ended. It is the truth; the broker is its index.
//!
//! A job is accepted when its row is committed here and finished when its outcome is. Every method
//! is one atomic step. `tests/conformance/ledger.rs` proves the promises below on every
//! implementation.
//!
//! # Lives and fences
//! Every entry into the live table draws a new [`Seq`]. A settlement applies once per fence: it
//! needs `row.fence < F`, or `row.fence = F` with no settlement of `F` recorded. Finding its own
//! fence settled means that it is a repeat; anything else is stale and changes nothing.

mod accept;
mod fault;
mod logbook;
mod migrations;
mod order;
pub mod postgres;
mod review;
mod row;
mod settle;
pub mod sqlite;
mod tally;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::job::review::{Decision, Review, ReviewContent, ReviewReason};
use crate::job::{
    Attempt, Counters, Failure, Fence, Fingerprint, Job, JobId, NewJob, NodeId, QueueName, Seq, State, TypeName,
};
use crate::mutant::mutant;

pub use logbook::{IncidentFilter, Logbook, LogbookRetention, RemediationFilter};
pub use migrations::MigrationStatus;
pub use review::{ReviewBacklog, ReviewFilter, ReviewOrder, ReviewStanding};
pub use tally::{Outlived, Tally};

/// Work for one transaction. Either side may be empty.
#[derive(Debug, Default)]
pub struct Batch {
    /// Jobs to accept.
    pub accepts: Vec<NewJob>,
    /// Outcomes to record.
    pub settles: Vec<Settlement>,
    /// Whether the answer to an earlier commit of these accepts was lost. Only then can a generated id
    /// be there already, and only then is it looked for: the look costs more than the insert.
    pub repeated: bool,
}

/// The answers to a [`Batch`], in the order asked.
#[derive(Debug, Default)]
pub struct BatchAnswer {
    /// One per accept.
    pub accepts: Vec<Accepted>,
    /// One per settlement.
    pub settles: Vec<Settled>,
}

/// What became of one accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// A new live row.
    Created {
        /// Its life.
        seq: Seq,
    },
    /// The id or the idempotency key is known; nothing was written.
    Existing {
        /// The job that holds it. Its row may be gone by retention while the key still stands.
        id: JobId,
        /// Whether that job was submitted with the same fingerprint.
        same: bool,
        /// Whether it is at rest.
        at_rest: bool,
    },
}

/// The end of one run, to be recorded under its fence.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The life it belongs to.
    pub seq: Seq,
    /// The job.
    pub id: JobId,
    /// The fence of the lease it ran under.
    pub fence: Fence,
    /// What happens to the job.
    pub verdict: Verdict,
    /// The counters to write, absolute.
    pub counters: Counters,
    /// All finished runs, this one included.
    pub history: Vec<Attempt>,
    /// The failure that led here, if one did.
    pub error: Option<Failure>,
    /// Whether the job has a given id or an idempotency key; then its keys learn that it rests.
    pub keyed: bool,
    /// Jobs to accept in the same transaction, if and only if this settlement applies.
    /// Only with [`Verdict::Rest`] and state `Succeeded`.
    pub children: Vec<NewJob>,
    /// What a person decides on. Only with [`Verdict::Rest`] and state `InReview`; without it the review is that
    /// of a failure.
    pub review: Option<Box<ReviewContent>>,
}

impl Settlement {
    /// The bytes of its result and its review; 0 when it has neither.
    #[must_use]
    pub fn result_bytes(&self) -> usize {
        let review = self.review.as_ref().map_or(0, |review| review.bytes());
        match &self.verdict {
            Verdict::Rest { result: Some(result), .. } => result.len() + review,
            Verdict::Rest { .. } | Verdict::Retry { .. } => review,
        }
    }

    /// The review that it opens.
    fn opens(&self) -> Option<ReviewContent> {
        let in_review = matches!(self.verdict, Verdict::Rest { state: State::InReview, .. });
        let content = || self.review.as_deref().cloned().unwrap_or(ReviewContent::of(ReviewReason::Failed));
        in_review.then(content)
    }
}

/// What a settlement does to the live row.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The job comes to rest.
    Rest {
        /// One of the states at rest.
        state: State,
        /// JSON text.
        result: Option<Bytes>,
        /// When.
        finished_at: Timestamp,
    },
    /// It stays live and is due again.
    Retry {
        /// When.
        due_at: Timestamp,
    },
}

/// What became of one settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It was recorded, and its children with it, in order.
    Applied {
        /// One per child.
        children: Vec<Accepted>,
    },
    /// This very fence was settled before: the answer to an earlier commit was lost.
    /// Children that it accepted then are listed as existing.
    Repeat,
    /// A later fence, another life or an operator's word stands there: refused, nothing changed.
    Stale,
}

/// Fence and counters of a claim that is not a clean first delivery, to be written before it runs.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// The life.
    pub seq: Seq,
    /// The fence of the new lease.
    pub fence: Fence,
    /// The broker's counters; the row keeps the larger of each.
    pub deliveries: u32,
    /// See `deliveries`. When it grows, the row notes `now` as a crash.
    pub crashes: u32,
    /// See `deliveries`.
    pub deferrals: u32,
    /// The time of the claim.
    pub now: Timestamp,
}

/// What the row says to a [`Confirm`].
#[derive(Debug, Clone, PartialEq)]
pub enum Confirmed {
    /// The fence is written; here is the row as it is now. It may be due later.
    Live(Box<Job>),
    /// Gone, at rest, another life, or a higher fence (or this one, settled) stands there: drop the claim.
    Void,
}

/// What the broker needs to know of a live row.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveEntry {
    /// The life.
    pub seq: Seq,
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub job_type: TypeName,
    /// Its priority number, 1 to 5.
    pub priority: u8,
    /// Its virtual deadline.
    pub score: i64,
    /// When it is due, if later than at once.
    pub due_at: Option<Timestamp>,
    /// The counters as written.
    pub counters: Counters,
    /// Whether it has a given id or an idempotency key.
    pub keyed: bool,
}

/// A question about jobs, for pages newest first.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this type.
    pub job_type: Option<TypeName>,
    /// Only jobs in this state. `Running` means `Ready` here: only the broker tells them apart.
    pub state: Option<State>,
    /// Only jobs with this label.
    pub label: Option<(String, String)>,
    /// Only jobs whose last failure has this class.
    pub error_class: Option<String>,
}

/// What an operator may do to jobs directly, apart from any lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Bring a live job to rest: `Cancelled`, `Expired` or (because it is late) `InReview`. Its seq stays, so a
    /// late settlement meets the finished row and is stale. With `seq`, only that life.
    Rest {
        /// The job.
        id: JobId,
        /// Only this life, when given.
        seq: Option<Seq>,
        /// The state it comes to rest in.
        state: State,
        /// Why.
        error: Option<Failure>,
    },
    /// Start a new life of a job at rest (not a succeeded one): same id and payload, a new seq,
    /// attempts, crashes and their times at zero, history and error kept, fences kept. An open review of it
    /// is closed as retried.
    Revive {
        /// The job.
        id: JobId,
        /// Its new virtual deadline.
        score: i64,
        /// Who wants it.
        by: String,
    },
    /// Decide on the review of one life: it is approved (or edited) and succeeds, or rejected and fails.
    Decide(Box<Ruling>),
    /// Forget a job at rest, its id and its keys.
    Delete {
        /// The job.
        id: JobId,
    },
}

/// A person's word on a review.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// The job.
    pub id: JobId,
    /// Only this life: what was looked at is what is decided.
    pub seq: Seq,
    /// Who decided what and why.
    pub decision: Decision,
    /// The result that the job has from now on; `None` keeps the one it has.
    pub result: Option<Bytes>,
    /// The error that the job has from now on.
    pub error: Option<Failure>,
    /// Jobs to accept in the same transaction, if and only if this approves.
    pub children: Vec<NewJob>,
}

/// The answer to an [`Order`].
#[derive(Debug, Clone, PartialEq)]
pub enum Ordered {
    /// Done; for `Revive` the new life, else the life that was touched.
    Done {
        /// The life.
        seq: Seq,
    },
    /// A review was decided.
    Decided {
        /// Its life.
        seq: Seq,
        /// One per child, in order.
        children: Vec<Accepted>,
    },
    /// No such job.
    Unknown,
    /// The job is in a state that the order does not fit (live ones are told as `Ready`).
    WrongState(State),
}

/// Who stopped a queue or a type, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// What is stopped.
    pub scope: Scope,
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// What a pause stops.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A queue with all its types.
    Queue(QueueName),
    /// One type.
    Type(TypeName),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queue(name) => write!(f, "queue {name}"),
            Self::Type(name) => write!(f, "type {name}"),
        }
    }
}

/// What is set at run time, apart from the configuration, for all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is about: `pool`, `shedding`, ...
    pub kind: String,
    /// Which one of these.
    pub name: String,
    /// JSON text, as the kind has it.
    pub value: String,
    /// Who set it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// When it lapses by itself; `None` is never.
    pub until: Option<Timestamp>,
}

/// How much of the past is kept. Jobs in review are never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Finished rows older than this go, in milliseconds.
    pub max_age_ms: i64,
    /// The most finished rows.
    pub max_jobs: u64,
    /// The most bytes of finished payloads and results.
    pub max_bytes: u64,
    /// Keys stay at least this long after rest, in milliseconds.
    pub key_age_ms: i64,
}

/// What one pass of retention dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Finished jobs.
    pub jobs: u64,
    /// Idempotency keys and given ids.
    pub keys: u64,
    /// Whether another pass would find more.
    pub more: bool,
}

/// Sizes of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Live rows (an estimate on Postgres).
    pub live: u64,
    /// Finished rows (an estimate on Postgres).
    pub finished: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// How the connections to the store are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Those that a call has.
    pub busy: usize,
    /// Those that wait for one.
    pub idle: usize,
    /// The most there may be.
    pub most: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// One running daemon, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id, new at every start.
    pub id: NodeId,
    /// Host and process, for people: `host:pid`.
    pub name: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Its last heartbeat, on the ledger's clock.
    pub heartbeat_at: Timestamp,
    /// Whether that heartbeat is younger than the lapse that was asked about.
    pub alive: bool,
    /// What it shows the others, JSON text (workers, leases it holds during a rebuild).
    pub status: String,
}

/// What a heartbeat hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// All nodes whose heartbeat is younger than an hour, this one among them.
    pub nodes: Vec<Node>,
    /// The epoch as it stands in the ledger.
    pub epoch: i64,
}

/// Which ledger this is and which Redis it last worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the ledger was made; Redis carries it too.
    pub ledger_id: String,
    /// Raised at every rebuild of a broker.
    pub epoch: i64,
    /// The `run_id` and replication id of the Redis that the epoch was opened on.
    pub broker_identity: String,
}

/// Why the ledger did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached or is too busy; nothing is known to be written.
    #[error("the ledger at {place} is unavailable: {reason}")]
    Unavailable {
        /// The URL without its secret, or the file.
        place: String,
        /// In the store's words.
        reason: String,
        /// Whether the failure came while a COMMIT was under way, so that its effect is unknown.
        in_commit: bool,
    },
    /// The disk is full; reads still work.
    #[error("the disk that holds the ledger {place} is full")]
    Full {
        /// The file.
        place: String,
    },
    /// The store refuses this data itself; repeating it would fail again.
    #[error("the ledger at {place} refused the data: {reason}")]
    Refused {
        /// The URL without its secret, or the file.
        place: String,
        /// In the store's words.
        reason: String,
    },
    /// The schema is missing or of another version.
    #[error("the ledger at {place} needs its schema: {reason}")]
    Schema {
        /// The URL without its secret, or the file.
        place: String,
        /// What is missing and how to get it.
        reason: String,
    },
}

impl LedgerError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }

    /// Whether the effect of the call is unknown.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unavailable { in_commit: true, .. }) && !mutant!(unknown_is_refused)
    }
}

/// A result of the ledger.
pub type Result<T> = std::result::Result<T, LedgerError>;

/// The record of all jobs; with it, in the same store, the [`Logbook`] of operations.
#[async_trait]
pub trait Ledger: Logbook + Send + Sync + std::fmt::Debug {
    /// Accepts and settles in one transaction: all of it is durable when this returns, or none.
    ///
    /// Repeating a batch whose answer was lost is harmless when it says so: a generated id that is already live or
    /// at rest with the same fingerprint counts as `Created` again (its present life), a settled
    /// fence as `Repeat`. Accepts that repeat a key or id within the batch meet the first of them.
    async fn commit(&self, batch: &Batch) -> Result<BatchAnswer>;

    /// Writes the fences of claims that are not clean first deliveries and reads their rows.
    async fn confirm(&self, claims: &[Confirm]) -> Result<Vec<Confirmed>>;

    /// Whether a job's given id or idempotency key is known, so that it would not be accepted as new; in order.
    async fn knows(&self, jobs: &[NewJob]) -> Result<Vec<bool>>;

    /// Live rows by life; those that are gone are left out. For payloads that no cache holds.
    async fn live_jobs(&self, seqs: &[Seq]) -> Result<Vec<Job>>;

    /// Jobs by id, live or at rest; unknown ones are left out.
    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Job>>;

    /// A page of jobs with `seq` below `before`, newest first, at most `limit`. `now` decides what
    /// is due.
    async fn page(&self, filter: &JobFilter, before: Option<Seq>, limit: u32, now: Timestamp) -> Result<Vec<Job>>;

    /// The fences that live rows carry, in the order asked; `None` for lives that are gone or at rest.
    async fn fences(&self, seqs: &[Seq]) -> Result<Vec<Option<Fence>>>;

    /// The highest life drawn so far, committed or not; 0 before the first.
    async fn last_seq(&self) -> Result<Seq>;

    /// Live rows after `after` in the order of `seq`, at most `limit`: the source of every rebuild.
    ///
    /// On Postgres a transaction draws its lives before it commits, so a row may appear below one that was
    /// read already. Who must not miss such rows looks again later, as the sweep does.
    async fn live_entries(&self, after: Seq, limit: u32) -> Result<Vec<LiveEntry>>;

    /// Live rows of `job_type` whose due time (or acceptance) lies before `before`, oldest first,
    /// at most `limit`: those that are late.
    async fn late_entries(&self, job_type: &TypeName, before: Timestamp, limit: u32) -> Result<Vec<LiveEntry>>;

    /// Carries out operators' orders in one transaction, answers in order.
    async fn order(&self, orders: &[Order], now: Timestamp) -> Result<Vec<Ordered>>;

    /// A page of reviews, at most `limit`, beyond the number `from` in the order asked for.
    async fn reviews(
        &self,
        filter: &ReviewFilter,
        order: ReviewOrder,
        from: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Review>>;

    /// The latest reviews of one job, newest first: one for each life that came to review.
    async fn reviews_of(&self, job: &JobId) -> Result<Vec<Review>>;

    /// How many reviews are open, by reason; reasons without any are left out.
    async fn review_backlog(&self) -> Result<Vec<ReviewBacklog>>;

    /// All pauses in force.
    async fn pauses(&self) -> Result<Vec<Pause>>;

    /// Sets a pause (or replaces it), or lifts it with `None`. True if something changed.
    async fn set_pause(&self, scope: &Scope, pause: Option<&Pause>) -> Result<bool>;

    /// All settings, lapsed ones among them.
    async fn settings(&self) -> Result<Vec<Setting>>;

    /// Sets a setting, or replaces the one of its kind and name.
    async fn set_setting(&self, setting: &Setting) -> Result<()>;

    /// Drops a setting unless one stands there that was set later than `since`. True if it did.
    async fn drop_setting(&self, kind: &str, name: &str, since: Timestamp) -> Result<bool>;

    /// Drops a bounded part of what retention no longer covers.
    async fn retain(&self, retention: Retention, now: Timestamp) -> Result<Dropped>;

    /// Adds to tallies. A node numbers its additions upwards; one whose number (or a higher one) it has added before
    /// changes nothing, so that repeating an addition whose answer was lost is harmless. None of `tallies` repeats
    /// another's measure, label and minute.
    async fn add_tallies(&self, node: &NodeId, number: i64, tallies: &[Tally]) -> Result<()>;

    /// All tallies from minute `since` on.
    async fn tallies(&self, since: i64) -> Result<Vec<Tally>>;

    /// Drops tallies that are of no use any more; answers how many.
    async fn drop_tallies(&self, outlived: &[Outlived]) -> Result<u64>;

    /// Notes that `node` is alive and hears of the others. `lapse_ms` says after how long a silent node
    /// counts as gone.
    async fn heartbeat(&self, node: &Node, lapse_ms: i64) -> Result<Heard>;

    /// Forgets a node that leaves in order.
    async fn leave(&self, node: &NodeId) -> Result<()>;

    /// Takes or renews a named term for `ttl_ms` on the ledger's clock; true if `holder` has it now.
    async fn take_term(&self, name: &str, holder: &NodeId, ttl_ms: i64) -> Result<bool>;

    /// Which ledger this is.
    async fn identity(&self) -> Result<Identity>;

    /// Raises the epoch to `epoch` (if it is lower) and notes the broker it is opened on; answers the identity as it is then.
    async fn raise_epoch(&self, epoch: i64, broker_identity: &str) -> Result<Identity>;

    /// Sizes for the metrics.
    async fn sizes(&self) -> Result<Sizes>;

    /// Answers if the store does.
    async fn ping(&self) -> Result<()>;

    /// Opens new connections to the store and, once it has answered on one of them, leaves the old ones without cutting
    /// a call short. False: it has none that could be renewed.
    async fn renew(&self) -> Result<bool> {
        Ok(false)
    }

    /// How the connections to the store are used; `None`: it has none.
    fn connections(&self) -> Option<Connected> {
        None
    }

    /// Leaves the store in order: what is written is in its place, connections are closed. Last call.
    async fn close(&self);
}

/// The keys under which a job is known: its given id and its idempotency key, each with a prefix so
/// that one can never be taken for the other.
#[must_use]
pub fn keys_of(job: &NewJob) -> Vec<String> {
    let given = job.id_given.then(|| id_key(&job.id));
    let keyed = job.idempotency_key.as_deref().filter(|_| !mutant!(key_not_kept)).map(idempotency_key);
    given.into_iter().chain(keyed).collect()
}

/// The row of the keys table for a given id.
#[must_use]
pub fn id_key(id: &JobId) -> String {
    format!("id:{id}")
}

/// The row of the keys table for an idempotency key.
#[must_use]
pub fn idempotency_key(key: &str) -> String {
    format!("key:{key}")
}

/// Whether two submits were the same.
#[must_use]
pub fn same_fingerprint(stored: &[u8], asked: &Fingerprint) -> bool {
    stored == asked || mutant!(other_payload_same_key)
}
