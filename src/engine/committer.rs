//! Group commit: whatever gathered while the previous commit ran goes into the next one.
//!
//! No timer is involved: an idle committer commits a single job at once, a busy one hundreds with one
//! fsync. Accepts are refused at once when the ledger is away; outcomes are kept and tried again until
//! they are recorded. A batch that the store refuses for its data is halved until the culprit is alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::{Failure, Job, NewJob, Seq, State};
use crate::ledger::{Accepted, Batch, BatchAnswer, LedgerError, Settled, Verdict};
use crate::mutant::mutant;
use crate::service::turn;
use crate::telemetry::metrics;

use super::Refusal;
use super::core::Core;
use super::pusher;
use super::settlement::{After, Outcome};

/// Rows that one commit takes: large enough to pay for the fsync, small enough to answer soon.
const ROWS_MAX: usize = 2_000;
/// Bytes of payloads and results after which a commit takes no further ticket: the store's log has to hold
/// a commit whole.
const BYTES_MAX: usize = 16 << 20;
/// The pauses before a commit whose effect is unknown is repeated; then its callers are told so.
const UNKNOWN_PAUSES_MS: [u64; 3] = [100, 300, 900];
/// The pause after a failed commit of outcomes: short at first, a second at most.
const BACKOFF_MS: [u64; 4] = [50, 100, 300, 1_000];

/// Work for a committer.
#[derive(Debug)]
pub(super) enum Ticket {
    /// Jobs of one caller, and where it waits for the answers.
    Accept { jobs: Vec<NewJob>, answer: oneshot::Sender<Vec<AcceptAnswer>> },
    /// The end of one run.
    Settle(Box<Outcome>),
}

/// The answer to one accept.
pub(super) type AcceptAnswer = Result<Entry, Refusal>;

/// What an accept came to.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A new job.
    Created(Arc<Job>),
    /// A known one; see [`Accepted::Existing`].
    Existing(Accepted),
}

impl Entry {
    fn created(&self) -> Option<Arc<Job>> {
        match self {
            Self::Created(job) => Some(job.clone()),
            Self::Existing(_) => None,
        }
    }
}

/// Where tickets come from; several committers may share one.
pub(super) type Tickets = Arc<Mutex<mpsc::Receiver<Ticket>>>;

/// Callers of one batch: how many jobs each brought, and where it waits.
type Callers = Vec<(usize, oneshot::Sender<Vec<AcceptAnswer>>)>;

#[derive(Default)]
struct Work {
    accepts: Vec<NewJob>,
    callers: Callers,
    outcomes: Vec<Outcome>,
    bytes: usize,
}

/// Commits until `stop` has fired and every ticket is done.
pub(super) async fn run(core: Arc<Core>, tickets: Tickets, stop: CancellationToken) {
    let mut work = Work::default();
    let mut failures = 0;
    loop {
        if !gather(&tickets, &stop, &mut work).await {
            return;
        }
        mutant!(answer_before_commit => { answer_early(&mut work); });
        mutant!(push_before_commit => { push_early(&core, &work.accepts).await; });
        let accepts = std::mem::take(&mut work.accepts);
        let (answers, unsettled) = turn(resolve(&core, accepts, std::mem::take(&mut work.outcomes))).await;
        let replies = Replies { callers: std::mem::take(&mut work.callers), answers };
        turn(pusher::answer_after_push(&core, replies)).await;
        failures = if unsettled.is_empty() { 0 } else { failures + 1 };
        work.bytes = unsettled.iter().map(Outcome::result_bytes).sum();
        work.outcomes = unsettled;
        if failures > 0 {
            if stop.is_cancelled() {
                // Their rows are live in the ledger and come back at the next start.
                tracing::error!("{} outcomes could not be recorded before the stop", work.outcomes.len());
                return;
            }
            let pause = BACKOFF_MS[failures.min(BACKOFF_MS.len()) - 1];
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// Adds the tickets that are there to `work`, waiting for one if there is nothing to do; false when
/// there never will be.
async fn gather(tickets: &Tickets, stop: &CancellationToken, work: &mut Work) -> bool {
    let mut tickets = if work.outcomes.is_empty() {
        let mut tickets = tickets.lock().await;
        let first = tokio::select! {
            biased;
            ticket = tickets.recv() => ticket,
            () = stop.cancelled() => None,
        };
        match first {
            Some(ticket) => add(work, ticket),
            None => return false,
        }
        tickets
    } else {
        // Another committer may hold the queue until something comes. Outcomes at hand do not wait for that.
        match tickets.try_lock() {
            Ok(tickets) => tickets,
            Err(_held) => return true,
        }
    };
    while work.accepts.len() + work.outcomes.len() < ROWS_MAX && work.bytes < BYTES_MAX {
        match tickets.try_recv() {
            Ok(ticket) => add(work, ticket),
            Err(_none_there) => break,
        }
    }
    true
}

fn add(work: &mut Work, ticket: Ticket) {
    match ticket {
        Ticket::Accept { jobs, answer } => {
            work.bytes += jobs.iter().map(|job| job.payload.len()).sum::<usize>();
            work.callers.push((jobs.len(), answer));
            work.accepts.extend(jobs);
        }
        Ticket::Settle(outcome) => {
            work.bytes += outcome.result_bytes();
            work.outcomes.push(*outcome);
        }
    }
}

/// The answers of one batch on their way to its callers.
#[derive(Debug)]
pub(super) struct Replies {
    callers: Callers,
    answers: Vec<AcceptAnswer>,
}

impl Replies {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Answers every caller.
    pub(super) fn send(self) {
        let mut answers = self.answers.into_iter();
        for (count, caller) in self.callers {
            // A caller that no longer waits was told that the effect is unknown.
            let _gone = caller.send(answers.by_ref().take(count).collect());
        }
    }
}

/// Commits one batch; answers its accepts, and hands back outcomes that have to wait.
fn resolve(
    core: &Arc<Core>,
    accepts: Vec<NewJob>,
    outcomes: Vec<Outcome>,
) -> BoxFuture<'_, (Vec<AcceptAnswer>, Vec<Outcome>)> {
    Box::pin(async move {
        let (settles, afters): (Vec<_>, Vec<_>) = outcomes.into_iter().map(Outcome::into_parts).unzip();
        let mut batch = Batch { accepts, settles, repeated: false };
        let mut repeats = 0;
        // Taken before the commit: a node that is stopped until its answer comes must not take its jobs for fresh.
        let clean_until_ms = pusher::clean_until_ms(core);
        let error = loop {
            let started = Instant::now();
            match core.ledger.commit(&batch).await {
                Ok(answer) => {
                    core.session.ledger_answered();
                    let kept = batch.settles.iter().zip(&afters).filter_map(|(settle, after)| after.kept_bytes(settle));
                    core.growth.note(kept);
                    metrics::committed(started.elapsed().as_secs_f64(), batch.accepts.len(), batch.settles.len());
                    let fresh = if mutant!(stamp_after_commit) { pusher::clean_until_ms(core) } else { clean_until_ms };
                    let clean_until_ms = if repeats > 0 && !mutant!(repeat_is_clean) { 0 } else { fresh };
                    return (conclude(core, batch, afters, answer, clean_until_ms).await, Vec::new());
                }
                Err(error) if error.is_unknown() && repeats < UNKNOWN_PAUSES_MS.len() => {
                    tokio::time::sleep(Duration::from_millis(UNKNOWN_PAUSES_MS[repeats])).await;
                    repeats += 1;
                    batch.repeated = true;
                }
                Err(error) => break error,
            }
        };
        let outcomes = |settles: Vec<_>, afters| settles.into_iter().zip(afters).map(Outcome::from_parts);
        if error.is_transient() {
            core.session.ledger_failed(&error);
            let unknown = error.is_unknown() || repeats > 0;
            let refuse = |job: &NewJob| {
                Err(Refusal::LedgerUnavailable { reason: error.to_string(), unknown, id: Some(job.id.clone()) })
            };
            let answers = batch.accepts.iter().map(refuse).collect();
            let held = outcomes(batch.settles, afters).filter(|_| !mutant!(outcomes_not_held));
            return (answers, held.collect());
        }
        if batch.accepts.len() + batch.settles.len() > 1 {
            let outcomes = outcomes(batch.settles, afters).collect();
            return halve(core, batch.accepts, outcomes).await;
        }
        refused_alone(core, batch, afters, &error).await
    })
}

/// Commits a refused batch in two parts.
async fn halve(
    core: &Arc<Core>,
    mut accepts: Vec<NewJob>,
    mut outcomes: Vec<Outcome>,
) -> (Vec<AcceptAnswer>, Vec<Outcome>) {
    let (other_accepts, other_outcomes) = if accepts.is_empty() {
        (Vec::new(), outcomes.split_off(outcomes.len() / 2))
    } else if outcomes.is_empty() {
        (accepts.split_off(accepts.len() / 2), Vec::new())
    } else {
        (Vec::new(), std::mem::take(&mut outcomes))
    };
    let (mut answers, mut unsettled) = resolve(core, accepts, outcomes).await;
    let (more_answers, more_unsettled) = resolve(core, other_accepts, other_outcomes).await;
    answers.extend(more_answers);
    unsettled.extend(more_unsettled);
    (answers, unsettled)
}

/// What the store refuses for its data alone: a submit is told so, a result becomes a failure.
async fn refused_alone(
    core: &Arc<Core>,
    batch: Batch,
    afters: Vec<After>,
    error: &LedgerError,
) -> (Vec<AcceptAnswer>, Vec<Outcome>) {
    let refuse = |_: &NewJob| Err(Refusal::BadField { field: "payload", reason: error.to_string() });
    let answers = batch.accepts.iter().map(refuse).collect();
    let Some((mut settlement, after)) = batch.settles.into_iter().zip(afters).next() else {
        return (answers, Vec::new());
    };
    tracing::error!(job.id = %settlement.id, "The outcome of job {} was refused: {error}", settlement.id);
    let already_a_failure = settlement.error.as_ref().is_some_and(|failure| failure.class == "result_refused");
    if already_a_failure {
        // Nothing more can be said about it: its lease lapses and the job comes back.
        core.unsettled.fetch_sub(1, Ordering::Relaxed);
        core.running.remove(&after.run);
        return (answers, Vec::new());
    }
    settlement.error = Some(Failure::new("result_refused", error.to_string()));
    settlement.children.clear();
    settlement.review = None;
    if let Verdict::Rest { state, result, .. } = &mut settlement.verdict {
        *result = None;
        *state = State::Failed;
    }
    resolve(core, Vec::new(), vec![Outcome::from_parts((settlement, after))]).await
}

/// After the commit: created jobs are pushed and kept at hand, outcomes go on to the settler.
async fn conclude(
    core: &Arc<Core>,
    batch: Batch,
    afters: Vec<After>,
    answer: BatchAnswer,
    clean_until_ms: i64,
) -> Vec<AcceptAnswer> {
    let entries: Vec<Entry> = batch.accepts.into_iter().zip(answer.accepts).map(entry).collect();
    if !mutant!(push_before_commit) {
        pusher::accepted(core, entries.iter().filter_map(Entry::created).collect(), clean_until_ms).await;
    }

    for ((settlement, settled), after) in batch.settles.into_iter().zip(answer.settles).zip(afters) {
        core.unsettled.fetch_sub(1, Ordering::Relaxed);
        if let Settled::Applied { children } = &settled {
            pusher::accepted(core, born(&settlement.children, children), clean_until_ms).await;
        }
        let ending = after.ending(core, &settlement, &settled);
        // The settler ends only after the committers; were it gone, the lease would lapse by itself.
        let _gone = core.endings.send(ending).await;
    }
    entries.into_iter().map(Ok).collect()
}

/// The jobs among children that their accept created.
pub(super) fn born(children: &[NewJob], accepted: &[Accepted]) -> Vec<Arc<Job>> {
    let entries = children.iter().cloned().zip(accepted.iter().cloned()).map(entry);
    entries.filter_map(|entry| entry.created()).collect()
}

fn entry((job, accepted): (NewJob, Accepted)) -> Entry {
    match accepted {
        Accepted::Created { seq } => Entry::Created(Arc::new(fresh(seq, job))),
        existing @ Accepted::Existing { .. } => Entry::Existing(existing),
    }
}

/// Tells callers that their jobs are accepted, before they are.
#[cfg(ganger_mutants)]
fn answer_early(work: &mut Work) {
    let created = |job: &NewJob| Ok(Entry::Created(Arc::new(fresh(0, job.clone()))));
    let answers = work.accepts.iter().map(created).collect();
    Replies { callers: std::mem::take(&mut work.callers), answers }.send();
}

/// Pushes jobs before they are accepted, under the lives that they will likely get.
#[cfg(ganger_mutants)]
async fn push_early(core: &Core, accepts: &[NewJob]) {
    let last = core.ledger.last_seq().await.unwrap_or_default();
    let jobs = (last + 1..).zip(accepts).map(|(seq, job)| Arc::new(fresh(seq, job.clone())));
    pusher::accepted(core, jobs.collect(), pusher::clean_until_ms(core)).await;
}

/// The row of a job that was accepted just now.
fn fresh(seq: Seq, spec: NewJob) -> Job {
    Job {
        seq,
        waits_from: spec.due_at.unwrap_or(spec.accepted_at),
        spec,
        counters: crate::job::Counters::default(),
        fence: 0,
        crashed_at: Vec::new(),
        history: Vec::new(),
        error: None,
        rest: None,
    }
}
