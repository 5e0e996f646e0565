//! What happened in the last five minutes: counts, shares and quantiles.
//!
//! A moving average hides a burst and never forgets an outage; a ring of buckets forgets exactly.
//! Durations are kept in logarithmic bins of about 19 %, so a quantile is never further off.

use crate::clock::Timestamp;

/// Buckets of the ring.
const BUCKETS: i64 = 30;
/// What one bucket covers, in milliseconds.
const BUCKET_MS: i64 = 10_000;
/// Bins per doubling of a duration.
const BINS_PER_DOUBLING: f64 = 4.0;
/// Bins in all: 2^24 ms is four and a half hours.
const BINS: usize = 96;

#[derive(Debug, Clone)]
struct Bucket {
    start: i64,
    count: u64,
    failures: u64,
    total_ms: i64,
    bins: Box<[u32; BINS]>,
}

/// Five minutes of samples.
#[derive(Debug, Clone)]
pub struct Window {
    ring: Vec<Bucket>,
}

impl Default for Window {
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    fn default() -> Self {
        let empty = Bucket { start: i64::MIN, count: 0, failures: 0, total_ms: 0, bins: Box::new([0; BINS]) };
        Self { ring: vec![empty; BUCKETS as usize] }
    }
}

impl Window {
    /// Notes one sample of `ms` milliseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a logarithm of a duration, clamped to the bins"
    )]
    pub fn record(&mut self, now: Timestamp, ms: i64, failed: bool) {
        let start = now.millis().div_euclid(BUCKET_MS);
        let bucket = &mut self.ring[start.rem_euclid(BUCKETS) as usize];
        if bucket.start != start {
            *bucket = Bucket { start, count: 0, failures: 0, total_ms: 0, bins: Box::new([0; BINS]) };
        }
        let bin = ((ms.max(0) as f64 + 1.0).log2() * BINS_PER_DOUBLING) as usize;
        bucket.count += 1;
        bucket.total_ms = bucket.total_ms.saturating_add(ms.max(0));
        bucket.failures += u64::from(failed);
        bucket.bins[bin.min(BINS - 1)] += 1;
    }

    fn recent(&self, now: Timestamp) -> impl Iterator<Item = &Bucket> {
        let oldest = now.millis().div_euclid(BUCKET_MS) - BUCKETS;
        self.ring.iter().filter(move |bucket| bucket.start > oldest)
    }

    /// Samples in the window.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> u64 {
        self.recent(now).map(|bucket| bucket.count).sum()
    }

    /// The mean duration in milliseconds; `None` without samples.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
    pub fn mean_ms(&self, now: Timestamp) -> Option<f64> {
        let count = self.count(now);
        let total_ms: i64 = self.recent(now).map(|bucket| bucket.total_ms).sum();
        (count > 0).then(|| total_ms as f64 / count as f64)
    }

    /// Samples a second over the last minute.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn rate(&self, now: Timestamp) -> f64 {
        let present = now.millis().div_euclid(BUCKET_MS);
        let minute = self.recent(now).filter(|b| b.start > present - 6).map(|b| b.count).sum::<u64>();
        // Five whole buckets and the part of the present one that has passed.
        let seconds = (5 * BUCKET_MS + now.millis().rem_euclid(BUCKET_MS)) as f64 / 1_000.0;
        minute as f64 / seconds
    }

    /// The same over the time since the first of those samples, for what has only begun; `None` with fewer than ten.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn young_rate(&self, now: Timestamp) -> Option<f64> {
        let present = now.millis().div_euclid(BUCKET_MS);
        let minute = || self.recent(now).filter(|b| b.start > present - 6 && b.count > 0);
        let (count, first) = (minute().map(|b| b.count).sum::<u64>(), minute().map(|b| b.start).min()?);
        let seconds = (now.millis() - first * BUCKET_MS).max(1_000) as f64 / 1_000.0;
        (count >= 10).then(|| count as f64 / seconds)
    }

    /// Share of failures, 0 to 1; `None` without samples.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn failure_share(&self, now: Timestamp) -> Option<f64> {
        let count = self.count(now);
        let failures = self.recent(now).map(|bucket| bucket.failures).sum::<u64>();
        (count > 0).then(|| failures as f64 / count as f64)
    }

    /// The duration that a share `q` of the samples stays below, in milliseconds; `None` without samples.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts far below 2^52"
    )]
    pub fn quantile_ms(&self, q: f64, now: Timestamp) -> Option<f64> {
        let count = self.count(now);
        let rank = ((count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for bin in 0..BINS {
            seen += self.recent(now).map(|bucket| u64::from(bucket.bins[bin])).sum::<u64>();
            if count > 0 && seen >= rank {
                return Some((((bin + 1) as f64) / BINS_PER_DOUBLING).exp2() - 1.0);
            }
        }
        None
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small samples"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_samples_there_is_no_share_and_no_quantile() {
        let window = Window::default();
        assert_eq!(window.failure_share(Timestamp(0)), None);
        assert_eq!(window.quantile_ms(0.95, Timestamp(0)), None);
    }

    #[test]
    fn five_minutes_are_remembered_and_no_more() {
        let mut window = Window::default();
        window.record(Timestamp(0), 10, true);
        assert_eq!(window.count(Timestamp(299_999)), 1);
        assert_eq!(window.count(Timestamp(300_000)), 0);
        assert_eq!(window.failure_share(Timestamp(1)), Some(1.0));
    }

    #[test]
    fn the_rate_is_jobs_a_second() {
        let mut window = Window::default();
        for tick in 0..600 {
            window.record(Timestamp(tick * 100), 1, false);
        }
        assert!((window.rate(Timestamp(59_999)) - 10.0).abs() < 0.2);
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_a_fifth_at_most(mut samples in prop::collection::vec(0_i64..1_000_000, 1..300)) {
            let mut window = Window::default();
            for &ms in &samples {
                window.record(Timestamp(5), ms, false);
            }
            samples.sort_unstable();
            let exact = samples[((samples.len() as f64 * 0.95).ceil() as usize).max(1) - 1] as f64;
            let told = window.quantile_ms(0.95, Timestamp(5)).unwrap();
            prop_assert!(told >= exact && told <= (exact + 1.0) * 1.2 + 1.0, "{told} for {exact}");
        }
    }
}
