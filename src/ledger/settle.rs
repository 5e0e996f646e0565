//! Settling runs: the rules, written once over three small steps that each store takes in its own way.
//!
//! One batch may hold several settlements of one life (a late outcome beside that of the next lease).
//! They are taken in waves, each with every life at most once, so they act as if they came one by one.
//! A settlement that did not apply is looked at afterwards: if the fence that was settled last is its
//! own, it is a repeat; anything else is stale.

use std::collections::HashMap;
use std::future::Future;

use super::accept::{AcceptSteps, accept};
use super::review::ReviewSteps;
use super::{Settled, Settlement};
use crate::job::{Fence, ReviewContent, Seq};
use crate::mutant::mutant;

/// The steps, all within one transaction (or a single wave by itself).
pub(super) trait SettleSteps: AcceptSteps + ReviewSteps {
    /// Applies settlements of different lives, sorted by life; answers the lives that it applied to.
    fn apply(&mut self, wave: &[&Settlement]) -> impl Future<Output = sqlx::Result<Vec<Seq>>> + Send;
    /// Which fence was settled last, for lives that are live or at rest.
    fn find_settled(&mut self, seqs: &[Seq]) -> impl Future<Output = sqlx::Result<HashMap<Seq, Fence>>> + Send;
}

/// Whether one statement can do it: no life twice, no children and no reviews.
pub(super) fn is_single_step(settles: &[Settlement]) -> bool {
    let is_plain = |settle: &Settlement| settle.children.is_empty() && settle.opens().is_none();
    settles.iter().all(is_plain) && waves(settles, |settle| settle.seq).len() <= 1
}

/// Settles; answers in order.
pub(super) async fn settle(steps: &mut impl SettleSteps, settles: &[Settlement]) -> sqlx::Result<Vec<Settled>> {
    let mut answers: Vec<Option<Settled>> = vec![None; settles.len()];
    for wave in waves(settles, |settle| settle.seq) {
        let asked: Vec<&Settlement> = wave.iter().map(|&at| &settles[at]).collect();
        let mut applied = steps.apply(&asked).await?;
        applied.sort_unstable();
        let opened: Vec<(Seq, ReviewContent)> = asked
            .iter()
            .filter(|settle| applied.binary_search(&settle.seq).is_ok())
            .filter_map(|settle| Some((settle.seq, settle.opens()?)))
            .collect();
        if !opened.is_empty() {
            steps.open(&opened).await?;
        }
        let missed: Vec<Seq> =
            asked.iter().map(|settle| settle.seq).filter(|seq| applied.binary_search(seq).is_err()).collect();
        let settled = if missed.is_empty() { HashMap::new() } else { steps.find_settled(&missed).await? };
        for &at in &wave {
            let settle = &settles[at];
            answers[at] = Some(if applied.binary_search(&settle.seq).is_ok() {
                Settled::Applied { children: Vec::new() }
            } else if settled.get(&settle.seq) == Some(&settle.fence) {
                Settled::Repeat
            } else {
                Settled::Stale
            });
        }
    }
    let mut answers: Vec<Settled> = answers.into_iter().map(|answer| answer.unwrap_or(Settled::Stale)).collect();
    accept_children(steps, settles, &mut answers).await?;
    Ok(answers)
}

/// Accepts the children of those that applied, all in one go.
async fn accept_children(
    steps: &mut impl SettleSteps,
    settles: &[Settlement],
    answers: &mut [Settled],
) -> sqlx::Result<()> {
    let applied = |answer: &Settled| matches!(answer, Settled::Applied { .. }) || mutant!(children_apart);
    let born: Vec<_> = settles
        .iter()
        .zip(answers.iter())
        .filter(|(_, answer)| applied(answer))
        .flat_map(|(settle, _)| settle.children.iter().cloned())
        .collect();
    if born.is_empty() {
        return Ok(());
    }
    let mut accepted = accept(steps, &born, false).await?.into_iter();
    for (settle, answer) in settles.iter().zip(answers.iter_mut()) {
        if let Settled::Applied { children } = answer {
            children.extend(accepted.by_ref().take(settle.children.len()));
        }
    }
    Ok(())
}

/// Indices in waves: the n-th wave has the n-th item of every life, sorted by life.
pub(super) fn waves<T>(items: &[T], life: impl Fn(&T) -> Seq) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    // Stable, so items of one life keep the order they came in.
    order.sort_by_key(|&at| life(&items[at]));
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let (mut last, mut nth) = (None, 0);
    for at in order {
        let seq = life(&items[at]);
        nth = if last == Some(seq) { nth + 1 } else { 0 };
        last = Some(seq);
        if waves.len() <= nth {
            waves.push(Vec::new());
        }
        waves[nth].push(at);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_comes_once_in_each_wave_and_in_order() {
        assert_eq!(waves(&[7, 3, 7, 5, 7], |&seq| seq), [vec![1, 3, 0], vec![2], vec![4]]);
        assert!(waves(&[], |&seq: &i64| seq).is_empty());
    }
}
