//! `[remediation]`: what can be done about alerts, what is done about which, and what holds it back.

mod deed;

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::catalog::Catalog;
use crate::policy::remediation::{Action, Response, Rules, Verify};

use super::DURATION_MS_MAX;
use super::reader::{Section, one_of};

/// More actions in an hour than this are no remediation any more.
const PER_HOUR_MAX: u64 = 1_000;
/// A deed that takes longer keeps its alert waiting for what would come next: ten minutes.
const TIMEOUT_MS_MAX: u64 = 600_000;
/// The longest name of an action or a response, in bytes: they are labels of metrics and parts of paths.
const NAME_BYTES_MAX: usize = 64;

/// What the rest of the configuration has that actions may name.
pub(super) struct Known<'k> {
    pub(super) catalog: &'k Catalog,
    pub(super) servers: &'k BTreeSet<String>,
}

impl Known<'_> {
    fn pools(&self) -> Vec<&str> {
        self.catalog.pools.keys().map(crate::job::PoolName::as_str).collect()
    }

    fn queues(&self) -> Vec<&str> {
        self.catalog.queues.keys().map(crate::job::QueueName::as_str).collect()
    }

    fn types(&self) -> Vec<&str> {
        self.catalog.types.keys().map(crate::job::TypeName::as_str).collect()
    }

    fn servers(&self) -> Vec<&str> {
        self.servers.iter().map(String::as_str).collect()
    }
}

/// `[remediation]` and `[defaults.remediation_action]`.
pub(super) fn read<'a>(section: &Section<'a>, defaults: &Section<'a>, known: &Known<'_>) -> Rules {
    guards(defaults);
    defaults.integer("ttl_ms", 1_000, DURATION_MS_MAX);
    defaults.finish();
    let actions = actions(section, defaults, known);
    let read = Rules {
        enabled: section.flag("enabled"),
        dry_run: section.flag("dry_run"),
        per_hour_max: number(section.integer("actions_per_hour", 1, PER_HOUR_MAX)),
        responses: responses(section, &actions),
        actions,
    };
    section.finish();
    read
}

/// What holds an action back, where it does not say otherwise.
struct Guards {
    dry_run: bool,
    cool_down_ms: i64,
    per_hour_max: u32,
    timeout_ms: u64,
    verify_ms: u64,
}

fn guards(section: &Section<'_>) -> Guards {
    let ms = |name: &str, min, max| section.integer(name, min, max);
    Guards {
        dry_run: section.flag("dry_run"),
        cool_down_ms: i64::try_from(ms("cool_down_ms", 0, DURATION_MS_MAX)).unwrap_or(i64::MAX),
        per_hour_max: number(section.integer("per_hour", 1, PER_HOUR_MAX)),
        timeout_ms: ms("timeout_ms", 1, TIMEOUT_MS_MAX),
        verify_ms: ms("verify_ms", 1, TIMEOUT_MS_MAX),
    }
}

fn actions<'a>(section: &Section<'a>, defaults: &Section<'a>, known: &Known<'_>) -> BTreeMap<String, Action> {
    let outer = section.table("actions");
    let mut actions = BTreeMap::new();
    for (name, section) in section.tables("actions") {
        check_name(&outer, &name);
        let section = section.with_fallback(defaults);
        let guards = guards(&section);
        if let Some(deed) = deed::read(&section, known) {
            let verify = verify(&section, deed.figures());
            let Guards { dry_run, cool_down_ms, per_hour_max, timeout_ms, verify_ms } = guards;
            let action =
                Action { name: name.clone(), deed, dry_run, cool_down_ms, per_hour_max, timeout_ms, verify, verify_ms };
            actions.insert(name, action);
            section.finish();
        }
    }
    actions
}

fn check_name(outer: &Section<'_>, name: &str) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        let expected = format!("letters, digits, `_`, `-`, `.` and `:`, at most {NAME_BYTES_MAX}");
        outer.problem(name, format!("the name {name:?} cannot be one; expected {expected}"));
    }
}

/// The figure that is asked for, among those that can tell of the deed.
fn verify(section: &Section<'_>, figures: &[Verify]) -> Verify {
    let own = figures.first().copied().unwrap_or(Verify::Nothing);
    let word = section.optional_text("verify");
    let chosen = match &word {
        None => own,
        Some(word) => figures.iter().find(|figure| figure.name() == word).copied().unwrap_or_else(|| {
            let expected = one_of(figures.iter().map(|figure| figure.name()));
            section.problem("verify", format!("{word:?} tells nothing of this kind of action; expected {expected}"));
            own
        }),
    };
    if !matches!(chosen, Verify::QueueDepth { .. }) {
        return chosen;
    }
    Verify::QueueDepth { below: section.integer("verify_below", 1, 1_000_000_000) }
}

fn responses(section: &Section<'_>, actions: &BTreeMap<String, Action>) -> BTreeMap<String, Response> {
    let outer = section.table("alerts");
    let mut responses = BTreeMap::new();
    for (name, section) in section.tables("alerts") {
        check_name(&outer, &name);
        let response = Response {
            alert: section.optional_text("alert").unwrap_or_else(|| name.clone()),
            when: section.text_table("when"),
            actions: listed(&section, "actions", actions),
            if_not_healed: if section.has("if_not_healed") {
                listed(&section, "if_not_healed", actions)
            } else {
                Vec::new()
            },
            name: name.clone(),
        };
        section.finish();
        responses.insert(name, response);
    }
    responses
}

/// Names of actions that are there.
fn listed(section: &Section<'_>, key: &str, actions: &BTreeMap<String, Action>) -> Vec<String> {
    let names = section.texts(key);
    for name in names.iter().filter(|name| !actions.contains_key(*name)) {
        let expected = one_of(actions.keys().map(String::as_str));
        section.problem(key, format!("there is no action {name:?}; expected {expected}"));
    }
    names
}

fn number(read: u64) -> u32 {
    u32::try_from(read).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
