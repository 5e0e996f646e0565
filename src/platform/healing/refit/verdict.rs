//! What a person's decision on a healing says about it.

use serde::Deserialize;
use serde_json::Value;

use crate::platform::healing::weights::DISTANCE_MAX;
use crate::platform::healing::{Facts, Strategy, Weights, weights};

/// A healing that a person has judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// The candidates as they were shown, the likeliest first; never empty.
    candidates: Vec<Shown>,
    /// How far the first one was ahead of what other elements claimed.
    lead: Option<f64>,
    /// Which of them is the element.
    truth: Truth,
}

/// A candidate as the review shows it.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    scores: [Option<f64>; 5],
    /// What another element's claim took from its score.
    claimed: f64,
}

/// What the person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    /// This candidate is the element.
    Is(usize),
    /// The first one is not.
    NotTheFirst,
}

#[derive(Deserialize)]
struct Evidence {
    candidates: Vec<Candidate>,
    facts: Facts,
}

#[derive(Deserialize)]
struct Candidate {
    locator: Option<String>,
    scores: std::collections::BTreeMap<Strategy, f64>,
    claimed: f64,
}

impl Verdict {
    /// Of a decided review; nothing if it is not about a healing, or says nothing about it.
    pub(super) fn of(review: &Value) -> Option<Self> {
        let evidence = Evidence::deserialize(&review["evidence"]).ok()?;
        let place = |locator: &str| {
            evidence.candidates.iter().position(|candidate| candidate.locator.as_deref() == Some(locator))
        };
        let decision = &review["decision"];
        let truth = match decision["verdict"].as_str()? {
            "approved" => Truth::Is(0),
            "edited" => match decision["proposal"]["locator"].as_str() {
                // Another element: one of those shown, or at least not the first.
                Some(locator) => place(locator).map_or(Truth::NotTheFirst, Truth::Is),
                None => Truth::Is(0),
            },
            "rejected" => Truth::NotTheFirst,
            // Nobody judged it.
            _ => return None,
        };
        let shown = |candidate: &Candidate| Shown {
            scores: Strategy::ALL.map(|strategy| candidate.scores.get(&strategy).copied()),
            claimed: candidate.claimed,
        };
        let candidates: Vec<Shown> = evidence.candidates.iter().map(shown).collect();
        (!candidates.is_empty()).then_some(Self { candidates, lead: evidence.facts.lead, truth })
    }

    /// By how much the element was ahead of each other candidate, by strategy.
    pub(super) fn differences(&self) -> Vec<[f64; 5]> {
        let Truth::Is(truth) = self.truth else { return Vec::new() };
        let own = &self.candidates[truth];
        let others = self.candidates.iter().enumerate().filter(|(place, _)| *place != truth).map(|(_, other)| other);
        others
            .map(|other| {
                let of = |at: usize| own.scores[at].unwrap_or(0.0) - other.scores[at].unwrap_or(0.0);
                std::array::from_fn(of)
            })
            .collect()
    }

    /// What the confidence would have been computed from with these weights, and whether the best candidate would have
    /// been the element; nothing where the person's word does not tell.
    pub(super) fn seen_with(&self, weights: &Weights) -> Option<(Facts, bool)> {
        let score = |shown: &Shown| weights.score(&shown.scores) - shown.claimed;
        let mut scores: Vec<(usize, f64)> = self.candidates.iter().map(score).enumerate().collect();
        scores.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (best, best_score) = scores[0];
        let right = match self.truth {
            Truth::Is(truth) => best == truth,
            Truth::NotTheFirst if best == 0 => false,
            Truth::NotTheFirst => return None,
        };
        let second = scores.get(1).map_or(0.0, |second| second.1);
        // What the others claim is known of the first one alone.
        let lead = self.lead.filter(|_| best == 0).map(|lead| lead.clamp(-DISTANCE_MAX, DISTANCE_MAX));
        if self.lead.is_some() && lead.is_none() {
            return None;
        }
        let evidence = weights::evidence(weights, &self.candidates[best].scores);
        Some((Facts::of(best_score, second, evidence, lead), right))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn review(verdict: &str, proposal: &Value) -> Value {
        let candidate = |locator: &str, id: f64| json!({ "locator": locator, "score": 0.5, "claimed": 0.0, "scores": { "id_match": id, "text_match": 0.5 } });
        let evidence = json!({
            "candidates": [candidate("#a", 0.9), candidate("#b", 0.4)],
            "facts": { "score": 0.7, "margin": 0.2, "evidence": 0.5, "lead": null },
        });
        json!({ "evidence": evidence, "decision": { "verdict": verdict, "proposal": proposal } })
    }

    #[test]
    fn a_decision_names_the_element() {
        let right = |review: &Value| Verdict::of(review).unwrap().seen_with(&Weights::default()).map(|seen| seen.1);
        assert_eq!(right(&review("approved", &Value::Null)), Some(true));
        assert_eq!(right(&review("rejected", &Value::Null)), Some(false));
        assert_eq!(right(&review("edited", &json!({ "locator": "#b" }))), Some(false));
        assert_eq!(right(&review("edited", &json!({ "locator": "#elsewhere" }))), Some(false));
        assert_eq!(right(&review("edited", &json!({ "locator": "#a" }))), Some(true));
    }

    #[test]
    fn other_weights_may_have_found_it() {
        let edited = Verdict::of(&review("edited", &json!({ "locator": "#b" }))).unwrap();
        assert_eq!(edited.differences(), [[-0.5, 0.0, 0.0, 0.0, 0.0]]);
        let only_text = Weights { strategies: [0.0, 0.0, 1.0, 0.0, 0.0], ..Weights::default() };
        // Both say the same: the first one stays the first.
        let (facts, right) = edited.seen_with(&only_text).unwrap();
        assert!(!right && facts.margin.abs() < 1e-9);
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        assert_eq!(Verdict::of(&review("retried", &Value::Null)), None);
        let failed = json!({ "evidence": null, "decision": { "verdict": "rejected" } });
        assert_eq!(Verdict::of(&failed), None);
        assert_eq!(Verdict::of(&json!({ "evidence": { "candidates": [] }, "decision": null })), None);
    }
}
