//! What the record says of an incident in figures.

use std::collections::BTreeMap;

use serde_json::Value;

use super::review::Facts;
use crate::clock::Timestamp;
use crate::operations::{Event, EventKind, Incident, NewEvent};

/// How an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One of its alerts fires.
    Firing,
    /// None does, but a later one may still take it back.
    Quiet,
    /// It is over.
    Resolved,
}

impl Standing {
    /// How it stands at `now`.
    #[must_use]
    pub fn of(incident: &Incident, quiet_ms: i64, now: Timestamp) -> Self {
        match incident.resolved_at {
            None => Self::Firing,
            Some(end) if now <= end.plus_ms(quiet_ms) => Self::Quiet,
            Some(_) => Self::Resolved,
        }
    }

    /// The word in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Quiet => "quiet",
            Self::Resolved => "resolved",
        }
    }
}

/// Times of an incident, in milliseconds from its detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Until it was heard of.
    pub notice_ms: i64,
    /// Until something was first done.
    pub response_ms: Option<i64>,
    /// Until its last alert ended.
    pub resolution_ms: Option<i64>,
}

impl Figures {
    /// Those of an incident.
    #[must_use]
    pub fn of(incident: &Incident) -> Self {
        let since = |at: Timestamp| at.since(incident.detected_at);
        Self {
            notice_ms: since(incident.received_at),
            response_ms: incident.responded_at.map(since),
            resolution_ms: incident.resolved_at.map(since),
        }
    }
}

/// What the events of an incident come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// The first event that was no alert, order or action.
    pub first_sign: Option<(Timestamp, String)>,
    /// How often each breaker opened, and the most jobs that it held.
    pub breakers: BTreeMap<String, (u64, u64)>,
    /// The highest level at which each queue was shed.
    pub shed: BTreeMap<String, u64>,
    /// Jobs that were refused for load, by queue.
    pub refused: BTreeMap<String, u64>,
    /// How long each pool was at its most workers, in milliseconds.
    pub at_most_ms: BTreeMap<String, i64>,
    /// How many workers were replaced, by pool.
    pub replaced: BTreeMap<String, u64>,
    /// How often each store was lost.
    pub stores: BTreeMap<String, u64>,
    /// Findings that cannot be in undamaged data.
    pub violations: u64,
    /// How often each alert began to fire.
    pub alerts: BTreeMap<String, u64>,
}

impl Thresholds {
    /// Those of the facts, as of their end.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut found = Self::default();
        let mut full_since: BTreeMap<String, Timestamp> = BTreeMap::new();
        for Event { event, .. } in &facts.events {
            found.take(event, &mut full_since);
        }
        for (pool, since) in full_since {
            *found.at_most_ms.entry(pool).or_default() += facts.end().since(since);
        }
        for alert in &facts.alerts {
            *found.alerts.entry(alert.note.name.clone()).or_default() += 1;
        }
        found
    }

    fn take(&mut self, event: &NewEvent, full_since: &mut BTreeMap<String, Timestamp>) {
        let detail: Value =
            event.detail.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let figure = |name: &str| detail[name].as_u64().unwrap_or_default();
        let subject = event.subject.clone();
        let is_sign = match event.kind {
            EventKind::Breaker => {
                let is_open = matches!(detail["to"].as_str(), Some("open" | "forced_open"));
                let (opened, held) = self.breakers.entry(subject).or_default();
                *opened += u64::from(is_open);
                *held = figure("held").max(*held);
                is_open
            }
            EventKind::Shedding if detail.get("refused").is_some() => {
                *self.refused.entry(subject).or_default() += figure("refused");
                false
            }
            EventKind::Shedding => {
                let level = self.shed.entry(subject).or_default();
                *level = figure("to").max(*level);
                figure("to") > 0 && detail["is_ordered"] != true
            }
            EventKind::Scaling => {
                let is_full = figure("to") > 0 && figure("to") == figure("max");
                if is_full {
                    full_since.entry(subject).or_insert(event.at);
                } else if let Some(since) = full_since.remove(&subject) {
                    *self.at_most_ms.entry(subject).or_default() += event.at.since(since);
                }
                false
            }
            EventKind::Worker => {
                *self.replaced.entry(detail["pool"].as_str().unwrap_or(&subject).to_owned()).or_default() +=
                    u64::from(detail["is_replaced"].as_bool().unwrap_or(false));
                true
            }
            EventKind::Store => {
                let is_lost = detail["is_up"].as_bool() == Some(false);
                *self.stores.entry(subject).or_default() += u64::from(is_lost);
                is_lost
            }
            EventKind::Integrity => {
                self.violations += figure("count").max(1);
                true
            }
            EventKind::Node => detail["is_lost"].as_bool().unwrap_or(false),
            EventKind::Alert | EventKind::Action | EventKind::Pause | EventKind::Order | EventKind::Review => false,
        };
        if is_sign && self.first_sign.is_none() {
            self.first_sign = Some((event.at, event.words.clone()));
        }
    }
}
