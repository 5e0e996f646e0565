//! Remediation: which alert leads to which actions, in which order, on what, and when an action has helped.
//!
//! An action is a deed with its guards: a cool-down, a budget, a time limit, and a figure that says whether it healed.
//! A response is what an alert leads to. Both are configured; nothing here does anything.

mod alert;
mod deed;
mod plan;
mod target;
mod template;

use std::collections::BTreeMap;

pub use alert::FiredAlert;
pub use deed::{Call, Deed, Selector, Verify};
pub use plan::{Chain, Response, escalates, plan};
pub use target::{Lane, Target, target};
pub use template::{Facts, InvalidTemplate, Template};

/// What is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Whether anything is done at all, unless an operator has said otherwise since.
    pub enabled: bool,
    /// Whether actions only say what they would do, unless an operator has said otherwise since.
    pub dry_run: bool,
    /// Actions of all kinds in an hour, over all nodes.
    pub per_hour_max: u32,
    /// What can be done, by name.
    pub actions: BTreeMap<String, Action>,
    /// What is done, by name.
    pub responses: BTreeMap<String, Response>,
}

impl Default for Rules {
    /// Nothing can be done.
    fn default() -> Self {
        let (actions, responses) = Default::default();
        Self { enabled: true, dry_run: false, per_hour_max: 20, actions, responses }
    }
}

/// Something that can be done, and what holds it back.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// What it does.
    pub deed: Deed,
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// How long after it began it does not begin again on the same target, in milliseconds.
    pub cool_down_ms: i64,
    /// How often it begins in an hour, over all nodes and targets.
    pub per_hour_max: u32,
    /// How long the deed itself may take, in milliseconds.
    pub timeout_ms: u64,
    /// What says that it helped.
    pub verify: Verify,
    /// Within what time, in milliseconds.
    pub verify_ms: u64,
}

impl Action {
    /// How long it may take in all, in milliseconds; who is silent for longer has died over it.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        self.timeout_ms.saturating_add(if self.verify == Verify::Nothing { 0 } else { self.verify_ms })
    }
}

/// Whether remediation works, as configured or as an operator has said since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Whether anything is done at all.
    pub enabled: bool,
    /// Whether actions only say what they would do.
    pub dry_run: bool,
}

#[cfg(test)]
mod tests;
