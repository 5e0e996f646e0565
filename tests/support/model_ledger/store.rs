//! The steps of the model: commits, confirms, orders, pages.

use ganger::clock::Timestamp;
use ganger::job::review::{Decision, ReviewContent, ReviewReason, Verdict as Told};
use ganger::job::{Counters, Event, Failure, Job, JobId, NewJob, Rest, Seq, State, next};
use ganger::ledger::{
    Batch, BatchAnswer, Confirm, Confirmed, JobFilter, LiveEntry, Order, Ordered, Ruling, Settled, Settlement, Verdict,
    id_key, idempotency_key,
};

use super::{Row, Store};

impl Store {
    /// Draws `count` lives for a transaction that commits later; answers the first.
    pub fn reserve(&mut self, count: usize) -> Seq {
        let first = self.last_seq + 1;
        self.last_seq += Seq::try_from(count).unwrap();
        first
    }

    /// Accepts and settles. With `reserved`, new lives are those that were drawn before.
    pub fn commit(&mut self, batch: &Batch, reserved: Option<Seq>) -> BatchAnswer {
        let mut reserved = reserved;
        let mut lives = |store: &mut Self| match &mut reserved {
            Some(next) => {
                *next += 1;
                *next - 1
            }
            None => store.reserve(1),
        };
        let mut settles: Vec<Settled> = batch.settles.iter().map(|settle| self.settle(settle)).collect();
        let born = |at: usize| if settles[at] == applied() { batch.settles[at].children.as_slice() } else { &[] };
        let children: Vec<NewJob> = (0..settles.len()).flat_map(|at| born(at).to_vec()).collect();
        let mut accepted = self.accept(&children, &mut lives).into_iter();
        for (settle, answer) in batch.settles.iter().zip(&mut settles) {
            if let Settled::Applied { children } = answer {
                children.extend(accepted.by_ref().take(settle.children.len()));
            }
        }
        BatchAnswer { accepts: self.accept(&batch.accepts, &mut lives), settles }
    }

    fn settle(&mut self, settle: &Settlement) -> Settled {
        let applies = |row: &&mut Row| row.job.fence <= settle.fence && row.settled < settle.fence;
        let Some(row) = self.live.get_mut(&settle.seq).filter(applies) else {
            let known = self.live.get(&settle.seq).or_else(|| self.finished.get(&settle.seq));
            let repeat = known.is_some_and(|row| row.settled == settle.fence);
            return if repeat { Settled::Repeat } else { Settled::Stale };
        };
        let before = row.job.counters;
        row.settled = settle.fence;
        row.job.fence = settle.fence;
        row.job.counters = settle.counters;
        row.job.history.clone_from(&settle.history);
        row.job.error = settle.error.as_ref().map(without_nul);
        note_falls(&mut self.violations, &settle.id, before, settle.counters);
        match &settle.verdict {
            Verdict::Retry { due_at } => {
                row.job.spec.due_at = Some(*due_at);
                row.job.waits_from = *due_at;
            }
            Verdict::Rest { state, result, finished_at } => {
                let rest = Rest { state: *state, result: result.clone(), finished_at: *finished_at };
                self.bring_to_rest(settle.seq, rest, settle.keyed);
                if *state == State::InReview {
                    let content = settle.review.as_deref().cloned();
                    self.open_review(settle.seq, content.unwrap_or(ReviewContent::of(ReviewReason::Failed)));
                }
            }
        }
        applied()
    }

    fn bring_to_rest(&mut self, seq: Seq, rest: Rest, keyed: bool) {
        let Some(mut row) = self.live.remove(&seq) else { return };
        if keyed {
            self.keys_rest(&row.job, Some(rest.finished_at));
        }
        row.job.rest = Some(rest);
        self.finished.insert(seq, row);
    }

    /// Tells the keys of a job since when it rests, or that it lives again.
    fn keys_rest(&mut self, job: &Job, at: Option<Timestamp>) {
        for key in own_keys(job) {
            if let Some(key) = self.keys.get_mut(&key).filter(|key| key.id == job.spec.id) {
                key.rest_at = at;
            }
        }
    }

    pub(super) fn confirm(&mut self, claims: &[Confirm]) -> Vec<Confirmed> {
        claims.iter().map(|claim| self.confirm_one(claim)).collect()
    }

    fn confirm_one(&mut self, claim: &Confirm) -> Confirmed {
        let fits = |row: &&mut Row| row.job.fence <= claim.fence && row.settled < claim.fence;
        let Some(row) = self.live.get_mut(&claim.seq).filter(fits) else { return Confirmed::Void };
        let counters = &mut row.job.counters;
        if claim.crashes > counters.crashes {
            row.job.crashed_at.insert(0, claim.now);
            row.job.crashed_at.truncate(3);
        }
        counters.deliveries = counters.deliveries.max(claim.deliveries);
        counters.crashes = counters.crashes.max(claim.crashes);
        counters.deferrals = counters.deferrals.max(claim.deferrals);
        row.job.fence = claim.fence;
        Confirmed::Live(Box::new(row.job.clone()))
    }

    pub(super) fn order(&mut self, order: &Order, now: Timestamp) -> Ordered {
        let id = match order {
            Order::Rest { id, .. } | Order::Revive { id, .. } | Order::Delete { id } => id,
            Order::Decide(ruling) => &ruling.id,
        };
        let of = |(seq, row): (&Seq, &Row)| (row.job.spec.id == *id).then_some(*seq);
        if let Some(seq) = self.live.iter().find_map(of) {
            return match order {
                Order::Rest { seq: Some(meant), .. } if *meant != seq => Ordered::Unknown,
                Order::Rest { state, error, .. } => self.order_rest(seq, *state, error.as_ref(), now),
                _ => Ordered::WrongState(State::Ready),
            };
        }
        let Some(seq) = self.finished.iter().find_map(of) else { return Ordered::Unknown };
        let state = self.finished[&seq].job.rest.as_ref().map_or(State::Failed, |rest| rest.state);
        match order {
            Order::Revive { score, by, .. } if next(state, Event::Revive).is_ok() => {
                let (verdict, by, note) = (Told::Retried, by.clone(), String::new());
                self.close_review(seq, &Decision { verdict, by, note, at: now, proposal: None });
                self.revive(seq, *score, now)
            }
            Order::Decide(ruling) if ruling.seq != seq => Ordered::Unknown,
            Order::Decide(ruling) => match next(state, ruling.decision.verdict.event()) {
                Ok(after) if after.is_at_rest() => self.decide(ruling, after, now),
                _ => Ordered::WrongState(state),
            },
            Order::Delete { .. } => self.delete(seq),
            _ => Ordered::WrongState(state),
        }
    }

    fn order_rest(&mut self, seq: Seq, state: State, error: Option<&Failure>, now: Timestamp) -> Ordered {
        if let (Some(row), Some(error)) = (self.live.get_mut(&seq), error) {
            row.job.error = Some(without_nul(error));
        }
        self.bring_to_rest(seq, Rest { state, result: None, finished_at: now }, true);
        if state == State::InReview {
            self.open_review(seq, ReviewContent::of(ReviewReason::Late));
        }
        Ordered::Done { seq }
    }

    fn revive(&mut self, seq: Seq, score: i64, now: Timestamp) -> Ordered {
        let Some(mut row) = self.finished.remove(&seq) else { return Ordered::Unknown };
        self.keys_rest(&row.job, None);
        let seq = self.reserve(1);
        row.job = Job {
            seq,
            waits_from: now,
            counters: Counters::default(),
            crashed_at: Vec::new(),
            rest: None,
            spec: NewJob { score, due_at: None, ..row.job.spec },
            ..row.job
        };
        self.live.insert(seq, row);
        Ordered::Done { seq }
    }

    fn decide(&mut self, ruling: &Ruling, state: State, now: Timestamp) -> Ordered {
        let seq = ruling.seq;
        let Some(mut row) = self.finished.remove(&seq) else { return Ordered::Unknown };
        let before = row.job.rest.take().and_then(|rest| rest.result);
        row.job.rest = Some(Rest { state, result: ruling.result.clone().or(before), finished_at: now });
        row.job.error = ruling.error.as_ref().map(without_nul);
        self.keys_rest(&row.job, Some(now));
        self.finished.insert(seq, row);
        self.close_review(seq, &ruling.decision);
        let born = if state == State::Succeeded { ruling.children.as_slice() } else { &[] };
        Ordered::Decided { seq, children: self.accept(born, &mut |store: &mut Self| store.reserve(1)) }
    }

    fn delete(&mut self, seq: Seq) -> Ordered {
        let Some(row) = self.finished.remove(&seq) else { return Ordered::Unknown };
        self.drop_reviews(&row.job.spec.id);
        for key in own_keys(&row.job) {
            if self.keys.get(&key).is_some_and(|key| key.id == row.job.spec.id) {
                self.keys.remove(&key);
            }
        }
        Ordered::Done { seq }
    }

    pub(super) fn page(&self, filter: &JobFilter, before: Option<Seq>, limit: usize, now: Timestamp) -> Vec<Job> {
        let fits = |job: &Job| {
            let state = match filter.state {
                Some(State::Running) => Some(State::Ready),
                state => state,
            };
            let label = |(name, value): &(String, String)| job.spec.labels.get(name) == Some(value);
            let class = |class: &String| job.error.as_ref().is_some_and(|error| error.class == *class);
            before.is_none_or(|before| job.seq < before)
                && state.is_none_or(|state| job.ledger_state(now) == state)
                && filter.queue.as_ref().is_none_or(|queue| *queue == job.spec.queue)
                && filter.job_type.as_ref().is_none_or(|name| *name == job.spec.job_type)
                && filter.label.as_ref().is_none_or(label)
                && filter.error_class.as_ref().is_none_or(class)
        };
        let rows = self.live.values().chain(self.finished.values());
        let mut found: Vec<Job> = rows.map(|row| &row.job).filter(|job| fits(job)).cloned().collect();
        found.sort_by_key(|job| std::cmp::Reverse(job.seq));
        found.truncate(limit);
        found
    }
}

fn applied() -> Settled {
    Settled::Applied { children: Vec::new() }
}

/// The keys that a job may hold: of its id, and its idempotency key.
fn own_keys(job: &Job) -> Vec<String> {
    std::iter::once(id_key(&job.spec.id)).chain(job.spec.idempotency_key.as_deref().map(idempotency_key)).collect()
}

/// Postgres knows no NUL in a text; every ledger keeps the same sign for it.
fn without_nul(failure: &Failure) -> Failure {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    Failure { class: clean(&failure.class), message: clean(&failure.message) }
}

fn note_falls(violations: &mut Vec<String>, id: &JobId, before: Counters, after: Counters) {
    let falls = after.attempts < before.attempts
        || after.deliveries < before.deliveries
        || after.crashes < before.crashes
        || after.deferrals < before.deferrals;
    if falls {
        violations.push(format!("the counters of job {id} fall from {before:?} to {after:?}"));
    }
}

/// What the broker needs to know of a row.
pub(super) fn entry(job: &Job) -> LiveEntry {
    LiveEntry {
        seq: job.seq,
        id: job.spec.id.clone(),
        queue: job.spec.queue.clone(),
        job_type: job.spec.job_type.clone(),
        priority: job.spec.priority.number(),
        score: job.spec.score,
        due_at: job.spec.due_at,
        counters: job.counters,
        keyed: job.spec.id_given || job.spec.idempotency_key.is_some(),
    }
}
