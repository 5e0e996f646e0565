//! Weights that fit what people have decided.

use super::regression::{Example, Prior, logistic_regression, probability};
use super::verdict::Verdict;
use crate::platform::healing::{Confidence, Facts, Weights};
use crate::platform::locators::rounded;

/// How many verdicts it takes to be believed against what is built in. Reviews show the unsure healings only: a few of
/// them must not change what is thought of the sure ones.
const PRIOR_STRENGTH: f64 = 0.5;

/// How sharply a difference of scores decides between two candidates.
const SHARPNESS: f64 = 10.0;

/// The least that a strategy counts, so that it can come back.
pub const LEAST_WEIGHT: f64 = 0.06;

/// Parts that the verdicts are cut into: each is judged by weights that were fitted on the others.
const FOLDS: usize = 5;

/// Nobody is sure beyond this: one surprise must not decide by itself.
const SUREST: f64 = 0.999;

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refit {
    /// Fitted on all verdicts.
    pub(super) weights: Weights,
    /// Mean surprise of the built-in weights by a verdict, in nats: the logarithmic loss of their confidence.
    pub(super) loss_before: f64,
    /// The same of weights that were fitted without that verdict.
    pub(super) loss_after: f64,
}

/// Fits, starting from `built_in`. It is always that start, whatever a refit before has made of it: otherwise the same verdicts
/// would count again with every refit.
pub(super) fn refitted(verdicts: &[Verdict], built_in: &Weights) -> Refit {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for fold in 0..FOLDS {
        let is_judged = |place: usize| place % FOLDS == fold;
        let part = |judged: bool| {
            verdicts.iter().enumerate().filter(move |(place, _)| is_judged(*place) == judged).map(|(_, one)| one)
        };
        let learnt: Vec<Verdict> = part(false).cloned().collect();
        let fitted = fitted(&learnt, built_in);
        for verdict in part(true) {
            // Only verdicts that tell about both.
            if let (Some(old), Some(new)) = (surprise(verdict, built_in), surprise(verdict, &fitted)) {
                before.push(old);
                after.push(new);
            }
        }
    }
    Refit { weights: fitted(verdicts, built_in), loss_before: mean(&before), loss_after: mean(&after) }
}

fn fitted(verdicts: &[Verdict], built_in: &Weights) -> Weights {
    let strategies = strategies(verdicts, built_in);
    let weights = Weights { strategies, ..*built_in };
    let seen: Vec<(Facts, bool)> = verdicts.iter().filter_map(|verdict| verdict.seen_with(&weights)).collect();
    let of = |with_lead: bool| seen.iter().filter(move |(facts, _)| facts.lead.is_some() == with_lead).copied();
    Weights { alone: confidence(of(false), &built_in.alone), among: confidence(of(true), &built_in.among), ..weights }
}

/// The element has to win against the others: what tells them apart gets weight.
fn strategies(verdicts: &[Verdict], built_in: &Weights) -> [f64; 5] {
    let sharp = |difference: [f64; 5]| Example { facts: difference.map(|by| by * SHARPNESS).to_vec(), right: true };
    let examples: Vec<Example> = verdicts.iter().flat_map(Verdict::differences).map(sharp).collect();
    // A difference is worth SHARPNESS² of what an example is worth to the confidence, and so is its prior.
    let strength = PRIOR_STRENGTH * SHARPNESS * SHARPNESS;
    let prior = Prior { weights: &built_in.strategies, strength, floors: &[0.0; 5] };
    shares(&logistic_regression(&examples, &prior))
}

/// Weights as shares of 1, none of them below [`LEAST_WEIGHT`] by much.
pub fn shares(weights: &[f64]) -> [f64; 5] {
    let sum: f64 = weights.iter().sum();
    let held: Vec<f64> = weights.iter().map(|weight| (weight / sum).max(LEAST_WEIGHT)).collect();
    let sum: f64 = held.iter().sum();
    let mut shares = [0.0; 5];
    for (share, weight) in shares.iter_mut().zip(held) {
        *share = rounded(weight / sum);
    }
    shares
}

fn confidence(seen: impl Iterator<Item = (Facts, bool)>, built_in: &Confidence) -> Confidence {
    let examples: Vec<Example> = seen.map(|(facts, right)| Example { facts: facts.listed().to_vec(), right }).collect();
    // A better score, a larger distance or lead never make it less sure.
    let free = f64::NEG_INFINITY;
    let prior = Prior { weights: &built_in.listed(), strength: PRIOR_STRENGTH, floors: &[0.0, 0.0, free, 0.0, free] };
    Confidence::from_list(&logistic_regression(&examples, &prior))
}

/// Nats by which a verdict surprises the confidence of these weights.
fn surprise(verdict: &Verdict, weights: &Weights) -> Option<f64> {
    let (facts, right) = verdict.seen_with(weights)?;
    let counts = if facts.lead.is_some() { &weights.among } else { &weights.alone };
    let sure = probability(&facts.listed(), &counts.listed()).clamp(1.0 - SUREST, SUREST);
    Some(if right { -sure.ln() } else { -(1.0 - sure).ln() })
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand")]
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}
