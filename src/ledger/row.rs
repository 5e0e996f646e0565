//! Rows and jobs: the one place where a column's text becomes a value and back.
//!
//! Both stores name their columns alike, so a row is read the same way from either. Rows are trusted:
//! only this program writes them and the tables' constraints say its rules a second time.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::accept::{Holder, Present};
use super::{Heard, Identity, JobFilter, LiveEntry, Node, Pause, Scope, Setting, Sizes, Tally, Verdict};
use crate::clock::Timestamp;
use crate::job::{
    Attempt, Counters, Failure, Fence, Fingerprint, Job, JobId, Labels, NewJob, NodeId, Priority, QueueName, Rest, Seq,
    State, TypeName,
};

/// The length of one partition of finished jobs. Retention drops whole ones, so this is also how much
/// longer than asked a finished job may stay.
pub(super) const BUCKET_MS: i64 = 6 * 60 * 60 * 1000;

/// The partition of jobs in review, which no retention touches.
pub(super) const REVIEW_BUCKET: i64 = i64::MAX;

/// The partition that a job at rest belongs to.
pub(super) fn bucket(state: State, finished_at: Timestamp) -> i64 {
    if state == State::InReview { REVIEW_BUCKET } else { finished_at.millis().div_euclid(BUCKET_MS) }
}

/// A column's value by name, from either store.
pub(super) trait Cells {
    /// A number of any width.
    fn int(&self, column: &str) -> sqlx::Result<i64>;
    /// A number or null.
    fn maybe_int(&self, column: &str) -> sqlx::Result<Option<i64>>;
    /// A number with a fraction.
    fn real(&self, column: &str) -> sqlx::Result<f64>;
    /// A truth value.
    fn flag(&self, column: &str) -> sqlx::Result<bool>;
    /// A text.
    fn text(&self, column: &str) -> sqlx::Result<&str>;
    /// A text or null.
    fn maybe_text(&self, column: &str) -> sqlx::Result<Option<&str>>;
    /// Bytes.
    fn bytes(&self, column: &str) -> sqlx::Result<&[u8]>;
    /// Bytes or null.
    fn maybe_bytes(&self, column: &str) -> sqlx::Result<Option<&[u8]>>;
}

macro_rules! cells {
    ($($row:ty)+) => {$(
        // Unchecked means: without comparing type names. The drivers' integers read every width.
        impl Cells for $row {
            fn int(&self, column: &str) -> sqlx::Result<i64> {
                self.try_get_unchecked(column)
            }
            fn maybe_int(&self, column: &str) -> sqlx::Result<Option<i64>> {
                self.try_get_unchecked(column)
            }
            fn real(&self, column: &str) -> sqlx::Result<f64> {
                self.try_get_unchecked(column)
            }
            fn flag(&self, column: &str) -> sqlx::Result<bool> {
                self.try_get_unchecked(column)
            }
            fn text(&self, column: &str) -> sqlx::Result<&str> {
                self.try_get_unchecked(column)
            }
            fn maybe_text(&self, column: &str) -> sqlx::Result<Option<&str>> {
                self.try_get_unchecked(column)
            }
            fn bytes(&self, column: &str) -> sqlx::Result<&[u8]> {
                self.try_get_unchecked(column)
            }
            fn maybe_bytes(&self, column: &str) -> sqlx::Result<Option<&[u8]>> {
                self.try_get_unchecked(column)
            }
        }
    )+};
}

cells! { PgRow SqliteRow }

// === reading ===

/// A whole job.
pub(super) fn job(row: &impl Cells) -> sqlx::Result<Job> {
    let rest = match row.maybe_text("state")? {
        None => None,
        Some(state) => Some(Rest {
            state: state_named(state)?,
            result: row.maybe_bytes("result")?.map(Bytes::copy_from_slice),
            finished_at: Timestamp(row.int("finished_at")?),
        }),
    };
    let mut crashed_at = Vec::new();
    for column in ["crash_1", "crash_2", "crash_3"] {
        crashed_at.extend(row.maybe_int(column)?.map(Timestamp));
    }
    Ok(Job {
        seq: row.int("seq")?,
        spec: spec(row)?,
        counters: counters(row)?,
        fence: row.int("fence")?,
        crashed_at,
        waits_from: Timestamp(row.int("waits_from")?),
        history: history_read(row.maybe_text("history")?)?,
        error: failure(row)?,
        rest,
    })
}

fn spec(row: &impl Cells) -> sqlx::Result<NewJob> {
    Ok(NewJob {
        id: JobId::stored(row.text("id")?),
        id_given: row.flag("id_given")?,
        job_type: TypeName::stored(row.text("type")?),
        queue: QueueName::stored(row.text("queue")?),
        priority: u64::try_from(row.int("priority")?)
            .ok()
            .and_then(Priority::from_number)
            .ok_or_else(|| odd("a priority outside 1 to 5"))?,
        payload: Bytes::copy_from_slice(row.bytes("payload")?),
        labels: labels_read(row.maybe_text("labels")?)?,
        due_at: row.maybe_int("due_at")?.map(Timestamp),
        score: row.int("score")?,
        timeout_ms: row.maybe_int("timeout_ms")?.map(|ms| u64::try_from(ms).unwrap_or_default()),
        max_attempts: count(row, "max_attempts")?,
        idempotency_key: row.maybe_text("idempotency_key")?.map(ToOwned::to_owned),
        fingerprint: fingerprint(row)?,
        accepted_at: Timestamp(row.int("accepted_at")?),
        parent: row.maybe_text("parent")?.map(JobId::stored),
    })
}

/// What the broker needs to know of a live row.
pub(super) fn entry(row: &impl Cells) -> sqlx::Result<LiveEntry> {
    Ok(LiveEntry {
        seq: row.int("seq")?,
        id: JobId::stored(row.text("id")?),
        queue: QueueName::stored(row.text("queue")?),
        job_type: TypeName::stored(row.text("type")?),
        priority: u8::try_from(row.int("priority")?).map_err(odd)?,
        score: row.int("score")?,
        due_at: row.maybe_int("due_at")?.map(Timestamp),
        counters: counters(row)?,
        keyed: row.flag("keyed")?,
    })
}

/// A pause.
pub(super) fn pause(row: &impl Cells) -> sqlx::Result<Pause> {
    let name = row.text("name")?;
    Ok(Pause {
        scope: match row.text("kind")? {
            "queue" => Scope::Queue(QueueName::stored(name)),
            _ => Scope::Type(TypeName::stored(name)),
        },
        by: row.text("by_whom")?.to_owned(),
        reason: row.text("reason")?.to_owned(),
        since: Timestamp(row.int("since")?),
    })
}

/// A setting.
pub(super) fn setting(row: &impl Cells) -> sqlx::Result<Setting> {
    Ok(Setting {
        kind: row.text("kind")?.to_owned(),
        name: row.text("name")?.to_owned(),
        value: row.text("value")?.to_owned(),
        by: row.text("by_whom")?.to_owned(),
        since: Timestamp(row.int("since")?),
        until: row.maybe_int("until")?.map(Timestamp),
    })
}

/// A tally.
pub(super) fn tally(row: &impl Cells) -> sqlx::Result<Tally> {
    Ok(Tally {
        measure: row.text("measure")?.to_owned(),
        label: row.text("label")?.to_owned(),
        minute: row.int("minute")?,
        count: u64::try_from(row.int("count")?).map_err(odd)?,
        total: row.real("total")?,
    })
}

fn node(row: &impl Cells) -> sqlx::Result<Node> {
    Ok(Node {
        id: NodeId::stored(row.text("id")?),
        name: row.text("name")?.to_owned(),
        started_at: Timestamp(row.int("started_at")?),
        heartbeat_at: Timestamp(row.int("heartbeat_at")?),
        alive: row.flag("alive")?,
        status: row.text("status")?.to_owned(),
    })
}

/// A node, and the epoch that comes with every one of them.
pub(super) fn heard(row: &impl Cells) -> sqlx::Result<(Node, i64)> {
    Ok((node(row)?, row.int("epoch")?))
}

/// What a heartbeat hears. The node that beats is always among the rows.
pub(super) fn all_heard(rows: Vec<(Node, i64)>) -> Heard {
    let epoch = rows.first().map_or(0, |(_, epoch)| *epoch);
    Heard { nodes: rows.into_iter().map(|(node, _)| node).collect(), epoch }
}

/// A life and its fence.
pub(super) fn fence(row: &impl Cells) -> sqlx::Result<(Seq, Fence)> {
    Ok((row.int("seq")?, row.int("fence")?))
}

/// The fences of the lives that were asked about, in that order.
pub(super) fn fences_of(seqs: &[Seq], found: Vec<(Seq, Fence)>) -> Vec<Option<Fence>> {
    let found: HashMap<Seq, Fence> = found.into_iter().collect();
    seqs.iter().map(|seq| found.get(seq).copied()).collect()
}

/// Which ledger this is.
pub(super) fn identity(row: &impl Cells) -> sqlx::Result<Identity> {
    Ok(Identity {
        ledger_id: row.text("ledger_id")?.to_owned(),
        epoch: row.int("epoch")?,
        broker_identity: row.text("broker_identity")?.to_owned(),
    })
}

/// Sizes of the store.
pub(super) fn sizes(row: &impl Cells) -> sqlx::Result<Sizes> {
    let figure = |column| row.int(column).map(|figure| u64::try_from(figure).unwrap_or_default());
    Ok(Sizes { live: figure("live")?, finished: figure("finished")?, bytes: figure("bytes")?, disk_free: None })
}

/// A key and who holds it.
pub(super) fn holder(row: &impl Cells) -> sqlx::Result<(String, Holder)> {
    let holder = Holder {
        id: JobId::stored(row.text("job_id")?),
        fingerprint: fingerprint(row)?,
        at_rest: row.flag("at_rest")?,
    };
    Ok((row.text("key")?.to_owned(), holder))
}

/// A row that has an id.
pub(super) fn present(row: &impl Cells) -> sqlx::Result<Present> {
    Ok(Present { seq: row.int("seq")?, fingerprint: fingerprint(row)?, at_rest: row.flag("at_rest")? })
}

/// The kind and name that a pause is stored under.
pub(super) fn scope(scope: &Scope) -> (&'static str, &str) {
    match scope {
        Scope::Queue(name) => ("queue", name.as_str()),
        Scope::Type(name) => ("type", name.as_str()),
    }
}

/// A fingerprint.
fn fingerprint(row: &impl Cells) -> sqlx::Result<Fingerprint> {
    row.bytes("fingerprint")?.try_into().map_err(odd)
}

/// The state with this name.
pub(super) fn state_named(name: &str) -> sqlx::Result<State> {
    State::from_name(name).ok_or_else(|| odd(format!("the state {name:?}")))
}

fn counters(row: &impl Cells) -> sqlx::Result<Counters> {
    Ok(Counters {
        attempts: count(row, "attempts")?,
        deliveries: count(row, "deliveries")?,
        crashes: count(row, "crashes")?,
        deferrals: count(row, "deferrals")?,
    })
}

fn count(row: &impl Cells, column: &str) -> sqlx::Result<u32> {
    u32::try_from(row.int(column)?).map_err(odd)
}

/// An error, if there is one.
pub(super) fn failure(row: &impl Cells) -> sqlx::Result<Option<Failure>> {
    let (class, message) = (row.maybe_text("error_class")?, row.maybe_text("error_message")?);
    Ok(class.zip(message).map(|(class, message)| Failure { class: class.to_owned(), message: message.to_owned() }))
}

/// A value that no write of this program leaves behind.
pub(super) fn odd(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

// === texts ===

/// One finished run as the history column spells it.
#[derive(Serialize, Deserialize)]
struct AttemptText<'a> {
    attempt: u32,
    #[serde(borrow)]
    worker: Cow<'a, str>,
    fence: i64,
    started_at: i64,
    finished_at: i64,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(borrow)]
    error: Option<FailureText<'a>>,
}

#[derive(Serialize, Deserialize)]
struct FailureText<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// The history column: a JSON array, or null when nothing ran.
pub(super) fn history(attempts: &[Attempt]) -> Option<String> {
    let texts: Vec<AttemptText<'_>> = attempts.iter().map(AttemptText::of).collect();
    if texts.is_empty() { None } else { serde_json::to_string(&texts).ok() }
}

fn history_read(text: Option<&str>) -> sqlx::Result<Vec<Attempt>> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let texts: Vec<AttemptText<'_>> = serde_json::from_str(text).map_err(odd)?;
    texts.into_iter().map(AttemptText::into_attempt).collect()
}

impl<'a> AttemptText<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            worker: Cow::Borrowed(&attempt.worker),
            fence: attempt.fence,
            started_at: attempt.started_at.millis(),
            finished_at: attempt.finished_at.millis(),
            outcome: Cow::Borrowed(attempt.outcome.name()),
            error: attempt.error.as_ref().map(|error| FailureText {
                class: Cow::Borrowed(&error.class),
                message: Cow::Borrowed(&error.message),
            }),
        }
    }

    fn into_attempt(self) -> sqlx::Result<Attempt> {
        Ok(Attempt {
            attempt: self.attempt,
            worker: self.worker.into_owned(),
            fence: self.fence,
            started_at: Timestamp(self.started_at),
            finished_at: Timestamp(self.finished_at),
            outcome: state_named(&self.outcome)?,
            error: self
                .error
                .map(|error| Failure { class: error.class.into_owned(), message: error.message.into_owned() }),
        })
    }
}

/// The labels column: a JSON object with sorted names and no spaces, or null when there are none.
pub(super) fn labels(labels: &Labels) -> Option<String> {
    if labels.is_empty() { None } else { serde_json::to_string(labels).ok() }
}

fn labels_read(text: Option<&str>) -> sqlx::Result<Labels> {
    text.map_or_else(|| Ok(Labels::new()), |text| serde_json::from_str(text).map_err(odd))
}

/// An error's class and message as columns. Postgres takes no NUL in a text, and a program may well
/// print one when it fails.
pub(super) fn error(failure: Option<&Failure>) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    failure.map_or((None, None), |failure| (Some(without_nul(&failure.class)), Some(without_nul(&failure.message))))
}

/// A text that both stores take.
pub(super) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A number that the store keeps signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Since when a new row waits to start.
pub(super) fn waits_from(job: &NewJob) -> i64 {
    job.due_at.unwrap_or(job.accepted_at).millis()
}

/// The state, result and finishing time of a settlement that brings rest, else the due time.
pub(super) fn verdict(verdict: &Verdict) -> Result<(State, Option<&[u8]>, Timestamp), Timestamp> {
    match verdict {
        Verdict::Rest { state, result, finished_at } => Ok((*state, result.as_deref(), *finished_at)),
        Verdict::Retry { due_at } => Err(*due_at),
    }
}

// === filters ===

/// A [`JobFilter`] as the parameters of the page query.
#[derive(Debug)]
pub(super) struct PageTerms<'a> {
    pub(super) before: Seq,
    pub(super) limit: i64,
    pub(super) queue: Option<&'a str>,
    pub(super) job_type: Option<&'a str>,
    pub(super) error_class: Option<&'a str>,
    /// The label as it stands in the text of the labels. Inside its strings every quote is escaped, so
    /// the text can mean nothing else.
    pub(super) label: Option<String>,
    pub(super) live: &'static str,
    pub(super) rest: &'static str,
}

impl<'a> PageTerms<'a> {
    pub(super) fn of(filter: &'a JobFilter, before: Option<Seq>, limit: u32) -> Self {
        let (live, rest) = match filter.state {
            None => ("any", "any"),
            Some(State::Ready | State::Running) => ("ready", "none"),
            Some(State::Scheduled) => ("scheduled", "none"),
            Some(State::Retrying) => ("retrying", "none"),
            Some(state) => ("none", state.name()),
        };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        Self {
            before: before.unwrap_or(Seq::MAX),
            limit: i64::from(limit),
            queue: filter.queue.as_ref().map(QueueName::as_str),
            job_type: filter.job_type.as_ref().map(TypeName::as_str),
            error_class: filter.error_class.as_deref(),
            label: filter.label.as_ref().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))),
            live,
            rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_reads_back() {
        let attempt = Attempt {
            attempt: 2,
            worker: "n:\"w\"\n".into(),
            fence: 7,
            started_at: Timestamp(1),
            finished_at: Timestamp(2),
            outcome: State::Retrying,
            error: Some(Failure::new("timeout", "a\0b")),
        };
        let text = history(std::slice::from_ref(&attempt)).unwrap();
        assert_eq!(history_read(Some(&text)).unwrap(), [attempt]);
        assert_eq!(history(&[]), None);
    }

    #[test]
    fn jobs_in_review_lie_apart() {
        assert_eq!(bucket(State::InReview, Timestamp(5)), REVIEW_BUCKET);
        assert_eq!(bucket(State::Failed, Timestamp(BUCKET_MS + 5)), 1);
        assert_eq!(bucket(State::Failed, Timestamp(-5)), -1);
    }
}
