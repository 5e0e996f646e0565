//! `ganger remediation`

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, FAILED, Outcome};
use super::output::{self, Format};
use super::queues::Words;

/// An action and its verification may take ten minutes each.
const RUN_TIME: Duration = Duration::from_mins(21);

/// The flags of `remediation`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what was done about alerts, newest first: the audit.
    List {
        /// Only of this action.
        #[arg(long, value_name = "NAME")]
        action: Option<String>,
        /// Only in this state: running, healed, failed, suppressed or `dry_run`.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Only of this incident.
        #[arg(long, value_name = "NUMBER")]
        incident: Option<i64>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Show whether alerts are acted on, what can be done, and what is done about which alert.
    Show,
    /// Carry out an action now, behind the same guards as for an alert, and wait for its end. Ends with 1 if it failed or
    /// was suppressed.
    Run {
        /// The action.
        #[arg(value_name = "ACTION")]
        name: String,
        /// A label that stands for one of an alert, such as queue=exec; may be repeated.
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Who does this; the token's name or the address when left out.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Act on alerts again, on all nodes.
    Enable {
        /// Only note what would be done.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        words: Words,
    },
    /// Act on no alert any more, on all nodes, until it is enabled again.
    Disable {
        #[command(flatten)]
        words: Words,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "expected NAME=VALUE".to_owned())
}

#[derive(Debug, Deserialize)]
struct Listed {
    remediations: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    number: i64,
    began_at: String,
    action: String,
    target: String,
    state: String,
    reason: Option<String>,
    by: String,
    node_name: String,
    words: String,
}

#[derive(Debug, Deserialize)]
struct Standing {
    enabled: bool,
    dry_run: bool,
    set_by: Option<String>,
    reason: Option<String>,
    actions_per_hour: u32,
    actions: Vec<ActionRow>,
    alerts: Vec<AlertRow>,
    overrides: Vec<OverrideRow>,
}

#[derive(Debug, Deserialize)]
struct ActionRow {
    name: String,
    kind: String,
    dry_run: bool,
    cool_down_ms: i64,
    per_hour: u32,
    verify: String,
    verify_ms: u64,
}

#[derive(Debug, Deserialize)]
struct AlertRow {
    alert: String,
    when: std::collections::BTreeMap<String, String>,
    actions: Vec<String>,
    if_not_healed: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct OverrideRow {
    name: String,
    value: Value,
    by: String,
    until: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Remedied {
    number: Option<i64>,
    action: String,
    target: String,
    state: String,
    words: String,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List { action, state, incident, limit } => {
                let mut call = Call::get("/v1/remediations").query("limit", limit.to_string());
                let incident = incident.map(|number| number.to_string());
                for (name, value) in [("action", action), ("state", state), ("incident", incident)] {
                    if let Some(value) = value {
                        call = call.query(name, value);
                    }
                }
                client.expect(&call).await?.write(json, Listed::text)
            }
            Action::Show => client.expect(&Call::get("/v1/remediation")).await?.write(json, Standing::text),
            Action::Run { name, labels, dry_run, by } => {
                let labels: serde_json::Map<String, Value> =
                    labels.into_iter().map(|(name, value)| (name, value.into())).collect();
                let mut body = json!({ "labels": labels, "dry_run": dry_run });
                if let Some(by) = by {
                    body["by"] = by.into();
                }
                run(&client, &name, &body, json).await
            }
            Action::Enable { dry_run, words } => throw(&client, true, dry_run, &words, json).await,
            Action::Disable { words } => throw(&client, false, false, &words, json).await,
        }
    }
}

async fn throw(client: &Client, enabled: bool, dry_run: bool, words: &Words, json: bool) -> Outcome {
    let mut body = words.json();
    body["enabled"] = json!(enabled);
    if enabled {
        body["dry_run"] = json!(dry_run);
    }
    let call = Call::put("/v1/remediation").json(body.to_string()).repeatable();
    client.expect(&call).await?.write(json, |standing: Standing| standing.headline())
}

/// Carries out an action; what did not do what was asked for ends with 1.
async fn run(client: &Client, name: &str, body: &Value, json: bool) -> Outcome {
    let path = format!("/v1/remediations/{}", segment(name));
    let reply = client.expect(&Call::post(path).json(body.to_string()).patience(RUN_TIME)).await?;
    let text = reply.text();
    let Remedied { number, action, target, state, words } = reply.json()?;
    let place = if target.is_empty() { String::new() } else { format!(" on {target}") };
    let number = number.map_or_else(String::new, |number| format!(" (remediation {number})"));
    let line = output::printable(&format!("{action}{place}: {state}: {words}{number}"));
    output::data(&if json { text } else { line })?;
    Ok(if matches!(state.as_str(), "failed" | "suppressed") { FAILED } else { DONE })
}

impl Listed {
    fn text(self) -> String {
        let row = |row: Row| {
            let Row { number, began_at, action, target, state, reason, by, node_name, words } = row;
            let reason = reason.unwrap_or_else(|| "-".to_owned());
            vec![number.to_string(), began_at, action, target, state, reason, by, node_name, words]
        };
        let headings = ["NUMBER", "BEGAN", "ACTION", "TARGET", "STATE", "REASON", "BY", "NODE", "WORDS"];
        output::table(&headings, self.remediations.into_iter().map(row).collect())
    }
}

impl Standing {
    fn headline(&self) -> String {
        let state = match (self.enabled, self.dry_run) {
            (false, _) => "off",
            (true, true) => "dry run",
            (true, false) => "on",
        };
        let by = self.set_by.as_ref().map_or_else(
            || "by the configuration".to_owned(),
            |by| {
                let why = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                format!("set by {by}{why}")
            },
        );
        output::printable(&format!("remediation: {state} ({by}), at most {} actions an hour", self.actions_per_hour))
    }

    fn text(self) -> String {
        let headline = self.headline();
        let actions = self.actions.into_iter().map(ActionRow::row).collect();
        let actions = output::table(&["ACTION", "KIND", "COOL-DOWN", "PER HOUR", "VERIFIED BY", "MODE"], actions);
        let alerts = self.alerts.into_iter().map(AlertRow::row).collect();
        let alerts = output::table(&["ALERT", "WHEN", "ACTIONS", "IF NOT HEALED"], alerts);
        let overrides: Vec<Vec<String>> = self.overrides.into_iter().map(OverrideRow::row).collect();
        let overrides = if overrides.is_empty() {
            String::new()
        } else {
            format!("\n{}", output::table(&["OVERRIDE", "VALUE", "UNTIL", "BY"], overrides))
        };
        format!("{headline}\n\n{actions}\n{alerts}{overrides}")
    }
}

impl ActionRow {
    fn row(self) -> Vec<String> {
        let verify = if self.verify == "none" {
            "nothing".to_owned()
        } else {
            format!("{} within {} s", self.verify, self.verify_ms / 1_000)
        };
        let mode = if self.dry_run { "dry run" } else { "acts" };
        let cool_down = format!("{} s", self.cool_down_ms / 1_000);
        vec![self.name, self.kind, cool_down, self.per_hour.to_string(), verify, mode.to_owned()]
    }
}

impl AlertRow {
    fn row(self) -> Vec<String> {
        let when: Vec<String> = self.when.iter().map(|(label, value)| format!("{label}={value}")).collect();
        vec![self.alert, when.join(" "), self.actions.join(", "), self.if_not_healed.join(", ")]
    }
}

impl OverrideRow {
    fn row(self) -> Vec<String> {
        vec![self.name, self.value.to_string(), self.until.unwrap_or_default(), self.by]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs() {
        assert_eq!(label("queue=a=b"), Ok(("queue".to_owned(), "a=b".to_owned())));
        assert!(label("queue").is_err() && label("=x").is_err());
    }

    #[test]
    fn what_is_shown_says_who_decides_and_what_is_told_to_handlers() {
        let standing: Standing = serde_json::from_value(json!({
            "enabled": true, "dry_run": false, "set_by": "ada", "reason": "quiet again", "actions_per_hour": 20,
            "actions": [{
                "name": "scale", "kind": "scale_pool", "dry_run": false, "cool_down_ms": 300_000, "per_hour": 6,
                "timeout_ms": 1, "verify": "queue_depth", "verify_ms": 60_000,
            }],
            "alerts": [{
                "name": "x", "alert": "HighQueueDepth", "when": {"queue": "e*"}, "actions": ["scale"],
                "if_not_healed": [],
            }],
            "overrides": [{ "name": "healing_threshold", "value": 0.7, "by": "remediation lower", "until": "T1" }],
        }))
        .unwrap();
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = standing.text().lines().map(squeezed).collect();
        assert_eq!(
            lines,
            [
                "remediation: on (set by ada: quiet again), at most 20 actions an hour",
                "",
                "ACTION KIND COOL-DOWN PER HOUR VERIFIED BY MODE",
                "scale scale_pool 300 s 6 queue_depth within 60 s acts",
                "",
                "ALERT WHEN ACTIONS IF NOT HEALED",
                "HighQueueDepth queue=e* scale",
                "",
                "OVERRIDE VALUE UNTIL BY",
                "healing_threshold 0.7 T1 remediation lower",
            ]
        );
    }
}
