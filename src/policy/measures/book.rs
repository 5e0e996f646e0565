//! Sums by minute, and what the windows make of them.
//!
//! A window of n minutes is the present one and the n - 1 before it, so it forgets exactly, a whole minute at a time.
//! Values are computed from sums in a fixed order: whoever has the same sums shows the same figures.

use std::collections::{BTreeMap, BTreeSet};

use super::{Measure, Measured, OTHER, Rules, SERIES, Sample};
use crate::clock::Timestamp;

/// By how many minutes another node's clock may be ahead of ours. What is further ahead was written by a wrong clock.
const AHEAD_MIN: i64 = 1;

/// The minute of a point in time, counted from the Unix epoch.
#[must_use]
pub fn minute(at: Timestamp) -> i64 {
    at.millis().div_euclid(60_000)
}

/// How many samples there were, and what they add up to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// All of them together.
    pub total: f64,
}

impl Sum {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.total += other.total;
    }

    /// All of these together.
    fn over<'a>(sums: impl Iterator<Item = &'a Self>) -> Self {
        let mut whole = Self::default();
        for sum in sums {
            whole.add(*sum);
        }
        whole
    }

    /// The mean; `None` without samples.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.total / self.count as f64)
    }
}

/// Where a sum belongs: measure, value of the label, minute.
pub type Key = (Measure, String, i64);

/// Sums by measure, label and minute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    sums: BTreeMap<(Measure, String), BTreeMap<i64, Sum>>,
}

impl Book {
    /// Adds to one sum.
    pub fn add(&mut self, (measure, label, minute): Key, sum: Sum) {
        self.sums.entry((measure, label)).or_default().entry(minute).or_default().add(sum);
    }

    /// Adds all sums of another book from minute `since` on.
    pub fn add_since(&mut self, since: i64, other: &Self) {
        for ((measure, label), minutes) in &other.sums {
            for (&minute, &sum) in minutes.range(since..) {
                self.add((*measure, label.clone(), minute), sum);
            }
        }
    }

    /// Forgets everything from minute `since` on.
    pub fn forget_since(&mut self, since: i64) {
        self.retain(|_, minute| minute < since);
    }

    /// Forgets what no window looks at any more, or what no right clock has written.
    pub fn forget_outlived(&mut self, rules: &Rules, now: Timestamp) {
        let now = minute(now);
        self.retain(|measure, minute| minute > now - rules.longest_min(measure) && minute <= now + AHEAD_MIN);
    }

    fn retain(&mut self, stays: impl Fn(Measure, i64) -> bool) {
        self.sums.retain(|(measure, _), minutes| {
            minutes.retain(|minute, _| stays(*measure, *minute));
            !minutes.is_empty()
        });
    }

    /// How many sums there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sums.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Takes out at most `max` sums, the first of them.
    pub fn take(&mut self, max: usize) -> Vec<(Key, Sum)> {
        let mut taken = Vec::new();
        while let Some(mut entry) = self.sums.first_entry() {
            while taken.len() < max
                && let Some((minute, sum)) = entry.get_mut().pop_first()
            {
                taken.push(((entry.key().0, entry.key().1.clone(), minute), sum));
            }
            if !entry.get().is_empty() {
                break;
            }
            entry.remove();
        }
        taken
    }

    /// The name under which a label is counted: its own while there is room for it, else [`OTHER`].
    #[must_use]
    pub fn admit(&self, rules: &Rules, sample: &Sample) -> String {
        let is_known = self.sums.contains_key(&(sample.measure, sample.label.clone()));
        if is_known || self.labels(sample.measure).filter(|label| *label != OTHER).count() < rules.labels_max {
            sample.label.clone()
        } else {
            OTHER.to_owned()
        }
    }

    fn labels(&self, measure: Measure) -> impl Iterator<Item = &str> {
        self.of(measure).map(|(label, _)| label)
    }

    fn of(&self, measure: Measure) -> impl Iterator<Item = (&str, &BTreeMap<i64, Sum>)> {
        let all = self.sums.range((measure, String::new())..);
        all.take_while(move |((of, _), _)| *of == measure).map(|((_, label), minutes)| (label.as_str(), minutes))
    }

    /// All series as they stand at `now`. One by label has an entry for each value with samples, and one without a
    /// value where there is none; the others have one entry.
    #[must_use]
    pub fn measured(&self, rules: &Rules, now: Timestamp) -> Vec<Measured> {
        let mut all = Vec::new();
        for (series, window_min) in SERIES.iter().zip(rules.windows_min) {
            let window = self.window(series.measure, window_min, now);
            let shown = |label, sum: Sum| Measured { series, label, window_min, value: sum.mean(), samples: sum.count };
            if let Some(name) = series.measure.label().filter(|_| series.by_label && !window.is_empty()) {
                let folded = folded(window, rules.labels_max);
                all.extend(folded.into_iter().map(|(label, sum)| shown(Some((name, label.to_owned())), sum)));
            } else {
                all.push(shown(None, Sum::over(window.values())));
            }
        }
        all
    }

    /// The sums of the last minutes, by label; those with samples.
    fn window(&self, measure: Measure, window_min: i64, now: Timestamp) -> BTreeMap<&str, Sum> {
        let now = minute(now);
        let mut window = BTreeMap::new();
        for (label, minutes) in self.of(measure) {
            let whole = Sum::over(minutes.range(now - window_min + 1..=now + AHEAD_MIN).map(|(_, sum)| sum));
            if whole.count > 0 {
                window.insert(label, whole);
            }
        }
        window
    }
}

/// At most `labels_max` labels and [`OTHER`]. Several nodes may have admitted more at the same time; the first by name
/// stay, so that all nodes show the same.
fn folded(window: BTreeMap<&str, Sum>, labels_max: usize) -> BTreeMap<&str, Sum> {
    let named: BTreeSet<&str> = window.keys().copied().filter(|label| *label != OTHER).take(labels_max).collect();
    let mut folded: BTreeMap<&str, Sum> = BTreeMap::new();
    for (label, sum) in window {
        folded.entry(if named.contains(label) { label } else { OTHER }).or_default().add(sum);
    }
    folded
}

#[cfg(test)]
mod tests;
