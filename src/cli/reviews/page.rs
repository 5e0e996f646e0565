//! A review for people: a line of a list, and a page with its evidence.
//!
//! Evidence is any JSON. Lists of objects become tables, long texts (a page excerpt) stand indented under their
//! names, everything else is a line.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;

use super::super::output::{self, printable};
use super::super::waiting::DecisionBody;

/// Columns of candidates that come first, where they are there.
const FIRST_COLUMNS: [&str; 6] = ["locator", "selector", "kind", "strategy", "score", "confidence"];
/// The most characters of a cell: candidates are compared, and the JSON has them whole.
const CELL_CHARS_MAX: usize = 60;
/// A text above this length stands in a block of its own.
const LINE_CHARS_MAX: usize = 100;

/// The members of a review that the command line uses.
#[derive(Debug, Deserialize)]
pub(super) struct ReviewText {
    id: String,
    #[serde(rename = "type")]
    job_type: String,
    queue: String,
    reason: String,
    error: Option<ErrorText>,
    opened_at: String,
    proposal: Option<Value>,
    evidence: Option<Value>,
    on_approve: Option<Vec<FollowUp>>,
    decision: Option<DecisionText>,
    job: Option<JobText>,
}

#[derive(Debug, Deserialize)]
struct ErrorText {
    class: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct FollowUp {
    #[serde(rename = "type")]
    job_type: String,
}

#[derive(Debug, Deserialize)]
struct DecisionText {
    #[serde(flatten)]
    told: DecisionBody,
    proposal: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct JobText {
    state: String,
    error: Option<ErrorText>,
    payload: Value,
    result: Option<Value>,
    attempts: u32,
    max_attempts: u32,
    crashes: u32,
    #[serde(default)]
    history: Vec<RunText>,
}

#[derive(Debug, Deserialize)]
struct RunText {
    attempt: u32,
    worker: String,
    finished_at: String,
    outcome: String,
    error: Option<ErrorText>,
}

impl ErrorText {
    fn words(&self) -> String {
        format!("{}: {}", self.class, self.message)
    }
}

impl ReviewText {
    /// A line of the list of open reviews.
    pub(super) fn open_row(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.id.clone(),
            Timestamp::parse(&self.opened_at).map_or_else(|_| "-".to_owned(), |at| age(now.since(at))),
            self.job_type.clone(),
            self.reason.clone(),
            self.confidence(),
            cut(self.error.as_ref().map_or("", |error| &error.message)),
        ]
    }

    /// A line of the list of decided ones.
    pub(super) fn decided_row(&self) -> Vec<String> {
        let word = |of: fn(&DecisionBody) -> &String| {
            self.decision.as_ref().map_or_else(String::new, |decision| of(&decision.told).clone())
        };
        vec![
            self.id.clone(),
            self.job_type.clone(),
            self.reason.clone(),
            self.confidence(),
            word(|decision| &decision.verdict),
            word(|decision| &decision.by),
            word(|decision| &decision.at),
            cut(&word(|decision| &decision.note)),
        ]
    }

    /// How sure its handler was, where it has said so.
    fn confidence(&self) -> String {
        let told =
            |value: &Option<Value>| value.as_ref()?.get("confidence").filter(|value| value.is_number()).map(scalar);
        told(&self.evidence).or_else(|| told(&self.proposal)).unwrap_or_else(|| "-".to_owned())
    }

    /// The whole review.
    pub(super) fn page(&self) -> String {
        let mut text = String::new();
        line(&mut text, "id", &self.id);
        line(&mut text, "type", &format!("{} in queue {}", self.job_type, self.queue));
        line(&mut text, "opened", &self.opened_at);
        let why = self.error.as_ref().map(|error| match self.reason.as_str() {
            "requested" => error.message.clone(),
            _ => error.words(),
        });
        line(&mut text, "reason", &why.map_or_else(|| self.reason.clone(), |why| format!("{}, {why}", self.reason)));
        match &self.decision {
            None => line(&mut text, "decision", "open"),
            Some(decision) => line(&mut text, "decision", &decision.told.words()),
        }
        if let Some(proposal) = &self.proposal {
            member(&mut text, "proposal", proposal);
        }
        if let Some(edited) = self.decision.as_ref().and_then(|told| told.proposal.as_ref()) {
            member(&mut text, "edited to", edited);
        }
        if let Some(submits) = self.on_approve.as_ref().filter(|submits| !submits.is_empty()) {
            line(&mut text, "if approved", &follow_ups(submits));
        }
        match &self.evidence {
            Some(Value::Object(members)) => members.iter().for_each(|(name, value)| member(&mut text, name, value)),
            Some(evidence) => member(&mut text, "evidence", evidence),
            None => {}
        }
        if let Some(job) = &self.job {
            job.write(&mut text);
        }
        text
    }
}

impl JobText {
    fn write(&self, text: &mut String) {
        line(
            text,
            "job",
            &format!("{}, attempt {} of {}, {} crashes", self.state, self.attempts, self.max_attempts, self.crashes),
        );
        if let Some(error) = &self.error {
            line(text, "last error", &error.words());
        }
        member(text, "payload", &self.payload);
        if let Some(result) = &self.result {
            member(text, "result", result);
        }
        for run in &self.history {
            let error = run.error.as_ref().map(|error| format!(", {}", error.words())).unwrap_or_default();
            let words = format!("{} at {} on {}{error}", run.outcome, run.finished_at, run.worker);
            line(text, &format!("attempt {}", run.attempt), &words);
        }
    }
}

/// How many jobs of which types follow.
fn follow_ups(submits: &[FollowUp]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for submit in submits {
        match counts.iter_mut().find(|(name, _)| *name == submit.job_type) {
            Some((_, count)) => *count += 1,
            None => counts.push((&submit.job_type, 1)),
        }
    }
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{count} x {name}")).collect();
    words.join(", ")
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{:<11} {}", printable(name), printable(value)).ok();
}

/// One member of any JSON, in the form that reads best.
fn member(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            block(text, name, &candidates(items));
        }
        Value::String(words) if words.contains('\n') || words.chars().count() > LINE_CHARS_MAX => {
            block(text, name, words);
        }
        value => line(text, name, &scalar(value)),
    }
}

/// A text of several lines, indented under its name.
fn block(text: &mut String, name: &str, words: &str) {
    writeln!(text, "{}", printable(name)).ok();
    for words in words.lines() {
        writeln!(text, "    {}", printable(words).trim_end()).ok();
    }
}

/// A candidate with what its members hold in their place: scores by strategy become columns.
fn flat(item: &Value) -> Value {
    let mut members = serde_json::Map::new();
    for (name, value) in item.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if inner.values().all(|value| value.is_number() || value.is_string()) => {
                members.extend(inner.clone());
            }
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(members)
}

/// Objects as a table: a row each, a column for every member that one of them has.
fn candidates(items: &[Value]) -> String {
    let items: Vec<Value> = items.iter().map(flat).collect();
    let names = || items.iter().filter_map(Value::as_object).flat_map(|item| item.keys().map(String::as_str));
    let mut columns: Vec<&str> = FIRST_COLUMNS.into_iter().filter(|first| names().any(|name| name == *first)).collect();
    for name in names() {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let cell =
        |item: &Value, column: &&str| item.get(column).map_or_else(|| "-".to_owned(), |value| cut(&scalar(value)));
    let rows = items.iter().map(|item| columns.iter().map(|column| cell(item, column)).collect()).collect();
    let headings: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    output::table(&headings.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

/// A value on one line: texts without their quotes.
fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(words: &str) -> String {
    if words.chars().count() <= CELL_CHARS_MAX {
        return words.to_owned();
    }
    words.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

/// A length of time in its two largest units.
fn age(ms: i64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVIEW: &str = r##"{"id":"a","type":"element_healing","queue":"heal","reason":"requested",
        "error":{"class":"review","message":"confidence 0.62 is below 0.7"},"opened_at":"2026-01-01T00:00:00.000Z",
        "proposal":{"selector":"#pay"},
        "evidence":{"confidence":0.62,"candidates":[{"selector":"#pay","score":0.62,"strategy":"text_match"},
            {"selector":"a.next","score":0.2,"note":"far\u001b away","scores":{"id_match":0.3}}],"excerpt":"<form>\n  <button id=pay>\n</form>"},
        "on_approve":[{"type":"warm_cache"},{"type":"warm_cache"}],"decision":null,
        "job":{"state":"in_review","error":null,"payload":{"page":"x"},"result":{"healed":false},"attempts":1,
            "max_attempts":2,"crashes":0,"history":[{"attempt":1,"worker":"n:w-1","finished_at":"T2",
            "outcome":"in_review","error":null}]}}"##;

    fn review() -> ReviewText {
        serde_json::from_str(REVIEW).unwrap()
    }

    #[test]
    fn a_page_shows_candidates_as_a_table_and_the_excerpt_indented() {
        let text = review().page();
        let table = text.split("candidates\n").nth(1).unwrap();
        let rows: Vec<Vec<&str>> = table.lines().take(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["SELECTOR", "STRATEGY", "SCORE", "ID_MATCH", "NOTE"]);
        assert_eq!(rows[1], ["#pay", "text_match", "0.62", "-", "-"]);
        assert!(table.contains("far\u{fffd} away"), "{text}");
        assert!(text.contains("excerpt\n    <form>\n      <button id=pay>\n    </form>\n"), "{text}");
        assert!(text.contains("reason      requested, confidence 0.62 is below 0.7\n"), "{text}");
        assert!(text.contains("if approved 2 x warm_cache\n"), "{text}");
        assert!(text.contains("decision    open\n"), "{text}");
    }

    #[test]
    fn a_line_has_age_reason_and_confidence() {
        let now = Timestamp::parse("2026-01-02T01:30:00Z").unwrap();
        let row = review().open_row(now);
        assert_eq!(row[1..5], ["1d 1h", "element_healing", "requested", "0.62"]);
        assert_eq!((age(59_999), age(61_000), age(7_260_000)), ("59s".into(), "1m 1s".into(), "2h 1m".into()));
    }

    #[test]
    fn long_cells_are_cut() {
        assert_eq!(cut(&"x".repeat(60)).chars().count(), 60);
        assert!(cut(&"ü".repeat(61)).ends_with('…'));
    }
}
