//! How a worker's runs ended in the last ten minutes, as far as that says something about the worker.
//!
//! A run that returned speaks for the worker; a crash, a hang or a kill for its memory speaks against it. A failure
//! that the handler reports (bad input, a dependency that is down) says nothing about the worker and is no sample.

use crate::clock::Timestamp;

/// Buckets of the ring.
const BUCKETS: usize = 20;
/// The same as a distance.
const SPAN: i64 = 20;
/// What one bucket covers, in milliseconds: twenty of them are ten minutes.
const BUCKET_MS: i64 = 30_000;

/// Ten minutes of samples, in steps of half a minute.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Number of the bucket, good and bad runs.
    ring: [(i64, Tallied); BUCKETS],
}

/// What a [`Tally`] holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Runs that returned.
    pub good: u64,
    /// Crashes, hangs and kills.
    pub bad: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { ring: [(i64::MIN, Tallied::default()); BUCKETS] }
    }
}

impl Tally {
    /// Notes one run.
    pub fn note(&mut self, now: Timestamp, good: bool) {
        let number = now.millis().div_euclid(BUCKET_MS);
        let place = usize::try_from(number.rem_euclid(SPAN)).unwrap_or(0);
        let (at, tallied) = &mut self.ring[place];
        if *at != number {
            (*at, *tallied) = (number, Tallied::default());
        }
        *(if good { &mut tallied.good } else { &mut tallied.bad }) += 1;
    }

    /// The runs of the last ten minutes.
    #[must_use]
    pub fn recent(&self, now: Timestamp) -> Tallied {
        let oldest = now.millis().div_euclid(BUCKET_MS) - SPAN;
        let recent = self.ring.iter().filter(|(number, _)| *number > oldest);
        recent.fold(Tallied::default(), |sum, (_, bucket)| Tallied {
            good: sum.good + bucket.good,
            bad: sum.bad + bucket.bad,
        })
    }
}

impl Tallied {
    /// The share of good runs, where there are at least `samples_min`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn rate(&self, samples_min: u64) -> Option<f64> {
        let samples = self.samples();
        (samples > 0 && samples >= samples_min).then(|| self.good as f64 / samples as f64)
    }

    /// How many runs there are.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.good + self.bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_minutes_are_remembered_and_no_more() {
        let mut tally = Tally::default();
        tally.note(Timestamp(0), true);
        tally.note(Timestamp(29_000), false);
        assert_eq!(tally.recent(Timestamp(599_999)), Tallied { good: 1, bad: 1 });
        assert_eq!(tally.recent(Timestamp(600_000)), Tallied::default());
        tally.note(Timestamp(600_000), true);
        assert_eq!(tally.recent(Timestamp(600_000)), Tallied { good: 1, bad: 0 });
    }

    #[test]
    fn a_share_needs_samples() {
        assert_eq!(Tallied { good: 4, bad: 1 }.rate(20), None);
        assert_eq!(Tallied { good: 19, bad: 1 }.rate(20), Some(0.95));
        assert_eq!(Tallied::default().rate(0), None);
    }
}
