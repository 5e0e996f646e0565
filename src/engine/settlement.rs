//! From the end of a run to its record: which counters grow, which children are born, what the ledger
//! and the broker are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::broker::Release;
use crate::clock::Timestamp;
use crate::handler::{Envelope, Ran};
use crate::job::{
    Attempt, Counters, Event, Failure, Fence, Job, NewJob, ReviewContent, ReviewReason, State, WorkerName, next,
};
use crate::ledger::{Settled, Settlement, Verdict};
use crate::mutant::mutant;
use crate::policy::measures::Sample;
use crate::policy::verdict::{Decision, Ending as Told, decide};
use crate::telemetry::metrics;

use super::admission;
use super::breakers;
use super::committer::Ticket;
use super::core::Core;
use super::measures::{self, Says};
use super::reviews;
use super::running::{Run, StopReason};
use super::settler::Ending;
use super::shedding::Ended;

/// Results that the broker keeps for the runbook's `job_result`; larger ones only the ledger has.
const BROKER_RESULT_BYTES_MAX: usize = 16 * 1024;
/// How long a job waits whose target asks for no time at all, in milliseconds.
const RETRY_AFTER_MS_LEAST: u64 = 1_000;
/// The longest wait that a target may ask for: a day, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// A settlement on its way to the ledger, with what follows its commit.
#[derive(Debug)]
pub(super) struct Outcome {
    settlement: Settlement,
    after: After,
}

/// What follows the commit of an outcome.
#[derive(Debug)]
pub(super) struct After {
    /// The lease to end.
    pub(super) run: Arc<Run>,
    release: Release,
    /// The error class of a finished run; `None` when no finished run lies behind the outcome.
    attempt: Option<String>,
    /// The bytes of its payload.
    payload_bytes: usize,
    /// Since when its job waits to be done.
    waits_from: Timestamp,
    /// What counts once it is recorded.
    says: Says,
}

impl Outcome {
    pub(super) fn into_parts(self) -> (Settlement, After) {
        (self.settlement, self.after)
    }

    /// The bytes of its result.
    pub(super) fn result_bytes(&self) -> usize {
        self.settlement.result_bytes()
    }

    pub(super) fn from_parts((settlement, after): (Settlement, After)) -> Self {
        Self { settlement, after }
    }
}

impl After {
    /// The bytes of payload and result that its job is kept with from now on; `None` when it stays live.
    pub(super) fn kept_bytes(&self, settlement: &Settlement) -> Option<usize> {
        let at_rest = matches!(settlement.verdict, Verdict::Rest { .. });
        at_rest.then(|| self.payload_bytes + settlement.result_bytes())
    }

    /// What the settler does once the ledger has answered.
    pub(super) fn ending(self, core: &Core, settlement: &Settlement, settled: &Settled) -> Ending {
        let recorded = *settled != Settled::Stale;
        let state = match &settlement.verdict {
            Verdict::Rest { state, .. } => *state,
            Verdict::Retry { .. } => State::Retrying,
        };
        if let (true, Some(class)) = (recorded, &self.attempt) {
            metrics::attempt(self.run.queue.as_str(), self.run.job_type.as_str(), state.name(), class);
        }
        if recorded && let Verdict::Rest { finished_at, .. } = settlement.verdict {
            metrics::finished(self.run.queue.as_str(), self.run.job_type.as_str(), state.name(), 1);
            self.count_promise(core, finished_at);
        }
        if let (true, Some(failure)) = (recorded && state.is_at_rest(), &settlement.error) {
            tracing::info!(job.id = %self.run.id, job.type_ = %self.run.job_type, error.class = %failure.class,
                "Job {} is {state}: {}", self.run.id, failure.class);
        }
        if recorded || mutant!(stale_results_observe) {
            let late = settlement.error.as_ref().is_some_and(|failure| failure.class == "late");
            self.says.count(core, &self.run, state, late);
        }
        if !recorded {
            metrics::stale_result(self.run.queue.as_str());
            tracing::warn!(job.id = %self.run.id, fence = self.run.fence,
                "Refused a late result of job {}: a later fence, another life or an operator came first", self.run.id);
        }
        // A stale lease is not ours any more; the broker's own comparison leaves the new one alone.
        let release = if recorded { self.release } else { Release::Done { result: None } };
        Ending { run: self.run, release, at_rest: recorded && state.is_at_rest() }
    }

    /// Counts whether a job came to rest within its SLA, if it has one.
    fn count_promise(&self, core: &Core, finished_at: Timestamp) {
        let setup = core.setup.load();
        if let Some(sla_ms) = setup.catalog.types.get(&self.run.job_type).and_then(|known| known.sla_ms) {
            let took_ms = finished_at.since(self.waits_from);
            let kept = took_ms <= i64::try_from(sla_ms).unwrap_or(i64::MAX);
            metrics::promised(self.run.queue.as_str(), self.run.job_type.as_str(), kept, 1);
        }
    }
}

impl Core {
    /// Hands an outcome to the committers. Waits while their queue is full.
    pub(super) async fn hand_over(&self, outcome: Outcome) {
        mutant!(settle_before_commit => { outcome.after.settle_early(self).await; });
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        // The committers end after the last worker.
        let _gone = self.settles.send(Ticket::Settle(Box::new(outcome))).await;
    }

    /// Ends a lease without an outcome.
    pub(super) async fn give_back(&self, run: &Arc<Run>, release: Release) {
        let _gone = self.endings.send(Ending { run: run.clone(), release, at_rest: false }).await;
    }

    /// Records that a claimed job comes to rest without a run: poison, or too late.
    pub(super) async fn rest_unrun(&self, run: &Arc<Run>, job: &Job, counters: Counters, unrun: Unrun) {
        let Unrun { state, reason, why } = unrun;
        let verdict = Verdict::Rest { state, result: None, finished_at: self.clock.now() };
        let mut settlement = without_run(run, job, verdict, counters, Some(why));
        settlement.review = (state == State::InReview).then(|| Box::new(ReviewContent::of(reason)));
        let after = After {
            run: run.clone(),
            release: Release::Done { result: None },
            attempt: None,
            payload_bytes: job.spec.payload.len(),
            waits_from: job.waits_from,
            says: Says::of(self, job, Vec::new()),
        };
        self.hand_over(Outcome { settlement, after }).await;
    }

    /// Concludes one run.
    pub(super) async fn conclude(&self, run: &Arc<Run>, job: &Job, facts: &RunFacts, mut ran: Ran) {
        run.conclude();
        if run.is_given_away() && !matches!(ran, Ran::Returned { .. }) {
            return tracing::info!(job.id = %run.id, "The former handler of job {} has ended without a result", run.id);
        }
        let queue = run.queue.as_str();
        let spared = breakers::conclude(self, run, &ran, facts.finished_at.since(facts.started_at));
        if let Some(delay_ms) = spared {
            metrics::deferred(queue, "breaker", 1);
            tracing::info!(job.id = %run.id, job.type_ = %run.job_type,
                "Job {} failed on what is known to be down, which costs it no attempt", run.id);
            return self.put_off(run, job, facts.counters, delay_ms).await;
        }
        self.note_load(run, job, facts, &ran);
        let observed = measures::observed(self, run, &mut ran);
        let judged = match (run.stopped(), ran) {
            (Some(StopReason::LeaseLost), Ran::Stopped) => {
                metrics::lease_lost(queue);
                return self.give_back(run, Release::Done { result: None }).await;
            }
            (Some(StopReason::Shutdown), Ran::Stopped) => {
                metrics::deferred(queue, "drain", 1);
                return self.put_off(run, job, facts.counters, 0).await;
            }
            (Some(StopReason::Replaced), Ran::Stopped) => {
                metrics::deferred(queue, "replace", 1);
                return self.put_off(run, job, facts.counters, 0).await;
            }
            (Some(StopReason::Memory), Ran::Stopped) => {
                metrics::crashed(queue, 1);
                tracing::warn!(job.id = %run.id, "Job {} was killed: it held too much memory", run.id);
                return self.give_back(run, Release::Crash).await;
            }
            (_, Ran::Deferred { retry_after_ms, reason }) => {
                metrics::deferred(queue, "pushback", 1);
                tracing::info!(job.id = %run.id, retry_after_ms, "Job {} was put off by its target: {reason}", run.id);
                // "At once" from a target that has just said no would be a loop without an end or a cost.
                let delay_ms = if retry_after_ms == 0 { RETRY_AFTER_MS_LEAST } else { retry_after_ms };
                return self.put_off(run, job, facts.counters, delay_ms.min(RETRY_AFTER_MS_MAX)).await;
            }
            (_, Ran::Crashed { message }) => {
                metrics::crashed(queue, 1);
                tracing::warn!(job.id = %run.id, "Job {} lost its worker: {message}", run.id);
                return self.give_back(run, Release::Crash).await;
            }
            (_, Ran::Stopped) => {
                let words = format!("not done within {} ms", facts.timeout_ms);
                Judged::failure(Failure::new("timeout", words), 0)
            }
            // A failure is judged by the policy alone, whatever else the envelope wishes.
            (_, Ran::Failed { failure, retry_after_ms, envelope }) => Judged::failure(
                failure,
                envelope.retry_after_ms.or(retry_after_ms).unwrap_or(0).min(RETRY_AFTER_MS_MAX),
            ),
            (_, Ran::Returned { result, envelope }) => self.judge(run, result, *envelope),
        };
        self.record(run, job, facts, judged, observed).await;
    }

    /// What a run says of load.
    fn note_load(&self, run: &Run, job: &Job, facts: &RunFacts, ran: &Ran) {
        let setup = self.setup.load();
        let Some(known) = setup.catalog.types.get(&run.job_type) else { return };
        let timed_out = matches!(ran, Ran::Stopped) && run.stopped() == Some(StopReason::Deadline);
        let ended = Ended {
            known,
            is_first: job.counters.attempts == 0,
            waits_from: job.waits_from,
            finished_at: facts.finished_at,
        };
        self.shedding.ended(&ended, ran, timed_out);
    }

    /// When what waits for `delay_ms` from now on is due: on the broker's clock, which decides it, so that the
    /// ledger and the broker say the same.
    pub(super) fn due_in(&self, delay_ms: u64) -> Timestamp {
        Timestamp(self.broker.now_ms().saturating_add_unsigned(delay_ms))
    }

    /// Records that a run ended without an outcome, or is not to start yet, and is due again after `delay_ms`. The
    /// ledger learns of it, so that neither the wait nor the deferral is lost with the broker: deliveries that were
    /// not counted as deferred would one day look like poison.
    pub(super) async fn put_off(&self, run: &Arc<Run>, job: &Job, counters: Counters, delay_ms: u64) {
        let due_at = self.due_in(delay_ms);
        let due_at_ms = (delay_ms > 0).then_some(due_at.millis());
        let (attempts, deferrals) = (job.counters.attempts, counters.deferrals + 1);
        let attempts = attempts + u32::from(mutant!(attempt_on_drain));
        let counters = Counters { attempts, deferrals, ..counters };
        let settlement = without_run(run, job, Verdict::Retry { due_at }, counters, job.error.clone());
        let after = After {
            run: run.clone(),
            release: Release::Defer { due_at_ms },
            attempt: None,
            payload_bytes: job.spec.payload.len(),
            waits_from: job.waits_from,
            says: Says::default(),
        };
        self.hand_over(Outcome { settlement, after }).await;
    }

    /// What a reply amounts to, its envelope considered.
    fn judge(&self, run: &Run, result: Bytes, envelope: Envelope) -> Judged {
        if let Some(mut review) = envelope.review {
            let reason = std::mem::take(&mut review.reason);
            return match reviews::content(self, &run.id, result.len(), review) {
                Ok(content) => {
                    Judged { result: Some(result), review: Some(content), ..Judged::told(Told::Review(reason)) }
                }
                Err(failure) => Judged::failure(failure, 0),
            };
        }
        match admission::children(self, &run.id, "enqueue", &envelope.enqueue) {
            Ok(children) => Judged { result: Some(result), children, ..Judged::told(Told::Success) },
            Err(failure) => Judged::failure(failure, 0),
        }
    }

    /// Decides by the type's policy and hands the outcome over.
    async fn record(&self, run: &Arc<Run>, job: &Job, facts: &RunFacts, judged: Judged, observed: Vec<Sample>) {
        let setup = self.setup.load_full();
        let now = facts.finished_at;
        let attempts = job.counters.attempts + 1;
        let decision = match setup.catalog.types.get(&run.job_type) {
            Some(known) => decide(&known.retry, attempts, job.spec.max_attempts, &judged.told, self.chance.share()),
            // A reload took the type away while the job ran. Without its policy a failure that is not the last one waits
            // with the others of its type until it is back.
            None => match &judged.told {
                Told::Success => Decision::Rest(Event::Succeed),
                Told::Review(_) => Decision::Rest(Event::Escalate),
                Told::Failure(..) if attempts < job.spec.max_attempts => Decision::Retry(0),
                Told::Failure(..) => Decision::Rest(Event::Fail),
            },
        };
        let event = match decision {
            Decision::Retry(_) => Event::Retry,
            Decision::Rest(event) => event,
        };
        let Ok(state) = next(State::Running, event) else {
            tracing::error!(job.id = %run.id, "A run of job {} cannot {event}", run.id);
            return self.give_back(run, Release::Defer { due_at_ms: None }).await;
        };
        let error = match judged.told {
            Told::Success => None,
            Told::Review(reason) => Some(Failure::new("review", reason)),
            Told::Failure(failure, _) => Some(failure),
        };
        let (verdict, release) = match decision {
            Decision::Retry(delay_ms) => {
                let due_at = self.due_in(delay_ms);
                (Verdict::Retry { due_at }, Release::Retry { due_at_ms: due_at.millis() })
            }
            Decision::Rest(_) => {
                let result = judged.result;
                let kept = result.clone().filter(|_| state == State::Succeeded && (run.keyed || facts.redelivered));
                let kept = kept.filter(|result| result.len() <= BROKER_RESULT_BYTES_MAX);
                let release = Release::Done { result: kept.map(|result| (result, self.params.result_ttl_ms)) };
                (Verdict::Rest { state, result, finished_at: now }, release)
            }
        };
        let class = error.as_ref().map_or("", |failure| setup.error_classes.fold(&failure.class)).to_owned();
        let mut history = job.history.clone();
        history.push(facts.attempt(attempts, run.fence, state, error.clone()));
        let settlement = Settlement {
            seq: run.seq,
            id: run.id.clone(),
            fence: run.fence,
            verdict,
            counters: Counters { attempts, ..facts.counters },
            history,
            error,
            keyed: run.keyed,
            children: judged.children,
            review: judged.review.map(Box::new),
        };
        self.hand_over(Outcome {
            settlement,
            after: After {
                run: run.clone(),
                release,
                attempt: Some(class),
                payload_bytes: job.spec.payload.len(),
                waits_from: job.waits_from,
                says: Says::of(self, job, observed),
            },
        })
        .await;
    }
}

/// A settlement that adds no finished run to the history.
fn without_run(run: &Run, job: &Job, verdict: Verdict, counters: Counters, error: Option<Failure>) -> Settlement {
    Settlement {
        seq: run.seq,
        id: run.id.clone(),
        fence: run.fence,
        verdict,
        counters,
        history: job.history.clone(),
        error,
        keyed: run.keyed,
        children: Vec::new(),
        review: None,
    }
}

#[cfg(ganger_mutants)]
impl After {
    /// Ends the lease before the commit; the pause makes the wrong order visible.
    async fn settle_early(&self, core: &Core) {
        let settle = crate::broker::Settle { lease: self.run.lease(), release: self.release.clone() };
        core.broker.settle(&self.run.queue, &[settle]).await.ok();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Why a claimed job comes to rest without a run.
pub(super) struct Unrun {
    /// Where it comes to rest.
    pub(super) state: State,
    /// Why a person should look, if one should.
    pub(super) reason: ReviewReason,
    /// In words.
    pub(super) why: Failure,
}

/// What a run came to, before the policy is asked.
struct Judged {
    told: Told,
    result: Option<Bytes>,
    children: Vec<NewJob>,
    review: Option<ReviewContent>,
}

impl Judged {
    fn told(told: Told) -> Self {
        Self { told, result: None, children: Vec::new(), review: None }
    }

    fn failure(failure: Failure, floor_ms: u64) -> Self {
        Self::told(Told::Failure(failure, floor_ms))
    }
}

/// What is known of a run beside its reply.
#[derive(Debug, Clone)]
pub(super) struct RunFacts {
    /// Who ran it.
    pub(super) worker: WorkerName,
    /// When it started.
    pub(super) started_at: Timestamp,
    /// When it ended.
    pub(super) finished_at: Timestamp,
    /// How long it was allowed to take.
    pub(super) timeout_ms: u64,
    /// The counters of the claim.
    pub(super) counters: Counters,
    /// Whether this was not the first delivery.
    pub(super) redelivered: bool,
}

impl RunFacts {
    fn attempt(&self, attempt: u32, fence: Fence, outcome: State, error: Option<Failure>) -> Attempt {
        Attempt {
            attempt,
            worker: self.worker.to_string(),
            fence,
            started_at: self.started_at,
            finished_at: self.finished_at,
            outcome,
            error,
        }
    }
}
