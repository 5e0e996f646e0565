//! What runs and outcomes say. Nothing of it counts before the ledger has recorded the outcome, so a result that is
//! refused as stale counts nothing, and one whose commit had to be repeated counts once.

use crate::handler::Ran;
use crate::job::{Job, State, TypeName};
use crate::policy::measures::observation::{self, Bad, OBSERVATIONS_MAX};
use crate::policy::measures::{Measure, Sample};
use crate::telemetry::metrics;

use super::Core;
use crate::engine::running::Run;

/// What an outcome says once it is recorded.
#[derive(Debug, Default)]
pub(in super::super) struct Says {
    observed: Vec<Sample>,
    /// Where it tested, for a job that counts as a test.
    environment: Option<String>,
}

impl Says {
    /// What the outcome of `job` says, beside what its handler observed.
    pub(in super::super) fn of(core: &Core, job: &Job, observed: Vec<Sample>) -> Self {
        let environment = core.setup.load().measures.environment(&job.spec.job_type, &job.spec.labels);
        Self { observed, environment }
    }

    /// Counts it. `state` is the one that the job was recorded in.
    pub(in super::super) fn count(self, core: &Core, run: &Run, state: State, late: bool) {
        let setup = core.setup.load();
        let mut samples = self.observed;
        samples.extend(setup.measures.rested(&run.job_type, self.environment, state, late));
        count(core, &samples);
    }
}

/// Takes the observations out of a reply. Bad ones are logged and counted, and the run is none the worse for it.
pub(in super::super) fn observed(core: &Core, run: &Run, ran: &mut Ran) -> Vec<Sample> {
    let (Ran::Returned { envelope, .. } | Ran::Failed { envelope, .. }) = ran else { return Vec::new() };
    let observations = std::mem::take(&mut envelope.observations);
    let setup = core.setup.load();
    let (mut samples, mut first, mut refused) = (Vec::new(), None, 0_usize);
    for (at, observation) in observations.iter().enumerate() {
        let read = if at < OBSERVATIONS_MAX {
            observation::read(observation, &setup.measures, &mut samples)
        } else {
            let reason = format!("are more than {OBSERVATIONS_MAX}");
            Err(Bad { code: "too_many", field: "observations".to_owned(), reason })
        };
        if let Err(bad) = read {
            metrics::observations_refused(bad.code, 1);
            refused += 1;
            first.get_or_insert((at, bad));
        }
    }
    if let Some((at, Bad { field, reason, .. })) = first {
        tracing::warn!(job.id = %run.id, job.type_ = %run.job_type,
            "{refused} of {} observations of job {} were refused; number {at}: `{field}` {reason}",
            observations.len(), run.id);
    }
    samples
}

/// Counts jobs that came to rest by an order of the daemon itself or of an operator.
pub(in super::super) fn rested_by_order(core: &Core, job_type: &TypeName, state: State, count_of: usize) {
    let rules = &core.setup.load().measures;
    // They never ran, so they are no tests; but somebody has to look at them all the same.
    let samples = rules.rested(job_type, None, state, true);
    for _ in 0..count_of {
        count(core, &samples);
    }
}

fn count(core: &Core, samples: &[Sample]) {
    if samples.is_empty() || core.measures.count(&core.setup.load().measures, samples, core.clock.now()) {
        return;
    }
    let lost = samples.iter().filter(|sample| sample.measure != Measure::HealConfidence).count();
    metrics::observations_refused("no_room", lost as u64);
}
