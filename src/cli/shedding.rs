//! `ganger shedding`

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::client::{Call, Client, ClientArgs};
use super::failure::Outcome;
use super::output::{self, Format};
use super::queues::Words;

/// The flags of `shedding`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who decides, the level of each queue and what the rules measure, on all nodes.
    Show,
    /// Let the rules decide (auto), refuse nothing (off), or fix a level (1 to 5), on all nodes.
    Set {
        /// auto, off, or 1 to 5.
        #[arg(value_name = "auto|off|LEVEL", value_parser = mode)]
        mode: String,
        #[command(flatten)]
        words: Words,
    },
}

#[derive(Debug, Deserialize)]
struct Shedding {
    mode: String,
    level: Option<u8>,
    set_by: Option<String>,
    set_at: Option<String>,
    reason: Option<String>,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    queues: Vec<Queue>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Queue {
    #[serde(rename = "queue")]
    name: String,
    level: u8,
    rules: Vec<String>,
    depth: Option<u64>,
    delay_ms: Option<i64>,
    late: bool,
}

#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(rename = "rule")]
    name: String,
    queue: Option<String>,
    value: Option<f64>,
    enter: f64,
    exit: f64,
    active_since: Option<String>,
}

fn mode(text: &str) -> Result<String, String> {
    let known = crate::policy::shedding::Mode::parse(text);
    known.map(|mode| mode.to_string()).ok_or_else(|| "expected auto, off or 1 to 5".to_owned())
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        let call = match self.action {
            Action::Show => Call::get("/v1/shedding"),
            Action::Set { mode, words } => {
                let mut body = words.json();
                body["mode"] = json!(mode);
                Call::put("/v1/shedding").json(body.to_string()).repeatable()
            }
        };
        client.expect(&call).await?.write(json, Shedding::text)
    }
}

impl Shedding {
    fn text(self) -> String {
        let is_fixed = self.level.is_some();
        let mode = self.level.map_or(self.mode, |level| format!("level {level}"));
        let by = self.set_by.map_or_else(
            || "by the configuration".to_owned(),
            |by| {
                let at = self.set_at.map_or_else(String::new, |at| format!(" at {at}"));
                let why = self.reason.map_or_else(String::new, |reason| format!(": {reason}"));
                output::printable(&format!("set by {by}{at}{why}"))
            },
        );
        let (mut queues, mut rules) = (Vec::new(), Vec::new());
        for node in self.nodes {
            queues.extend(node.queues.iter().map(|queue| queue.row(&node, is_fixed)));
            rules.extend(node.rules.into_iter().map(|rule| rule.row(&node.name)));
        }
        let queues = output::table(&["NODE", "QUEUE", "LEVEL", "BY", "DEPTH", "DELAY"], queues);
        let rules = output::table(&["NODE", "RULE", "QUEUE", "VALUE", "ENTERS", "EXITS", "ACTIVE SINCE"], rules);
        format!("mode: {mode} ({by})\n\n{queues}\n{rules}")
    }
}

impl Queue {
    fn row(&self, node: &Node, is_fixed: bool) -> Vec<String> {
        let late = if self.late { ", late" } else { "" };
        let delay = self.delay_ms.map_or_else(unknown, |ms| format!("{ms} ms{late}"));
        let depth = self.depth.map_or_else(unknown, |depth| format!("{depth} jobs"));
        vec![node.name.clone(), self.name.clone(), self.level.to_string(), self.held_by(node, is_fixed), depth, delay]
    }

    /// What holds the level now. A level that falls is still told with the rules that held it last, which are over.
    fn held_by(&self, node: &Node, is_fixed: bool) -> String {
        let is_active = |name: &&String| {
            let is_it = |rule: &&Rule| rule.name == **name && rule.queue.as_ref().is_none_or(|it| *it == self.name);
            is_fixed || node.rules.iter().filter(is_it).any(|rule| rule.active_since.is_some())
        };
        let active: Vec<&str> = self.rules.iter().filter(is_active).map(String::as_str).collect();
        match self.level {
            _ if !active.is_empty() => active.join(", "),
            0 => "-".to_owned(),
            _ => "nothing, it falls".to_owned(),
        }
    }
}

impl Rule {
    fn row(self, node: &str) -> Vec<String> {
        let amount = |value| amount(&self.name, value);
        vec![
            node.to_owned(),
            self.name.clone(),
            self.queue.clone().unwrap_or_else(|| "all".to_owned()),
            self.value.map_or_else(unknown, amount),
            format!("> {}", amount(self.enter)),
            format!("<= {}", amount(self.exit)),
            self.active_since.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// What a rule measures, with its unit.
fn amount(rule: &str, value: f64) -> String {
    let (factor, unit) = match rule {
        "queue_depth" => (1.0, "jobs"),
        "response_time_p95" => (1.0, "ms"),
        _ => (100.0, "%"),
    };
    format!("{} {unit}", (value * factor * 10.0).round() / 10.0)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_words_or_levels() {
        assert_eq!(mode("auto"), Ok("auto".to_owned()));
        assert_eq!(mode("5"), Ok("5".to_owned()));
        assert!(mode("0").is_err() && mode("6").is_err() && mode("on").is_err());
    }

    fn told(mode: &str, level: Option<u8>, rules: &[&str], active_since: Option<&str>) -> String {
        let shedding: Shedding = serde_json::from_value(json!({
            "mode": mode, "level": level, "set_by": "ada", "set_at": "T0", "reason": "flood",
            "nodes": [{
                "name": "a",
                "queues": [{ "queue": "q", "level": 2, "rules": rules, "depth": 7, "delay_ms": 5, "late": true }],
                "rules": [
                    { "rule": "cpu", "value": 0.9512, "enter": 0.95, "exit": 0.85, "active_since": active_since },
                    { "rule": "queue_depth", "queue": "q", "value": 7.0, "enter": 1000.0, "exit": 800.0 },
                    { "rule": "response_time_p95", "value": null, "enter": 30000.0, "exit": 20000.0 },
                ],
            }],
        }))
        .unwrap();
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        shedding.text().lines().map(squeezed).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_shown_has_units_and_one_blank_line_between_tables() {
        let lines = [
            "mode: auto (set by ada at T0: flood)",
            "",
            "NODE QUEUE LEVEL BY DEPTH DELAY",
            "a q 2 cpu 7 jobs 5 ms, late",
            "",
            "NODE RULE QUEUE VALUE ENTERS EXITS ACTIVE SINCE",
            "a cpu all 95.1 % > 95 % <= 85 % T1",
            "a queue_depth q 7 jobs > 1000 jobs <= 800 jobs -",
            "a response_time_p95 all unknown > 30000 ms <= 20000 ms -",
        ];
        assert_eq!(told("auto", None, &["cpu"], Some("T1")).lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_level_is_not_blamed_on_what_is_over() {
        assert!(told("auto", None, &["cpu"], None).contains("a q 2 nothing, it falls 7 jobs"));
        assert!(told("auto", None, &["manual"], None).contains("a q 2 nothing, it falls 7 jobs"));
        assert!(told("level", Some(2), &["manual"], None).contains("a q 2 manual 7 jobs"));
    }
}
