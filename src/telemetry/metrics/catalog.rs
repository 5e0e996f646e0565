//! The table of all metrics.

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
    // Business measures: means of windows over all nodes.
    metric(
        "test_execution_success_rate",
        Kind::Gauge,
        "environment",
        "Share of the last 5 minutes' finished tests that succeeded, 0 to 1; absent without any",
    ),
    metric(
        "element_healing_success_rate",
        Kind::Gauge,
        "strategy",
        "Share of the last 5 minutes' healings that healed, 0 to 1; absent without any",
    ),
    metric("healing_success_rate_24h", Kind::Gauge, "", "The same of the last 24 hours, over all strategies"),
    metric("heal_success_rate", Kind::Gauge, "", "The same of the last 5 minutes, over all strategies"),
    metric(
        "heal_confidence",
        Kind::Gauge,
        "",
        "Mean confidence of the last 5 minutes' healings that told one, 0 to 1; absent without any",
    ),
    metric(
        "manual_review_rate",
        Kind::Gauge,
        "",
        "Share of the last 5 minutes' finished healing jobs that went to manual review, 0 to 1; absent without any",
    ),
    metric(
        "user_satisfaction_score",
        Kind::Gauge,
        "feature",
        "Mean score of the last 24 hours' feedback, 1 (bad) to 5 (good); absent without any",
    ),
    metric(
        "element_repository_hit_rate",
        Kind::Gauge,
        "cache_level",
        "Share of the last 5 minutes' cache lookups that hit, 0 to 1; absent without any",
    ),
    metric(
        "policy_evaluation_duration_ms",
        Kind::Histogram,
        "policy",
        "Milliseconds that an evaluation of a policy took, as observed on this node since its start",
    ),
    metric(
        "ganger_observations_total",
        Kind::Counter,
        "kind",
        "Observations counted on this node: cache_lookup, policy_evaluation, healing, feedback",
    ),
    metric(
        "ganger_observations_refused_total",
        Kind::Counter,
        "reason",
        "Observations of handlers not counted: not_an_object, unknown_kind, unknown_member, bad_member, too_many, no_room",
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
        "ganger_sla_jobs_total",
        Kind::Counter,
        "queue,type,result",
        "Jobs with an SLA that came to rest by themselves, by whether that was in time: met, missed",
    ),
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
    // Reviews.
    metric(
        "ganger_reviews_open",
        Kind::Gauge,
        "reason",
        "Jobs in review by why: requested, failed, poison, late; the same on every node",
    ),
    metric(
        "ganger_review_oldest_age_seconds",
        Kind::Gauge,
        "",
        "How long the oldest open review has waited; absent without any",
    ),
    metric(
        "ganger_review_decisions_total",
        Kind::Counter,
        "decision",
        "Reviews decided through this node: approved, edited, rejected, retried",
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
    // Remediation.
    metric(
        "ganger_remediations_total",
        Kind::Counter,
        "action,result",
        "Actions of remediation that this node ended: healed, failed, suppressed (something held it back), dry_run",
    ),
    metric(
        "ganger_remediation_enabled",
        Kind::Gauge,
        "",
        "1 while alerts are acted on, 0 while remediation is switched off",
    ),
    metric(
        "ganger_remediation_overflows_total",
        Kind::Counter,
        "",
        "Alerts that were not acted on because too many were waiting",
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
    metric(
        "mcp_tool_call_duration_seconds",
        Kind::Histogram,
        "tool,outcome",
        "Length of a tool call; tool is one that the configuration or its server names, else other; outcome is success, error, timeout, cancelled",
    ),
    metric(
        "mcp_server_health_check",
        Kind::Gauge,
        "server",
        "1 when the MCP server answered its last ping within 500 ms, 0 when not; absent before its first",
    ),
    metric("ganger_ledger_up", Kind::Gauge, "", "1 while the ledger answers"),
    metric("ganger_broker_up", Kind::Gauge, "", "1 while the broker is open for claims"),
    metric("ganger_ledger_commit_seconds", Kind::Histogram, "", "Time of one group commit"),
    metric("ganger_ledger_batch_rows", Kind::Histogram, "kind", "Rows in one group commit: accept, settle"),
    metric("ganger_ledger_rows", Kind::Gauge, "table", "Rows in the ledger: live, finished"),
    metric("ganger_ledger_bytes", Kind::Gauge, "", "Size of the ledger on disk"),
    metric(
        "ganger_ledger_disk_free_ratio",
        Kind::Gauge,
        "",
        "Free share of the disk that holds the ledger's file, 0 to 1; absent on Postgres",
    ),
    metric(
        "ganger_ledger_connections",
        Kind::Gauge,
        "state",
        "Connections of this node to Postgres: busy, free; absent on SQLite",
    ),
    metric(
        "ganger_ledger_calls_waiting",
        Kind::Gauge,
        "",
        "Calls of this node that wait for a connection to Postgres; absent on SQLite",
    ),
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
    metric(
        "ganger_alerts_received_total",
        Kind::Counter,
        "status",
        "Alerts in webhooks that were noted by this node: firing, resolved, or ignored by configuration",
    ),
    metric("ganger_incidents_total", Kind::Counter, "", "Incidents so far; the same on every node"),
    metric("ganger_incidents_open", Kind::Gauge, "", "Incidents that are not over; the same on every node"),
    metric(
        "ganger_incident_seconds",
        Kind::Gauge,
        "phase",
        "Mean seconds from detection over the last 50 incidents: to notice, response or resolution; absent without any",
    ),
    metric("ganger_timeline_events_total", Kind::Counter, "kind", "Events that this node has noted in the timeline"),
    metric(
        "ganger_timeline_dropped_total",
        Kind::Counter,
        "",
        "Events that were not written: too many waited for the ledger, or it refused them",
    ),
    metric(
        "ganger_integrity_violations_total",
        Kind::Counter,
        "kind",
        "Findings that cannot be unless data is damaged or somebody else wrote it: unexplained_repair, foreign_broker, \
         live_and_at_rest, damaged_file, not_json, unreadable_row",
    ),
    metric(
        "ganger_config_reloads_total",
        Kind::Counter,
        "outcome",
        "Reloads of the configuration (SIGHUP): applied, or refused because a file is bad",
    ),
    metric(
        "ganger_config_last_success_timestamp_seconds",
        Kind::Gauge,
        "",
        "When a configuration was last taken over, at the start or by a reload, in seconds since the Unix epoch",
    ),
    metric("ganger_build_info", Kind::Gauge, "version", "Always 1"),
];
