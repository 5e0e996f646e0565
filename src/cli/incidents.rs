//! `ganger incidents`

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, Outcome};
use super::output::{self, Format};

/// Labels that say which of several alerts of one name this is, the most telling first.
const TELLING: [&str; 10] =
    ["queue", "pool", "type", "worker", "server", "breaker", "store", "node", "instance", "job_type"];

/// The flags of `incidents`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List incidents, the newest first.
    List(ListArgs),
    /// Show one incident: its times, alerts, remedies and cost.
    Show {
        /// Its number.
        id: String,
    },
    /// Write the post-incident review as Markdown, or fill in parts of it.
    Review(ReviewArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those that have an alert that fires.
    #[arg(long)]
    firing: bool,
    /// The most incidents, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Go on where another page ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Without texts the review is written to stdout; with some they are filled in first. An empty \
                        text takes a part back.")]
struct ReviewArgs {
    /// The incident's number.
    id: String,
    /// Why it came to this.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    root_cause: Option<String>,
    /// What is done so that it does not happen again.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    action_items: Option<String>,
    /// Anything else.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    notes: Option<String>,
    /// Who fills them in; the token's name or the address when left out.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    incidents: Vec<Incident>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Incident {
    id: i64,
    name: String,
    severity: String,
    state: String,
    detected_at: String,
    received_at: String,
    responded_at: Option<String>,
    resolved_at: Option<String>,
    notice_ms: i64,
    response_ms: Option<i64>,
    resolution_ms: Option<i64>,
    alerts: u32,
    firing: u32,
}

#[derive(Debug, Deserialize)]
struct Whole {
    #[serde(flatten)]
    incident: Incident,
    alerts_shown: Vec<Alert>,
    timeline: Vec<Event>,
    remediations: Vec<Remedy>,
    impact: Vec<Cost>,
    impact_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    name: String,
    severity: String,
    starts_at: String,
    ends_at: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Alert {
    /// The labels that tell it from others of its name; all but name and severity where none is known to.
    fn telling(&self) -> String {
        let told = |name: &str| self.labels.get(name).map(|value| format!("{name}={value}"));
        let mut telling: Vec<String> = TELLING.iter().filter_map(|name| told(name)).collect();
        if telling.is_empty() {
            let is_own = |name: &&String| !matches!(name.as_str(), "alertname" | "severity");
            telling = self.labels.keys().filter(is_own).filter_map(|name| told(name)).collect();
        }
        telling.join(" ")
    }
}

#[derive(Debug, Deserialize)]
struct Event {
    at: String,
    kind: String,
    words: String,
}

#[derive(Debug, Deserialize)]
struct Remedy {
    action: String,
    target: String,
    state: String,
    began_at: String,
    words: String,
}

#[derive(Debug, Deserialize)]
struct Cost {
    queue: String,
    accepted: u64,
    finished: Map<String, Value>,
    refused: u64,
    put_off: u64,
    sla_missed: u64,
    open: u64,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List(args) => list(&client, &args, json).await,
            Action::Show { id } => {
                let reply = client.expect(&Call::get(path(&id))).await?;
                reply.write(json, |whole: Whole| show(&whole))
            }
            Action::Review(args) => review(&client, args, json).await,
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/incidents/{}", segment(id))
}

/// Seconds from detection, or a dash.
fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100))
}

async fn list(client: &Client, args: &ListArgs, json: bool) -> Outcome {
    let mut call = Call::get("/v1/incidents").query("limit", args.limit.to_string());
    if args.firing {
        call = call.query("firing", "true");
    }
    if let Some(cursor) = &args.cursor {
        call = call.query("cursor", cursor);
    }
    let reply = client.expect(&call).await?;
    let row = |one: &Incident| {
        vec![
            one.id.to_string(),
            one.state.clone(),
            one.severity.clone(),
            one.name.clone(),
            one.detected_at.clone(),
            seconds(Some(one.notice_ms)),
            seconds(one.response_ms),
            seconds(one.resolution_ms),
            format!("{} of {}", one.firing, one.alerts),
        ]
    };
    let headings = ["ID", "STATE", "SEVERITY", "NAME", "DETECTED", "NOTICE", "RESPONSE", "RESOLUTION", "FIRING"];
    reply.write(json, |page: Page| {
        if let Some(cursor) = &page.next_cursor {
            output::talk(&format!("there are more: --cursor {cursor}"));
        }
        output::table(&headings, page.incidents.iter().map(row).collect())
    })
}

/// One incident as tables.
fn show(whole: &Whole) -> String {
    let Incident { id, name, severity, state, detected_at, received_at, .. } = &whole.incident;
    let not_yet = |at: &Option<String>| at.clone().unwrap_or_else(|| "not yet".to_owned());
    let head = output::printable_lines(&format!(
        "incident {id}: {name} ({severity}), {state}\ndetected   {detected_at}\nheard of   {received_at}\n\
         responded  {}\nresolved   {}",
        not_yet(&whole.incident.responded_at),
        not_yet(&whole.incident.resolved_at)
    ));
    let alert = |one: &Alert| {
        vec![one.name.clone(), one.severity.clone(), one.starts_at.clone(), not_yet(&one.ends_at), one.telling()]
    };
    let alerts = whole.alerts_shown.iter().map(alert).collect();
    let mut tables = vec![head, output::table(&["ALERT", "SEVERITY", "FROM", "TO", "OF"], alerts)];
    if !whole.remediations.is_empty() {
        let remedy =
            |one: &Remedy| [&one.began_at, &one.action, &one.target, &one.state, &one.words].map(Clone::clone).to_vec();
        let rows = whole.remediations.iter().map(remedy).collect();
        tables.push(output::table(&["BEGAN", "ACTION", "TARGET", "STATE", ""], rows));
    }
    if let Some(error) = &whole.impact_error {
        tables.push(output::printable(&format!("its cost could not be counted: {error}")) + "\n");
    }
    let cost = |one: &Cost| {
        let ended = |state: &str| one.finished.get(state).map_or_else(|| "0".to_owned(), ToString::to_string);
        let [accepted, refused, put_off, late, open] =
            [one.accepted, one.refused, one.put_off, one.sla_missed, one.open].map(|count| count.to_string());
        vec![
            one.queue.clone(),
            accepted,
            ended("succeeded"),
            ended("failed"),
            ended("in_review"),
            refused,
            put_off,
            late,
            open,
        ]
    };
    let headings =
        ["QUEUE", "ACCEPTED", "SUCCEEDED", "FAILED", "TO REVIEW", "REFUSED", "PUT OFF", "SLA MISSED", "OPEN"];
    tables.push(output::table(&headings, whole.impact.iter().map(cost).collect()));
    let event = |one: &Event| vec![one.at.clone(), one.kind.clone(), one.words.clone()];
    tables.push(output::table(&["AT", "WHAT", ""], whole.timeline.iter().map(event).collect()));
    tables.join("\n")
}

async fn review(client: &Client, args: ReviewArgs, json: bool) -> Outcome {
    let ReviewArgs { id, root_cause, action_items, notes, by } = args;
    let texts = [("root_cause", root_cause), ("action_items", action_items), ("notes", notes)];
    let mut body: Map<String, Value> =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))).collect();
    if !body.is_empty() {
        body.extend(by.map(|by| ("by".to_owned(), by.into())));
        let reply = client.expect(&Call::put(path(&id)).json(Value::Object(body).to_string())).await?;
        if json {
            output::data(&reply.text())?;
            return Ok(DONE);
        }
    }
    let call = if json { Call::get(path(&id)) } else { Call::get(path(&id)).accept("text/markdown") };
    let text = client.expect(&call).await?.text();
    output::data(&if json { text } else { output::printable_lines(&text) })?;
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ReviewArgs,
    }

    #[test]
    fn texts_may_begin_with_a_hyphen() {
        use clap::Parser as _;
        let words = ["review", "1", "--action-items", "- fix jobs", "--root-cause", "-1 workers", "--notes", "--"];
        let ReviewArgs { root_cause, action_items, notes, .. } = Line::try_parse_from(words).unwrap().args;
        assert_eq!(
            [root_cause, action_items, notes].map(Option::unwrap_or_default),
            ["-1 workers", "- fix jobs", "--"].map(str::to_owned)
        );
    }

    #[test]
    fn alerts_of_one_name_are_told_apart_by_their_labels() {
        let of = |labels: Value| {
            let alert = serde_json::json!({ "name": "Deep", "severity": "", "starts_at": "", "labels": labels });
            serde_json::from_value::<Alert>(alert).unwrap().telling()
        };
        let labels = serde_json::json!({ "alertname": "Deep", "instance": "a:1", "job": "x", "queue": "exec" });
        assert_eq!(of(labels), "queue=exec instance=a:1");
        assert_eq!(of(serde_json::json!({ "alertname": "Deep", "severity": "page", "zone": "b" })), "zone=b");
    }

    #[test]
    fn times_that_have_not_come_are_dashes() {
        assert_eq!([None, Some(900), Some(61_250)].map(seconds), ["-", "0.9 s", "61.2 s"]);
    }
}
