//! The runbook's series with their values.

use crate::cli::failure::Failure;
use crate::cli::output;

use super::super::desk::{Desk, Measure};
use super::super::metrics::Metrics;

/// The business measures, by the API.
const MEASURES: [&str; 9] = [
    "test_execution_success_rate",
    "element_healing_success_rate",
    "healing_success_rate_24h",
    "heal_success_rate",
    "heal_confidence",
    "manual_review_rate",
    "user_satisfaction_score",
    "element_repository_hit_rate",
    "policy_evaluation_duration_ms",
];

/// Its other series, by the metrics.
const GAUGES: [&str; 4] = ["queue_processing_rate", "queue_depth", "worker_utilization", "mcp_server_health_check"];

/// A histogram, of which the mean is shown.
const CALLS: &str = "mcp_tool_call_duration_seconds";

/// What the daemon told of them.
#[derive(Debug)]
pub(super) struct Series {
    measures: Vec<Measure>,
    metrics: Metrics,
}

impl Series {
    pub(super) async fn read(desk: &Desk) -> Result<Self, Failure> {
        Ok(Self { measures: desk.measures().await?, metrics: desk.metrics().await? })
    }

    /// The names that have no figures.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let measured = |name: &str| self.measures.iter().any(|measure| measure.name == name && measure.value.is_some());
        let exposed = |name: &str| self.metrics.of(name).next().is_some();
        let called = self.metrics.sum(&format!("{CALLS}_count"), None) > 0.0;
        let mut missing: Vec<&str> = MEASURES.into_iter().filter(|name| !measured(name)).collect();
        // A measure that Prometheus would not find is of no use to the runbook's alerts.
        let of_measures = MEASURES.into_iter().filter(|name| !name.ends_with("_ms"));
        missing.extend(of_measures.chain(GAUGES).filter(|name| !exposed(name)));
        missing.extend((!called).then_some(CALLS));
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// One line a series; gauges with many labels as their range.
    pub(super) fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for measure in &self.measures {
            let labels = measure.labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
            let value = measure.value.map_or_else(|| "none".to_owned(), |value| figure(value, &measure.unit));
            let what = format!("{} samples in {}", measure.samples, window(measure.window_s));
            rows.push(vec![measure.name.clone(), labels.collect::<Vec<_>>().join(","), value, what]);
        }
        for name in GAUGES {
            let values: Vec<f64> = self.metrics.of(name).map(|sample| sample.value).collect();
            let (low, high) =
                (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
            let value = match values.len() {
                0 => "none".to_owned(),
                1 => format!("{high:.2}"),
                _ => format!("{low:.2} to {high:.2}"),
            };
            rows.push(vec![name.to_owned(), String::new(), value, format!("{} series, now", values.len())]);
        }
        for calls in self.metrics.of(&format!("{CALLS}_count")).filter(|sample| sample.value > 0.0) {
            let same = |sample: &&super::super::metrics::Sample| sample.labels == calls.labels;
            let sum = self.metrics.of(&format!("{CALLS}_sum")).find(same).map_or(0.0, |sample| sample.value);
            let labels: Vec<String> = calls.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let mean = format!("{:.4} s", sum / calls.value);
            rows.push(vec![CALLS.to_owned(), labels.join(","), mean, format!("{} calls", calls.value)]);
        }
        output::table(&["SERIES", "LABELS", "VALUE", "OF"], rows)
    }
}

fn figure(value: f64, unit: &str) -> String {
    match unit {
        "share" => format!("{:.1} %", value * 100.0),
        "ms" => format!("{value:.2} ms"),
        _ => format!("{value:.2}"),
    }
}

fn window(seconds: i64) -> String {
    if seconds >= 3_600 { format!("{} h", seconds / 3_600) } else { format!("{} min", seconds / 60) }
}
