//! The catalogue: every metric, its labels and its help, and one recorder for each.
//!
//! No other file names a metric. No label is unbounded: queues, types, pools and workers come from
//! the configuration, error classes are folded by [`ErrorClasses`]. Counters start at zero.
#![expect(clippy::disallowed_macros, reason = "this is the catalogue that the ban points to")]

mod catalog;
mod classes;
mod incidents;
mod measures;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::clock::Timestamp;
use crate::job::Priority;
use crate::job::review::Verdict;
use crate::policy::breaker::State;
use crate::policy::catalog::Catalog;
use crate::policy::shedding::Rule;

pub use catalog::{CATALOG, Kind, Metric};
pub use classes::ErrorClasses;
pub use incidents::{alerts_received, incident_times, incidents, integrity_violated, timeline_dropped, timeline_noted};
pub use measures::{measured, observations_refused, observed, policy_evaluated};

/// Bucket edges of waits and runs in seconds: fine where a queue is quick, and exactly at the SLAs.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 12.0, 20.0, 30.0, 60.0, 120.0,
    300.0, 900.0, 3600.0,
];
/// Bucket edges of commits in seconds.
const COMMIT_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Bucket edges of batch sizes.
const ROWS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0];

/// Installs the recorder and describes the catalogue. A second call in one process only hands out
/// a handle of its own that records nothing.
///
/// # Errors
/// A matcher without buckets, which the constants above rule out.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_commit_seconds".into()), COMMIT_SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_batch_rows".into()), ROWS)?
        .set_buckets_for_metric(Matcher::Suffix("_wait_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_run_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("policy_evaluation_duration_ms".into()), measures::EVALUATION_MS)?
        .set_buckets_for_metric(Matcher::Full("mcp_tool_call_duration_seconds".into()), SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    let _already_installed = metrics::set_global_recorder(recorder);
    for known in CATALOG {
        match known.kind {
            Kind::Counter => describe_counter!(known.name, known.help),
            Kind::Gauge => describe_gauge!(known.name, known.help),
            Kind::Histogram => describe_histogram!(known.name, Unit::Count, known.help),
        }
    }
    gauge!("ganger_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Sets every counter of the catalogue to zero for the configured queues and types, so that the first
/// increment is visible to `increase()`.
pub fn start_at_zero(catalog: &Catalog) {
    for queue in catalog.queues.keys() {
        for decision in ["created", "existing", "refused"] {
            counter!("ganger_admissions_total", "queue" => queue.to_string(), "decision" => decision).absolute(0);
        }
        for name in [
            "ganger_crashes_total",
            "ganger_idempotent_hits_total",
            "ganger_stale_results_total",
            "ganger_leases_lost_total",
            "ganger_abandoned_runs_total",
        ] {
            counter!(name, "queue" => queue.to_string()).absolute(0);
        }
        for reason in ["drain", "replace", "pushback", "lease", "due_later", "breaker", "budget"] {
            counter!("ganger_deferrals_total", "queue" => queue.to_string(), "reason" => reason).absolute(0);
        }
        for rule in Rule::MEASURED.into_iter().chain([Rule::Manual]) {
            counter!("ganger_shed_total", "queue" => queue.to_string(), "rule" => rule.name()).absolute(0);
        }
        for kind in ["crash", "deferral"] {
            counter!("ganger_leases_expired_total", "queue" => queue.to_string(), "kind" => kind).absolute(0);
        }
    }
    for pool in catalog.pools.keys() {
        for reason in ["hung", "memory", "success_rate", "died", "drain", "replace"] {
            counter!("ganger_worker_replacements_total", "pool" => pool.to_string(), "reason" => reason).absolute(0);
        }
        for reason in ["jobs", "growth"] {
            counter!("ganger_workers_recycled_total", "pool" => pool.to_string(), "reason" => reason).absolute(0);
        }
        for (direction, limiter) in [("up", "none"), ("down", "none"), ("hold", "none")] {
            counter!("ganger_scale_decisions_total", "pool" => pool.to_string(), "direction" => direction,
                "limiter" => limiter)
            .absolute(0);
        }
    }
    for pool in catalog.pools.values() {
        for (direction, signal) in pool.scale_on.iter().flat_map(|signal| [("up", signal), ("down", signal)]) {
            counter!("ganger_scale_changes_total", "pool" => pool.name.to_string(), "direction" => direction,
                "metric" => signal.name())
            .absolute(0);
        }
    }
    for known in catalog.types.values() {
        for outcome in ["succeeded", "failed", "in_review", "cancelled", "expired"] {
            finished(known.queue.as_str(), known.name.as_str(), outcome, 0);
        }
        if known.sla_ms.is_some() {
            promised(known.queue.as_str(), known.name.as_str(), true, 0);
            promised(known.queue.as_str(), known.name.as_str(), false, 0);
        }
    }
    for outcome in RELOAD_OUTCOMES {
        counter!("ganger_config_reloads_total", "outcome" => outcome).absolute(0);
    }
    measures::start_at_zero();
    incidents::start_at_zero();
    for verdict in Verdict::ALL {
        counter!("ganger_review_decisions_total", "decision" => verdict.name()).absolute(0);
    }
    counter!("ganger_broker_rebuilds_total").absolute(0);
    for kind in ["outage", "missing", "ghost", "misplaced", "pause", "lease"] {
        counter!("ganger_broker_repairs_total", "kind" => kind).absolute(0);
    }
}

/// Counts submits of a queue by decision: `created`, `existing`, `refused`.
pub fn admitted(queue: &str, decision: &'static str, count: u64) {
    counter!("ganger_admissions_total", "queue" => queue.to_owned(), "decision" => decision).increment(count);
}

/// Notes a call of an MCP server's tool: `success`, `error`, `timeout` or `cancelled`.
pub fn mcp_tool_called(tool: &str, outcome: &'static str, seconds: f64) {
    histogram!("mcp_tool_call_duration_seconds", "tool" => tool.to_owned(), "outcome" => outcome).record(seconds);
}

/// Notes whether an MCP server answered its ping.
pub fn mcp_server_checked(server: &str, answers: bool) {
    gauge!("mcp_server_health_check", "server" => server.to_owned()).set(f64::from(u8::from(answers)));
}

/// Counts a refused request or batch item by problem code.
pub fn refused(code: &'static str) {
    counter!("ganger_refusals_total", "code" => code).increment(1);
}

// === Load shedding ===

/// Shows the shares of CPU and memory in use; an unknown one shows nothing.
pub fn usage(cpu: Option<f64>, memory: Option<f64>) {
    gauge!("cpu_usage").set(cpu.unwrap_or(f64::NAN));
    gauge!("memory_usage").set(memory.unwrap_or(f64::NAN));
}

/// Shows what the rules see of a resource.
pub fn pressure(resource: &'static str, ratio: Option<f64>) {
    gauge!("ganger_pressure_ratio", "resource" => resource).set(ratio.unwrap_or(f64::NAN));
}

/// Shows the level of a queue.
pub fn shed_level(queue: &str, level: u8) {
    gauge!("ganger_shed_level", "queue" => queue.to_owned()).set(f64::from(level));
}

/// Shows whether a rule is active.
pub fn shed_rule(rule: &'static str, is_active: bool) {
    gauge!("ganger_shed_rule_active", "rule" => rule).set(f64::from(u8::from(is_active)));
}

/// Counts a submit that was refused for load.
pub fn shed(queue: &str, rule: &'static str) {
    counter!("ganger_shed_total", "queue" => queue.to_owned(), "rule" => rule).increment(1);
}

// === Jobs ===

/// Counts jobs that came to rest.
pub fn finished(queue: &str, job_type: &str, outcome: &'static str, count: u64) {
    counter!("ganger_jobs_finished_total", "queue" => queue.to_owned(), "type" => job_type.to_owned(), "outcome" => outcome)
        .increment(count);
}

/// Counts jobs that came to rest within their SLA, or later.
pub fn promised(queue: &str, job_type: &str, kept: bool, count: u64) {
    let result = if kept { "met" } else { "missed" };
    counter!("ganger_sla_jobs_total", "queue" => queue.to_owned(), "type" => job_type.to_owned(), "result" => result)
        .increment(count);
}

/// Counts a finished run.
pub fn attempt(queue: &str, job_type: &str, outcome: &'static str, error_class: &str) {
    counter!("ganger_attempts_total", "queue" => queue.to_owned(), "type" => job_type.to_owned(), "outcome" => outcome,
        "error_class" => error_class.to_owned())
    .increment(1);
}

/// Notes how long a job waited for its first run.
pub fn waited(queue: &str, job_type: &str, seconds: f64) {
    histogram!("ganger_job_wait_seconds", "queue" => queue.to_owned(), "type" => job_type.to_owned()).record(seconds);
}

/// Notes how long a run took.
pub fn ran(queue: &str, job_type: &str, seconds: f64) {
    histogram!("ganger_job_run_seconds", "queue" => queue.to_owned(), "type" => job_type.to_owned()).record(seconds);
}

/// Counts returns that cost nothing.
pub fn deferred(queue: &str, reason: &'static str, count: u64) {
    counter!("ganger_deferrals_total", "queue" => queue.to_owned(), "reason" => reason).increment(count);
}

/// Counts deaths under a job.
pub fn crashed(queue: &str, count: u64) {
    counter!("ganger_crashes_total", "queue" => queue.to_owned()).increment(count);
}

/// Counts a claim whose outcome the ledger knew.
pub fn idempotent_hit(queue: &str) {
    counter!("ganger_idempotent_hits_total", "queue" => queue.to_owned()).increment(1);
}

/// Counts a refused result.
pub fn stale_result(queue: &str) {
    counter!("ganger_stale_results_total", "queue" => queue.to_owned()).increment(1);
}

/// Counts a handler that had to be dropped.
pub fn abandoned(queue: &str) {
    counter!("ganger_abandoned_runs_total", "queue" => queue.to_owned()).increment(1);
}

// === The configuration ===

/// What a reload can come to.
const RELOAD_OUTCOMES: [&str; 2] = ["applied", "refused"];

/// Counts a reload.
pub fn reloaded(applied: bool) {
    let [yes, no] = RELOAD_OUTCOMES;
    counter!("ganger_config_reloads_total", "outcome" => if applied { yes } else { no }).increment(1);
}

/// Notes when a configuration was taken over.
#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
pub fn config_taken_over(at: Timestamp) {
    gauge!("ganger_config_last_success_timestamp_seconds").set(at.millis() as f64 / 1_000.0);
}

// === Reviews ===

/// Counts a review that was decided: `approved`, `edited`, `rejected`, `retried`.
pub fn review_decided(decision: &'static str) {
    counter!("ganger_review_decisions_total", "decision" => decision).increment(1);
}

/// Shows how many reviews are open.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn reviews_open(reason: &'static str, count: u64) {
    gauge!("ganger_reviews_open", "reason" => reason).set(count as f64);
}

/// Shows how long the oldest open review waits.
#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
pub fn oldest_review(age_ms: Option<i64>) {
    let seconds = age_ms.map_or(f64::NAN, |ms| ms as f64 / 1_000.0);
    gauge!("ganger_review_oldest_age_seconds").set(seconds);
}

// === Remediation ===

/// Sets every action's counts to zero.
pub fn remediations_start_at_zero<'a>(actions: impl Iterator<Item = &'a String>) {
    for action in actions {
        for result in ["healed", "failed", "suppressed", "dry_run"] {
            counter!("ganger_remediations_total", "action" => action.clone(), "result" => result).absolute(0);
        }
    }
    counter!("ganger_remediation_overflows_total").absolute(0);
}

/// Counts an action that ended.
pub fn remediated(action: &str, result: &'static str) {
    counter!("ganger_remediations_total", "action" => action.to_owned(), "result" => result).increment(1);
}

/// Counts alerts that found no place among those that wait.
pub fn remediation_overflowed(count: u64) {
    counter!("ganger_remediation_overflows_total").increment(count);
}

/// Shows whether alerts are acted on at all.
pub fn remediation_enabled(enabled: bool) {
    gauge!("ganger_remediation_enabled").set(f64::from(u8::from(enabled)));
}

// === Breakers ===

/// What a probe can come to.
const PROBE_OUTCOMES: [&str; 4] = ["succeeded", "failed", "returned", "lapsed"];

/// Sets the counters of a breaker to zero and shows its state.
pub fn breaker_starts_at_zero(breaker: &str, state: &'static str) {
    for to in State::NAMES {
        counter!("ganger_breaker_transitions_total", "breaker" => breaker.to_owned(), "to" => to).absolute(0);
    }
    for outcome in PROBE_OUTCOMES {
        counter!("ganger_breaker_probes_total", "breaker" => breaker.to_owned(), "outcome" => outcome).absolute(0);
    }
    counter!("ganger_breaker_stale_results_total", "breaker" => breaker.to_owned()).absolute(0);
    breaker_state(breaker, state);
    breaker_held_jobs(breaker, 0);
}

/// Shows the state of a breaker.
pub fn breaker_state(breaker: &str, state: &str) {
    for known in State::NAMES {
        let is_it = f64::from(u8::from(known == state));
        gauge!("ganger_breaker_state", "breaker" => breaker.to_owned(), "state" => known).set(is_it);
    }
}

/// A breaker that is not configured any more is in no state and holds nothing.
pub fn breaker_gone(breaker: &str) {
    breaker_state(breaker, "");
    breaker_held_jobs(breaker, 0);
}

/// Shows how many jobs wait for a breaker.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn breaker_held_jobs(breaker: &str, count: u64) {
    gauge!("ganger_breaker_held_jobs", "breaker" => breaker.to_owned()).set(count as f64);
}

/// Counts a change of state.
pub fn breaker_transition(breaker: &str, to: &'static str) {
    counter!("ganger_breaker_transitions_total", "breaker" => breaker.to_owned(), "to" => to).increment(1);
}

/// Counts a probe by outcome: `succeeded`, `failed`, `returned`, `lapsed`.
pub fn breaker_probe(breaker: &str, outcome: &'static str) {
    counter!("ganger_breaker_probes_total", "breaker" => breaker.to_owned(), "outcome" => outcome).increment(1);
}

/// Counts a result of another generation.
pub fn breaker_stale_result(breaker: &str) {
    counter!("ganger_breaker_stale_results_total", "breaker" => breaker.to_owned()).increment(1);
}

// === Leases and workers ===

/// Counts expired leases that went back: `crash` or `deferral`.
pub fn leases_expired(queue: &str, kind: &'static str, count: u64) {
    counter!("ganger_leases_expired_total", "queue" => queue.to_owned(), "kind" => kind).increment(count);
}

/// Counts a lease that this node lost.
pub fn lease_lost(queue: &str) {
    counter!("ganger_leases_lost_total", "queue" => queue.to_owned()).increment(1);
}

/// A pool's workers by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Waiting for a job.
    pub idle: usize,
    /// Running one.
    pub busy: usize,
    /// On their way out.
    pub draining: usize,
    /// Not answering.
    pub hung: usize,
    /// Jobs that run.
    pub running: usize,
}

/// Shows a pool's workers by state and its running jobs.
#[expect(clippy::cast_precision_loss, reason = "pools are small")]
pub fn workers(pool: &str, node: &str, counts: &WorkerCounts) {
    let WorkerCounts { idle, busy, draining, hung, running } = *counts;
    for (state, count) in [("idle", idle), ("busy", busy), ("draining", draining), ("hung", hung)] {
        gauge!("ganger_pool_workers", "pool" => pool.to_owned(), "state" => state, "node" => node.to_owned())
            .set(count as f64);
    }
    gauge!("active_jobs", "worker_pool" => pool.to_owned(), "node" => node.to_owned()).set(running as f64);
}

/// Counts a worker that was replaced.
pub fn worker_replaced(pool: &str, reason: &'static str) {
    counter!("ganger_worker_replacements_total", "pool" => pool.to_owned(), "reason" => reason).increment(1);
}

/// Counts a healthy worker that was due.
pub fn worker_recycled(pool: &str, reason: &'static str) {
    counter!("ganger_workers_recycled_total", "pool" => pool.to_owned(), "reason" => reason).increment(1);
}

/// Shows whether a pool panics.
pub fn pool_panic(pool: &str, node: &str, panic: bool) {
    gauge!("ganger_pool_panic", "pool" => pool.to_owned(), "node" => node.to_owned()).set(f64::from(u8::from(panic)));
}

/// Shows the two shares of the node's health.
pub fn health_shares(memory_usage: bool, execution_success_rate: bool) {
    for (check, holds) in [("memory_usage", memory_usage), ("execution_success_rate", execution_success_rate)] {
        gauge!("ganger_health_check", "check" => check).set(f64::from(u8::from(holds)));
    }
}

/// A worker left: its share is no more.
pub fn worker_left(worker_type: &str, worker: &str, node: &str) {
    utilization(worker_type, worker, node, f64::NAN);
}

/// Shows the size that a pool should have, and counts the decision.
#[expect(clippy::cast_precision_loss, reason = "pools are small")]
pub fn scaled(pool: &str, node: &str, desired: usize, direction: &'static str, limiter: &'static str) {
    gauge!("ganger_pool_desired_workers", "pool" => pool.to_owned(), "node" => node.to_owned()).set(desired as f64);
    counter!("ganger_scale_decisions_total", "pool" => pool.to_owned(), "direction" => direction, "limiter" => limiter)
        .increment(1);
}

/// Counts a change of a pool's size by the signal that asked for most.
pub fn scale_driven(pool: &str, direction: &'static str, metric: &'static str) {
    counter!("ganger_scale_changes_total", "pool" => pool.to_owned(), "direction" => direction, "metric" => metric)
        .increment(1);
}

/// Shows how busy a worker was, 0 to 1.
pub fn utilization(worker_type: &str, worker: &str, node: &str, share: f64) {
    gauge!("worker_utilization", "worker_type" => worker_type.to_owned(), "instance" => worker.to_owned(),
        "node" => node.to_owned())
    .set(share);
}

/// Counts a look that no wake-up asked for.
pub fn safety_look(queue: &str, found: bool) {
    let found = if found { "true" } else { "false" };
    counter!("ganger_safety_looks_total", "queue" => queue.to_owned(), "found" => found).increment(1);
}

// === Queues ===

/// What a queue holds.
#[derive(Debug, Clone, Copy)]
pub struct QueueFigures {
    /// Waiting by priority, most urgent first.
    pub ready: [u64; 5],
    /// Due later.
    pub later: u64,
    /// Leased.
    pub running: u64,
    /// Seconds past the virtual deadline of the first.
    pub head_lateness: Option<f64>,
    /// Whether it is paused.
    pub paused: bool,
}

/// Shows a queue with its first `priorities` priorities.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn queue(queue: &str, priorities: u8, figures: &QueueFigures) {
    let name = || queue.to_owned();
    for number in 1..=priorities {
        if let Some(priority) = Priority::from_number(u64::from(number)) {
            let count = figures.ready[usize::from(number) - 1];
            gauge!("queue_depth", "queue" => name(), "priority" => priority.name()).set(count as f64);
        }
    }
    let ready: u64 = figures.ready.iter().sum();
    for (state, count) in [("ready", ready), ("later", figures.later), ("running", figures.running)] {
        gauge!("ganger_queue_jobs", "queue" => name(), "state" => state).set(count as f64);
    }
    gauge!("ganger_queue_head_lateness_seconds", "queue" => name()).set(figures.head_lateness.unwrap_or(f64::NAN));
    gauge!("ganger_queue_paused", "queue" => name()).set(f64::from(u8::from(figures.paused)));
}

/// Shows the rate of a queue, and the wait that 95 % of its starts stayed below.
pub fn queue_rates(queue: &str, rate: f64, wait_p95_seconds: Option<f64>) {
    gauge!("processing_rate", "queue" => queue.to_owned()).set(rate);
    gauge!("wait_time_p95", "queue" => queue.to_owned()).set(wait_p95_seconds.unwrap_or(f64::NAN));
}

/// What is stuck in a queue.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn stuck(queue: &str, past_sla: usize, long_runs: usize, stalled: bool) {
    gauge!("ganger_stuck_jobs", "queue" => queue.to_owned(), "kind" => "past_sla").set(past_sla as f64);
    gauge!("ganger_stuck_jobs", "queue" => queue.to_owned(), "kind" => "long_run").set(long_runs as f64);
    gauge!("ganger_queue_stalled", "queue" => queue.to_owned()).set(f64::from(u8::from(stalled)));
}

/// Shows the rate of a pool.
pub fn pool_rate(queue: &str, pool: &str, rate: f64) {
    gauge!("queue_processing_rate", "queue" => queue.to_owned(), "worker_pool" => pool.to_owned()).set(rate);
}

/// Shows the share of failed runs and the length that 95 % stayed below.
pub fn runs(error_share: Option<f64>, p95_ms: Option<f64>) {
    gauge!("error_rate_5m").set(error_share.unwrap_or(f64::NAN));
    gauge!("response_time_p95").set(p95_ms.unwrap_or(f64::NAN));
}

// === The stores ===

/// Shows whether the ledger answers.
pub fn ledger_up(up: bool) {
    gauge!("ganger_ledger_up").set(f64::from(u8::from(up)));
}

/// Shows whether the broker is open.
pub fn broker_up(up: bool) {
    gauge!("ganger_broker_up").set(f64::from(u8::from(up)));
}

/// Notes one group commit.
#[expect(clippy::cast_precision_loss, reason = "batches are small")]
pub fn committed(seconds: f64, accepts: usize, settles: usize) {
    histogram!("ganger_ledger_commit_seconds").record(seconds);
    for (kind, rows) in [("accept", accepts), ("settle", settles)] {
        if rows > 0 {
            histogram!("ganger_ledger_batch_rows", "kind" => kind).record(rows as f64);
        }
    }
}

/// Shows the size of the ledger.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn ledger_size(live: u64, finished: u64, bytes: u64) {
    gauge!("ganger_ledger_rows", "table" => "live").set(live as f64);
    gauge!("ganger_ledger_rows", "table" => "finished").set(finished as f64);
    gauge!("ganger_ledger_bytes").set(bytes as f64);
}

/// Shows the free share of the ledger's disk.
pub fn ledger_disk_free(share: Option<f64>) {
    gauge!("ganger_ledger_disk_free_ratio").set(share.unwrap_or(f64::NAN));
}

/// Shows how busy this node's connections to the ledger are.
#[expect(clippy::cast_precision_loss, reason = "pools are small")]
pub fn ledger_connections(busy: usize, free: usize, waiting: usize) {
    for (state, count) in [("busy", busy), ("free", free)] {
        gauge!("ganger_ledger_connections", "state" => state).set(count as f64);
    }
    gauge!("ganger_ledger_calls_waiting").set(waiting as f64);
}

/// Counts what retention dropped.
pub fn retention_dropped(jobs: u64, keys: u64) {
    counter!("ganger_retention_dropped_total", "kind" => "jobs").increment(jobs);
    counter!("ganger_retention_dropped_total", "kind" => "keys").increment(keys);
}

/// Shows which share of its memory the broker uses.
pub fn broker_memory_ratio(ratio: f64) {
    gauge!("ganger_broker_memory_ratio").set(ratio);
}

/// Shows the epoch.
#[expect(clippy::cast_precision_loss, reason = "an epoch stays below 2^21")]
pub fn epoch(epoch: i64) {
    gauge!("ganger_broker_epoch").set(epoch as f64);
}

/// Counts a rebuild.
pub fn rebuilt(seconds: f64) {
    counter!("ganger_broker_rebuilds_total").increment(1);
    gauge!("ganger_broker_rebuild_seconds").set(seconds);
}

/// Counts entries that were put right.
pub fn repaired(kind: &'static str, count: u64) {
    counter!("ganger_broker_repairs_total", "kind" => kind).increment(count);
}

/// The exposition without the samples that mean "no samples": a ratio of nothing is absent.
#[must_use]
pub fn render(handle: &PrometheusHandle) -> String {
    let text = handle.render();
    let mut kept = String::with_capacity(text.len());
    for line in text.lines().filter(|line| line.starts_with('#') || !line.ends_with(" NaN")) {
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_rules() {
        let mut seen = std::collections::BTreeSet::new();
        for known in CATALOG {
            assert!(seen.insert(known.name), "{} is there twice", known.name);
            assert_eq!(known.name.ends_with("_total"), known.kind == Kind::Counter, "{}", known.name);
            assert!(!known.help.is_empty() && !known.help.ends_with('.'), "{}", known.name);
        }
    }
}
