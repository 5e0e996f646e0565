//! What stands between a lane and the dispatcher: one judgement, for the dispatcher and for the
//! explanation why a job does not run.
//!
//! A lane is a job type. It is passed over whole while something stands against it, so nothing is popped and
//! put back: the order of its jobs stays, and no attempt is spent.

use crate::clock::Timestamp;
use crate::job::TypeName;

/// What is known of a lane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneFacts {
    /// Whether this node has a handler for it.
    pub can_run: bool,
    /// The breakers that it depends on, where they say anything.
    pub breakers: Vec<BreakerFact>,
    /// How load shedding treats it, if it does.
    pub shed: Option<Shed>,
}

/// What one breaker says to a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerFact {
    /// Its name: `mcp:platform`, `http:HOST:PORT`, ...
    pub name: String,
    /// How many more of its jobs may start on this node now: none while it is open, one for a probe, a few
    /// while it starts slowly.
    pub allowance: usize,
    /// Whether the dependency counts as down; else it starts slowly.
    pub is_open: bool,
    /// When it looks again, or lets more through.
    pub until: Option<Timestamp>,
}

/// How load shedding treats a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Shed {
    /// The rule that holds.
    pub rule: String,
    /// The level in force, 1 to 5.
    pub level: u8,
    /// Whether the lane waits even while workers are idle: then starting its jobs would add to what is too
    /// much already (CPU, memory).
    pub is_strict: bool,
}

/// How a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its jobs are claimed in their order with those of other open lanes.
    Open,
    /// At most this many more of its jobs are claimed.
    Limited(usize),
    /// Its jobs are claimed when workers are idle after all others.
    Last,
    /// Nothing of it is claimed.
    Closed,
}

/// One thing that stands against a lane.
#[derive(Debug, Clone, PartialEq)]
pub enum Hindrance {
    /// This node has no handler for it.
    NoHandler,
    /// A breaker lets none or only some through.
    Breaker(BreakerFact),
    /// Load is shed.
    Shed(Shed),
}

/// How a lane stands, and everything that stands against it, the hardest first.
#[must_use]
pub fn judge(facts: &LaneFacts) -> (Standing, Vec<Hindrance>) {
    let mut hindrances = Vec::new();
    let mut standing = Standing::Open;
    if let Some(shed) = &facts.shed {
        standing = if shed.is_strict { Standing::Closed } else { Standing::Last };
        hindrances.push(Hindrance::Shed(shed.clone()));
    }
    for breaker in &facts.breakers {
        standing = match (standing, breaker.allowance) {
            (Standing::Closed, _) | (_, 0) => Standing::Closed,
            (Standing::Limited(others), allowance) => Standing::Limited(others.min(allowance)),
            (Standing::Open, allowance) => Standing::Limited(allowance),
            // What is shed has no claim on a place before others, however few it may start.
            (Standing::Last, _) => Standing::Last,
        };
        hindrances.push(Hindrance::Breaker(breaker.clone()));
    }
    if !facts.can_run {
        standing = Standing::Closed;
        hindrances.push(Hindrance::NoHandler);
    }
    hindrances.reverse();
    (standing, hindrances)
}

/// Lanes that one claim takes together, in the order of their deadlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    /// The lanes.
    pub lanes: Vec<TypeName>,
    /// The breakers that let only some of their jobs through; none for lanes that are not narrowed.
    pub breakers: Vec<String>,
    is_last: bool,
}

/// In what order the lanes of a queue are claimed: those that breakers narrow before all others, so that a probe is
/// not starved by a healthy backlog; then all open ones; then those that are shed. Closed lanes are in no rank.
pub fn ranks<'a>(lanes: impl Iterator<Item = (&'a TypeName, &'a LaneFacts)>) -> Vec<Rank> {
    let mut ranks: Vec<Rank> = Vec::new();
    for (name, facts) in lanes {
        let is_last = match judge(facts).0 {
            Standing::Closed => continue,
            Standing::Open | Standing::Limited(_) => false,
            Standing::Last => true,
        };
        let breakers: Vec<String> = facts.breakers.iter().map(|breaker| breaker.name.clone()).collect();
        match ranks.iter_mut().find(|rank| rank.is_last == is_last && rank.breakers == breakers) {
            Some(rank) => rank.lanes.push(name.clone()),
            None => ranks.push(Rank { lanes: vec![name.clone()], breakers, is_last }),
        }
    }
    ranks.sort_by_key(|rank| (rank.is_last, rank.breakers.is_empty()));
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_lanes_come_first_and_shed_ones_last() {
        let facts = |breakers, shed| LaneFacts { can_run: true, breakers, shed };
        let lanes = [
            ("a", facts(Vec::new(), Some(shed(false)))),
            ("b", facts(Vec::new(), None)),
            ("c", facts(vec![breaker(2)], None)),
            ("d", facts(vec![breaker(2)], Some(shed(false)))),
            ("e", facts(vec![breaker(2)], None)),
            ("f", facts(vec![breaker(0)], None)),
            ("g", facts(Vec::new(), None)),
        ]
        .map(|(name, facts)| (TypeName::stored(name), facts));
        let ranks = ranks(lanes.iter().map(|(name, facts)| (name, facts)));
        let names = |rank: &Rank| rank.lanes.iter().map(TypeName::as_str).collect::<String>();
        assert_eq!(ranks.iter().map(names).collect::<Vec<_>>(), ["ce", "bg", "d", "a"]);
        assert_eq!(ranks[0].breakers, ["http:a:80"]);
    }

    fn breaker(allowance: usize) -> BreakerFact {
        BreakerFact { name: "http:a:80".to_owned(), allowance, is_open: allowance == 0, until: None }
    }

    fn shed(is_strict: bool) -> Shed {
        Shed { rule: "cpu".to_owned(), level: 1, is_strict }
    }

    fn standing(facts: LaneFacts) -> Standing {
        judge(&LaneFacts { can_run: true, ..facts }).0
    }

    #[test]
    fn a_lane_without_hindrance_is_open_and_says_so() {
        let facts = LaneFacts { can_run: true, ..LaneFacts::default() };
        assert_eq!(judge(&facts), (Standing::Open, Vec::new()));
        assert_eq!(judge(&LaneFacts::default()), (Standing::Closed, vec![Hindrance::NoHandler]));
    }

    #[test]
    fn the_narrowest_breaker_decides() {
        let breakers = |list: &[usize]| list.iter().map(|&allowance| breaker(allowance)).collect();
        let of = |list: &[usize]| standing(LaneFacts { breakers: breakers(list), ..LaneFacts::default() });
        assert_eq!(of(&[4, 1, 2]), Standing::Limited(1));
        assert_eq!(of(&[4, 0, 2]), Standing::Closed);
    }

    #[test]
    fn what_is_shed_comes_last_and_under_strict_rules_not_at_all() {
        assert_eq!(standing(LaneFacts { shed: Some(shed(false)), ..LaneFacts::default() }), Standing::Last);
        assert_eq!(standing(LaneFacts { shed: Some(shed(true)), ..LaneFacts::default() }), Standing::Closed);
        let both = LaneFacts { shed: Some(shed(false)), breakers: vec![breaker(0)], ..LaneFacts::default() };
        assert_eq!(standing(both), Standing::Closed);
    }
}
