//! Healing: an element that its locators no longer find is known again by what is remembered of it.
//!
//! Every element that could be it is scored by five strategies; their weighted mean, its distance to the
//! runner-up, what other remembered elements claim, and how much there was to go by give a confidence. What to do with it is the caller's business.

pub mod flow;
pub mod guess;
pub mod refit;
mod rivals;
mod scores;
pub mod tool;
mod weights;
mod words;

use serde::Serialize;
use tokio::time::Instant;

pub use self::rivals::Rivals;
use self::scores::Traits;
pub use self::weights::{Confidence, Facts, Strategy, Weights};
use super::locators::survey::Survey;
use super::locators::{Fingerprint, rounded};
use super::page::{Page, is_interactive, is_visible};
use super::reply::{ToolError, class};

/// From this confidence on a healing is applied without a person. On pages that the numbers were not fitted
/// on, 1 in 100 of those is wrong (`docs/HEALING.md`).
pub const THRESHOLD: f64 = 0.8;

/// Candidates that somebody may want to look at.
pub const CANDIDATES_MAX: usize = 5;

/// The likeliest candidates, which others may claim.
const CLAIMED_MAX: usize = 6;

/// Elements between two looks at the clock.
const ELEMENTS_BETWEEN_LOOKS: usize = 64;

/// An element that may be the one.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Its number in the survey.
    #[serde(skip)]
    pub at: usize,
    /// The weighted mean of its scores, less what another remembered element claims beyond it.
    pub score: f64,
    /// What that claim took from it.
    pub claimed: f64,
    /// By each strategy, in the order of [`Strategy::ALL`]; nothing where there was no evidence.
    #[serde(skip)]
    pub scores: [Option<f64>; 5],
}

impl Candidate {
    /// The strategy that is surest of it.
    pub fn strongest(&self) -> Strategy {
        let mut best = (Strategy::StructureMatch, f64::MIN);
        for (strategy, score) in Strategy::ALL.into_iter().zip(self.scores) {
            // A hundredth more is no reason to name another one.
            if let Some(score) = score.filter(|score| *score > best.1 + 0.01) {
                best = (strategy, score);
            }
        }
        best.0
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Healing {
    /// The likeliest elements, the best first; never empty.
    pub candidates: Vec<Candidate>,
    /// How likely it is that the first one is the element.
    pub confidence: f64,
    /// What the confidence was computed from.
    pub facts: Facts,
    /// How many elements were looked at.
    pub looked_at: usize,
}

impl Healing {
    /// The likeliest element.
    pub fn best(&self) -> &Candidate {
        &self.candidates[0]
    }
}

/// Looks for an element on a page until `deadline`. Nothing if no element is anything like it.
pub fn heal(
    page: &Page,
    survey: &Survey<'_>,
    old: &Fingerprint,
    rivals: &Rivals,
    weights: &Weights,
    deadline: Instant,
) -> Result<Option<Healing>, ToolError> {
    let old = Traits::of(old.clone());
    let mut candidates = Vec::new();
    for at in 0..survey.len() {
        if at % ELEMENTS_BETWEEN_LOOKS == 0 && Instant::now() >= deadline {
            let message =
                format!("{}: {at} of {} elements were compared when the time was over", page.url, survey.len());
            return Err(ToolError::new(class::DOM_ANALYSIS_TIMEOUT, message));
        }
        if !may_be(survey, at, &old) {
            continue;
        }
        let new = Traits::of(Fingerprint::of(page, survey, at));
        let scores = scores::scores(&old, &new);
        candidates.push(Candidate { at, score: weights.score(&scores), claimed: 0.0, scores });
    }
    let looked_at = candidates.len();
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(CLAIMED_MAX);
    let claims = rivals.are_most_of(looked_at).then(|| claimed(page, survey, &mut candidates, rivals, weights));
    candidates.truncate(CANDIDATES_MAX);
    let Some(best) = candidates.first() else { return Ok(None) };
    let second = candidates.get(1).map_or(0.0, |second| second.score);
    let evidence = weights::evidence(weights, &best.scores);
    let facts = Facts::of(best.score, second, evidence, claims.and_then(|claims| claims.first().copied()));
    let confidence = weights.confidence(&facts);
    for candidate in &mut candidates {
        candidate.score = rounded(candidate.score);
    }
    Ok(Some(Healing { candidates, confidence, facts, looked_at }))
}

/// Lowers the candidates that other elements claim and puts them in order again; answers how far each is from the
/// best claim on it.
fn claimed(
    page: &Page,
    survey: &Survey<'_>,
    candidates: &mut Vec<Candidate>,
    rivals: &Rivals,
    weights: &Weights,
) -> Vec<f64> {
    let claims = candidates.drain(..).map(|mut candidate| {
        let claim = rivals.claim(&Traits::of(Fingerprint::of(page, survey, candidate.at)), weights);
        let lead = candidate.score - claim;
        candidate.claimed = -lead.min(0.0);
        candidate.score -= candidate.claimed;
        (candidate, lead)
    });
    let mut claims: Vec<(Candidate, f64)> = claims.collect();
    claims.sort_by(|a, b| b.0.score.total_cmp(&a.0.score));
    let (ordered, leads): (Vec<Candidate>, Vec<f64>) = claims.into_iter().unzip();
    *candidates = ordered;
    leads
}

/// Whether an element can be the one at all: a person acts on both, or reads both.
fn may_be(survey: &Survey<'_>, at: usize, old: &Traits) -> bool {
    let element = survey.at(at);
    if old.print.interactive {
        return is_interactive(&element.element) && is_visible(&element.element);
    }
    !matches!(element.tag(), "html" | "head" | "body" | "script" | "style" | "meta" | "link" | "title")
        && (element.tag() == old.print.tag || old.print.role == super::page::role_of(&element.element))
}

/// How much one element is like the one that was, in the order of [`Strategy::ALL`]; what weights are fitted by.
pub fn compare(page: &Page, survey: &Survey<'_>, old: &Fingerprint, at: usize) -> [Option<f64>; 5] {
    scores::scores(&Traits::of(old.clone()), &Traits::of(Fingerprint::of(page, survey, at)))
}

#[cfg(test)]
mod tests;
