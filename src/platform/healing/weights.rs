//! What each strategy counts, and what a score is worth as a probability.
//!
//! The numbers were fitted on half of the pages of `scripts/healing.sh` (`docs/HEALING.md` says how far that went). A row
//! of the element repository can replace them.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use super::refit::regression::probability;
use crate::platform::locators::rounded;

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

/// What the facts of a healing count in the log-odds of its being right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Of every healing.
    pub bias: f64,
    /// The score of the best candidate.
    pub score: f64,
    /// Its distance to the runner-up.
    pub margin: f64,
    /// The share of the weights that there was evidence for.
    pub evidence: f64,
    /// Its lead over what other elements claim.
    pub lead: f64,
}

impl Confidence {
    /// Score, margin, evidence, lead, bias.
    pub fn listed(&self) -> [f64; 5] {
        [self.score, self.margin, self.evidence, self.lead, self.bias]
    }

    /// From what was fitted, in that order; what is missing counts nothing.
    pub fn from_list(fitted: &[f64]) -> Self {
        let of = |at: usize| rounded(fitted.get(at).copied().unwrap_or(0.0));
        Self { score: of(0), margin: of(1), evidence: of(2), lead: of(3), bias: of(4) }
    }
}

/// The weights of the strategies and of the confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Of each strategy, in the order of [`Strategy::ALL`]; a strategy without evidence is left out and the rest counts more.
    pub strategies: [f64; 5],
    /// Where only the element itself is remembered.
    pub alone: Confidence,
    /// Where the other elements of its page are remembered, too.
    pub among: Confidence,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            strategies: [0.076, 0.229, 0.059, 0.059, 0.576],
            alone: Confidence { bias: -6.977, score: 8.619, margin: 7.913, evidence: 0.0, lead: 0.0 },
            among: Confidence { bias: -3.902, score: 4.989, margin: 2.0, evidence: 0.0, lead: 20.977 },
        }
    }
}

/// A distance above this one adds no certainty.
pub(super) const DISTANCE_MAX: f64 = 0.35;

/// What the confidence is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The score of the best candidate.
    pub score: f64,
    /// Its distance to the runner-up, as far as it counts.
    pub margin: f64,
    /// The share of the weights that there was evidence for.
    pub evidence: f64,
    /// Its lead over what other elements claim, as far as it counts; nothing if they are not known.
    pub lead: Option<f64>,
}

impl Facts {
    pub(super) fn of(best: f64, second: f64, evidence: f64, lead: Option<f64>) -> Self {
        let margin = (best - second).clamp(0.0, DISTANCE_MAX);
        Self { score: best, margin, evidence, lead: lead.map(|lead| lead.clamp(-DISTANCE_MAX, DISTANCE_MAX)) }
    }

    /// In the order of [`Confidence::listed`], with the 1 that the bias is multiplied by.
    pub fn listed(&self) -> [f64; 5] {
        [self.score, self.margin, self.evidence, self.lead.unwrap_or(0.0), 1.0]
    }
}

impl Weights {
    /// The weighted mean of what there is evidence for, 0 to 1.
    pub fn score(&self, scores: &[Option<f64>; 5]) -> f64 {
        let known = || scores.iter().zip(self.strategies).filter_map(|(score, weight)| Some(((*score)?, weight)));
        let all: f64 = known().map(|(_, weight)| weight).sum();
        if all <= 0.0 { 0.0 } else { known().map(|(score, weight)| score * weight).sum::<f64>() / all }
    }

    /// How likely it is that the best candidate is the element.
    pub fn confidence(&self, facts: &Facts) -> f64 {
        let counts = if facts.lead.is_some() { &self.among } else { &self.alone };
        probability(&facts.listed(), &counts.listed())
    }

    /// Whether they can be used: finite, no strategy negative, not all of them 0.
    pub fn are_sound(&self) -> bool {
        let finite = |one: &Confidence| {
            [one.bias, one.score, one.margin, one.evidence, one.lead].iter().all(|weight| weight.is_finite())
        };
        self.strategies.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
            && self.strategies.iter().sum::<f64>() > 0.0
            && finite(&self.alone)
            && finite(&self.among)
    }
}

/// The share of the weights that there is evidence for.
pub(super) fn evidence(weights: &Weights, scores: &[Option<f64>; 5]) -> f64 {
    let all: f64 = weights.strategies.iter().sum();
    let known: f64 =
        scores.iter().zip(weights.strategies).filter(|(score, _)| score.is_some()).map(|(_, weight)| weight).sum();
    if all <= 0.0 { 0.0 } else { known / all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_up_and_rivals_lower_the_confidence() {
        let weights = Weights::default();
        let of = |second, lead| weights.confidence(&Facts::of(0.9, second, 1.0, lead));
        assert!(of(0.3, None) > of(0.89, None) + 0.05);
        assert!(of(0.3, Some(0.3)) > of(0.3, Some(-0.1)) + 0.05);
    }

    #[test]
    fn nonsense_is_not_sound() {
        let weights = Weights::default();
        assert!(weights.are_sound());
        assert!(!Weights { strategies: [0.0; 5], ..weights }.are_sound());
        assert!(!Weights { strategies: [-0.1, 1.0, 1.0, 1.0, 1.0], ..weights }.are_sound());
        assert!(!Weights { alone: Confidence { bias: f64::NAN, ..weights.alone }, ..weights }.are_sound());
    }

    #[test]
    fn what_nobody_knows_counts_nothing() {
        let weights = Weights::default();
        assert!((weights.score(&[Some(1.0), None, None, None, None]) - 1.0).abs() < 1e-9);
        assert!(weights.score(&[None; 5]).abs() < 1e-9);
    }
}
