//! What the end of a run says of its dependencies.

use crate::handler::Ran;
use crate::job::Seq;
use crate::mutant::mutant;
use crate::policy::breaker::{Call, State, target};

use super::super::core::Core;
use super::super::running::{Run, StopReason};
use super::Leaves;

/// Failed probes of one job in a row after which the next in line probes: a job that always fails must not keep
/// all others out.
const PROBES_OF_ONE_JOB: u32 = 3;
/// How much later than the next probe such a job is due, in milliseconds.
const STEP_ASIDE_MS: i64 = 250;

/// What a run says, stripped of what breakers do not need.
enum Said<'a> {
    /// Nothing: it was stopped, or its worker died.
    Nothing,
    /// A counted failure; of the named dependency, where the handler named one.
    Failed(&'a str, Option<&'a str>),
    /// The target asked for a pause of so many milliseconds.
    Pushback(u64),
    /// Anything else.
    Answered,
}

/// Ends the leaves of a run. `Some` when its failure is not the job's to pay for: it is put off without an
/// attempt, for so many milliseconds.
pub(in crate::engine) fn conclude(core: &Core, run: &Run, ran: &Ran, took_ms: i64) -> Option<u64> {
    let leaves = run.take_leaves();
    if leaves.is_empty() {
        return None;
    }
    let said = read(core, run, ran);
    let own = core.catalog().types.get(&run.job_type).and_then(target);
    let spared_by = tell(leaves, own.as_deref(), &said, took_ms, run.seq);
    let wants_review = matches!(ran, Ran::Failed { envelope, .. } if envelope.review.is_some());
    spared_by.filter(|_| !wants_review && !mutant!(held_jobs_pay))
}

fn read<'a>(core: &Core, run: &Run, ran: &'a Ran) -> Said<'a> {
    let counts = |class: &str| core.breakers.shared.rules.load().counts(class);
    match (run.stopped(), ran) {
        (_, Ran::Crashed { .. }) => Said::Nothing,
        (Some(reason), Ran::Stopped) if reason != StopReason::Deadline => Said::Nothing,
        (_, Ran::Stopped) if counts("timeout") => Said::Failed("timeout", None),
        (_, Ran::Deferred { retry_after_ms, .. }) => Said::Pushback(*retry_after_ms),
        (_, Ran::Failed { failure, envelope, .. }) if counts(&failure.class) => {
            Said::Failed(&failure.class, envelope.error.as_ref().and_then(|error| error.dependency.as_deref()))
        }
        _ => Said::Answered,
    }
}

/// Tells each dependency what concerns it: `own` is the handler's target, which answers for what nobody names.
fn tell(leaves: Leaves, own: Option<&str>, said: &Said<'_>, took_ms: i64, seq: Seq) -> Option<u64> {
    let place = |name: &str| leaves.iter().position(|leave| leave.entry.name == *name);
    let own = own.and_then(place);
    let named = match said {
        Said::Failed(_, Some(name)) => Some(place(name)),
        _ => None,
    };
    let mut spared = None;
    for (at, leave) in leaves.into_iter().enumerate() {
        let is_own = own.is_none_or(|own| own == at);
        let call = match said {
            Said::Answered => Call::Answered(took_ms),
            Said::Pushback(ms) if is_own => {
                Call::Pushback(leave.entry.shared.now().plus_ms(i64::try_from(*ms).unwrap_or(i64::MAX)))
            }
            // It named what failed, so itself and the others did not. What has no breaker here gets none by its name:
            // handlers could name anything.
            Said::Failed(..) if named.is_some_and(|named| named != Some(at)) => Call::Answered(took_ms),
            Said::Failed(class, _) if named.is_some() || is_own => Call::Failed(class),
            Said::Nothing | Said::Pushback(_) | Said::Failed(..) => Call::Unknown,
        };
        let was_probe = leave.is_probe();
        let entry = leave.entry.clone();
        if leave.conclude(call).spares_attempt {
            let delay_ms = if was_probe { entry.step_aside(seq) } else { 0 };
            spared = Some(spared.unwrap_or(0).max(delay_ms));
        }
    }
    spared
}

impl super::Entry {
    /// Notes that a probe of this job failed; answers how long it is to step aside, in milliseconds.
    fn step_aside(&self, seq: Seq) -> u64 {
        let mut inner = self.lock();
        let times = inner.failing.filter(|(job, _)| *job == seq).map_or(1, |(_, times)| times + 1);
        inner.failing = Some((seq, times));
        match &inner.breaker.record().state {
            State::Open { until } if times >= PROBES_OF_ONE_JOB => {
                u64::try_from(until.plus_ms(STEP_ASIDE_MS).since(self.shared.now())).unwrap_or(0)
            }
            _ => 0,
        }
    }
}
