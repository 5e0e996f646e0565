//! The logbook: the part of the ledger that records what happened to the system itself.
//!
//! Its tables are small and its statements plain, so that one text of each serves both stores; a store only says how a
//! statement is run ([`Statements`]) and in what kind of transaction.

mod alerts;
mod remedies;
mod rows;

use std::future::Future;

use async_trait::async_trait;

use super::Result;
use super::row::Cells;
use crate::clock::Timestamp;
use crate::job::TypeName;
use crate::operations::{
    Alert, AlertNote, Begun, Event, FilledPart, Flaw, Impact, Incident, NewEvent, NewRemediation, Noted, Remediation,
    RemediationLimits, RemediationState,
};

pub(super) use alerts::{lapse_alerts, note_alerts};
pub(super) use remedies::{begin_remediation, end_remediation, suppress_remediation};
pub(super) use rows::impact_of;

/// A question about incidents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Only this one.
    pub number: Option<i64>,
    /// Only those that have an alert that fires, or only those that have none.
    pub is_firing: Option<bool>,
}

/// A question about remedies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemediationFilter {
    /// Only of this action.
    pub action: Option<String>,
    /// Only in this state.
    pub state: Option<RemediationState>,
    /// Only of this incident.
    pub incident: Option<i64>,
}

/// How much of the operations' past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogbookRetention {
    /// Events, remedies and incidents whose end is older than this go, in milliseconds.
    pub max_age_ms: i64,
    /// The most events, and the most remedies.
    pub events_max: u64,
}

/// The record of events, alerts, incidents and remedies. Each method is one atomic step.
#[async_trait]
pub trait Logbook: Send + Sync {
    /// Adds events; those that their node has added before (by node and mark) change nothing.
    async fn note_events(&self, events: &[NewEvent]) -> Result<()>;

    /// Events from `from` on and before `until`, oldest first, at most `limit`.
    async fn events(&self, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Event>>;

    /// Notes what was told of alerts; answers in order.
    ///
    /// An occurrence of an alert is known by its fingerprint and its beginning, so notes that are repeated, come in
    /// another order or to another node are harmless, and one occurrence is answered as new once. An incident holds all
    /// alerts that overlap in time, counting `quiet_ms` after the end of the last one: a later alert within that
    /// time takes the incident back.
    async fn note_alerts(&self, notes: &[AlertNote], now: Timestamp, quiet_ms: i64) -> Result<Vec<Noted>>;

    /// Takes alerts for ended that nobody has told of since `heard_before`; answers those. One that is told of as
    /// firing later fires again.
    async fn lapse_alerts(&self, heard_before: Timestamp) -> Result<Vec<Alert>>;

    /// The alerts of an incident, oldest first, at most `limit`.
    async fn alerts_of(&self, incident: i64, limit: u32) -> Result<Vec<Alert>>;

    /// A page of incidents with a number below `before`, newest first, at most `limit`.
    async fn incidents(&self, filter: IncidentFilter, before: Option<i64>, limit: u32) -> Result<Vec<Incident>>;

    /// Writes parts of a review, each replacing what stood there; false if there is no such incident.
    async fn fill_in(&self, incident: i64, parts: &[FilledPart]) -> Result<bool>;

    /// What became of jobs from `from` on and before `until`, by queue, with the SLA of their types in milliseconds.
    /// It reads every row that was live or came to rest since `from`.
    async fn impact(&self, from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)]) -> Result<Vec<Impact>>;

    /// Keeps what an incident cost, JSON text, if it still is resolved as of `resolved_at`; true if so. A later
    /// change of the incident takes it back.
    async fn keep_impact(&self, incident: i64, resolved_at: Timestamp, impact: &str) -> Result<bool>;

    /// Writes down that a remedy begins, unless a limit stands against it: then that it was suppressed.
    ///
    /// Exact over all nodes: an action begins once for an occurrence of an alert, and never beyond `limits`.
    async fn begin_remediation(
        &self,
        asked: &NewRemediation,
        limits: &RemediationLimits,
        now: Timestamp,
    ) -> Result<Begun>;

    /// Writes down that a remedy was suppressed for another reason: once for each action, target, reason and
    /// occurrence.
    async fn suppress_remediation(&self, asked: &NewRemediation, reason: &str, now: Timestamp) -> Result<()>;

    /// Ends a remedy that runs; false if it does not (any more).
    async fn end_remediation(
        &self,
        number: i64,
        state: RemediationState,
        words: &str,
        after: Option<&str>,
        now: Timestamp,
    ) -> Result<bool>;

    /// A page of remedies with a number below `before`, newest first, at most `limit`.
    async fn remediations(
        &self,
        filter: &RemediationFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Remediation>>;

    /// Ends remedies as failed that still run although they began before `began_before`: their node is gone. Answers
    /// how many.
    async fn abandon_remediations(&self, began_before: Timestamp, words: &str, now: Timestamp) -> Result<u64>;

    /// What in the store cannot be: damage of the file, a life that is live and at rest at once. A bounded look.
    async fn flaws(&self) -> Result<Vec<Flaw>>;

    /// Drops a bounded part of what is no longer kept; answers how many rows.
    async fn retain_logbook(&self, keep: LogbookRetention, now: Timestamp) -> Result<u64>;
}

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg<'a> {
    /// A number.
    Int(i64),
    /// A number or null.
    MaybeInt(Option<i64>),
    /// A text.
    Text(&'a str),
    /// A text or null.
    MaybeText(Option<&'a str>),
}

/// A text that both stores take, as a value of its own.
pub(super) fn clean(text: &str) -> String {
    super::row::without_nul(text).into_owned()
}

/// How a store runs statements that both stores understand.
pub(super) trait Statements: Send {
    /// Its rows.
    type Row: Cells + Send + Sync;

    /// Runs a statement and reads its rows.
    fn fetch(
        &mut self,
        text: &'static str,
        args: &[Arg<'_>],
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    /// Runs a statement; answers how many rows it changed.
    fn execute(&mut self, text: &'static str, args: &[Arg<'_>]) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Waits until no other transaction stands between a look and its write here; until the end of this one.
    fn alone(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;
}

// === the steps that need no rules ===

/// The most rows of each table that one pass of retention drops.
const RETAIN_MAX: i64 = 2_000;

pub(super) async fn note_events(steps: &mut impl Statements, events: &[NewEvent]) -> sqlx::Result<()> {
    for event in events {
        let args = [
            Arg::Int(event.at.millis()),
            Arg::Text(event.node.as_str()),
            Arg::Int(event.mark),
            Arg::Text(&event.node_name),
            Arg::Text(event.kind.name()),
            Arg::Text(&event.subject),
            Arg::Text(&event.words),
            Arg::MaybeText(event.detail.as_deref()),
        ];
        steps.execute(include_str!("sql/event_add.sql"), &args).await?;
    }
    Ok(())
}

pub(super) async fn events(
    steps: &mut impl Statements,
    from: Timestamp,
    until: Timestamp,
    limit: u32,
) -> sqlx::Result<Vec<Event>> {
    let args = [Arg::Int(from.millis()), Arg::Int(until.millis()), Arg::Int(limit.into())];
    let found = steps.fetch(include_str!("sql/events.sql"), &args).await?;
    found.iter().map(rows::event).collect()
}

pub(super) async fn alerts_of(steps: &mut impl Statements, incident: i64, limit: u32) -> sqlx::Result<Vec<Alert>> {
    let args = [Arg::Int(incident), Arg::Int(limit.into())];
    let found = steps.fetch(include_str!("sql/alerts_of.sql"), &args).await?;
    found.iter().map(|row| Ok(rows::alert(row)?.0)).collect()
}

pub(super) async fn incidents(
    steps: &mut impl Statements,
    filter: IncidentFilter,
    before: Option<i64>,
    limit: u32,
) -> sqlx::Result<Vec<Incident>> {
    let below = before.unwrap_or(i64::MAX).min(filter.number.map_or(i64::MAX, |number| number.saturating_add(1)));
    let args = [
        Arg::Int(below),
        Arg::Int(filter.number.unwrap_or(0)),
        Arg::Int(limit.into()),
        Arg::Int(filter.is_firing.map_or(2, i64::from)),
    ];
    let found = steps.fetch(include_str!("sql/incidents.sql"), &args).await?;
    let mut incidents: Vec<Incident> = found.iter().map(rows::incident).collect::<sqlx::Result<_>>()?;
    let (Some(newest), Some(oldest)) = (incidents.first(), incidents.last()) else { return Ok(incidents) };
    let args = [Arg::Int(oldest.number), Arg::Int(newest.number)];
    for row in steps.fetch(include_str!("sql/parts.sql"), &args).await? {
        let (number, part) = rows::part(&row)?;
        if let Some(incident) = incidents.iter_mut().find(|incident| incident.number == number) {
            incident.parts.push(part);
        }
    }
    for incident in &mut incidents {
        incident.parts.sort_by_key(|filled| filled.part);
    }
    Ok(incidents)
}

pub(super) async fn fill_in(steps: &mut impl Statements, incident: i64, parts: &[FilledPart]) -> sqlx::Result<bool> {
    steps.alone().await?;
    if steps.fetch(include_str!("sql/incident_known.sql"), &[Arg::Int(incident)]).await?.is_empty() {
        return Ok(false);
    }
    for FilledPart { part, text, by, at } in parts {
        let (incident, part) = (Arg::Int(incident), Arg::Text(part.name()));
        if text.is_empty() {
            steps.execute(include_str!("sql/part_drop.sql"), &[incident, part]).await?;
        } else {
            let args = [incident, part, Arg::Text(text), Arg::Text(by), Arg::Int(at.millis())];
            steps.execute(include_str!("sql/part_put.sql"), &args).await?;
        }
    }
    Ok(true)
}

pub(super) async fn keep_impact(
    steps: &mut impl Statements,
    incident: i64,
    resolved_at: Timestamp,
    impact: &str,
) -> sqlx::Result<bool> {
    let args = [Arg::Int(incident), Arg::Int(resolved_at.millis()), Arg::Text(impact)];
    Ok(steps.execute(include_str!("sql/impact_keep.sql"), &args).await? > 0)
}

pub(super) async fn remediations(
    steps: &mut impl Statements,
    filter: &RemediationFilter,
    before: Option<i64>,
    limit: u32,
) -> sqlx::Result<Vec<Remediation>> {
    let args = [
        Arg::Int(before.unwrap_or(i64::MAX)),
        Arg::Int(limit.into()),
        Arg::Text(filter.action.as_deref().unwrap_or_default()),
        Arg::Text(filter.state.map_or("", RemediationState::name)),
        Arg::Int(filter.incident.unwrap_or_default()),
    ];
    let found = steps.fetch(include_str!("sql/remedies.sql"), &args).await?;
    found.iter().map(rows::remediation).collect()
}

pub(super) async fn abandon_remediations(
    steps: &mut impl Statements,
    began_before: Timestamp,
    words: &str,
    now: Timestamp,
) -> sqlx::Result<u64> {
    let args = [Arg::Int(began_before.millis()), Arg::Text(words), Arg::Int(now.millis())];
    steps.execute(include_str!("sql/remedies_abandon.sql"), &args).await
}

pub(super) async fn retain_logbook(
    steps: &mut impl Statements,
    keep: LogbookRetention,
    now: Timestamp,
) -> sqlx::Result<u64> {
    let before = Arg::Int(now.millis().saturating_sub(keep.max_age_ms));
    let (kept, most) = (Arg::Int(super::row::signed(keep.events_max)), Arg::Int(RETAIN_MAX));
    let mut dropped = 0;
    for text in [include_str!("sql/retain_events.sql"), include_str!("sql/retain_remedies.sql")] {
        dropped += steps.execute(text, &[before, kept, most]).await?;
    }
    // Incidents first: their alerts follow them.
    for text in [include_str!("sql/retain_incidents.sql"), include_str!("sql/retain_alerts.sql")] {
        dropped += steps.execute(text, &[before, most]).await?;
    }
    dropped += steps.execute(include_str!("sql/retain_parts.sql"), &[]).await?;
    Ok(dropped)
}

/// Live rows whose outcomes are looked for.
const FLAWS_SAMPLE: i64 = 1_000;

pub(super) async fn flaws(steps: &mut impl Statements) -> sqlx::Result<Vec<Flaw>> {
    let twice = steps.fetch(include_str!("sql/flaws.sql"), &[Arg::Int(FLAWS_SAMPLE)]).await?;
    let flaw = |row: &_| {
        let words = format!("job {} is live although it is at rest", Cells::text(row, "id")?);
        Ok(Flaw { kind: "live_and_at_rest", words })
    };
    twice.iter().map(flaw).collect()
}

/// Every step but `impact` and `flaws`, which each store takes in its own way: `$implement` is given those that only look and those
/// that need a transaction, and makes the logbook of a store of them.
macro_rules! every_step {
    ($implement:ident) => {
        $implement! {
            look {
                events(from: Timestamp, until: Timestamp, limit: u32) -> Vec<Event>;
                alerts_of(incident: i64, limit: u32) -> Vec<Alert>;
                incidents(filter: IncidentFilter, before: Option<i64>, limit: u32) -> Vec<Incident>;
                remediations(filter: &RemediationFilter, before: Option<i64>, limit: u32) -> Vec<Remediation>;
            }
            write {
                note_events(events: &[NewEvent]) -> ();
                note_alerts(notes: &[AlertNote], now: Timestamp, quiet_ms: i64) -> Vec<Noted>;
                lapse_alerts(heard_before: Timestamp) -> Vec<Alert>;
                fill_in(incident: i64, parts: &[FilledPart]) -> bool;
                keep_impact(incident: i64, resolved_at: Timestamp, impact: &str) -> bool;
                begin_remediation(asked: &NewRemediation, limits: &RemediationLimits, now: Timestamp) -> Begun;
                suppress_remediation(asked: &NewRemediation, reason: &str, now: Timestamp) -> ();
                end_remediation(
                    number: i64, state: RemediationState, words: &str, after: Option<&str>, now: Timestamp
                ) -> bool;
                abandon_remediations(began_before: Timestamp, words: &str, now: Timestamp) -> u64;
                retain_logbook(keep: LogbookRetention, now: Timestamp) -> u64;
            }
        }
    };
}
pub(super) use every_step;
