//! The locators of many elements within one budget.

use tokio::time::{Duration, Instant};

use super::candidates::Candidates;
use super::fingerprint::Fingerprint;
use super::locator::RankedLocator;
use super::survey::Survey;
use crate::platform::page::Page;

/// Elements between two looks at the clock.
const ELEMENTS_BETWEEN_LOOKS: usize = 32;

/// An element with everything that finds it.
#[derive(Debug, Clone)]
pub struct Located {
    /// Its number in the survey.
    pub at: usize,
    /// Its locators, the most stable first.
    pub locators: Vec<RankedLocator>,
    /// What is remembered of it.
    pub fingerprint: Fingerprint,
}

/// The elements of a page that were done in time.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Those done, in the order in which they were asked for.
    pub done: Vec<Located>,
    /// Those that time did not suffice for.
    pub missing: Vec<usize>,
}

/// Finds locators for these elements until `deadline`.
pub fn generate(page: &Page, survey: &Survey<'_>, targets: &[usize], deadline: Instant) -> Batch {
    let candidates = Candidates::of(page, survey);
    let mut batch = Batch::default();
    for (count, at) in targets.iter().enumerate() {
        if count % ELEMENTS_BETWEEN_LOOKS == 0 && Instant::now() >= deadline {
            targets[count..].clone_into(&mut batch.missing);
            break;
        }
        let located =
            Located { at: *at, locators: candidates.ranked(*at), fingerprint: Fingerprint::of(page, survey, *at) };
        batch.done.push(located);
    }
    batch
}

/// The time that a budget ends.
pub fn deadline_in(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}
