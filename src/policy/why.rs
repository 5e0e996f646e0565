//! Why a job does not run now: everything that stands between it and a worker, the hardest first.
//!
//! The dispatcher and this explanation use the same judgement of lanes ([`super::gate`]), so a job is called
//! runnable exactly when the next claim would take it.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Timestamp;
use crate::job::{State, TypeName};

use super::gate::{BreakerFact, Hindrance, LaneFacts, ranks};

/// Everything that is known about one job and its surroundings. Times are on the broker's clock.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// Where the job is.
    pub place: Place,
    /// When it is due, if it says so.
    pub due_at: Option<Timestamp>,
    /// Why this node claims nothing at all, if so.
    pub node: Option<NodeHindrance>,
    /// Whether its queue is configured here.
    pub is_queue_known: bool,
    /// Who paused its queue.
    pub queue_pause: Option<Paused>,
    /// Who paused its type.
    pub type_pause: Option<Paused>,
    /// What stands against its lane.
    pub lane: Vec<Hindrance>,
    /// The value of its lock, if another program that follows the runbook holds it.
    pub foreign_lock: Option<String>,
    /// The workers of its queue on this node.
    pub crew: Crew,
    /// How many jobs the next claim takes before it.
    pub ahead: u64,
    /// How many jobs of its rank the next claim takes.
    pub slots: usize,
    /// How many jobs of its queue finish a second.
    pub rate: Option<f64>,
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It came to rest.
    AtRest(State),
    /// It runs.
    Running {
        /// Which node has it.
        node: String,
        /// Since when.
        since: Timestamp,
    },
    /// It waits in the broker.
    Waiting,
    /// Only the ledger knows it; it is pushed soon.
    LedgerOnly,
}

/// Why a node claims nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeHindrance {
    /// It is on its way out, or not there yet.
    NotRunning,
    /// The broker is away or closed, in its words.
    Broker(String),
    /// Too many outcomes wait for the ledger.
    OutcomesHeld,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// The workers of one queue on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crew {
    /// Those who wait for a job.
    pub idle: usize,
    /// Those who work.
    pub busy: usize,
    /// Those who are about to leave, or hang.
    pub leaving: usize,
}

/// One reason.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It came to rest.
    AtRest(State),
    /// It runs already.
    Running {
        /// Which node has it.
        node: String,
        /// Since when.
        since: Timestamp,
    },
    /// The node that answers claims nothing.
    Node(NodeHindrance),
    /// Its queue is not configured on the node that answers.
    UnknownQueue,
    /// It is due later.
    DueLater(Timestamp),
    /// Its queue is paused.
    QueuePaused(Paused),
    /// Its type is paused.
    TypePaused(Paused),
    /// Something stands against its lane.
    Lane(Hindrance),
    /// Another program holds its lock, whose value this is.
    Locked(String),
    /// Its entry is not in the broker yet.
    NotPushed,
    /// No pool of this node serves its queue, or all workers are about to leave.
    NoWorker,
    /// All workers are busy.
    AllBusy(usize),
    /// Others come first.
    Ahead(u64),
}

impl Reason {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AtRest(_) => "at_rest",
            Self::Running { .. } => "running",
            Self::Node(NodeHindrance::NotRunning) => "node_leaving",
            Self::Node(NodeHindrance::Broker(_)) => "broker_unavailable",
            Self::Node(NodeHindrance::OutcomesHeld) => "outcomes_held",
            Self::UnknownQueue => "unknown_queue",
            Self::DueLater(_) => "due_later",
            Self::QueuePaused(_) => "queue_paused",
            Self::TypePaused(_) => "type_paused",
            Self::Lane(Hindrance::NoHandler) => "no_handler",
            Self::Lane(Hindrance::Breaker(_)) => "breaker",
            Self::Lane(Hindrance::Shed(_)) => "shed",
            Self::Locked(_) => "locked",
            Self::NotPushed => "not_pushed",
            Self::NoWorker => "no_worker",
            Self::AllBusy(_) => "workers_busy",
            Self::Ahead(_) => "ahead",
        }
    }

    /// When it ends by itself, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::DueLater(due) => Some(*due),
            Self::Lane(Hindrance::Breaker(breaker)) => breaker.until,
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paused = |f: &mut fmt::Formatter<'_>, what: &str, pause: &Paused| {
            write!(f, "its {what} was paused by {} at {}", pause.by, pause.since)?;
            if pause.reason.is_empty() { Ok(()) } else { write!(f, ": {}", pause.reason) }
        };
        match self {
            Self::AtRest(state) => write!(f, "it is {state}"),
            Self::Running { node, since } => write!(f, "it runs on {node} since {since}"),
            Self::Node(NodeHindrance::NotRunning) => f.write_str("this node is starting or leaving and claims nothing"),
            Self::Node(NodeHindrance::Broker(words)) => write!(f, "nothing can be claimed: {words}"),
            Self::Node(NodeHindrance::OutcomesHeld) => {
                f.write_str("too many outcomes wait for the ledger, so this node claims nothing")
            }
            Self::UnknownQueue => f.write_str(
                "its queue is not in this node's configuration: it waits in the ledger until the queue is back",
            ),
            Self::DueLater(due) => write!(f, "it is due at {due}"),
            Self::QueuePaused(pause) => paused(f, "queue", pause),
            Self::TypePaused(pause) => paused(f, "type", pause),
            Self::Lane(Hindrance::NoHandler) => f.write_str("this node has no handler for its type"),
            Self::Lane(Hindrance::Breaker(BreakerFact { name, allowance: 0, is_open, until })) => {
                let (state, what) = if *is_open {
                    ("open", "one job may try")
                } else {
                    ("closed and starts slowly: as many jobs as it lets through run already", "more may start")
                };
                write!(f, "breaker {name} is {state}")?;
                until.map_or(Ok(()), |until| write!(f, "; {what} at {until}"))
            }
            Self::Lane(Hindrance::Breaker(BreakerFact { name, allowance, .. })) => {
                write!(f, "breaker {name} lets only {allowance} more through for now")
            }
            Self::Lane(Hindrance::Shed(shed)) => {
                let how = if shed.is_strict { "is held back" } else { "runs after all others" };
                write!(f, "load is shed at level {} by rule {}: its type {how}", shed.level, shed.rule)
            }
            Self::Locked(holder) => write!(f, "another program holds its job_lock ({holder})"),
            Self::NotPushed => f.write_str("its entry is not in the broker yet; it is pushed within seconds"),
            Self::NoWorker => f.write_str("no worker of this node serves its queue"),
            Self::AllBusy(count) => write!(f, "all {count} workers of its queue on this node are busy"),
            Self::Ahead(count) => write!(f, "{count} jobs come before it"),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Whether the next claim takes it.
    pub is_runnable: bool,
    /// Everything against it; empty if and only if it is runnable.
    pub reasons: Vec<Reason>,
    /// When it may start, as far as that can be said.
    pub starts_at: Option<Timestamp>,
}

/// Explains.
#[must_use]
pub fn explain(facts: &Facts) -> Explanation {
    let reasons = reasons(facts);
    let starts_at = if reasons.is_empty() { Some(facts.now) } else { estimate(facts, &reasons) };
    Explanation { is_runnable: reasons.is_empty(), reasons, starts_at }
}

fn reasons(facts: &Facts) -> Vec<Reason> {
    match &facts.place {
        Place::AtRest(state) => return vec![Reason::AtRest(*state)],
        Place::Running { node, since } => return vec![Reason::Running { node: node.clone(), since: *since }],
        Place::Waiting | Place::LedgerOnly => {}
    }
    let mut reasons = Vec::new();
    reasons.extend(facts.node.clone().map(Reason::Node));
    if !facts.is_queue_known {
        // Without its queue nothing else can be said of it.
        reasons.push(Reason::UnknownQueue);
        return reasons;
    }
    reasons.extend(facts.queue_pause.clone().map(Reason::QueuePaused));
    reasons.extend(facts.type_pause.clone().map(Reason::TypePaused));
    reasons.extend(facts.due_at.filter(|due| *due > facts.now).map(Reason::DueLater));
    let is_closed = facts.lane.iter().any(|hindrance| match hindrance {
        Hindrance::NoHandler => true,
        Hindrance::Breaker(breaker) => breaker.allowance == 0,
        Hindrance::Shed(shed) => shed.is_strict,
    });
    // A lane that is only narrowed or put last holds a job up only if its turn has not come.
    let is_held = is_closed || facts.ahead >= facts.slots as u64;
    reasons.extend(facts.lane.iter().filter(|_| is_held).cloned().map(Reason::Lane));
    reasons.extend(facts.foreign_lock.clone().map(Reason::Locked));
    reasons.extend((facts.place == Place::LedgerOnly).then_some(Reason::NotPushed));
    let crew = facts.crew;
    if crew.idle + crew.busy == 0 {
        reasons.push(Reason::NoWorker);
    } else if crew.idle == 0 {
        reasons.push(Reason::AllBusy(crew.busy));
    }
    if facts.place == Place::Waiting && facts.ahead >= facts.slots as u64 {
        // Those of other ranks that take idle workers first are ahead too.
        let taken = if is_closed { 0 } else { crew.idle.saturating_sub(facts.slots) };
        let ahead = facts.ahead + taken as u64;
        reasons.extend((ahead > 0).then_some(Reason::Ahead(ahead)));
    }
    reasons
}

/// When it may start: not before all that says an end has ended, and the jobs ahead are done.
fn estimate(facts: &Facts, reasons: &[Reason]) -> Option<Timestamp> {
    let mut start = facts.now;
    for reason in reasons {
        match reason {
            Reason::DueLater(due) => start = start.max(*due),
            // Whether the dependency is back by then nobody knows.
            Reason::Lane(Hindrance::Breaker(breaker)) if breaker.is_open => return None,
            Reason::Lane(Hindrance::Breaker(breaker)) if breaker.allowance == 0 => start = start.max(breaker.until?),
            Reason::Lane(Hindrance::Breaker(_)) | Reason::AllBusy(_) | Reason::Ahead(_) => {}
            _ => return None,
        }
    }
    let waits = reasons.iter().any(|reason| matches!(reason, Reason::AllBusy(_) | Reason::Ahead(_)));
    if !waits {
        return Some(start);
    }
    let rate = facts.rate.filter(|rate| *rate > 0.0)?;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate in milliseconds")]
    let wait_ms = ((facts.ahead + 1) as f64 / rate * 1_000.0).min(1e12) as i64;
    Some(start.plus_ms(wait_ms))
}

/// One lane of a queue as the next claim finds it.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneState {
    /// Its type.
    pub name: TypeName,
    /// What is known of it.
    pub facts: LaneFacts,
    /// Whether its type is paused, so that the broker passes it over.
    pub is_paused: bool,
    /// Jobs of it that wait and are due.
    pub ready: u64,
}

/// The turn of one lane in the next claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// How many jobs of its rank are taken.
    pub slots: usize,
    /// The lanes whose jobs it is ranked with, its own among them.
    pub rivals: Vec<TypeName>,
}

/// What the next claim with `idle` workers gives to `lane`: rank by rank, each with the idle workers that are
/// left, narrowed ones only as many as their breakers allow together.
#[must_use]
pub fn turn(lanes: &[LaneState], lane: &TypeName, idle: usize) -> Turn {
    let mut allowances: BTreeMap<&str, usize> = BTreeMap::new();
    for breaker in lanes.iter().flat_map(|state| &state.facts.breakers) {
        allowances.insert(&breaker.name, breaker.allowance);
    }
    let mut left = idle;
    for rank in ranks(lanes.iter().map(|state| (&state.name, &state.facts))) {
        let members = || lanes.iter().filter(|state| !state.is_paused && rank.lanes.contains(&state.name));
        let allowed = rank.breakers.iter().filter_map(|name| allowances.get(name.as_str())).min();
        let slots = allowed.map_or(left, |allowed| left.min(*allowed));
        if rank.lanes.contains(lane) {
            return Turn { slots, rivals: members().map(|state| state.name.clone()).collect() };
        }
        let ready: u64 = members().map(|state| state.ready).sum();
        let taken = slots.min(usize::try_from(ready).unwrap_or(usize::MAX));
        for name in &rank.breakers {
            if let Some(allowance) = allowances.get_mut(name.as_str()) {
                *allowance -= taken;
            }
        }
        left -= taken;
    }
    Turn { slots: 0, rivals: vec![lane.clone()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::gate::{BreakerFact, Shed};

    fn ready() -> Facts {
        Facts {
            now: Timestamp(1_000),
            place: Place::Waiting,
            due_at: None,
            node: None,
            is_queue_known: true,
            queue_pause: None,
            type_pause: None,
            lane: Vec::new(),
            foreign_lock: None,
            crew: Crew { idle: 2, busy: 1, leaving: 0 },
            ahead: 1,
            slots: 2,
            rate: Some(10.0),
        }
    }

    fn breaker(name: &str, allowance: usize) -> BreakerFact {
        BreakerFact { name: name.to_owned(), allowance, is_open: false, until: Some(Timestamp(61_000)) }
    }

    fn lane(name: &str, ready: u64, breakers: Vec<BreakerFact>, shed: Option<Shed>) -> LaneState {
        let facts = LaneFacts { can_run: true, breakers, shed };
        LaneState { name: TypeName::stored(name), facts, is_paused: false, ready }
    }

    #[test]
    fn a_job_whose_turn_has_come_has_no_reason_to_wait() {
        let explained = explain(&ready());
        assert_eq!(
            explained,
            Explanation { is_runnable: true, reasons: Vec::new(), starts_at: Some(Timestamp(1_000)) }
        );
    }

    #[test]
    fn a_queue_that_is_not_configured_is_the_only_thing_to_say() {
        let explained = explain(&Facts { is_queue_known: false, lane: vec![Hindrance::NoHandler], ..ready() });
        assert_eq!((explained.reasons, explained.starts_at), (vec![Reason::UnknownQueue], None));
        let rested = explain(&Facts { is_queue_known: false, place: Place::AtRest(State::Failed), ..ready() });
        assert_eq!(rested.reasons, [Reason::AtRest(State::Failed)]);
    }

    #[test]
    fn those_ahead_take_their_time() {
        let explained = explain(&Facts { ahead: 9, crew: Crew { idle: 0, busy: 3, leaving: 1 }, slots: 0, ..ready() });
        assert_eq!(explained.reasons, [Reason::AllBusy(3), Reason::Ahead(9)]);
        assert_eq!(explained.starts_at, Some(Timestamp(2_000)));
    }

    #[test]
    fn reasons_come_the_hardest_first_and_an_open_end_has_no_estimate() {
        let paused = Paused { by: "ann".into(), reason: String::new(), since: Timestamp(0) };
        let facts = Facts {
            queue_pause: Some(paused.clone()),
            due_at: Some(Timestamp(5_000)),
            lane: vec![Hindrance::Breaker(breaker("http:a:80", 0))],
            slots: 0,
            ..ready()
        };
        let explained = explain(&facts);
        assert_eq!(explained.reasons[0], Reason::QueuePaused(paused));
        assert_eq!(explained.reasons.len(), 4, "{explained:?}");
        assert_eq!(explained.starts_at, None);
        let held = explain(&Facts { queue_pause: None, ahead: 0, ..facts });
        assert_eq!(held.starts_at, Some(Timestamp(61_000)), "it lets more through then");
        let open = Hindrance::Breaker(BreakerFact { is_open: true, ..breaker("http:a:80", 0) });
        assert_eq!(explain(&Facts { lane: vec![open], ..ready() }).starts_at, None, "nobody knows when it is back");
    }

    #[test]
    fn limited_lanes_share_what_their_breaker_allows_and_the_rest_is_for_the_others() {
        let shed = Some(Shed { rule: "queue_depth".into(), level: 1, is_strict: false });
        let lanes = [
            lane("a", 5, vec![breaker("x", 2)], None),
            lane("b", 5, vec![breaker("x", 2)], None),
            lane("c", 3, Vec::new(), None),
            lane("d", 9, Vec::new(), shed),
            lane("e", 9, vec![breaker("y", 0)], None),
        ];
        let slots = |name: &str| turn(&lanes, &TypeName::stored(name), 8).slots;
        assert_eq!(["a", "b", "c", "d", "e"].map(slots), [2, 2, 6, 3, 0]);
        let together = [TypeName::stored("a"), TypeName::stored("b")];
        assert_eq!(turn(&lanes, &together[0], 8).rivals, together, "they are claimed in the order of deadlines");
        assert_eq!(turn(&lanes, &TypeName::stored("c"), 8).rivals, [TypeName::stored("c")]);
    }
}
