//! Virtual time as clocks: the one true time, and clocks that are wrong by some milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ganger::clock::{Clock, Timestamp};
use tokio::time::Instant;

/// Every simulation begins here.
pub const BEGIN: Timestamp = Timestamp(1_767_323_045_000);

/// A clock that follows the runtime's virtual time.
#[derive(Debug)]
pub struct SimClock {
    begun: Instant,
    skew_ms: AtomicI64,
}

impl SimClock {
    /// A clock that is wrong by `skew_ms`. Made at the beginning of the simulation, or from a clock that was.
    pub fn new(begun: Instant, skew_ms: i64) -> Arc<Self> {
        Arc::new(Self { begun, skew_ms: AtomicI64::new(skew_ms) })
    }

    /// The same time, wrong by `skew_ms`.
    pub fn skewed(&self, skew_ms: i64) -> Arc<Self> {
        Self::new(self.begun, skew_ms)
    }

    /// Sets how wrong it is.
    pub fn skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// Milliseconds since the beginning, true ones.
    pub fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        BEGIN.plus_ms(self.elapsed_ms() + self.skew_ms.load(Ordering::Relaxed))
    }
}
