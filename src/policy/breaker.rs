//! Circuit breakers: when a dependency is down, stop calling it, and find out gently when it is back.
//!
//! A queue that keeps calling what is down spends its jobs' attempts for nothing, keeps its workers waiting for
//! timeouts, and hits the dependency with everything at once the moment it returns. A breaker counts failures in a
//! row; at the fifth it *opens* and nothing that needs the dependency is claimed any more. After a while it lets one
//! *probe* through; if that succeeds it closes, and calls come back one, two, four at a time.
//!
//! ```text
//!             5 counted failures in a row, or a Retry-After
//!     closed ─────────────────────────────────────────────────► open ◄──────────┐
//!       ▲ ▲                                                      │ its time      │ a probe fails or
//!       │ │ every probe                                          │ has passed    │ its permit lapses
//!       │ └────────────────────────────── half open ◄────────────┴───────────────┤
//!       │ reset                               │                                  │
//!       └── forced open ◄── trip (from any) ──┴── a forced opening with an end ──┘
//! ```
//!
//! Each change of state begins a *generation*. A call carries the generation in which it was let through, and what
//! it comes to counts only in that generation: a slow failure of yesterday neither opens what has recovered nor
//! passes for a probe. A probe is a *permit* with a deadline: if nobody reports on it by then, it has failed,
//! so a prober that was killed cannot leave the breaker half open for ever.
//!
//! Nodes open by themselves and at once, each on its own count. What they share is the [`Record`]; the later
//! generation wins ([`Record::merge`]), and a permit is taken by compare-and-set on the shared record, so all nodes
//! together make as many probes as one.
//!
//! Everything here is arithmetic; `now` is the broker's clock, which all nodes share.

mod names;
mod record;
mod rules;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::clock::Timestamp;

pub use names::{gates, target};
pub use record::{NEVER, Permit, Phase, Record, State};
pub use rules::Rules;

/// Calls that the slow-call rule looks at: the last so many, none older than [`SLOW_WINDOW_MS`].
const SLOW_CALLS: usize = 20;
/// How far back the slow-call rule looks, in milliseconds.
const SLOW_WINDOW_MS: i64 = 60_000;

/// One node's view of one breaker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    record: Record,
    /// Counted failures in a row in this generation.
    failures: u32,
    /// When each of the last calls of this generation ended, and whether it was slow.
    calls: VecDeque<(Timestamp, bool)>,
    /// Whether a call of this generation was answered.
    has_answered: bool,
}

/// What a breaker lets through now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every call.
    Free,
    /// At most this many calls at a time on this node: the slow start after an opening.
    Capped(u32),
    /// Up to this many probes, each by a permit.
    Probe(u32),
    /// No call.
    Held,
}

/// With what a call was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The generation.
    pub generation: i64,
    /// The permit of a probe.
    pub permit: Option<u64>,
}

/// What a call came to, as far as its dependency is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// A counted failure, of this error class.
    Failed(&'a str),
    /// Anything that shows that the dependency lives, after this many milliseconds.
    Answered(i64),
    /// The dependency asked not to be called before this moment.
    Pushback(Timestamp),
    /// The call was not made, or was stopped by us: nothing was learnt.
    Unknown,
}

/// A change of state, for logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: &'static str,
    /// The state now.
    pub to: &'static str,
    /// Why.
    pub why: String,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concluded {
    /// It belongs to another generation, or its permit has lapsed: it changed nothing.
    pub is_stale: bool,
    /// A failure that the job is not to pay for: it ran as a probe, or while the breaker changed.
    pub spares_attempt: bool,
    /// The change of state that it led to.
    pub transition: Option<Transition>,
}

impl Breaker {
    /// A breaker that starts from what the others know.
    #[must_use]
    pub fn from_record(record: Record) -> Self {
        Self { record, ..Self::default() }
    }

    /// What the nodes share.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Counted failures in a row, while closed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What it lets through on this node, one of `nodes`.
    #[must_use]
    pub fn standing(&self, rules: &Rules, now: Timestamp, nodes: usize) -> Standing {
        match &self.record.state {
            State::Closed { slow_start } => {
                match rules.slow_start_cap(self.record.since, now).filter(|_| *slow_start) {
                    Some(cap) => Standing::Capped((cap / u32::try_from(nodes.max(1)).unwrap_or(u32::MAX)).max(1)),
                    None => Standing::Free,
                }
            }
            State::Open { until } | State::Forced { until } if now < *until => Standing::Held,
            State::Open { .. } | State::Forced { .. } => Standing::Probe(rules.probes),
            State::HalfOpen { permits } => {
                let taken = permits.iter().filter(|permit| permit.phase != Phase::Returned).count();
                match rules.probes.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)) {
                    0 => Standing::Held,
                    free => Standing::Probe(free),
                }
            }
        }
    }

    /// When time alone changes its standing: the end of an opening, of a permit, or of a step of the slow start.
    #[must_use]
    pub fn next_change(&self, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
        match &self.record.state {
            State::Closed { slow_start: false } => None,
            State::Closed { slow_start: true } => rules.next_step(self.record.since, now),
            State::Open { until } | State::Forced { until } => Some(*until).filter(|at| *at > now && *at != NEVER),
            State::HalfOpen { permits } => {
                permits.iter().filter(|permit| permit.phase == Phase::Out).map(|permit| permit.deadline).min()
            }
        }
    }

    /// What a call is let through with that needs no permit.
    #[must_use]
    pub fn pass(&self) -> Pass {
        Pass { generation: self.record.generation, permit: None }
    }

    /// The record in which `node` holds the permits `ids` until `deadline`, if that many are free. It is to be
    /// agreed on with the other nodes before anybody relies on it; then [`Breaker::merge`] takes it over.
    #[must_use]
    pub fn with_permits(
        &self,
        rules: &Rules,
        now: Timestamp,
        node: &str,
        ids: &[u64],
        deadline: Timestamp,
    ) -> Option<Record> {
        let Standing::Probe(free) = self.standing(rules, now, 1) else { return None };
        if ids.is_empty() || ids.len() > usize::try_from(free).unwrap_or(usize::MAX) {
            return None;
        }
        let held: &[Permit] = match &self.record.state {
            State::HalfOpen { permits } => permits,
            _ => &[],
        };
        let is_out = |permit: &Permit| permit.phase == Phase::Out;
        let mut record = self.record.clone();
        // While others are out their generation stays. Else a new one begins, without what was returned.
        let kept: Vec<Permit> = if held.iter().any(is_out) {
            held.to_vec()
        } else {
            record.begin(now, "its time has passed: a probe may show whether it is back".to_owned());
            held.iter().filter(|permit| permit.phase == Phase::Passed).cloned().collect()
        };
        let taken = |id: &u64| Permit { id: *id, node: node.to_owned(), deadline, phase: Phase::Out };
        let taken: Vec<Permit> = ids.iter().map(taken).collect();
        record.state = State::HalfOpen { permits: record::union(&kept, &taken) };
        Some(record)
    }

    /// Notes what a call came to.
    pub fn conclude(&mut self, pass: Pass, call: Call<'_>, rules: &Rules, now: Timestamp) -> Concluded {
        let was_probe = pass.permit.is_some();
        let is_failure = matches!(call, Call::Failed(_));
        let is_current = self.is_current(pass);
        let is_stale = !is_current && call != Call::Unknown;
        let spares_attempt = is_failure && (is_stale || was_probe || self.is_untried());
        let concluded = Concluded { is_stale, spares_attempt, transition: None };
        if !is_current {
            return concluded;
        }
        let transition = match pass.permit {
            Some(id) => self.conclude_probe(id, call, rules, now),
            None => self.conclude_call(call, rules, now),
        };
        Concluded { transition, ..concluded }
    }

    /// Whether what was let through with `pass` still counts.
    #[must_use]
    pub fn is_current(&self, pass: Pass) -> bool {
        pass.generation == self.record.generation
            && match (&self.record.state, pass.permit) {
                (State::Closed { .. }, None) => true,
                (State::HalfOpen { permits }, Some(id)) => {
                    permits.iter().any(|permit| permit.id == id && permit.phase == Phase::Out)
                }
                _ => false,
            }
    }

    /// Whether it has closed after an opening and nothing has shown yet that the dependency is back: it may have been
    /// reset by hand too early. The first call is a probe then in all but name.
    fn is_untried(&self) -> bool {
        matches!(self.record.state, State::Closed { slow_start: true }) && !self.has_answered
    }

    fn conclude_call(&mut self, call: Call<'_>, rules: &Rules, now: Timestamp) -> Option<Transition> {
        match call {
            Call::Failed(class) => {
                self.failures = self.failures.saturating_add(1);
                let count = self.failures;
                let why = if self.is_untried() {
                    format!("the first call after it had closed failed with class {class}")
                } else {
                    format!("{count} failures in a row, the last of class {class}")
                };
                (count >= rules.failures || self.is_untried()).then(|| {
                    let until = now.plus_ms(self.count_opening(rules, now));
                    self.open(now, until, why)
                })
            }
            Call::Answered(took_ms) => {
                self.failures = 0;
                self.has_answered = true;
                let (slow, seen) = self.note_slowness(rules, took_ms, now)?;
                let until = now.plus_ms(self.count_opening(rules, now));
                Some(self.open(now, until, format!("{slow} of the last {seen} calls were slow")))
            }
            Call::Pushback(until) => Some(self.open(now, until.max(now), "it asked for a pause".to_owned())),
            Call::Unknown => None,
        }
    }

    fn conclude_probe(&mut self, id: u64, call: Call<'_>, rules: &Rules, now: Timestamp) -> Option<Transition> {
        let phase = match call {
            Call::Failed(class) => {
                let until = now.plus_ms(self.count_opening(rules, now));
                return Some(self.open(now, until, format!("a probe failed with class {class}")));
            }
            Call::Answered(took_ms) if rules.is_slow(took_ms) => {
                let until = now.plus_ms(self.count_opening(rules, now));
                return Some(self.open(now, until, format!("a probe was slow: {took_ms} ms")));
            }
            Call::Pushback(until) => return Some(self.open(now, until.max(now), "it asked for a pause".to_owned())),
            Call::Answered(_) => Phase::Passed,
            Call::Unknown => Phase::Returned,
        };
        let State::HalfOpen { permits } = &mut self.record.state else { return None };
        permits.iter_mut().filter(|permit| permit.id == id).for_each(|permit| permit.phase = phase);
        is_enough(permits, rules).then(|| self.close(now))
    }

    /// Ends what time or the reports of several nodes together have ended: enough probes have passed, or a permit
    /// that nobody reported on has failed. Of a lapse every node makes the same.
    pub fn lapse(&mut self, rules: &Rules, now: Timestamp) -> Option<Transition> {
        let State::HalfOpen { permits } = &self.record.state else { return None };
        if is_enough(permits, rules) {
            return Some(self.close(now));
        }
        let lapsed = permits.iter().filter(|permit| permit.phase == Phase::Out && permit.deadline <= now);
        let (deadline, node) = lapsed.map(|permit| (permit.deadline, permit.node.clone())).min()?;
        let until = deadline.plus_ms(self.count_opening(rules, deadline));
        let why = format!("a probe of {node} timed out, or its node died: nobody reported on it by its deadline");
        Some(self.open(deadline, until, why))
    }

    /// Opens it until `until` ([`NEVER`]: until it is reset), whatever it sees.
    pub fn trip(&mut self, now: Timestamp, until: Timestamp, why: String) -> Transition {
        self.enter(now, State::Forced { until }, why)
    }

    /// Closes it. What was held comes back as after an opening, unless nothing was held.
    pub fn reset(&mut self, now: Timestamp, why: String) -> Transition {
        let slow_start = !matches!(self.record.state, State::Closed { slow_start: false });
        self.record.openings = 0;
        self.enter(now, State::Closed { slow_start }, why)
    }

    /// Takes over what another node knows better.
    pub fn merge(&mut self, other: &Record) -> Option<Transition> {
        let merged = self.record.clone().merge(other);
        let (from, is_new) = (self.record.state.name(), merged.generation != self.record.generation);
        if is_new {
            self.failures = 0;
            self.calls.clear();
            self.has_answered = false;
        }
        self.record = merged;
        let to = self.record.state.name();
        (from != to).then(|| Transition { from, to, why: self.record.why.clone() })
    }

    /// Counts one more opening in a row and says how long it lasts, in milliseconds.
    fn count_opening(&mut self, rules: &Rules, now: Timestamp) -> i64 {
        let record = &mut self.record;
        let is_forgiven = matches!(record.state, State::Closed { .. }) && now.since(record.since) >= rules.forgive_ms;
        record.openings = if is_forgiven { 1 } else { record.openings.saturating_add(1) };
        rules.opening_ms(record.openings)
    }

    fn close(&mut self, now: Timestamp) -> Transition {
        self.enter(now, State::Closed { slow_start: true }, "its probes succeeded".to_owned())
    }

    fn open(&mut self, now: Timestamp, until: Timestamp, why: String) -> Transition {
        self.enter(now, State::Open { until }, why)
    }

    fn enter(&mut self, now: Timestamp, state: State, why: String) -> Transition {
        let from = self.record.state.name();
        self.record.begin(now, why);
        self.record.state = state;
        self.failures = 0;
        self.calls.clear();
        self.has_answered = false;
        Transition { from, to: self.record.state.name(), why: self.record.why.clone() }
    }

    /// Slow calls and all calls, when their share asks for an opening.
    fn note_slowness(&mut self, rules: &Rules, took_ms: i64, now: Timestamp) -> Option<(usize, usize)> {
        rules.slow_call_ms?;
        self.calls.push_back((now, rules.is_slow(took_ms)));
        if self.calls.len() > SLOW_CALLS {
            self.calls.pop_front();
        }
        let is_old = self.calls.front().is_some_and(|(at, _)| now.since(*at) > SLOW_WINDOW_MS);
        let slow = self.calls.iter().filter(|(_, slow)| *slow).count();
        let is_due = self.calls.len() == SLOW_CALLS && !is_old && rules.is_share_of_slow(slow, SLOW_CALLS);
        is_due.then_some((slow, SLOW_CALLS))
    }
}

/// Whether as many probes have passed as have to.
fn is_enough(permits: &[Permit], rules: &Rules) -> bool {
    let passed = permits.iter().filter(|permit| permit.phase == Phase::Passed).count();
    u32::try_from(passed).unwrap_or(u32::MAX) >= rules.probes
}
