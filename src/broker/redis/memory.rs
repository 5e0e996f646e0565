//! How full the server is: one figure, read in the background, for all who decide by it.
//!
//! New jobs are refused before they reach the ledger, so the question must cost no round trip; and a figure
//! that has grown old must refuse nobody.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use super::info::Info;
use crate::telemetry::metrics;

/// How often the figure is read.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// Older figures say nothing about new entries any more.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Above this share no results are kept: the ledger answers for them.
const RESULTS_RATIO_MAX: f64 = 0.5;

/// A share of `maxmemory`, and since when it is known.
#[derive(Debug, Clone, Copy)]
struct Figure {
    ratio: f64,
    asked_at: Instant,
}

/// The figure.
#[derive(Debug)]
pub(super) struct Memory {
    full_at: f64,
    figure: Mutex<Option<Figure>>,
}

impl Memory {
    /// Full from the share `full_at` of `maxmemory` on.
    pub(super) fn new(full_at: f64) -> Self {
        Self { full_at, figure: Mutex::default() }
    }

    /// Takes what the servers that hold our keys answered to a question of `asked_at`: the fullest counts.
    pub(super) fn note<'a>(&self, infos: impl IntoIterator<Item = &'a Info>, asked_at: Instant) {
        let ratio = infos.into_iter().map(Info::memory_ratio).fold(0.0, f64::max);
        *self.figure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Figure { ratio, asked_at });
        metrics::broker_memory_ratio(ratio);
    }

    /// Whether there is no room for new entries, as far as is known.
    pub(super) fn is_full(&self) -> bool {
        self.figure().is_some_and(|figure| figure.ratio >= self.full_at && figure.asked_at.elapsed() <= AGE_MAX)
    }

    /// Whether there is room for results, as was last known.
    pub(super) fn keeps_results(&self) -> bool {
        self.figure().is_some_and(|figure| figure.ratio <= RESULTS_RATIO_MAX)
    }

    fn figure(&self) -> Option<Figure> {
        *self.figure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(used: u64, max: u64) -> Info {
        Info::new(format!("used_memory:{used}\r\nmaxmemory:{max}\r\n"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_fullest_server_counts_and_an_old_figure_refuses_nobody() {
        let memory = Memory::new(0.85);
        assert!(!memory.is_full() && !memory.keeps_results(), "nothing is known");
        memory.note(&[info(10, 100), info(85, 100)], Instant::now());
        assert!(memory.is_full() && !memory.keeps_results());
        tokio::time::advance(AGE_MAX + Duration::from_millis(1)).await;
        assert!(!memory.is_full() && !memory.keeps_results());
        memory.note(&[info(84, 100)], Instant::now());
        assert!(!memory.is_full());
        memory.note(&[info(50, 100)], Instant::now());
        assert!(memory.keeps_results());
        memory.note(&[info(u64::MAX, 0)], Instant::now());
        assert!(!memory.is_full() && memory.keeps_results(), "without maxmemory nothing is ever full");
    }
}
