//! The format of a history: JSON lines that clients, operators and handlers write themselves.
//!
//! Each line is an object with one member, whose name is the kind of event. `docs/HISTORY.md`
//! explains every field; a field that is unknown here is an error, because a misspelt fact would
//! silently weaken the judgement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format that this program reads and writes.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Who recorded the lines after it, and what may be expected. Each file begins with one.
    Header(Header),
    /// A client is about to submit a job.
    Submit(Submit),
    /// It heard an answer, or gave up waiting for one.
    SubmitAnswer(SubmitAnswer),
    /// A handler was called.
    Run(Run),
    /// A handler returned, or saw that its caller had gone.
    RunEnd(RunEnd),
    /// An operator is about to act.
    Order(Order),
    /// It heard an answer, or gave up waiting for one.
    OrderAnswer(OrderAnswer),
    /// A client has read a job.
    Read(Read),
    /// Something was broken on purpose, or by itself.
    Fault(Fault),
    /// The load has ended and every job is expected to be at rest: reads after this are final.
    Drained(Drained),
}

/// Who recorded the lines after it, and what may be expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The recording process.
    pub recorder: String,
    /// Its monotonic clock now, in microseconds.
    pub at_us: i64,
    /// The wall clock at the same moment, in milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// How far its wall clock may be off, in milliseconds. Counts only beside other recorders.
    #[serde(default)]
    pub clock_error_ms: u32,
    /// How long a start may follow the answer to a cancel or a pause, and how late a handler may
    /// notice that its caller has gone, in milliseconds.
    pub grace_ms: u32,
    /// How long an outcome takes at most from its handler to the end of its lease, in milliseconds.
    pub settle_ms: u32,
    /// How long after a fault a process may still act on what it knew before, in milliseconds.
    pub aftermath_ms: u32,
    /// How much earlier than its delay a retry may start, in milliseconds: what nodes may misjudge of
    /// the broker's clock. At least the few milliseconds that rounding takes.
    #[serde(default)]
    pub early_ms: u32,
    /// How long a job that is due waits for a worker at most, in milliseconds. Without it retries
    /// are never too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_ms: Option<u32>,
    /// What holds for the jobs of a type.
    #[serde(default)]
    pub types: BTreeMap<String, TypeFacts>,
    /// What holds for the jobs of a queue. A queue that is not named is not judged for order.
    #[serde(default)]
    pub queues: BTreeMap<String, QueueFacts>,
}

/// What holds for the jobs of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeFacts {
    /// How often its handler may return in one life.
    pub max_attempts: u32,
    /// How long one run may take, in milliseconds.
    pub timeout_ms: u64,
    /// How its delays grow.
    pub backoff: Backoff,
    /// The first delay, in milliseconds.
    pub base_delay_ms: u64,
    /// The longest delay, in milliseconds.
    pub max_delay_ms: u64,
    /// Whether delays are spread from zero up.
    pub jitter: bool,
    /// Its jobs must have started this long after they were due, in milliseconds, or never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after_ms: Option<u64>,
}

/// How delays grow with the number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// `base * 2^(n-1)`.
    Exponential,
    /// `base * n`.
    Linear,
    /// None for the first two failures; then exponential.
    Immediate,
}

/// What holds for the jobs of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueFacts {
    /// What is added to the due time of a job of priority 1, 2, ..., in milliseconds.
    pub slack_ms: Vec<i64>,
    /// How far a start may lag behind its claim, in milliseconds.
    pub tolerance_ms: u32,
}

/// A submit as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// When, on the recorder's clock.
    pub at_us: i64,
    /// Tells this request from others of the same recorder. A repeated request is another call.
    pub call: u64,
    /// The type of the job.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Its idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The id that the caller chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Any digest over type, queue, priority, due time and payload.
    pub fingerprint: String,
    /// Any digest of the payload.
    pub payload: String,
    /// Its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Its priority, 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The delay that was asked for, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct SubmitAnswer {
    /// When.
    pub at_us: i64,
    /// The call it answers.
    pub call: u64,
    /// The HTTP status; none when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The id in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether the answer says that the outcome is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// A handler was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// When.
    pub at_us: i64,
    /// Tells this run from others of the same recorder.
    pub run: u64,
    /// The job's id.
    pub job: String,
    /// The fence it runs under.
    pub fence: i64,
    /// The attempt it is said to be, from 1.
    pub attempt: u32,
    /// The type of the job.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The idempotency key, where the client has put it into the payload as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The digest of the payload as it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The node or worker that called, if it is known. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

/// How a run ended, as its handler saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnd {
    /// When: before the answer is sent, or when the caller was found gone.
    pub at_us: i64,
    /// The run.
    pub run: u64,
    /// What the handler answered.
    pub outcome: Outcome,
    /// The digest of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The class of the failure. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The pause that was asked for, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_ms: u64,
    /// The ids of the jobs that it asked to enqueue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
}

/// What a handler answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A result.
    Succeeded,
    /// A failure that spends an attempt.
    Failed,
    /// A wish for later that spends none.
    Deferred,
    /// A wish for a person to look.
    Review,
    /// Nothing: its caller had gone, or it was told to stop.
    Dropped,
}

/// What an operator is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// When.
    pub at_us: i64,
    /// Tells this request from others of the same recorder, submits included.
    pub call: u64,
    /// What.
    pub action: Action,
    /// The job it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The queue it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// What an operator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Cancels a job.
    Cancel,
    /// Gives a job at rest a new life.
    Retry,
    /// Makes a new job of one at rest.
    Replay,
    /// Deletes a job at rest.
    Delete,
    /// Takes the proposal of a job in review.
    Approve,
    /// Refuses it.
    Reject,
    /// Stops claims of a queue.
    Pause,
    /// Allows them again.
    Resume,
    /// Cancels all jobs of a queue that wait.
    Purge,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct OrderAnswer {
    /// When.
    pub at_us: i64,
    /// The call it answers.
    pub call: u64,
    /// The HTTP status; none when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The id of a job that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A job as a client read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// When it asked.
    pub asked_us: i64,
    /// When it had the answer.
    pub at_us: i64,
    /// The job's id.
    pub job: String,
    /// Its state; none when there is no such job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The digest of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Its attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// A time in which something was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happened. For people.
    pub kind: String,
    /// Where.
    pub on: Part,
    /// From when.
    pub from_us: i64,
    /// Until everything was as before.
    pub to_us: i64,
}

/// What can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The index, or the way to it.
    Broker,
    /// The ledger, or the way to it.
    Ledger,
    /// A node: killed, stopped, drained, without a processor.
    Node,
    /// A handler, or the way to it: then an answer may be lost and count as a failure.
    Handler,
    /// The machine's wall clock.
    Clock,
}

/// The end of the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// When.
    pub at_us: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
