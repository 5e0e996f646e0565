//! The runs of one job in the order of time: I3, I4, I5, I12, I14, and I2 on the way.
//!
//! One walk over everything that concerns the job, with a few facts kept: the run with the highest
//! fence, the run that lasts longest, what was acknowledged to whom.

use std::collections::HashMap;

use crate::job::State;

use super::event::{Action, Backoff, Outcome, TypeFacts};
use super::faults::Faults;
use super::reader::{At, Fate, History, Job, OrderSeen, Place, ReadSeen, RunSeen};
use super::verdict::{Invariant, Verdict};

/// How much earlier than its delay a retry may start, in microseconds: times are kept in whole
/// milliseconds on both sides.
const ROUNDING: At = 5_000;

/// What a walk meets.
#[derive(Clone, Copy)]
enum Met {
    Start(usize),
    End(usize),
    Read(usize),
    Sent(usize),
    Done(usize),
}

struct Walk<'h> {
    history: &'h History,
    faults: &'h Faults,
    job: &'h Job,
    facts: Option<&'h TypeFacts>,
    verdict: &'h mut Verdict,
    fences: HashMap<i64, usize>,
    /// The run with the highest fence so far.
    highest: Option<&'h RunSeen>,
    /// The run so far that ends last.
    longest: Option<&'h RunSeen>,
    /// A read that showed the job at rest.
    rest: Option<(&'h ReadSeen, State)>,
    /// A cancel that was answered 200.
    cancelled: Option<(Place, At)>,
    /// A run that returned a result.
    succeeded: Option<&'h RunSeen>,
    /// The newest order that may have begun another life or changed the rest, and until when it may act.
    renewed: At,
    renewing_until: At,
    /// Whether attempts may begin anew.
    may_fall: bool,
    /// The newest order of any kind.
    ordered: At,
    repeated: bool,
    repeated_without_fault: bool,
}

/// Judges the runs and reads of one job.
pub(super) fn check(history: &History, faults: &Faults, job: &Job, verdict: &mut Verdict) {
    let mut met: Vec<(At, Place, Met)> = Vec::with_capacity(2 * job.runs.len() + job.reads.len());
    for &number in &job.runs {
        let run = &history.runs[number];
        met.push((run.at, run.place, Met::Start(number)));
        met.extend(run.end.as_ref().map(|(place, at, _)| (*at, *place, Met::End(number))));
    }
    for &number in &job.reads {
        let read = &history.reads[number];
        met.push((read.at, read.place, Met::Read(number)));
    }
    for &number in &job.orders {
        let order = &history.orders[number];
        met.push((order.at, order.place, Met::Sent(number)));
        met.extend(order.done().map(|(place, at)| (at, place, Met::Done(number))));
    }
    met.sort_by_key(|&(at, place, _)| (at, place));
    let mut walk = Walk {
        history,
        faults,
        job,
        facts: history.type_of(job),
        verdict,
        fences: HashMap::new(),
        highest: None,
        longest: None,
        rest: None,
        cancelled: None,
        succeeded: None,
        renewed: At::MIN,
        renewing_until: At::MIN,
        may_fall: false,
        ordered: At::MIN,
        repeated: false,
        repeated_without_fault: false,
    };
    for (_, _, met) in met {
        match met {
            Met::Start(number) => walk.start(number),
            Met::End(number) => walk.end(&history.runs[number]),
            Met::Read(number) => walk.read(&history.reads[number]),
            Met::Sent(number) => walk.sent(&history.orders[number]),
            Met::Done(number) => walk.done(&history.orders[number]),
        }
    }
    let (repeated, without_fault) = (walk.repeated, walk.repeated_without_fault);
    verdict.summary.jobs_repeated += u64::from(repeated);
    verdict.summary.jobs_repeated_without_fault += u64::from(without_fault);
}

impl<'h> Walk<'h> {
    fn report(&mut self, invariant: Invariant, what: impl Into<String>, seen: &[Place]) {
        self.verdict.report(invariant, &self.job.id, what, seen);
    }

    fn clocks(&self) -> At {
        self.history.limits.clocks
    }

    fn start(&mut self, number: usize) {
        let run = &self.history.runs[number];
        self.payload(run);
        self.attempt_bounds(run);
        let same = self.fences.insert(run.seen.fence, number);
        if let Some(same) = same {
            let what = format!("fence {} runs a second time", run.seen.fence);
            self.report(Invariant::I3, what, &[self.history.runs[same].place, run.place]);
        }
        self.overlap(run);
        match self.highest {
            Some(highest) if run.seen.fence < highest.seen.fence => self.late_start(highest, run),
            highest => {
                self.start_after_end(run);
                match highest {
                    Some(before) => {
                        self.attempt_after(before, run);
                        self.delay_after(before, run);
                        self.repeat_of(before, run);
                    }
                    None => self.first_start(run),
                }
                self.highest = Some(run);
            }
        }
        if run.seen.attempt == 1 && run.at >= self.renewing_until {
            self.may_fall = false;
        }
        if self.longest.is_none_or(|longest| run.ended() >= longest.ended()) {
            self.longest = Some(run);
        }
    }

    // === I14 ===

    fn payload(&mut self, run: &RunSeen) {
        let calls = self.job.calls.iter().map(|&call| &self.history.calls[call]);
        let mut known = calls.filter(|call| call.fate() != Fate::Refused).peekable();
        let (Some(got), Some(first), true) = (&run.seen.payload, known.peek(), self.job.replays.is_empty()) else {
            return;
        };
        let place = first.place;
        if !known.any(|call| call.sent.payload == *got) {
            self.report(Invariant::I14, "the handler got another payload than was submitted", &[place, run.place]);
        }
    }

    // === I3 ===

    /// A start under a lower fence than one that ran before: its node must have stood still between
    /// its claim and its call.
    fn late_start(&mut self, highest: &RunSeen, run: &RunSeen) {
        if run.at > highest.at + self.clocks() && !self.faults.stale(run.at) {
            let what = format!("fence {} starts after fence {}", run.seen.fence, highest.seen.fence);
            self.report(Invariant::I3, what, &[highest.place, run.place]);
        }
    }

    fn overlap(&mut self, run: &RunSeen) {
        let Some(before) = self.longest else { return };
        let over = before.ended();
        if over <= run.at.saturating_add(self.clocks()) {
            return;
        }
        // Whoever is told to stop needs a moment to notice.
        let soon_over = over <= run.at + self.history.limits.grace;
        let told_to_stop = before.outcome() == Some(Outcome::Dropped) || self.ordered >= before.at;
        let past_deadline = run.at - before.at + ROUNDING >= self.timeout();
        if (soon_over && told_to_stop) || past_deadline || self.faults.in_flight(before.at, run.at) {
            return;
        }
        self.report(Invariant::I3, "two runs overlap although nothing was broken", &[before.place, run.place]);
    }

    /// A run whose caller went away is repeated only if something happened to the caller.
    fn repeat_of(&mut self, before: &RunSeen, run: &RunSeen) {
        let counted = run.seen.attempt > before.seen.attempt;
        let asked = matches!(before.outcome(), Some(Outcome::Deferred | Outcome::Review));
        if self.renewed >= before.at || counted || asked {
            return;
        }
        self.repeated = true;
        let settled = before.ended().min(run.at).saturating_add(self.history.limits.settle);
        if self.faults.in_flight(before.at, settled) {
            return;
        }
        self.repeated_without_fault = true;
        if matches!(before.outcome(), None | Some(Outcome::Dropped)) {
            self.report(Invariant::I3, "a run was given up although nothing was broken", &[before.place, run.place]);
        }
    }

    // === I4 ===

    fn start_after_end(&mut self, run: &RunSeen) {
        let limits = &self.history.limits;
        if let Some((read, state)) = self.rest {
            // A claim that was under way at a cancel may still come; nothing may after an outcome.
            let pending = matches!(state, State::Cancelled | State::Expired | State::InReview);
            let excused = pending && (run.at <= read.at + limits.grace || self.faults.stale(run.at));
            if run.at > read.at + limits.clocks && !excused {
                let what = format!("it starts after a client has read that it is {state}");
                self.report(Invariant::I4, what, &[read.place, run.place]);
            }
        } else if let Some((place, at)) = self.cancelled {
            if run.at > at + limits.grace && !self.faults.stale(run.at) {
                self.report(Invariant::I4, "it starts after its cancel was answered", &[place, run.place]);
            }
        } else if let Some(before) = self.succeeded {
            let settled = before.ended().saturating_add(limits.settle);
            let past_deadline = before.ended() - before.at + limits.grace >= self.timeout();
            if !past_deadline && !self.faults.in_flight(before.at, settled) {
                self.report(Invariant::I4, "it starts again after a run that succeeded", &[before.place, run.place]);
            }
        }
    }

    fn first_start(&mut self, run: &RunSeen) {
        let calls = self.job.calls.iter().map(|&call| &self.history.calls[call]);
        let possible: Vec<_> = calls.filter(|call| call.fate() != Fate::Refused).collect();
        let Some(first) = possible.first() else { return };
        if run.seen.attempt > 1 && !self.faults.answer_lost(first.at, run.at) {
            let what = format!("its first run is attempt {}", run.seen.attempt);
            self.report(Invariant::I5, what, &[run.place]);
        }
        let Some(expires) = self.facts.and_then(|facts| facts.expire_after_ms) else { return };
        let due = possible.iter().map(|call| {
            let accepted = call.answer.as_ref().map_or(call.at, |(_, at, _)| *at);
            accepted.saturating_add(micros(call.sent.delay_ms))
        });
        let late = due.max().unwrap_or(At::MAX).saturating_add(micros(expires) + self.history.limits.grace);
        if run.at > late && !self.faults.stale(run.at) && self.renewed == At::MIN {
            self.report(Invariant::I4, "it starts after it had expired", &[first.place, run.place]);
        }
    }

    // === I5 ===

    fn attempt_bounds(&mut self, run: &RunSeen) {
        let most = self.facts.map_or(u32::MAX, |facts| facts.max_attempts);
        if run.seen.attempt == 0 || run.seen.attempt > most {
            let what = format!("it runs as attempt {} of {most}", run.seen.attempt);
            self.report(Invariant::I5, what, &[run.place]);
        }
    }

    fn attempt_after(&mut self, before: &RunSeen, run: &RunSeen) {
        let (was, is) = (before.seen.attempt, run.seen.attempt);
        let counted = match before.outcome() {
            Some(Outcome::Failed) => true,
            Some(Outcome::Deferred | Outcome::Review) => false,
            Some(Outcome::Succeeded | Outcome::Dropped) | None => run.at - before.at + ROUNDING >= self.timeout(),
        };
        let at_most = was.saturating_add(u32::from(counted));
        if is > at_most && !self.faults.answer_lost(before.at, run.at) {
            let what = format!("attempt {is} follows attempt {was}, and no run between them can count");
            self.report(Invariant::I5, what, &[before.place, run.place]);
        }
        if self.may_fall {
            return;
        }
        if is < was {
            let what = format!("attempt {is} follows attempt {was}");
            self.report(Invariant::I5, what, &[before.place, run.place]);
        }
        let settled = before.ended().saturating_add(self.history.limits.settle);
        if before.outcome() == Some(Outcome::Failed) && is == was && !self.faults.in_flight(before.at, settled) {
            let what = format!("attempt {was} failed and was not counted");
            self.report(Invariant::I5, what, &[before.place, run.place]);
        }
    }

    /// How long one run may take.
    fn timeout(&self) -> At {
        self.facts.map_or(At::MAX, TypeFacts::timeout)
    }

    // === I12 ===

    fn delay_after(&mut self, before: &RunSeen, run: &RunSeen) {
        let Some((_, ended, end)) = &before.end else { return };
        if self.faults.answer_lost(before.at, *ended) {
            // A call that was held on its way may arrive when its caller has long counted it as failed.
            return;
        }
        let asked = micros(end.retry_after_ms);
        let retried = run.seen.attempt == before.seen.attempt.saturating_add(1);
        let (least, most) = match (end.outcome, self.facts) {
            (Outcome::Failed, Some(facts)) if retried => {
                let delay = micros(delay_ms(facts, before.seen.attempt));
                (if facts.jitter { asked } else { delay.max(asked) }, delay.max(asked))
            }
            (Outcome::Deferred, _) => (asked, asked),
            _ => return,
        };
        let waited = run.at - ended;
        if waited < 0 {
            // They overlap, so the outcome of the first was refused and no delay follows from it; I3 judges that.
            return;
        }
        if self.renewed >= before.at || self.faults.clock_jumped(before.at, run.at) {
            return;
        }
        let late = self.history.limits.start_within.map(|within| most.saturating_add(within));
        let too_late = late.is_some_and(|late| waited > late) && !self.faults.held_up(before.at, run.at);
        let early = self.history.limits.early.max(ROUNDING) + self.clocks();
        if waited + early < least || too_late {
            let what = format!(
                "it runs again after {} ms; its policy says {} to {} ms",
                waited / 1_000,
                least / 1_000,
                most / 1_000
            );
            self.report(Invariant::I12, what, &[before.place, run.place]);
        }
    }

    // === what others saw and did ===

    fn end(&mut self, run: &'h RunSeen) {
        if run.outcome() == Some(Outcome::Succeeded) && self.renewed < run.at {
            self.succeeded = Some(run);
        }
    }

    /// I2, and what later starts are held against.
    fn read(&mut self, read: &'h ReadSeen) {
        if read.asked < self.renewing_until {
            return;
        }
        let most = self.facts.map_or(u32::MAX, |facts| facts.max_attempts);
        if let Some(attempts) = read.seen.attempts.filter(|attempts| *attempts > most) {
            self.report(Invariant::I5, format!("it has {attempts} attempts of {most}"), &[read.place]);
        }
        let state = read.seen.state.as_deref().and_then(State::from_name);
        let at_rest = state.filter(|state| state.is_at_rest());
        match (self.rest, state, at_rest) {
            (None, _, Some(state)) => self.rest = Some((read, state)),
            (Some((before, was)), _, Some(is)) if was != is => {
                self.report(Invariant::I2, format!("it was {was} and is {is}"), &[before.place, read.place]);
            }
            (Some((before, _)), _, Some(_)) if before.seen.result != read.seen.result => {
                self.report(Invariant::I2, "its result has changed", &[before.place, read.place]);
            }
            (Some((before, was)), Some(is), None) if read.asked > before.at + self.clocks() => {
                let what = format!("it was {was} and is {is} again");
                self.report(Invariant::I2, what, &[before.place, read.place]);
            }
            _ => {}
        }
    }

    fn sent(&mut self, order: &'h OrderSeen) {
        self.ordered = order.at;
        if order.may_renew() {
            self.renewed = order.at;
            self.renewing_until = self.renewing_until.max(order.settled_by(self.history.limits.aftermath));
            self.may_fall = true;
            (self.rest, self.cancelled, self.succeeded) = (None, None, None);
        }
    }

    fn done(&mut self, order: &'h OrderSeen) {
        if order.sent.action == Action::Cancel && order.at >= self.renewing_until {
            self.cancelled = order.done();
        }
    }
}

/// Milliseconds of a type in the microseconds of the time line.
fn micros(ms: u64) -> At {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)
}

/// The delay after the `failures`-th failure without its spread, in milliseconds. Written a second
/// time on purpose: the daemon's own is what is being judged.
fn delay_ms(facts: &TypeFacts, failures: u32) -> u64 {
    let doubled = |times: u32| (0..times).fold(facts.base_delay_ms, |delay, _| delay.saturating_mul(2));
    let failures = failures.min(64);
    let delay = match facts.backoff {
        Backoff::Exponential => doubled(failures.saturating_sub(1)),
        Backoff::Linear => facts.base_delay_ms.saturating_mul(u64::from(failures)),
        Backoff::Immediate if failures <= 2 => 0,
        Backoff::Immediate => doubled(failures - 3),
    };
    delay.min(facts.max_delay_ms)
}
