//! Whether a queue is late: not that some job waited long, but that none waited less.
//!
//! The longest wait of a burst says nothing; the shortest one says that the queue never ran empty (`CoDel`, Nichols and
//! Jacobson, 2012). So a queue is late while even the least delay of a while exceeds half its SLA. The delay is that
//! of the job which is next: that one was busy waiting for half the SLA already, so a short while is enough, and a
//! longer one would let pass what urgent work could have been spared (by half again: what was accepted before a
//! refusal stands in front of it).

use std::collections::VecDeque;

use crate::clock::Timestamp;

/// The shortest and longest time to look back, in milliseconds: two samples at least, and no longer than the time that
/// a rule is active at least.
const LOOK_BACK_MS: (i64, i64) = (2_000, 30_000);

/// The delays of a while.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// Since when each delay holds, ascending in both: what is longer than a later delay cannot be the least.
    least: VecDeque<(Timestamp, i64)>,
    /// The first sample of an unbroken row.
    since: Option<Timestamp>,
    is_late: bool,
}

impl Lateness {
    /// Takes a sample. A quarter of the SLA is looked back.
    pub(super) fn look(&mut self, delay_ms: Option<i64>, sla_ms: Option<u64>, now: Timestamp) {
        let half_ms = sla_ms.map(|sla| i64::try_from(sla / 2).unwrap_or(i64::MAX));
        let (Some(delay_ms), Some(half_ms)) = (delay_ms, half_ms) else {
            *self = Self::default();
            return;
        };
        let back_ms = (half_ms / 2).clamp(LOOK_BACK_MS.0, LOOK_BACK_MS.1);
        let since = *self.since.get_or_insert(now);
        while self.least.back().is_some_and(|(_, longer)| *longer >= delay_ms) {
            self.least.pop_back();
        }
        self.least.push_back((now, delay_ms));
        while self.least.front().is_some_and(|(at, _)| now.since(*at) > back_ms) {
            self.least.pop_front();
        }
        let least_ms = self.least.front().map_or(0, |(_, least)| *least);
        self.is_late = now.since(since) >= back_ms && least_ms > half_ms;
    }

    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(sla_ms: Option<u64>, delays: impl IntoIterator<Item = Option<i64>>) -> Vec<bool> {
        let mut lateness = Lateness::default();
        let look = |(second, delay): (i64, _)| {
            lateness.look(delay, sla_ms, Timestamp(second * 1_000));
            lateness.is_late()
        };
        (0_i64..).zip(delays).map(look).collect()
    }

    #[test]
    fn a_queue_is_late_when_no_delay_of_a_quarter_of_its_sla_was_short() {
        let told = late(Some(12_000), std::iter::repeat_n(Some(6_001), 8));
        assert_eq!(told, [false, false, false, true, true, true, true, true]);
        assert!(late(Some(12_000), std::iter::repeat_n(Some(6_000), 30)).iter().all(|late| !late));
    }

    #[test]
    fn one_short_delay_ends_it() {
        let mut delays = vec![Some(9_000); 8];
        delays.push(Some(100));
        delays.extend(vec![Some(9_000); 4]);
        let told = late(Some(12_000), delays);
        assert!(told[7] && !told[8] && !told[11] && told[12], "{told:?}");
    }

    #[test]
    fn unknown_delays_and_queues_without_an_sla_are_not_late() {
        assert!(late(None, vec![Some(1_000_000); 99]).iter().all(|late| !late));
        let mut delays = vec![Some(9_000); 8];
        delays.push(None);
        assert!(!late(Some(12_000), delays)[8]);
    }
}
