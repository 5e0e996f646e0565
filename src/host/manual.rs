//! A machine whose figures are given; for tests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{GroupUsage, Host, HostSample};

/// Shows what it was told last.
#[derive(Debug, Default)]
pub struct ManualHost(Mutex<HostSample>);

impl ManualHost {
    /// A machine that shows `sample`.
    #[must_use]
    pub fn showing(sample: HostSample) -> Self {
        Self(Mutex::new(sample))
    }

    /// From now on it shows `sample`.
    pub fn show(&self, sample: HostSample) {
        *self.lock() = sample;
    }

    fn lock(&self) -> MutexGuard<'_, HostSample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for ManualHost {
    fn sample(&self) -> HostSample {
        *self.lock()
    }

    fn groups(&self, pgids: &[i32]) -> Vec<GroupUsage> {
        vec![GroupUsage::default(); pgids.len()]
    }

    fn reaped_cpu_s(&self) -> f64 {
        0.0
    }

    fn thread_cpu_ns(&self) -> u64 {
        0
    }
}
