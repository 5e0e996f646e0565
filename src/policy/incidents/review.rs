//! The review of an incident, in Markdown: what the record shows, and room for what only people know.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::figures::{Figures, Standing, Thresholds};
use super::markdown::{inline, paragraphs, table};
use crate::clock::Timestamp;
use crate::operations::{
    Alert, Event, EventKind, FilledPart, Impact, Incident, Remediation, RemediationState, ReviewPart,
};

/// Everything that a review is made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The incident.
    pub incident: Incident,
    /// Its alerts, the oldest ones if they are many.
    pub alerts: Vec<Alert>,
    /// What happened from a while before its detection to its end.
    pub events: Vec<Event>,
    /// Whether there were more events than are shown.
    pub is_cut: bool,
    /// What was tried, oldest first.
    pub remediations: Vec<Remediation>,
    /// What it cost, or why that is not known.
    pub impact: Result<Vec<Impact>, String>,
    /// See [`super::Rules`].
    pub quiet_ms: i64,
    /// When it is written.
    pub now: Timestamp,
}

impl Facts {
    /// The end of the incident, or now.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.incident.resolved_at.unwrap_or(self.now)
    }
}

/// Writes the review.
#[must_use]
pub fn review(facts: &Facts) -> String {
    let incident = &facts.incident;
    let found = Thresholds::of(facts);
    let mut text = format!("# Incident {}: {}\n\n", incident.number, inline(&incident.name));
    let sections = [
        ("Summary", summary(facts, &found)),
        ("Times", times(incident)),
        ("Timeline", timeline(facts)),
        ("Impact", impact(facts, &found)),
        ("Remediation", remediation(facts)),
        ("Contributing factors", list(&factors(facts, &found), "The record shows none; see the root cause.")),
        ("Root cause", part(incident, ReviewPart::RootCause, "Why did it come to this? What made it possible?")),
        (
            "Action items",
            part(
                incident,
                ReviewPart::ActionItems,
                "- What is done so that it does not happen again, by whom, by when?",
            ),
        ),
        ("Thresholds worth tuning", list(&tuning(facts, &found), "The record gives no reason to change one.")),
        ("Notes", part(incident, ReviewPart::Notes, "What went well? What should the runbook say?")),
    ];
    for (title, body) in sections {
        _ = writeln!(text, "## {title}\n\n{}\n", body.trim_end());
    }
    text.trim_end().to_owned() + "\n"
}

/// A length of time for people.
fn span(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..600_000 => format!("{} s", ms / 1_000),
        600_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

fn list(items: &[String], none: &str) -> String {
    let mut shown = String::new();
    for item in items {
        _ = writeln!(shown, "- {item}");
    }
    if items.is_empty() { none.to_owned() } else { shown }
}

fn count(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn summary(facts: &Facts, found: &Thresholds) -> String {
    let incident = &facts.incident;
    let alerts: Vec<String> =
        found.alerts.iter().map(|(name, times)| format!("{} ({})", inline(name), count(*times, "time"))).collect();
    let severity = if incident.severity.is_empty() { "none" } else { &incident.severity };
    let standing = match Standing::of(incident, facts.quiet_ms, facts.now) {
        Standing::Firing => "It goes on.".to_owned(),
        Standing::Quiet => "Nothing fires, but a new alert may still take it back.".to_owned(),
        Standing::Resolved => format!("It was over after {}.", span(facts.end().since(incident.detected_at))),
    };
    let done = done(facts);
    format!(
        "{} fired, worst severity {}, first at {}. {standing} {done}\n",
        alerts.join(", "),
        inline(severity),
        incident.detected_at,
    )
}

/// What was done. A remedy is healed by its own measure, which may be no more than that it is in force.
fn done(facts: &Facts) -> String {
    let healed = facts.remediations.iter().filter(|one| one.state == RemediationState::Healed);
    let healed: BTreeSet<String> = healed
        .map(|one| match one.asked.target.as_str() {
            "" => inline(&one.asked.action),
            target => format!("{} on {}", inline(&one.asked.action), inline(target)),
        })
        .collect();
    match facts.incident.responded_at {
        _ if !healed.is_empty() => {
            let healed = Vec::from_iter(healed).join(", ");
            format!("Healed by their own measure, which the table of remedies names: {healed}.")
        }
        None => "Nothing was done about it, by machine or person.".to_owned(),
        Some(_) => "Something was done about it; no remedy is on record as healed.".to_owned(),
    }
}

fn times(incident: &Incident) -> String {
    let figures = Figures::of(incident);
    let row = |what: &str, at: Option<Timestamp>, after: Option<i64>| {
        let at = at.map_or_else(|| "not yet".to_owned(), |at| at.to_string());
        vec![what.to_owned(), at, after.map_or_else(String::new, span)]
    };
    let rows = [
        row("Detected: the first alert began to fire", Some(incident.detected_at), None),
        row("Heard of", Some(incident.received_at), Some(figures.notice_ms)),
        row("First response, by machine or person", incident.responded_at, figures.response_ms),
        row("Resolved: the last alert ended", incident.resolved_at, figures.resolution_ms),
    ];
    table(&["What", "When (UTC)", "After detection"], &rows)
}

fn timeline(facts: &Facts) -> String {
    let incident = &facts.incident;
    let mut rows: Vec<(Timestamp, Vec<String>)> = Vec::new();
    for Event { event, .. } in &facts.events {
        // Alerts stand there with their own times, below; this is when they were heard of.
        let row = [event.at.to_string(), event.kind.name().to_owned(), inline(&event.words), inline(&event.node_name)];
        rows.push((event.at, row.into()));
    }
    for alert in &facts.alerts {
        let (note, began_at) = (&alert.note, alert.began_at());
        let labels: Vec<String> = note
            .labels
            .iter()
            .filter(|(name, _)| *name != "alertname")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let began = format!("{} began to fire ({})", note.name, labels.join(", "));
        rows.push((began_at, vec![began_at.to_string(), "alert".into(), inline(&began), String::new()]));
        if let Some(end) = note.ends_at {
            rows.push((
                end,
                vec![end.to_string(), "alert".into(), inline(&format!("{} ended", note.name)), String::new()],
            ));
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    let mut shown =
        table(&["When (UTC)", "What", "", "Node"], &rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    if facts.is_cut || usize::try_from(incident.alerts).is_ok_and(|all| all > facts.alerts.len()) {
        shown.push_str("\nThere is more than is shown; `GET /v1/timeline` has all of it.\n");
    }
    shown
}

fn impact(facts: &Facts, found: &Thresholds) -> String {
    let queues = match &facts.impact {
        Ok(queues) => queues,
        Err(why) => return format!("It could not be counted: {}.\n", inline(why)),
    };
    let mut names: Vec<&str> = queues.iter().map(|one| one.queue.as_str()).collect();
    names.extend(found.refused.keys().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return "No job was touched.\n".to_owned();
    }
    let nothing = Impact::default();
    let row = |name: &&str| {
        let one = queues.iter().find(|one| one.queue == **name).unwrap_or(&nothing);
        let ended = |state: &str| one.finished.get(state).copied().unwrap_or_default();
        let refused = found.refused.get(*name).copied().unwrap_or_default();
        let figures = [
            one.accepted,
            ended("succeeded"),
            ended("failed"),
            ended("in_review"),
            ended("cancelled") + ended("expired"),
            refused,
            one.put_off,
            one.late,
            one.open,
        ];
        std::iter::once(inline(name)).chain(figures.iter().map(u64::to_string)).collect::<Vec<_>>()
    };
    let headings = [
        "Queue",
        "Accepted",
        "Succeeded",
        "Failed",
        "To review",
        "Cancelled, expired",
        "Refused for load",
        "Put off",
        "SLA missed",
        "Open at the end",
    ];
    table(&headings, &names.iter().map(row).collect::<Vec<_>>())
}

fn remediation(facts: &Facts) -> String {
    if facts.remediations.is_empty() {
        return "None was tried.\n".to_owned();
    }
    let row = |one: &Remediation| {
        let state = if one.reason.is_empty() {
            one.state.name().to_owned()
        } else {
            format!("{}: {}", one.state.name(), one.reason)
        };
        let took = one.ended_at.map_or_else(String::new, |end| span(end.since(one.began_at)));
        let asked = &one.asked;
        vec![
            one.began_at.to_string(),
            inline(&asked.action),
            inline(&asked.target),
            inline(&state),
            took,
            inline(&asked.by),
            inline(&asked.words),
        ]
    };
    table(
        &["When (UTC)", "Action", "Target", "State", "Took", "By", ""],
        &facts.remediations.iter().map(row).collect::<Vec<_>>(),
    )
}

/// What the record shows beside the alerts.
fn factors(facts: &Facts, found: &Thresholds) -> Vec<String> {
    let mut factors = Vec::new();
    let detected_at = facts.incident.detected_at;
    if let Some((at, words)) = &found.first_sign {
        let when = if *at < detected_at {
            format!("{} before the first alert", span(detected_at.since(*at)))
        } else {
            format!("{} after the first alert", span(at.since(detected_at)))
        };
        factors.push(format!("The first sign came {when}: {}.", inline(words)));
    }
    for (name, (opened, held)) in found.breakers.iter().filter(|(_, (opened, _))| *opened > 0) {
        // What it holds is looked at now and then and told once it changes: of one that has just opened it is not known.
        let held = if *held > 0 { format!(" and held up to {}", count(*held, "job")) } else { String::new() };
        factors.push(format!("Breaker {} opened {}{held}.", inline(name), count(*opened, "time")));
    }
    for (pool, replaced) in found.replaced.iter().filter(|(_, replaced)| **replaced > 0) {
        factors.push(format!("{} of pool {} replaced.", count(*replaced, "worker"), inline(pool)));
    }
    for (queue, level) in found.shed.iter().filter(|(_, level)| **level > 0) {
        let refused = found.refused.get(queue).copied().unwrap_or_default();
        factors.push(format!(
            "Queue {} was shed up to level {level}; {} refused.",
            inline(queue),
            count(refused, "job")
        ));
    }
    for (store, lost) in found.stores.iter().filter(|(_, lost)| **lost > 0) {
        factors.push(format!("The {} was lost {}.", inline(store), count(*lost, "time")));
    }
    if found.violations > 0 {
        factors
            .push(format!("{} of the integrity of the data; see the timeline.", count(found.violations, "violation")));
    }
    let orders = facts.events.iter().filter(|event| {
        matches!(event.event.kind, EventKind::Order | EventKind::Pause) && event.event.at < detected_at
    });
    for Event { event, .. } in orders {
        factors.push(format!(
            "{} before the first alert: {}.",
            span(detected_at.since(event.at)),
            inline(&event.words)
        ));
    }
    factors
}

/// Thresholds whose figures ask for a second look.
fn tuning(facts: &Facts, found: &Thresholds) -> Vec<String> {
    let mut items = Vec::new();
    let incident = &facts.incident;
    let figures = Figures::of(incident);
    if let Some((at, words)) = found.first_sign.as_ref().filter(|(at, _)| *at < incident.detected_at) {
        let late = span(incident.detected_at.since(*at));
        items.push(format!("The alert fired {late} after the first sign ({}): would a shorter `for` or a lower threshold have been right?", inline(words)));
    }
    if figures.notice_ms >= 1_000 {
        items.push(format!(
            "It was heard of {} after detection: `group_wait` and the way of the webhook.",
            span(figures.notice_ms)
        ));
    }
    if let Some(response) = figures.response_ms {
        items.push(format!("The first response came {} after detection.", span(response)));
    }
    for (name, times) in found.alerts.iter().filter(|(_, times)| **times > 1) {
        items.push(format!(
            "Alert {} fired {}: would `keep_firing_for` or a wider hysteresis keep it calm?",
            inline(name),
            count(*times, "time")
        ));
    }
    for (name, (opened, _)) in found.breakers.iter().filter(|(_, (opened, _))| *opened > 1) {
        items.push(format!(
            "Breaker {} opened {}: is `breakers.open_ms` shorter than its dependency takes to recover?",
            inline(name),
            count(*opened, "time")
        ));
    }
    for (pool, ms) in found.at_most_ms.iter().filter(|(_, ms)| **ms > 0) {
        items.push(format!("Pool {} was at its most workers for {}: is `max` too low?", inline(pool), span(*ms)));
    }
    for (queue, refused) in &found.refused {
        items.push(format!(
            "{} of queue {} refused for load: are `[shedding]` and the pool's `max` in proportion?",
            count(*refused, "job"),
            inline(queue)
        ));
    }
    let suppressed = facts.remediations.iter().filter(|one| one.state == RemediationState::Suppressed).count() as u64;
    if suppressed > 0 {
        items.push(format!(
            "{} suppressed: are its cool-down and budget right?",
            count(suppressed, "remedy").replace("remedys", "remedies")
        ));
    }
    items
}

fn part(incident: &Incident, part: ReviewPart, prompt: &str) -> String {
    match incident.parts.iter().find(|filled| filled.part == part) {
        Some(FilledPart { text, by, at, .. }) => {
            format!("{}\nFilled in by {} at {at}.\n", paragraphs(text), inline(by))
        }
        None => format!("*To be filled in.* {prompt}\n"),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
