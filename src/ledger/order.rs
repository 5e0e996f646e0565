//! Operators' orders: the rules, written once over a few small steps that each store takes in its own
//! way. Every row that an order names is locked first; then the orders act one after the other.

use std::collections::HashMap;
use std::future::Future;

use super::accept::{AcceptSteps, accept};
use super::review::ReviewSteps;
use super::{Order, Ordered, Ruling};
use crate::clock::Timestamp;
use crate::job::review::{Decision, ReviewContent, ReviewReason, Verdict};
use crate::job::{Event, Failure, JobId, Seq, State, next};
use crate::mutant::mutant;

/// Where a job stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Standing {
    /// Its row is live.
    Live(Seq),
    /// Its row is at rest.
    Rest(Seq, State),
}

/// The steps, all within one transaction.
pub(super) trait OrderSteps: AcceptSteps + ReviewSteps {
    /// Locks the rows with these ids, live ones first, each kind in the order of seq.
    fn lock(&mut self, ids: &[&JobId]) -> impl Future<Output = sqlx::Result<HashMap<JobId, Standing>>> + Send;
    /// Moves a live row to finished, its keys with it.
    fn rest(
        &mut self,
        seq: Seq,
        state: State,
        error: Option<&Failure>,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Moves a finished row to live; answers its new life.
    fn revive(&mut self, seq: Seq, score: i64, now: Timestamp) -> impl Future<Output = sqlx::Result<Seq>> + Send;
    /// Changes the state of a finished row, its error and (where one is given) its result.
    fn decide(
        &mut self,
        state: State,
        ruling: &Ruling,
        now: Timestamp,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Drops a finished row, its keys and its reviews.
    fn delete(&mut self, seq: Seq) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Carries out orders; answers in order.
pub(super) async fn carry_out(
    steps: &mut impl OrderSteps,
    orders: &[Order],
    now: Timestamp,
) -> sqlx::Result<Vec<Ordered>> {
    let mut ids: Vec<&JobId> = orders.iter().map(id_of).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut standing = steps.lock(&ids).await?;
    let mut answers = Vec::with_capacity(orders.len());
    for order in orders {
        let (answer, after) = match standing.get(id_of(order)).copied() {
            None => (Ordered::Unknown, None),
            Some(before) => one(steps, order, before, now).await?,
        };
        match after {
            Some(after) => standing.insert(id_of(order).clone(), after),
            None => standing.remove(id_of(order)),
        };
        answers.push(answer);
    }
    Ok(answers)
}

fn id_of(order: &Order) -> &JobId {
    match order {
        Order::Rest { id, .. } | Order::Revive { id, .. } | Order::Delete { id } => id,
        Order::Decide(ruling) => &ruling.id,
    }
}

/// Carries out one order; answers it and where the job stands after it.
async fn one(
    steps: &mut impl OrderSteps,
    order: &Order,
    before: Standing,
    now: Timestamp,
) -> sqlx::Result<(Ordered, Option<Standing>)> {
    match (order, before) {
        // Only that life was meant, and it is over.
        (Order::Rest { seq: Some(meant), .. }, Standing::Live(seq)) if *meant != seq && !mutant!(order_any_life) => {
            Ok((Ordered::Unknown, Some(before)))
        }
        (Order::Rest { state, error, .. }, Standing::Live(seq)) => {
            steps.rest(seq, *state, error.as_ref(), now).await?;
            if *state == State::InReview {
                steps.open(&[(seq, ReviewContent::of(ReviewReason::Late))]).await?;
            }
            Ok((Ordered::Done { seq }, Some(Standing::Rest(seq, *state))))
        }
        (Order::Revive { score, by, .. }, Standing::Rest(seq, state)) if next(state, Event::Revive).is_ok() => {
            if state == State::InReview {
                let (by, note) = (by.clone(), String::new());
                let decision = Decision { verdict: Verdict::Retried, by, note, at: now, proposal: None };
                steps.close(seq, &decision).await?;
            }
            let seq = steps.revive(seq, *score, now).await?;
            Ok((Ordered::Done { seq }, Some(Standing::Live(seq))))
        }
        // Another life came to review meanwhile, and nobody has looked at that one.
        (Order::Decide(ruling), Standing::Rest(seq, _)) if ruling.seq != seq => Ok((Ordered::Unknown, Some(before))),
        (Order::Decide(ruling), Standing::Rest(_, state)) => match next(state, ruling.decision.verdict.event()) {
            Ok(after) if after.is_at_rest() => decide(steps, ruling, after, now).await,
            _ if mutant!(review_decided_twice) => decide(steps, ruling, State::Failed, now).await,
            _ => Ok((Ordered::WrongState(state), Some(before))),
        },
        (Order::Delete { .. }, Standing::Rest(seq, _)) => {
            steps.delete(seq).await?;
            Ok((Ordered::Done { seq }, None))
        }
        (_, Standing::Live(_)) => Ok((Ordered::WrongState(State::Ready), Some(before))),
        (_, Standing::Rest(_, state)) => Ok((Ordered::WrongState(state), Some(before))),
    }
}

/// Writes a person's word on a review, and accepts the jobs that wait for an approval.
async fn decide(
    steps: &mut impl OrderSteps,
    ruling: &Ruling,
    after: State,
    now: Timestamp,
) -> sqlx::Result<(Ordered, Option<Standing>)> {
    let seq = ruling.seq;
    steps.decide(after, ruling, now).await?;
    steps.close(seq, &ruling.decision).await?;
    let born = after == State::Succeeded || mutant!(rejection_enqueues);
    let children = if born { accept(steps, &ruling.children, false).await? } else { Vec::new() };
    Ok((Ordered::Decided { seq, children }, Some(Standing::Rest(seq, after))))
}
