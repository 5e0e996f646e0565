//! What each strategy counts, and what a score is worth as a probability.
//!
//! The numbers were fitted on half of the pages of `scripts/healing.sh` and judged on the other half
//! (`docs/HEALING.md`). A row of the element repository can replace them.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// What an element is known again by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Its id, name, or test attribute.
    IdMatch,
    /// Its other attributes.
    AttributeMatch,
    /// What it says.
    TextMatch,
    /// What its words mean, its role and its purpose.
    SemanticMatch,
    /// Where it stands and what stands around it.
    StructureMatch,
}

impl Strategy {
    /// All of them; of two that are equally sure the first one is named.
    pub const ALL: [Self; 5] =
        [Self::IdMatch, Self::AttributeMatch, Self::TextMatch, Self::SemanticMatch, Self::StructureMatch];

    /// Its name in observations and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdMatch => "id_match",
            Self::AttributeMatch => "attribute_match",
            Self::TextMatch => "text_match",
            Self::SemanticMatch => "semantic_match",
            Self::StructureMatch => "structure_match",
        }
    }
}

/// The weights of the strategies and of the confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Of each strategy, in the order of [`Strategy::ALL`]; a strategy without evidence is left out and the rest counts more.
    pub strategies: [f64; 5],
    /// Added to the log-odds of every healing.
    pub bias: f64,
    /// What the score of the best candidate counts in log-odds.
    pub score: f64,
    /// What its distance to the runner-up counts.
    pub margin: f64,
    /// What it counts that the element was unique among its like in its old surroundings: the share of strategies with evidence.
    pub evidence: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { strategies: [0.25, 0.2, 0.25, 0.15, 0.15], bias: -6.0, score: 8.0, margin: 8.0, evidence: 1.0 }
    }
}

/// A distance above this one adds no certainty.
pub const MARGIN_MAX: f64 = 0.35;

impl Weights {
    /// The weighted mean of what there is evidence for, 0 to 1.
    pub fn score(&self, scores: &[Option<f64>; 5]) -> f64 {
        let known = || scores.iter().zip(self.strategies).filter_map(|(score, weight)| Some((((*score)?), weight)));
        let all: f64 = known().map(|(_, weight)| weight).sum();
        if all <= 0.0 { 0.0 } else { known().map(|(score, weight)| score * weight).sum::<f64>() / all }
    }

    /// How likely it is that the best candidate is the element.
    pub fn confidence(&self, facts: &[f64; 3]) -> f64 {
        let [score, margin, evidence] = facts;
        let odds = self.bias + self.score * score + self.margin * margin + self.evidence * evidence;
        1.0 / (1.0 + (-odds).exp())
    }

    /// Whether they can be used: finite, none of the strategies negative, not all zero.
    pub fn are_sound(&self) -> bool {
        let sum: f64 = self.strategies.iter().sum();
        let confidence = [self.bias, self.score, self.margin, self.evidence];
        self.strategies.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
            && sum > 0.0
            && confidence.iter().all(|weight| weight.is_finite())
            && self.score >= 0.0
            && self.margin >= 0.0
    }
}

/// The share of the weights that there is evidence for.
pub(super) fn evidence(weights: &Weights, scores: &[Option<f64>; 5]) -> f64 {
    let all: f64 = weights.strategies.iter().sum();
    let known: f64 =
        scores.iter().zip(weights.strategies).filter(|(score, _)| score.is_some()).map(|(_, weight)| weight).sum();
    if all <= 0.0 { 0.0 } else { known / all }
}

/// The distance to the runner-up as far as it counts.
pub(super) fn margin(best: f64, second: f64) -> f64 {
    (best - second).clamp(0.0, MARGIN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_up_lowers_the_confidence() {
        let weights = Weights::default();
        let sure = weights.confidence(&[0.9, margin(0.9, 0.3), 1.0]);
        let torn = weights.confidence(&[0.9, margin(0.9, 0.89), 1.0]);
        assert!(sure > torn + 0.05, "{sure} and {torn}");
        assert!(weights.are_sound());
        assert!(!Weights { strategies: [0.0; 5], ..weights }.are_sound());
        assert!(!Weights { bias: f64::NAN, ..weights }.are_sound());
    }

    #[test]
    fn what_nobody_knows_counts_nothing() {
        let weights = Weights::default();
        assert!((weights.score(&[Some(1.0), None, None, None, None]) - 1.0).abs() < 1e-9);
        assert!(weights.score(&[None; 5]).abs() < 1e-9);
    }
}
