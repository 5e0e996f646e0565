//! The logbook's rows and their values.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::job::NodeId;
use crate::ledger::row::{Cells, odd};
use crate::operations::{
    Alert, AlertNote, Event, EventKind, FilledPart, Impact, Incident, NewEvent, NewRemediation, Occurrence,
    Remediation, RemediationState, ReviewPart,
};

pub(super) fn event(row: &impl Cells) -> sqlx::Result<Event> {
    let kind = row.text("kind")?;
    let event = NewEvent {
        at: Timestamp(row.int("at")?),
        node: NodeId::stored(row.text("node")?),
        mark: row.int("mark")?,
        node_name: row.text("node_name")?.to_owned(),
        kind: EventKind::from_name(kind).ok_or_else(|| odd(format!("the kind of event {kind:?}")))?,
        subject: row.text("subject")?.to_owned(),
        words: row.text("words")?.to_owned(),
        detail: row.maybe_text("detail")?.map(ToOwned::to_owned),
    };
    Ok(Event { number: row.int("number")?, event })
}

/// An alert, and whether it was taken for ended without being told.
pub(super) fn alert(row: &impl Cells) -> sqlx::Result<(Alert, bool)> {
    let note = AlertNote {
        fingerprint: row.text("fingerprint")?.to_owned(),
        starts_at: Timestamp(row.int("starts_at")?),
        ends_at: row.maybe_int("ends_at")?.map(Timestamp),
        name: row.text("name")?.to_owned(),
        severity: row.text("severity")?.to_owned(),
        labels: texts_read(row.text("labels")?)?,
        annotations: texts_read(row.text("annotations")?)?,
    };
    let alert = Alert {
        note,
        incident: row.int("incident")?,
        received_at: Timestamp(row.int("received_at")?),
        heard_at: Timestamp(row.int("heard_at")?),
    };
    Ok((alert, row.int("lapsed")? != 0))
}

pub(super) fn incident(row: &impl Cells) -> sqlx::Result<Incident> {
    let count = |column| row.int(column).and_then(|count| u32::try_from(count).map_err(odd));
    let responses = [row.maybe_int("ordered_at")?, row.maybe_int("remedied_at")?];
    Ok(Incident {
        number: row.int("number")?,
        name: row.text("name")?.to_owned(),
        severity: row.text("severity")?.to_owned(),
        detected_at: Timestamp(row.int("detected_at")?),
        received_at: Timestamp(row.int("received_at")?),
        responded_at: responses.into_iter().flatten().min().map(Timestamp),
        resolved_at: row.maybe_int("resolved_at")?.map(Timestamp),
        alerts: count("alerts")?,
        firing: count("firing")?,
        parts: Vec::new(),
        impact: row.maybe_text("impact")?.map(ToOwned::to_owned),
    })
}

/// A part of a review and the incident it is about.
pub(super) fn part(row: &impl Cells) -> sqlx::Result<(i64, FilledPart)> {
    let part = row.text("part")?;
    let filled = FilledPart {
        part: ReviewPart::from_name(part).ok_or_else(|| odd(format!("the part {part:?}")))?,
        text: row.text("text")?.to_owned(),
        by: row.text("by_whom")?.to_owned(),
        at: Timestamp(row.int("at")?),
    };
    Ok((row.int("incident")?, filled))
}

pub(super) fn remediation(row: &impl Cells) -> sqlx::Result<Remediation> {
    let text = |column| row.text(column).map(ToOwned::to_owned);
    let maybe_text = |column| row.maybe_text(column).map(|text| text.map(ToOwned::to_owned));
    let (fingerprint, state) = (text("fingerprint")?, row.text("state")?);
    let is_asked_for = fingerprint.is_empty();
    let occurrence = Occurrence { alert: text("alert")?, fingerprint, starts_at: Timestamp(row.int("starts_at")?) };
    let asked = NewRemediation {
        ticket: text("ticket")?,
        incident: row.maybe_int("incident")?,
        cause: (!is_asked_for).then_some(occurrence),
        action: text("action")?,
        kind: text("kind")?,
        target: text("target")?,
        node: NodeId::stored(row.text("node")?),
        node_name: text("node_name")?,
        by: text("by_whom")?,
        words: text("words")?,
        before: maybe_text("before")?,
        is_dry: row.int("is_dry")? != 0,
    };
    Ok(Remediation {
        number: row.int("number")?,
        asked,
        began_at: Timestamp(row.int("began_at")?),
        ended_at: row.maybe_int("ended_at")?.map(Timestamp),
        state: RemediationState::from_name(state).ok_or_else(|| odd(format!("the state {state:?}")))?,
        reason: text("reason")?,
        after: maybe_text("after")?,
    })
}

/// One row for each queue and state of jobs at rest, and for those that are live (an empty state).
pub(in super::super) fn impact_of(rows: &[impl Cells]) -> sqlx::Result<Vec<Impact>> {
    let mut queues: BTreeMap<String, Impact> = BTreeMap::new();
    for row in rows {
        let count = |column| row.int(column).map(|count| u64::try_from(count).unwrap_or_default());
        let queue = row.text("queue")?;
        let impact =
            queues.entry(queue.to_owned()).or_insert_with(|| Impact { queue: queue.to_owned(), ..Impact::default() });
        impact.accepted += count("accepted")?;
        impact.late += count("late")?;
        impact.put_off += count("put_off")?;
        impact.open += count("open")?;
        let (state, finished) = (row.text("state")?, count("finished")?);
        if finished > 0 {
            *impact.finished.entry(state.to_owned()).or_default() += finished;
        }
    }
    Ok(queues.into_values().filter(|impact| !impact.is_nothing()).collect())
}

/// A JSON object of texts.
pub(super) fn texts(texts: &BTreeMap<String, String>) -> String {
    // Texts cannot fail to become JSON.
    serde_json::to_string(texts).unwrap_or_else(|_| "{}".to_owned())
}

fn texts_read(text: &str) -> sqlx::Result<BTreeMap<String, String>> {
    serde_json::from_str(text).map_err(odd)
}
