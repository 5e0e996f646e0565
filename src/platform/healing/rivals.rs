//! The other elements that are remembered of a page: a candidate that one of them claims is not the one looked for.

use super::scores::{self, Traits};
use super::weights::Weights;
use crate::platform::locators::Fingerprint;

/// Rivals that one candidate is compared with: those that share something with it, or stood where it stands.
const COMPARED_MAX: usize = 64;

/// How far from the place of a candidate a rival may have stood, as a share of the page.
const NEAR: f64 = 0.03;

/// What is remembered of the other elements of a page.
#[derive(Debug, Default)]
pub struct Rivals {
    others: Vec<Traits>,
}

impl Rivals {
    /// Of these elements; the one that is looked for is not among them.
    pub fn of(others: impl IntoIterator<Item = Fingerprint>) -> Self {
        Self { others: others.into_iter().map(Traits::of).collect() }
    }

    /// Whether they are most of a page with so many candidates. A few would prove nothing: what nobody claims
    /// could be anybody's.
    pub(super) fn are_most_of(&self, candidates: usize) -> bool {
        !self.others.is_empty() && 2 * (self.others.len() + 1) >= candidates
    }

    /// The best score that any of them has with a candidate.
    pub(super) fn claim(&self, candidate: &Traits, weights: &Weights) -> f64 {
        let near = self.others.iter().filter(|other| is_near(&other.print, &candidate.print)).take(COMPARED_MAX);
        near.map(|other| weights.score(&scores::scores(other, candidate))).fold(0.0, f64::max)
    }
}

fn is_near(one: &Fingerprint, other: &Fingerprint) -> bool {
    let same = |one: &str, other: &str| !one.is_empty() && one == other;
    let attribute = |name: &str| one.attribute(name).is_some_and(|value| other.attribute(name) == Some(value));
    same(&one.text, &other.text)
        || same(&one.label, &other.label)
        || ["id", "name", "href"].into_iter().any(attribute)
        || (one.position.order - other.position.order).abs() <= NEAR
}
