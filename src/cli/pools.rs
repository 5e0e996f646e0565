//! `ganger pools`

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::parse_duration;

use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, Outcome};
use super::output::{self, Format};

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
        /// Who does this; the token's name or the address when left out.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
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
    /// Who does this; the token's name or the address when left out.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
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

#[derive(Debug, Deserialize)]
struct Override {
    by: String,
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
            Action::Reset { pool, by } => {
                let body = by.map_or_else(|| json!({}), |by| json!({ "by": by }));
                order(&client, &Call::delete(path(&pool)).json(body.to_string()).repeatable(), json).await
            }
        }
    }
}

impl Scale {
    fn body(&self) -> Value {
        let mut body = Map::new();
        for (name, workers) in [("min", self.min), ("max", self.max), ("floor", self.floor)] {
            if let Some(workers) = workers {
                body.insert(name.to_owned(), json!(workers));
            }
        }
        if let Some(ttl) = self.ttl {
            body.insert("ttl_s".to_owned(), json!(ttl.as_millis().div_ceil(1_000)));
        }
        if let Some(by) = &self.by {
            body.insert("by".to_owned(), json!(by));
        }
        Value::Object(body)
    }
}

fn path(pool: &str) -> String {
    format!("/v1/pools/{}", segment(pool))
}

async fn order(client: &Client, call: &Call, json: bool) -> Outcome {
    let reply = client.expect(call).await?;
    if json {
        output::data(&reply.text())?;
        return Ok(DONE);
    }
    let pool: Pool = reply.json()?;
    output::data(&format!("{} has {} workers on each node", pool.name, pool.bounds()))?;
    Ok(DONE)
}

async fn list(client: &Client, json: bool) -> Outcome {
    let reply = client.expect(&Call::get("/v1/pools")).await?;
    if json {
        output::data(&reply.text())?;
        return Ok(DONE);
    }
    let rows = reply.json::<Pools>()?.pools.iter().flat_map(Pool::rows).collect();
    let headings = ["POOL", "QUEUE", "BOUNDS", "NODE", "WANTED", "IDLE", "BUSY", "DRAINING", "WHY"];
    output::data(&output::table(&headings, rows))?;
    Ok(DONE)
}

impl Pool {
    /// `2 to 10`, with a floor and who set it.
    fn bounds(&self) -> String {
        let floor = self.floor.map_or_else(String::new, |floor| format!(", at least {floor} now"));
        let by = self.overrides.as_ref().map_or_else(String::new, |set| format!(" (by {})", set.by));
        format!("{} to {}{floor}{by}", self.min, self.max)
    }

    /// A row for each node.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |on_node: &OnNode| {
            vec![
                self.name.clone(),
                self.queue.clone(),
                self.bounds(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_name_floor_and_author() {
        let pool = Pool {
            name: "plan-workers".into(),
            queue: "plan".into(),
            min: 2,
            max: 10,
            floor: Some(7),
            overrides: Some(Override { by: "ada".into() }),
            nodes: Vec::new(),
        };
        assert_eq!(pool.bounds(), "2 to 10, at least 7 now (by ada)");
    }

    #[test]
    fn a_body_holds_only_what_was_said() {
        let scale = Scale {
            pool: "p".into(),
            min: None,
            max: None,
            floor: Some(7),
            ttl: Some(Duration::from_millis(1_500)),
            by: None,
        };
        assert_eq!(scale.body(), json!({ "floor": 7, "ttl_s": 2 }));
    }
}
