//! A worker's post: what it does now and how it has fared, for its crew, its checks and whoever asks.
//!
//! The worker itself notes what it takes up and puts down; its crew notes what becomes of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::job::{PoolName, WorkerName};
use crate::policy::health::{Condition, Facts, HealthRules, Tally, Why};
use crate::service::lock;

use super::meter::Meter;
use super::running::Run;

/// One worker of this node.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) name: WorkerName,
    pub(super) pool: PoolName,
    /// When it was hired; a name is used again, this is not.
    pub(super) hired_at: Timestamp,
    /// What its work uses.
    pub(super) meter: Meter,
    state: Mutex<State>,
}

/// What changes about a worker.
#[derive(Debug, Default)]
struct State {
    /// Since when it does what it does.
    since: Timestamp,
    run: Option<Arc<Run>>,
    jobs_done: u64,
    tally: Tally,
    memory_bytes: Option<u64>,
    memory_peak_bytes: u64,
    condition: Condition,
    leaving: Option<Leaving>,
}

/// How a worker leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Who was hired in its place, if somebody was.
    pub(super) replaced_by: Option<WorkerName>,
    /// Whether it was given up while its handler did not answer.
    pub(super) is_lost: bool,
}

/// A look at a worker.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) since: Timestamp,
    pub(super) run: Option<Arc<Run>>,
    pub(super) jobs_done: u64,
    pub(super) memory_bytes: Option<u64>,
    pub(super) sick: Option<Why>,
    pub(super) leaving: Option<Leaving>,
}

impl Post {
    pub(super) fn new(name: WorkerName, pool: PoolName, now: Timestamp) -> Self {
        let state = State { since: now, ..State::default() };
        Self { name, pool, hired_at: now, meter: Meter::new(now), state: Mutex::new(state) }
    }

    /// Notes the start of a run.
    pub(super) fn take_up(&self, run: &Arc<Run>, now: Timestamp) {
        let mut state = lock(&self.state);
        (state.run, state.since) = (Some(run.clone()), now);
    }

    /// Notes the end of a run, and what it says about the worker at `moment` of the monotonic clock, if anything.
    pub(super) fn put_down(&self, went_well: Option<bool>, moment: Timestamp, now: Timestamp) {
        let mut state = lock(&self.state);
        (state.run, state.since, state.memory_bytes) = (None, now, None);
        state.jobs_done += 1;
        if let Some(good) = went_well {
            state.tally.note(moment, good);
        }
    }

    /// Notes what its work holds in memory; `None` where nothing of its own runs.
    pub(super) fn measured(&self, bytes: Option<u64>) {
        let mut state = lock(&self.state);
        state.memory_bytes = bytes;
        state.memory_peak_bytes = state.memory_peak_bytes.max(bytes.unwrap_or(0));
    }

    /// Notes one check of its health.
    pub(super) fn checked(&self, finding: Option<Why>, rules: &HealthRules) {
        lock(&self.state).condition.note(finding, rules);
    }

    /// It is on its way out from now on.
    pub(super) fn leave(&self, replaced_by: Option<WorkerName>) {
        lock(&self.state).leaving = Some(Leaving { replaced_by, is_lost: false });
    }

    /// It is given up: its handler does not answer, its job is somewhere else.
    pub(super) fn lose(&self) {
        if let Some(leaving) = &mut lock(&self.state).leaving {
            leaving.is_lost = true;
        }
    }

    /// What it runs, if it runs something.
    pub(super) fn run(&self) -> Option<Arc<Run>> {
        lock(&self.state).run.clone()
    }

    /// Whether its handler is silent past all patience.
    pub(super) fn is_hung(&self, rules: &HealthRules) -> bool {
        let answer_by = self.run().and_then(|run| run.answer_by(Duration::from_millis(rules.hung_after_ms)));
        answer_by.is_some_and(|answer_by| Instant::now() > answer_by)
    }

    /// What the policy is told; `moment` turns a moment into a point of the monotonic clock.
    pub(super) fn facts(&self, rules: &HealthRules, moment: impl Fn(Instant) -> Timestamp) -> (Facts, Condition) {
        let state = lock(&self.state);
        let hung_after = Duration::from_millis(rules.hung_after_ms);
        let facts = Facts {
            answer_by: state.run.as_ref().and_then(|run| run.answer_by(hung_after)).map(&moment),
            memory_bytes: state.memory_bytes,
            memory_peak_bytes: state.memory_peak_bytes,
            tallied: state.tally.recent(moment(Instant::now())),
            jobs_done: state.jobs_done,
        };
        (facts, state.condition)
    }

    /// A look at everything.
    pub(super) fn look(&self) -> Look {
        let state = lock(&self.state);
        Look {
            since: state.since,
            run: state.run.clone(),
            jobs_done: state.jobs_done,
            memory_bytes: state.memory_bytes,
            sick: state.condition.sick(),
            leaving: state.leaving.clone(),
        }
    }
}
