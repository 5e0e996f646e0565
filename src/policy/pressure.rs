//! How much of the CPU is used: from counters that only grow to a share that does not jump.

use crate::clock::Timestamp;

/// What a share of CPU remembers: after this long a step is taken over by 63 %, in milliseconds. Work comes in
/// bursts, and a second of full use is no overload.
const MEMORY_MS: f64 = 5_000.0;

/// One reading of the CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuReading {
    /// When, on a clock that never goes back.
    pub at: Timestamp,
    /// Seconds of CPU used so far.
    pub used_s: f64,
    /// Cores that may be used. Above 0.
    pub cores: f64,
}

/// A share of CPU, smoothed.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuMeter {
    last: Option<CpuReading>,
    share: Option<f64>,
}

impl CpuMeter {
    /// Takes a reading; answers the smoothed share of the allowed cores in use, 0 to 1. `None` before the second
    /// reading, without one, and when the counter went back, which means that another group is read now.
    pub fn read(&mut self, reading: Option<CpuReading>) -> Option<f64> {
        let last = std::mem::replace(&mut self.last, reading);
        let (Some(last), Some(now)) = (last, reading) else {
            self.share = None;
            return None;
        };
        if now.used_s < last.used_s {
            self.share = None;
            return None;
        }
        let passed_ms = millis(now.at.since(last.at));
        if passed_ms <= 0.0 {
            // Nothing can be said of no time; the older reading stays to compare with.
            self.last = Some(last);
            return self.share;
        }
        let raw = ((now.used_s - last.used_s) * 1_000.0 / (passed_ms * now.cores.max(0.001))).clamp(0.0, 1.0);
        let weight = 1.0 - (-passed_ms / MEMORY_MS).exp();
        self.share = Some(self.share.map_or(raw, |share| share + weight * (raw - share)));
        self.share
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn millis(ms: i64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(meter: &mut CpuMeter, at: i64, used_s: f64) -> Option<f64> {
        meter.read(Some(CpuReading { at: Timestamp(at), used_s, cores: 2.0 }))
    }

    #[test]
    fn two_readings_make_a_share_of_the_allowed_cores() {
        let mut meter = CpuMeter::default();
        assert_eq!(read(&mut meter, 0, 7.0), None);
        assert_eq!(read(&mut meter, 1_000, 8.0), Some(0.5));
        assert_eq!(read(&mut meter, 2_000, 9.0), Some(0.5));
    }

    #[test]
    fn a_step_is_taken_over_by_63_percent_in_five_seconds() {
        let mut meter = CpuMeter::default();
        for second in 0..=10_i32 {
            read(&mut meter, i64::from(second) * 1_000, 0.0);
        }
        let mut share = None;
        for second in 11..=15_i32 {
            share = read(&mut meter, i64::from(second) * 1_000, f64::from(second - 10) * 2.0);
        }
        assert!((share.unwrap() - 0.632).abs() < 0.001, "{share:?}");
    }

    #[test]
    fn another_group_or_no_reading_starts_anew() {
        let mut meter = CpuMeter::default();
        read(&mut meter, 0, 7.0);
        read(&mut meter, 1_000, 9.0);
        assert_eq!(read(&mut meter, 2_000, 0.5), None);
        assert_eq!(read(&mut meter, 3_000, 0.5), Some(0.0));
        assert_eq!(read(&mut meter, 3_000, 0.5), Some(0.0), "no time has passed");
        assert_eq!(meter.read(None), None);
        assert_eq!(read(&mut meter, 5_000, 1.0), None);
    }

    #[test]
    fn more_than_all_is_all() {
        let mut meter = CpuMeter::default();
        read(&mut meter, 0, 0.0);
        assert_eq!(read(&mut meter, 1_000, 50.0), Some(1.0));
    }
}
