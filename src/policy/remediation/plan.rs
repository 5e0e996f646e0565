//! Which actions an alert leads to, and in which order.

use std::collections::BTreeMap;

use crate::mutant::mutant;
use crate::operations::RemediationState;
use crate::policy::wildcard;

use super::alert::FiredAlert;
use super::{Action, Rules};

/// What an alert leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its name.
    pub name: String,
    /// The alert's name.
    pub alert: String,
    /// What its labels must be; `*` stands for any text.
    pub when: BTreeMap<String, String>,
    /// What is done, one after the other.
    pub actions: Vec<String>,
    /// What is done then if one of those failed, until one heals.
    pub if_not_healed: Vec<String>,
}

/// What one response comes to for one alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// The response.
    pub response: String,
    /// What is done, one after the other, whatever becomes of each.
    pub actions: Vec<Action>,
    /// What is done then if one of those failed, until one heals.
    pub if_not_healed: Vec<Action>,
}

impl Response {
    /// Whether it answers an alert.
    fn answers(&self, alert: &FiredAlert) -> bool {
        let fits = |(label, pattern): (&String, &String)| {
            // A label that is missing is an empty one, as everywhere around Prometheus.
            mutant!(labels_ignored) || wildcard::matches(pattern, alert.label(label).unwrap_or_default())
        };
        self.alert == alert.name && self.when.iter().all(fits)
    }
}

/// What the rules have done about an alert: every response that answers it, in the order of their names.
#[must_use]
pub fn plan(rules: &Rules, alert: &FiredAlert) -> Vec<Chain> {
    let known = |names: &[String]| names.iter().filter_map(|name| rules.actions.get(name).cloned()).collect();
    let answering = rules.responses.values().filter(|response| response.answers(alert));
    answering
        .map(|response| Chain {
            response: response.name.clone(),
            actions: known(&response.actions),
            if_not_healed: known(&response.if_not_healed),
        })
        .collect()
}

/// Whether more has to be done, after actions that ended like this. What was held back or only tried has not failed.
#[must_use]
pub fn escalates(outcomes: &[RemediationState]) -> bool {
    outcomes.contains(&RemediationState::Failed)
}
