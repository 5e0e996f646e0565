//! Failures and response times of the last five minutes on this node, as shedding looks at them.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Timestamp;
use crate::handler::Ran;
use crate::job::TypeName;
use crate::policy::catalog::JobType;
use crate::policy::shedding::is_inputs_fault;
use crate::policy::window::Window;
use crate::service::lock;

/// Types that promise to be done within this time, in milliseconds, are those whose response times count: the
/// runbook's 30 s mean nothing to a run that takes minutes.
const QUICK_SLA_MS: u64 = 30_000;

/// The windows.
#[derive(Debug, Default)]
pub(super) struct Runs {
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    judged: Window,
    responses: Window,
    /// Until when each lane was last seen held or refused: waiting there says nothing of load.
    held_until: HashMap<TypeName, Timestamp>,
}

/// A run that ended.
#[derive(Debug)]
pub(in crate::engine) struct Ended<'a> {
    /// Its type.
    pub(in crate::engine) known: &'a JobType,
    /// Whether it was the first one.
    pub(in crate::engine) is_first: bool,
    /// From when on its job waited.
    pub(in crate::engine) waits_from: Timestamp,
    /// When it ended.
    pub(in crate::engine) finished_at: Timestamp,
}

impl Runs {
    /// Notes that the lane of a type is passed over now.
    pub(super) fn held(&self, name: &TypeName, now: Timestamp) {
        lock(&self.windows).held_until.insert(name.clone(), now);
    }

    /// Notes a run and how it ended. Runs that were stopped for another reason than their time, or put off, say nothing,
    /// and a failure that is the fault of the input says nothing of load.
    pub(super) fn ended(&self, run: &Ended<'_>, ran: &Ran, timed_out: bool) {
        let has_failed = match ran {
            Ran::Stopped if timed_out => true,
            Ran::Stopped | Ran::Deferred { .. } => return,
            Ran::Failed { failure, .. } if is_inputs_fault(&failure.class, &run.known.retry) => return,
            Ran::Failed { .. } | Ran::Crashed { .. } => true,
            Ran::Returned { .. } => false,
        };
        let mut windows = lock(&self.windows);
        windows.judged.record(run.finished_at, 0, has_failed);
        if run.is_first && run.known.sla_ms.is_some_and(|sla_ms| sla_ms <= QUICK_SLA_MS) {
            let held = windows.held_until.get(&run.known.name).copied().unwrap_or(run.waits_from);
            let response_ms = run.finished_at.since(run.waits_from.max(held));
            windows.responses.record(run.finished_at, response_ms, has_failed);
        }
    }

    /// Share of runs that failed; `None` with fewer than `samples`.
    pub(super) fn error_rate(&self, samples: u64, now: Timestamp) -> Option<f64> {
        let windows = lock(&self.windows);
        windows.judged.failure_share(now).filter(|_| windows.judged.count(now) >= samples)
    }

    /// 95th percentile of response times, in milliseconds; `None` with fewer than `samples`.
    pub(super) fn response_time_p95_ms(&self, samples: u64, now: Timestamp) -> Option<f64> {
        let windows = lock(&self.windows);
        windows.responses.quantile_ms(0.95, now).filter(|_| windows.responses.count(now) >= samples)
    }
}
