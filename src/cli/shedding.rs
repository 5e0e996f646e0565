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
    floor: Option<Floor>,
    nodes: Vec<Node>,
}

/// What a remedy holds.
#[derive(Debug, Deserialize)]
struct Floor {
    level: u8,
    by: String,
    reason: String,
    until: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    queues: Vec<Queue>,
    rules: Vec<Rule>,
}

/// Who decides on levels beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Nobody.
    Rules,
    /// A remedy holds a level at least.
    Remedy,
    /// A level is fixed.
    Operator,
}

/// The rule that stands for whoever holds a level without measuring anything.
const MANUAL: &str = "manual";

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
        let holder = match (&self.level, &self.floor) {
            (Some(_), _) => Holder::Operator,
            (None, Some(_)) => Holder::Remedy,
            (None, None) => Holder::Rules,
        };
        let floor = self.floor.map_or_else(String::new, |floor| floor.line(holder));
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
            queues.extend(node.queues.iter().map(|queue| queue.row(&node, holder)));
            rules.extend(node.rules.into_iter().map(|rule| rule.row(&node.name)));
        }
        let queues = output::table(&["NODE", "QUEUE", "LEVEL", "BY", "DEPTH", "DELAY"], queues);
        let rules = output::table(&["NODE", "RULE", "QUEUE", "VALUE", "ENTERS", "EXITS", "ACTIVE SINCE"], rules);
        format!("mode: {mode} ({by})\n{floor}\n{queues}\n{rules}")
    }
}

impl Floor {
    fn line(self, holder: Holder) -> String {
        let Self { level, by, reason, until } = self;
        let until = until.map_or_else(String::new, |until| format!(" until {until}"));
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let beaten = if holder == Holder::Operator { ", but the fixed level beats it" } else { "" };
        output::printable(&format!("floor: level {level} at least, held by {by}{until}{beaten}{why}")) + "\n"
    }
}

impl Queue {
    fn row(&self, node: &Node, holder: Holder) -> Vec<String> {
        let late = if self.late { ", late" } else { "" };
        let delay = self.delay_ms.map_or_else(unknown, |ms| format!("{ms} ms{late}"));
        let depth = self.depth.map_or_else(unknown, |depth| format!("{depth} jobs"));
        vec![node.name.clone(), self.name.clone(), self.level.to_string(), self.held_by(node, holder), depth, delay]
    }

    /// What holds the level now. A level that falls is still told with the rules that held it last, which are over.
    fn held_by(&self, node: &Node, holder: Holder) -> String {
        let is_active = |name: &str| {
            let is_it = |rule: &&Rule| rule.name == name && rule.queue.as_ref().is_none_or(|it| *it == self.name);
            node.rules.iter().filter(is_it).any(|rule| rule.active_since.is_some())
        };
        let active: Vec<&str> = self
            .rules
            .iter()
            .filter_map(|name| match (name.as_str(), holder) {
                (name, Holder::Operator) => Some(name),
                (MANUAL, Holder::Remedy) => Some("floor"),
                (name, _) => is_active(name).then_some(name),
            })
            .collect();
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
    fn what_a_remedy_holds_is_shown() {
        let told = |level: Option<u8>, floor: serde_json::Value| {
            let shedding: Shedding = serde_json::from_value(json!({
                "mode": "auto", "level": level, "floor": floor,
                "nodes": [{
                    "name": "a",
                    "queues": [{ "queue": "q", "level": 1, "rules": ["manual"], "depth": 7, "delay_ms": 5, "late": false }],
                    "rules": [],
                }],
            }))
            .unwrap();
            shedding.text()
        };
        let floor =
            json!({ "level": 1, "by": "remediation shed", "reason": "alert Deep (remediation 7)", "until": "T2" });
        let shown = told(None, floor.clone());
        let line = "floor: level 1 at least, held by remediation shed until T2: alert Deep (remediation 7)\n\nNODE";
        assert!(shown.contains(line), "{shown}");
        assert!(shown.lines().any(|line| line.split_whitespace().eq("a q 1 floor 7 jobs 5 ms".split(' '))), "{shown}");
        assert!(told(Some(1), floor).contains("until T2, but the fixed level beats it: alert"));
        assert!(told(None, serde_json::Value::Null).starts_with("mode: auto (by the configuration)\n\nNODE"));
    }

    #[test]
    fn a_level_is_not_blamed_on_what_is_over() {
        assert!(told("auto", None, &["cpu"], None).contains("a q 2 nothing, it falls 7 jobs"));
        assert!(told("auto", None, &["manual"], None).contains("a q 2 nothing, it falls 7 jobs"));
        assert!(told("level", Some(2), &["manual"], None).contains("a q 2 manual 7 jobs"));
    }
}
