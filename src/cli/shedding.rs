//! `ganger shedding`

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::client::{Call, Client, ClientArgs};
use super::failure::{DONE, Outcome};
use super::output::{self, Format};

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
        /// Who does this; the token's name or the address when left out.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
struct Shedding {
    mode: String,
    level: Option<u8>,
    set_by: Option<String>,
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
            Action::Set { mode, by } => {
                Call::put("/v1/shedding").json(json!({ "mode": mode, "by": by }).to_string()).repeatable()
            }
        };
        let reply = client.expect(&call).await?;
        output::data(&if json { reply.text() } else { reply.json::<Shedding>()?.text() })?;
        Ok(DONE)
    }
}

impl Shedding {
    fn text(self) -> String {
        let mode = self.level.map_or(self.mode, |level| format!("level {level}"));
        let by = self.set_by.map_or_else(|| "by the configuration".to_owned(), |by| format!("set by {by}"));
        let (mut queues, mut rules) = (Vec::new(), Vec::new());
        for node in self.nodes {
            queues.extend(node.queues.into_iter().map(|queue| queue.row(&node.name)));
            rules.extend(node.rules.into_iter().map(|rule| rule.row(&node.name)));
        }
        let queues = output::table(&["NODE", "QUEUE", "LEVEL", "BY", "DEPTH", "DELAY"], queues);
        let rules = output::table(&["NODE", "RULE", "QUEUE", "VALUE", "ENTERS", "EXITS", "ACTIVE SINCE"], rules);
        format!("mode: {mode} ({by})\n\n{queues}\n\n{rules}")
    }
}

impl Queue {
    fn row(self, node: &str) -> Vec<String> {
        let late = if self.late { ", late" } else { "" };
        let delay = self.delay_ms.map_or_else(unknown, |ms| format!("{ms} ms{late}"));
        let depth = self.depth.map_or_else(unknown, |depth| depth.to_string());
        vec![node.to_owned(), self.name, self.level.to_string(), self.rules.join(", "), depth, delay]
    }
}

impl Rule {
    fn row(self, node: &str) -> Vec<String> {
        vec![
            node.to_owned(),
            self.name,
            self.queue.unwrap_or_default(),
            self.value.map_or_else(unknown, figure),
            format!("> {}", figure(self.enter)),
            format!("<= {}", figure(self.exit)),
            self.active_since.unwrap_or_default(),
        ]
    }
}

fn figure(value: f64) -> String {
    ((value * 1_000.0).round() / 1_000.0).to_string()
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
}
