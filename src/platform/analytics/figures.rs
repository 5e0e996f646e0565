//! Counts, rates and percentiles of what the API answers. Values in, values out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The figures of jobs, all together and by type.
pub(super) fn of_jobs(jobs: &[Value]) -> Value {
    let mut by_type: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for job in jobs {
        by_type.entry(job["type"].as_str().unwrap_or("?")).or_default().push(job);
        if let Some(class) = job["error"]["class"].as_str() {
            *errors.entry(class).or_default() += 1;
        }
    }
    let types: Map<String, Value> = by_type.iter().map(|(name, jobs)| ((*name).to_owned(), figures(jobs))).collect();
    let mut all = figures(&jobs.iter().collect::<Vec<_>>());
    all["by_type"] = Value::Object(types);
    all["errors"] = json!(errors);
    all["oldest"] = jobs.last().map_or(Value::Null, |job| job["accepted_at"].clone());
    all["newest"] = jobs.first().map_or(Value::Null, |job| job["accepted_at"].clone());
    all
}

fn figures(jobs: &[&Value]) -> Value {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for job in jobs {
        *states.entry(job["state"].as_str().unwrap_or("?")).or_default() += 1;
    }
    let count = |state: &str| states.get(state).copied().unwrap_or(0);
    let judged = count("succeeded") + count("failed") + count("in_review");
    json!({
        "total": jobs.len(),
        "by_state": states,
        "success_rate": share(count("succeeded"), judged),
        "review_rate": share(count("in_review"), judged),
        "retried": jobs.iter().filter(|job| job["attempts"].as_u64().unwrap_or(0) > 1).count(),
        "wait_ms": percentiles(jobs, "wait_ms"),
        "run_ms": percentiles(jobs, "run_ms"),
    })
}

/// A share of 0 to 1; null of nothing.
fn share(part: usize, whole: usize) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 jobs")]
    let share = |part: usize, whole: usize| part as f64 / whole as f64;
    if whole == 0 { Value::Null } else { json!((share(part, whole) * 1e4).round() / 1e4) }
}

/// The nearest-rank percentiles of a member; null where no job has it.
fn percentiles(jobs: &[&Value], member: &str) -> Value {
    let mut values: Vec<u64> = jobs.iter().filter_map(|job| job[member].as_u64()).collect();
    values.sort_unstable();
    let Some(max) = values.last() else { return Value::Null };
    let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
    json!({ "p50": rank(50), "p95": rank(95), "p99": rank(99), "max": max, "samples": values.len() })
}

/// What of each queue people want to know.
pub(super) fn of_queues(body: &Value) -> Value {
    let queues = body["queues"].as_array().into_iter().flatten();
    queues
        .map(|queue| {
            json!({
                "name": queue["name"], "ready": queue["ready"], "scheduled": queue["scheduled"],
                "running": queue["running"], "paused": !queue["paused"].is_null(), "sla_ms": queue["sla_ms"],
                "shed_level": queue["shed_level"],
            })
        })
        .collect()
}

/// What of each pool people want to know.
pub(super) fn of_pools(body: &Value) -> Value {
    let pools = body["pools"].as_array().into_iter().flatten();
    pools
        .map(|pool| {
            json!({
                "name": pool["name"], "queue": pool["queue"], "min": pool["min"], "max": pool["max"],
                "desired": pool["desired"], "idle": pool["idle"], "busy": pool["busy"],
            })
        })
        .collect()
}

/// The samples of some metrics: `name{labels}` and the value.
pub(super) fn of_metrics(text: &str, names: &[&str]) -> Value {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        let value: f64 = value.parse().ok()?;
        (names.contains(&name) && value.is_finite()).then(|| (series.to_owned(), json!(value)))
    });
    Value::Object(samples.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_and_ranked() {
        let job = |state: &str, run: u64| json!({ "type": "t", "state": state, "run_ms": run, "attempts": 1, "accepted_at": "x" });
        let mut jobs: Vec<Value> = (1..=98).map(|run| job("succeeded", run)).collect();
        jobs.push(
            json!({ "type": "u", "state": "failed", "run_ms": 500, "attempts": 3, "error": { "class": "timeout" } }),
        );
        jobs.push(job("ready", 0));
        let figures = of_jobs(&jobs);
        assert_eq!(figures["total"], 100);
        assert_eq!(figures["success_rate"], json!(0.9899));
        assert_eq!(figures["run_ms"]["p50"], 49);
        assert_eq!(figures["run_ms"]["p99"], 98);
        assert_eq!(figures["run_ms"]["max"], 500);
        assert_eq!(figures["errors"]["timeout"], 1);
        assert_eq!(figures["retried"], 1);
        assert_eq!(figures["by_type"]["u"]["success_rate"], json!(0.0));
        assert!(figures["wait_ms"].is_null() && of_jobs(&[])["success_rate"].is_null());
    }

    #[test]
    fn metrics_are_read_by_their_exact_names() {
        let text = "# HELP a b\nheal_confidence 0.9\nheal_confidence_other 1\nrate{x=\"a b\"} 2\nnone NaN\n";
        assert_eq!(
            of_metrics(text, &["heal_confidence", "rate", "none"]),
            json!({ "heal_confidence": 0.9, "rate{x=\"a b\"}": 2.0 })
        );
    }
}
