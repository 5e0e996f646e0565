//! The server's clock, estimated from its answers.
//!
//! Most answers carry the server's time. Together with the local monotonic clock, which no
//! administrator sets, that gives the server's present time without a round trip and whatever
//! happens to the local wall clock.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::clock::{Clock, SystemClock};

/// After this long a sample is replaced by whatever comes, so that drift cannot gather.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(10);

/// How far two samples may disagree beyond their own uncertainty before the clock counts as set anew.
const JUMP_MS: i64 = 50;

#[derive(Debug, Clone, Copy)]
struct Sample {
    server_ms: i64,
    at: Instant,
    round_trip: Duration,
}

impl Sample {
    fn now_ms(&self) -> i64 {
        self.server_ms + millis(self.at.elapsed())
    }
}

/// The estimate.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    sample: Mutex<Option<Sample>>,
}

impl ServerClock {
    /// Takes an answer that was asked for at `sent` and has just arrived.
    pub(super) fn note(&self, server_ms: i64, sent: Instant) {
        let round_trip = sent.elapsed();
        let new = Sample { server_ms: server_ms + millis(round_trip / 2), at: Instant::now(), round_trip };
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let is_better = sample.as_ref().is_none_or(|old| {
            let uncertainty = millis(new.round_trip / 2) + millis(old.round_trip / 2) + JUMP_MS;
            new.round_trip <= old.round_trip
                || old.at.elapsed() > SAMPLE_AGE_MAX
                || (new.server_ms - old.now_ms()).abs() > uncertainty
        });
        if is_better {
            *sample = Some(new);
        }
    }

    /// The server's time; the local wall clock's before the first answer.
    pub(super) fn now_ms(&self) -> i64 {
        let sample = *self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        sample.map_or_else(|| SystemClock.now().millis(), |sample| sample.now_ms())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_estimate_follows_the_server_and_not_the_local_wall_clock() {
        let clock = ServerClock::default();
        clock.note(1_000_000, Instant::now());
        let first = clock.now_ms();
        assert!((1_000_000..1_005_000).contains(&first), "{first}");
        // The server's clock was set back: the next answer is believed.
        clock.note(500_000, Instant::now() - Duration::from_millis(2));
        assert!((500_000..505_000).contains(&clock.now_ms()));
    }
}
