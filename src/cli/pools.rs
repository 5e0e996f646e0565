//! `ganger pools`

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::parse_duration;

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::Outcome;
use super::output::{self, Format};
use super::queues::Words;

/// The flags of `pools`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the pools with their sizes on all nodes and why they are so.
    List,
    /// Set other bounds of a pool, on each node: at once, durably, and across restarts.
    Scale(Scale),
    /// Give a pool its configured bounds again.
    Reset {
        /// The pool.
        pool: String,
        #[command(flatten)]
        words: Words,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("bounds").required(true).multiple(true).args(["min", "max", "floor"]))]
struct Scale {
    /// The pool.
    pool: String,
    /// The fewest workers instead of the configured ones.
    #[arg(long, value_name = "N")]
    min: Option<u64>,
    /// The most workers instead of the configured ones.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Grow to this size at once, as far as the most workers and the machine allow.
    #[arg(long, value_name = "N")]
    floor: Option<u64>,
    /// How long this holds; without it, until it is reset.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    words: Words,
}

#[derive(Debug, Deserialize)]
struct Pools {
    pools: Vec<Pool>,
}

#[derive(Debug, Deserialize)]
struct Pool {
    name: String,
    queue: String,
    min: usize,
    max: usize,
    floor: Option<usize>,
    #[serde(rename = "override")]
    overrides: Option<Override>,
    nodes: Vec<OnNode>,
}

/// What operators have set.
#[derive(Debug, Deserialize)]
struct Override {
    min: Option<Figure>,
    max: Option<Figure>,
    floor: Option<Figure>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    workers: usize,
    until: Option<String>,
    by: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct OnNode {
    node: String,
    desired: usize,
    idle: usize,
    busy: usize,
    draining: usize,
    decision: Option<Decision>,
}

#[derive(Debug, Deserialize)]
struct Decision {
    reason: String,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Scale(scale) => {
                let call = Call::put(path(&scale.pool)).json(scale.body().to_string());
                order(&client, &call, json).await
            }
            Action::Reset { pool, words } => {
                order(&client, &Call::delete(path(&pool)).json(words.json().to_string()).repeatable(), json).await
            }
        }
    }
}

impl Scale {
    fn body(&self) -> Value {
        let mut body = self.words.json();
        for (name, workers) in [("min", self.min), ("max", self.max), ("floor", self.floor)] {
            if let Some(workers) = workers {
                body[name] = json!(workers);
            }
        }
        if let Some(ttl) = self.ttl {
            body["ttl_s"] = json!(ttl.as_millis().div_ceil(1_000));
        }
        body
    }
}

fn path(pool: &str) -> String {
    format!("/v1/pools/{}", segment(pool))
}

async fn order(client: &Client, call: &Call, json: bool) -> Outcome {
    client.expect(call).await?.write(json, |pool: Pool| {
        let set = pool.overrides.as_ref().map_or_else(String::new, |set| format!("; set at run time: {}", set.cell()));
        output::printable(&format!("{} has {} workers on each node{set}", pool.name, pool.bounds()))
    })
}

async fn list(client: &Client, json: bool) -> Outcome {
    let reply = client.expect(&Call::get("/v1/pools")).await?;
    let headings = ["POOL", "QUEUE", "BOUNDS", "SET", "NODE", "WANTED", "IDLE", "BUSY", "DRAINING", "WHY"];
    reply.write(json, |Pools { pools }| output::table(&headings, pools.iter().flat_map(Pool::rows).collect()))
}

impl Pool {
    /// `2 to 10`, with a floor.
    fn bounds(&self) -> String {
        let floor = self.floor.map_or_else(String::new, |floor| format!(", at least {floor} now"));
        format!("{} to {}{floor}", self.min, self.max)
    }

    /// A row for each node.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |on_node: &OnNode| {
            vec![
                self.name.clone(),
                self.queue.clone(),
                self.bounds(),
                self.overrides.as_ref().map_or_else(|| "-".to_owned(), Override::cell),
                on_node.node.clone(),
                on_node.desired.to_string(),
                on_node.idle.to_string(),
                on_node.busy.to_string(),
                on_node.draining.to_string(),
                on_node.decision.as_ref().map_or_else(|| "-".to_owned(), |decision| decision.reason.clone()),
            ]
        };
        self.nodes.iter().map(row).collect()
    }
}

impl Override {
    /// Each figure with its end, its author and why.
    fn cell(&self) -> String {
        let told = |(name, figure): (&str, &Option<Figure>)| {
            let Figure { workers, until, by, reason } = figure.as_ref()?;
            let until = until.as_ref().map_or_else(String::new, |until| format!(" until {until}"));
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            Some(format!("{name} {workers}{until} (by {by}{why})"))
        };
        let figures = [("min", &self.min), ("max", &self.max), ("floor", &self.floor)];
        figures.into_iter().filter_map(told).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_that_was_set_names_its_end_and_its_author() {
        let pool: Pool = serde_json::from_value(json!({
            "name": "plan-workers", "queue": "plan", "min": 2, "max": 20, "floor": 7, "nodes": [],
            "override": {
                "min": null,
                "max": { "workers": 20, "until": null, "by": "ada", "reason": "" },
                "floor": { "workers": 7, "until": "T1", "by": "bob", "reason": "flood" },
            },
        }))
        .unwrap();
        assert_eq!(pool.bounds(), "2 to 20, at least 7 now");
        assert_eq!(pool.overrides.unwrap().cell(), "max 20 (by ada), floor 7 until T1 (by bob: flood)");
    }

    #[test]
    fn a_body_holds_only_what_was_said() {
        let scale = Scale {
            pool: "p".into(),
            min: None,
            max: None,
            floor: Some(7),
            ttl: Some(Duration::from_millis(1_500)),
            words: Words::default(),
        };
        assert_eq!(scale.body(), json!({ "floor": 7, "ttl_s": 2 }));
    }
}
