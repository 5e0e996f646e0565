//! The catalogue: every metric, its labels and its help, and one recorder for each.
//!
//! No other file names a metric. No label is unbounded: queues, types, pools and workers come from
//! the configuration, error classes are folded by [`ErrorClasses`]. Counters start at zero.
#![expect(clippy::disallowed_macros, reason = "this is the catalogue that the ban points to")]

use std::collections::BTreeSet;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::job::Priority;
use crate::policy::breaker::State;
use crate::policy::catalog::Catalog;
use crate::policy::shedding::Rule;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, comma-separated.
    pub labels: &'static str,
    /// What it tells.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric there is. `docs/METRICS.md` is held to this table by a test.
pub const CATALOG: &[Metric] = &[
    // The runbook's own names.
    metric(
        "queue_depth",
        Kind::Gauge,
        "queue,priority",
        "Jobs that are due and wait for a worker; the same on every node",
    ),
    metric(
        "queue_processing_rate",
        Kind::Gauge,
        "queue,worker_pool",
        "Runs a second that the pool finished on this node, over the last minute",
    ),
    metric("processing_rate", Kind::Gauge, "queue", "Runs a second that finished on this node, over the last minute"),
    metric(
        "wait_time_p95",
        Kind::Gauge,
        "queue",
        "Seconds from due to start that 95 % of the last 5 minutes' starts stayed below; absent without any",
    ),
    metric(
        "worker_utilization",
        Kind::Gauge,
        "worker_type,instance,node",
        "Share of the time since the last sample that the worker was busy, 0 to 1",
    ),
    metric("active_jobs", Kind::Gauge, "worker_pool,node", "Jobs that run in the pool"),
    metric(
        "error_rate_5m",
        Kind::Gauge,
        "",
        "Share of the last 5 minutes' runs that failed, 0 to 1; absent without any",
    ),
    metric(
        "response_time_p95",
        Kind::Gauge,
        "",
        "Milliseconds that 95 % of the last 5 minutes' runs stayed below; absent without any",
    ),
    // Admission.
    metric(
        "ganger_admissions_total",
        Kind::Counter,
        "queue,decision",
        "Submits that passed the checks, by decision: created, existing, refused",
    ),
    metric("ganger_refusals_total", Kind::Counter, "code", "Requests and batch items refused, by problem code"),
    // Load shedding.
    metric(
        "cpu_usage",
        Kind::Gauge,
        "",
        "Share of the CPU that this node may use (its control groups' quota, or the machine) in use, 0 to 1",
    ),
    metric("memory_usage", Kind::Gauge, "", "The same for memory"),
    metric(
        "ganger_pressure_ratio",
        Kind::Gauge,
        "resource",
        "What the rules of shedding see, 0 to 1: cpu, memory; and the kernel's stall figures: cpu_stalled, memory_stalled",
    ),
    metric("ganger_shed_level", Kind::Gauge, "queue", "Level of shedding in force on this node, 0 to 5"),
    metric("ganger_shed_rule_active", Kind::Gauge, "rule", "1 while the rule is active on this node"),
    metric("ganger_shed_total", Kind::Counter, "queue,rule", "Submits refused for load, by the rule that refused them"),
    // Jobs.
    metric("ganger_queue_jobs", Kind::Gauge, "queue,state", "Jobs in the broker: ready, later, running"),
    metric(
        "ganger_queue_head_lateness_seconds",
        Kind::Gauge,
        "queue",
        "How far the first waiting job is past its virtual deadline (negative: ahead of it); absent when none waits",
    ),
    metric(
        "ganger_stuck_jobs",
        Kind::Gauge,
        "queue,kind",
        "Jobs past their SLA (past_sla) and runs far longer than their type's usually are (long_run)",
    ),
    metric(
        "ganger_queue_stalled",
        Kind::Gauge,
        "queue",
        "1 while the queue has jobs that may run, idle workers here (or none at all), and no claims",
    ),
    metric("ganger_queue_paused", Kind::Gauge, "queue", "1 while the queue is paused"),
    metric("ganger_jobs_finished_total", Kind::Counter, "queue,type,outcome", "Jobs that came to rest, by state"),
    metric(
        "ganger_attempts_total",
        Kind::Counter,
        "queue,type,outcome,error_class",
        "Finished runs; outcome is the state they led to",
    ),
    metric("ganger_job_wait_seconds", Kind::Histogram, "queue,type", "From due to the start of a first run"),
    metric("ganger_job_run_seconds", Kind::Histogram, "queue,type", "Length of a run"),
    metric(
        "ganger_deferrals_total",
        Kind::Counter,
        "queue,reason",
        "Returns that cost no attempt: drain, replace, pushback, lease, due_later, breaker, budget",
    ),
    metric("ganger_crashes_total", Kind::Counter, "queue", "Children, workers or nodes that died under a job"),
    metric(
        "ganger_idempotent_hits_total",
        Kind::Counter,
        "queue",
        "Claims dropped because the ledger knew the outcome already",
    ),
    metric(
        "ganger_stale_results_total",
        Kind::Counter,
        "queue",
        "Results refused because a later fence, another life or an operator came first",
    ),
    metric(
        "ganger_abandoned_runs_total",
        Kind::Counter,
        "queue",
        "Handlers that did not stop within their grace and were dropped",
    ),
    // Leases and workers.
    metric(
        "ganger_leases_expired_total",
        Kind::Counter,
        "queue,kind",
        "Expired leases returned to their queue: crash (node gone) or deferral",
    ),
    metric("ganger_leases_lost_total", Kind::Counter, "queue", "Leases that this node held and lost"),
    metric("ganger_pool_workers", Kind::Gauge, "pool,state,node", "Workers by state: idle, busy, draining, hung"),
    metric(
        "ganger_worker_replacements_total",
        Kind::Counter,
        "pool,reason",
        "Workers replaced: hung, memory, success_rate, died; drain and replace by order of an operator",
    ),
    metric(
        "ganger_workers_recycled_total",
        Kind::Counter,
        "pool,reason",
        "Healthy workers replaced when they were due: jobs (they had done enough), growth (a job held much memory)",
    ),
    metric(
        "ganger_pool_panic",
        Kind::Gauge,
        "pool,node",
        "1 while so many workers of the pool are unhealthy that the cause is shared and nobody is replaced",
    ),
    metric(
        "ganger_health_check",
        Kind::Gauge,
        "check",
        "1 while a share that /health looks at is in bounds: memory_usage, execution_success_rate",
    ),
    metric(
        "ganger_pool_desired_workers",
        Kind::Gauge,
        "pool,node",
        "Workers that the pool should have by the autoscaler's last decision",
    ),
    metric(
        "ganger_scale_decisions_total",
        Kind::Counter,
        "pool,direction,limiter",
        "Decisions of the autoscaler: up, down, hold; limiter is tolerance, stabilised, rate, headroom, max, min, missing, none",
    ),
    metric(
        "ganger_scale_changes_total",
        Kind::Counter,
        "pool,direction,metric",
        "Changes of a pool's size by the signal that asked for most: cpu, memory, queue_depth, latency, busy, none",
    ),
    metric(
        "ganger_safety_looks_total",
        Kind::Counter,
        "queue,found",
        "Looks without a wake-up; found=true means that a wake-up was lost",
    ),
    // Breakers.
    metric(
        "ganger_breaker_state",
        Kind::Gauge,
        "breaker,state",
        "1 for the state that the breaker is in, 0 for the others: closed, half_open, open, forced_open",
    ),
    metric("ganger_breaker_held_jobs", Kind::Gauge, "breaker", "Jobs that are due and wait for the breaker"),
    metric(
        "ganger_breaker_transitions_total",
        Kind::Counter,
        "breaker,to",
        "Changes of state that this node made or heard of, by the new state",
    ),
    metric(
        "ganger_breaker_probes_total",
        Kind::Counter,
        "breaker,outcome",
        "Probes: succeeded, failed, returned (nothing learnt), lapsed (nobody reported in time; counted by every node)",
    ),
    metric(
        "ganger_breaker_stale_results_total",
        Kind::Counter,
        "breaker",
        "Results that came after the breaker had changed, and changed nothing",
    ),
    // The stores.
    metric("ganger_ledger_up", Kind::Gauge, "", "1 while the ledger answers"),
    metric("ganger_broker_up", Kind::Gauge, "", "1 while the broker is open for claims"),
    metric("ganger_ledger_commit_seconds", Kind::Histogram, "", "Time of one group commit"),
    metric("ganger_ledger_batch_rows", Kind::Histogram, "kind", "Rows in one group commit: accept, settle"),
    metric("ganger_ledger_rows", Kind::Gauge, "table", "Rows in the ledger: live, finished"),
    metric("ganger_ledger_bytes", Kind::Gauge, "", "Size of the ledger on disk"),
    metric("ganger_retention_dropped_total", Kind::Counter, "kind", "Rows that retention dropped: jobs, keys"),
    metric(
        "ganger_broker_memory_ratio",
        Kind::Gauge,
        "",
        "Share of Redis' maxmemory in use, 0 to 1, of its fullest server; 0 without a maxmemory",
    ),
    metric("ganger_broker_epoch", Kind::Gauge, "", "The epoch that this node works in"),
    metric("ganger_broker_rebuilds_total", Kind::Counter, "", "Rebuilds of the broker from the ledger by this node"),
    metric("ganger_broker_rebuild_seconds", Kind::Gauge, "", "Length of the last rebuild"),
    metric(
        "ganger_broker_repairs_total",
        Kind::Counter,
        "kind",
        "Entries put right: outage (pushed again after a failed push), missing, ghost, misplaced, pause, lease",
    ),
    metric("ganger_build_info", Kind::Gauge, "version", "Always 1"),
];

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
    }
    counter!("ganger_broker_rebuilds_total").absolute(0);
    for kind in ["outage", "missing", "ghost", "misplaced", "pause", "lease"] {
        counter!("ganger_broker_repairs_total", "kind" => kind).absolute(0);
    }
}

/// Folds error classes into a bounded set of label values.
#[derive(Debug, Clone, Default)]
pub struct ErrorClasses(BTreeSet<String>);

/// Classes that Ganger's own handlers give.
const OWN_CLASSES: &[&str] = &[
    "timeout",
    "rate_limit",
    "temporary_failure",
    "http_3xx",
    "http_4xx",
    "http_5xx",
    "connection",
    "crash",
    "poison",
    "late",
    "bad_enqueue",
    "bad_envelope",
    "output_too_large",
    "spawn_failed",
    "unavailable",
    "review",
    "result_refused",
];

impl ErrorClasses {
    /// The classes that handlers give and those that the catalogue's policies name.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let policies = catalog.types.values().map(|known| &known.retry);
        let named = policies.flat_map(|retry| retry.retry_on_errors.iter().chain(&retry.no_retry_errors)).cloned();
        Self(named.chain(OWN_CLASSES.iter().map(|&class| class.to_owned())).collect())
    }

    /// `class` itself where it is known, else `other`.
    #[must_use]
    pub fn fold<'a>(&'a self, class: &str) -> &'a str {
        self.0.get(class).map_or("other", String::as_str)
    }
}

// === Admission ===

/// Counts submits of a queue by decision: `created`, `existing`, `refused`.
pub fn admitted(queue: &str, decision: &'static str, count: u64) {
    counter!("ganger_admissions_total", "queue" => queue.to_owned(), "decision" => decision).increment(count);
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
        let mut seen = BTreeSet::new();
        for known in CATALOG {
            assert!(seen.insert(known.name), "{} is there twice", known.name);
            assert_eq!(known.name.ends_with("_total"), known.kind == Kind::Counter, "{}", known.name);
            assert!(!known.help.is_empty() && !known.help.ends_with('.'), "{}", known.name);
        }
    }

    #[test]
    fn unknown_error_classes_share_one_label_value() {
        let classes = ErrorClasses(["timeout".to_owned()].into());
        assert_eq!(classes.fold("timeout"), "timeout");
        assert_eq!(classes.fold("user 17 not found"), "other");
    }
}
