//! What was asked for and done lately.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::mutant::mutant;

use super::proposals::workers;
use super::{Decision, Pace, Rules};

/// The past of one pool, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    size: usize,
    recommendations: VecDeque<(Timestamp, usize)>,
    /// How the size changed, and when.
    changes: VecDeque<(Timestamp, isize)>,
    /// Whether the last change was a growth.
    grew: Option<bool>,
    /// When it last grew after it had shrunk.
    turned_up_at: Option<Timestamp>,
}

impl History {
    /// The history of a pool that has `size` workers, or had them before a restart. That size counts as asked
    /// for, so a pool never shrinks within one window after a start.
    #[must_use]
    pub fn seeded(size: usize, now: Timestamp) -> Self {
        let recommendations = VecDeque::from([(now, size)]);
        Self { size, recommendations, changes: VecDeque::new(), grew: None, turned_up_at: None }
    }

    /// The size it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Notes a decision that is carried out at `now`.
    pub fn note(&mut self, rules: &Rules, decision: &Decision, now: Timestamp) {
        // A clock that was set back must not make an old entry last longer.
        for (at, _) in &mut self.recommendations {
            *at = (*at).min(now);
        }
        for (at, _) in &mut self.changes {
            *at = (*at).min(now);
        }
        self.turned_up_at = self.turned_up_at.map(|at| at.min(now));
        let windows = rules.up_window_ms.max(rules.down_window_ms);
        let periods = rules.up.period_ms.max(rules.down.period_ms);
        while self.recommendations.front().is_some_and(|(at, _)| !is_within(*at, windows, now)) {
            self.recommendations.pop_front();
        }
        while self.changes.front().is_some_and(|(at, _)| !is_within(*at, periods, now)) {
            self.changes.pop_front();
        }
        self.recommendations.push_back((now, decision.recommendation));
        let change = decision.target.cast_signed() - self.size.cast_signed();
        if change != 0 {
            self.changes.push_back((now, change));
            let grows = change > 0;
            if grows && self.grew == Some(false) {
                self.turned_up_at = Some(now);
            }
            self.grew = Some(grows);
        }
        self.size = decision.target;
    }

    /// The size between the smallest that was asked for in the one window and the largest in the other.
    ///
    /// A pool that had to grow again after it had shrunk was wrong to shrink, and stays for two windows: so within
    /// two windows it changes its direction twice at most, whatever the noise.
    pub(super) fn stabilised(&self, rules: &Rules, recommendation: usize, now: Timestamp) -> usize {
        mutant!(shrinks_at_once => { return recommendation; });
        let asked = |window_ms| {
            let recent = self.recommendations.iter().filter(move |(at, _)| is_within(*at, window_ms, now));
            recent.map(|(_, size)| *size).chain([recommendation])
        };
        let least = asked(rules.up_window_ms).min().unwrap_or(recommendation);
        let most = asked(rules.down_window_ms).max().unwrap_or(recommendation);
        let stabilised = self.size.max(least).min(most);
        if self.has_turned(rules, now) { stabilised.max(self.size) } else { stabilised }
    }

    /// Whether it grew after it had shrunk, less than two windows ago.
    pub(super) fn has_turned(&self, rules: &Rules, now: Timestamp) -> bool {
        self.turned_up_at.is_some_and(|at| is_within(at, 2 * rules.down_window_ms, now))
    }

    /// As far towards `size` as the pace allows now.
    #[expect(clippy::cast_precision_loss, reason = "workers")]
    pub(super) fn paced(&self, rules: &Rules, size: usize, now: Timestamp) -> usize {
        if size > self.size {
            let start = self.size.saturating_sub(self.changed(&rules.up, now, |change| change > 0));
            // Rounded up, so that one worker can become two.
            let share = workers(start as f64 * (1.0 + rules.up.share));
            size.min(share.max(start + rules.up.workers).max(self.size))
        } else {
            let start = self.size + self.changed(&rules.down, now, |change| change < 0);
            let share = workers((start as f64 * rules.down.share).floor());
            size.max(start.saturating_sub(share.max(rules.down.workers)).min(self.size))
        }
    }

    /// How many workers came, or left, within the present period.
    fn changed(&self, pace: &Pace, now: Timestamp, counts: impl Fn(isize) -> bool) -> usize {
        let recent = self.changes.iter().filter(|(at, change)| is_within(*at, pace.period_ms, now) && counts(*change));
        recent.map(|(_, change)| change.unsigned_abs()).sum()
    }
}

/// Whether less than `window_ms` have passed since `at`.
fn is_within(at: Timestamp, window_ms: u64, now: Timestamp) -> bool {
    now.since(at).unsigned_abs() < window_ms
}
