//! The runbook's five checks of a node.
//!
//! Connections are told as they are. Shares move with every run, so these two are debounced: a node that flaps in and
//! out of a load balancer is worse than one that is late by three checks.

use super::{Debounce, HealthRules, Tallied};

/// What the checks so far say of the shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeHealth {
    memory: Debounce,
    success: Debounce,
}

/// The runbook's five.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the five checks are the documented answer")]
pub struct Checks {
    /// The service holds less than its share of memory.
    pub memory_usage: bool,
    /// The broker is open.
    pub queue_connectivity: bool,
    /// No MCP server's breaker is open, and each that was asked answers.
    pub mcp_server_connectivity: bool,
    /// The ledger answers.
    pub database_connectivity: bool,
    /// Runs do not crash, hang or get killed.
    pub execution_success_rate: bool,
}

impl NodeHealth {
    /// Notes one check of the shares: memory in use of the service's limit (`None`: not known), and how the node's runs
    /// of the last ten minutes ended. What is not known is not held against the node.
    pub fn note(&mut self, memory: Option<f64>, runs: Tallied, rules: &HealthRules) {
        self.memory.note(memory.is_some_and(|share| share >= rules.memory), rules);
        let rate = runs.rate(rules.samples_min);
        self.success.note(rate.is_some_and(|rate| rate <= rules.success_rate), rules);
    }

    /// The five.
    #[must_use]
    pub fn checks(&self, queue: bool, mcp: bool, database: bool) -> Checks {
        Checks {
            memory_usage: !self.memory.is_bad(),
            queue_connectivity: queue,
            mcp_server_connectivity: mcp,
            database_connectivity: database,
            execution_success_rate: !self.success.is_bad(),
        }
    }
}

impl Checks {
    /// Whether all hold.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.memory_usage
            && self.queue_connectivity
            && self.mcp_server_connectivity
            && self.database_connectivity
            && self.execution_success_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(checks: &[(Option<f64>, Tallied)]) -> (bool, bool) {
        let (mut health, rules) = (NodeHealth::default(), HealthRules::default());
        for (memory, runs) in checks {
            health.note(*memory, *runs, &rules);
        }
        let checks = health.checks(true, true, true);
        (checks.memory_usage, checks.execution_success_rate)
    }

    #[test]
    fn shares_turn_bad_after_three_checks_and_good_after_two() {
        let good = Tallied { good: 19, bad: 1 };
        let bad = Tallied { good: 18, bad: 2 };
        let few = Tallied { good: 4, bad: 1 };
        assert_eq!(after(&[]), (true, true));
        assert_eq!(after(&[(Some(0.99), bad); 2]), (true, true));
        assert_eq!(after(&[(Some(0.85), good); 3]), (false, true));
        assert_eq!(after(&[(Some(0.849), bad); 3]), (true, false));
        assert_eq!(after(&[(None, few); 3]), (true, true));
        let long = [[(Some(0.99), bad); 3].as_slice(), &[(Some(0.5), good)]].concat();
        assert_eq!(after(&long), (false, false));
        assert_eq!(after(&[long.as_slice(), &[(Some(0.5), good)]].concat()), (true, true));
    }

    #[test]
    fn each_of_the_five_is_needed() {
        let health = NodeHealth::default();
        assert!(health.checks(true, true, true).hold());
        assert!(!health.checks(false, true, true).hold());
        assert!(!health.checks(true, false, true).hold());
        assert!(!health.checks(true, true, false).hold());
    }
}
