//! `ganger measures`

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::{Call, Client, ClientArgs};
use super::failure::{DONE, Outcome};
use super::output::{self, Format};

/// The flags of `measures`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Deserialize)]
struct Measures {
    measures: Vec<Measure>,
}

#[derive(Debug, Deserialize)]
struct Measure {
    name: String,
    labels: BTreeMap<String, String>,
    unit: String,
    window_s: u64,
    value: Option<f64>,
    samples: u64,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let reply = client.expect(&Call::get("/v1/measures")).await?;
        let json = self.client.output == Format::Json;
        output::data(&if json { reply.text() } else { table(reply.json::<Measures>()?) })?;
        Ok(DONE)
    }
}

fn table(all: Measures) -> String {
    let row = |measure: Measure| {
        let labels: Vec<String> = measure.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let value = measure.value.map_or_else(|| "no samples".to_owned(), |value| value_in(&measure.unit, value));
        vec![measure.name, labels.join(","), value, measure.samples.to_string(), window(measure.window_s)]
    };
    let rows = all.measures.into_iter().map(row).collect();
    output::table(&["MEASURE", "LABEL", "VALUE", "SAMPLES", "WINDOW"], rows)
}

fn value_in(unit: &str, value: f64) -> String {
    match unit {
        "share" => format!("{:.1} %", value * 100.0),
        "ms" => format!("{value:.3} ms"),
        _ => format!("{value:.2}"),
    }
}

fn window(seconds: u64) -> String {
    if seconds.is_multiple_of(3_600) { format!("{} h", seconds / 3_600) } else { format!("{} min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_units() {
        assert_eq!(
            [value_in("share", 0.875), value_in("ms", 1.5), value_in("score", 4.25)],
            ["87.5 %", "1.500 ms", "4.25"]
        );
        assert_eq!([window(300), window(86_400)], ["5 min", "24 h"]);
    }
}
