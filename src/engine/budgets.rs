//! The retry budgets of this node, one for each queue and dependency.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::clock::Timestamp;
use crate::job::QueueName;
use crate::mutant::mutant;
use crate::policy::budget::{Budget, BudgetRules};
use crate::service::lock;

/// The budgets, by queue and breaker name; both come from the configuration.
#[derive(Debug, Default)]
pub(super) struct Budgets(Mutex<HashMap<(QueueName, String), Budget>>);

impl Budgets {
    /// Notes the first attempt of a job that needs these dependencies.
    pub(super) fn first<'a>(&self, queue: &QueueName, names: impl Iterator<Item = &'a str>, now: Timestamp) {
        let mut budgets = lock(&self.0);
        for name in names {
            budgets.entry((queue.clone(), name.to_owned())).or_default().first(now);
        }
    }

    /// Whether a retry of a job that needs these dependencies fits in the budgets of all of them; if so it is
    /// noted.
    pub(super) fn may_retry(&self, queue: &QueueName, names: &[&str], rules: &BudgetRules, now: Timestamp) -> bool {
        let mut budgets = lock(&self.0);
        let key = |name: &&str| (queue.clone(), (*name).to_owned());
        let has_room = |name: &&str| budgets.get(&key(name)).is_none_or(|budget| budget.has_room(rules, now));
        if !(names.iter().all(has_room) || mutant!(retries_without_budget)) {
            return false;
        }
        for name in names {
            budgets.entry(key(name)).or_default().retry(now);
        }
        true
    }
}
