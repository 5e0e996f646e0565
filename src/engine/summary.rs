//! What a node does, in one line: for service managers and others who have room for no more.

use std::fmt;

use crate::service::Phase;

use super::breakers;
use super::core::Core;

/// A node at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Where the node is in its life.
    pub phase: Phase,
    /// Jobs that wait and are held by no pause and no breaker, as of a second ago; `None` while the broker is away.
    pub waiting: Option<u64>,
    /// Jobs that run here.
    pub running: usize,
    /// Workers of this node.
    pub workers: usize,
    /// The highest level of load shedding over the queues.
    pub shed_level: u8,
    /// Breakers that let nothing through, or only a probe.
    pub open_breakers: Vec<String>,
    /// Why the ledger is away, if it is.
    pub ledger: Result<(), String>,
    /// Why the broker is closed, if it is.
    pub broker: Result<(), String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Phase::Starting => f.write_str("starting; ")?,
            Phase::Running => {}
            Phase::Draining => f.write_str("draining, no new jobs; ")?,
            Phase::Stopping | Phase::Stopped => f.write_str("stopping; ")?,
        }
        match self.waiting {
            Some(waiting) => write!(f, "{waiting} jobs wait, ")?,
            None => f.write_str("jobs wait, ")?,
        }
        write!(f, "{} run on {} workers, shedding level {}", self.running, self.workers, self.shed_level)?;
        if !self.open_breakers.is_empty() {
            write!(f, ", breakers open: {}", self.open_breakers.join(" "))?;
        }
        for (part, standing) in [("ledger", &self.ledger), ("broker", &self.broker)] {
            if let Err(why) = standing {
                write!(f, "; {part} away: {why}")?;
            }
        }
        Ok(())
    }
}

/// This node as of now; asks no store.
pub(super) fn summary(core: &Core) -> Summary {
    let standing = core.shedding.standing();
    let broker = core.session.broker().borrow().clone();
    let depths = standing.queues.values().map(|queue| queue.facts.depth);
    Summary {
        phase: *core.phase.borrow(),
        waiting: depths.sum::<Option<u64>>().filter(|_| broker.is_ok()),
        running: core.running.count(),
        workers: core.roster.posts().len(),
        shed_level: standing.queues.keys().map(|name| standing.level(name)).max().unwrap_or(0),
        open_breakers: breakers::open(core),
        ledger: core.session.ledger(),
        broker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_line_that_names_what_is_wrong() {
        let well = Summary {
            phase: Phase::Running,
            waiting: Some(12),
            running: 3,
            workers: 17,
            shed_level: 0,
            open_breakers: Vec::new(),
            ledger: Ok(()),
            broker: Ok(()),
        };
        assert_eq!(well.to_string(), "12 jobs wait, 3 run on 17 workers, shedding level 0");
        let ill = Summary {
            phase: Phase::Draining,
            waiting: None,
            shed_level: 2,
            open_breakers: vec!["mcp:platform".to_owned(), "db".to_owned()],
            broker: Err("no answer".to_owned()),
            ..well
        };
        assert_eq!(
            ill.to_string(),
            "draining, no new jobs; jobs wait, 3 run on 17 workers, shedding level 2, \
             breakers open: mcp:platform db; broker away: no answer"
        );
    }
}
