"""Writes deploy/grafana/dashboards from the panels below: `python dashboards.py`; `--check` compares only.

Grafana's classic JSON model, by hand a thousand lines for each dashboard, says little beside what stands here.
"""
import json
import pathlib
import sys

import drawing

FOLDER = pathlib.Path("deploy/grafana/dashboards")
# What the selectors of a dashboard mean; `instance` is every node's own, and figures of queues are the same on all.
QUEUE, POOL = 'queue=~"$queue"', 'worker_pool=~"$pool"'


def panel(title, unit, about, *queries, kind="timeseries", limits=(), low_is_bad=False, top=None, wide=False):
    """A panel: queries are pairs of an expression and a legend; limits are where it turns orange and red."""
    return dict(title=title, unit=unit, about=about, queries=queries, kind=kind, limits=limits, low_is_bad=low_is_bad,
                top=top, wide=wide)


def stat(title, unit, about, *queries, **more):
    return panel(title, unit, about, *queries, kind="stat", **more)


def p95(metric, by, selector=""):
    return f"histogram_quantile(0.95, sum by ({by}, le) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))"


def rate(metric, by, selector=""):
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"


DASHBOARDS = {
    "queue-health": ("Queue Health", [
        ("The runbook's", [
            panel("Queue depth", "short", "Jobs that are due and wait for a worker. The runbook alerts above 500; the queue sheds above 1,000.",
                  (f"sum by (queue) (max by (queue, priority) (queue_depth{{{QUEUE}}}))", "{{queue}}"), limits=(500, 1000)),
            panel("Processing rate", "ops", "Runs a second that finished, over all nodes and the last minute. A retried run counts each time.",
                  (f"sum by (queue) (processing_rate{{{QUEUE}}})", "{{queue}}")),
            panel("Wait, 95th percentile", "s", "From due to start, of jobs that started within five minutes, on the worst node. The runbook alerts above 60 s.",
                  (f"max by (queue) (wait_time_p95{{{QUEUE}}})", "{{queue}}"), limits=(12, 60)),
        ]),
        ("What these do not show", [
            panel("Depth by priority", "short", "Where the waiting jobs stand in the order.",
                  (f"max by (queue, priority) (queue_depth{{{QUEUE}}})", "{{queue}} {{priority}}")),
            panel("Wait over all nodes, 95th percentile", "s", "By the histograms of first starts.",
                  (p95("ganger_job_wait_seconds", "queue", QUEUE), "{{queue}}"), limits=(12, 60)),
            panel("Lateness at the head", "s", "How far the first waiting job is past its virtual deadline; below zero it has time. Grows while nothing starts, when waits are silent. None while nothing waits.",
                  (f"max by (queue) (ganger_queue_head_lateness_seconds{{{QUEUE}}})", "{{queue}}"), limits=(0, 60)),
            panel("SLA missed", "percentunit", "Share of the jobs with an SLA that came to rest too late. Alerts above 5 % of more than 20 jobs in five minutes.",
                  (f'sum by (queue) (rate(ganger_sla_jobs_total{{result="missed", {QUEUE}}}[$__rate_interval])) / sum by (queue) (rate(ganger_sla_jobs_total{{{QUEUE}}}[$__rate_interval]))', "{{queue}}"), limits=(0.05, 0.2), top=1),
            panel("Stuck jobs", "short", "Past their SLA and not at rest, or running far longer than their type usually does.",
                  (f"max by (queue, kind) (ganger_stuck_jobs{{{QUEUE}}})", "{{queue}} {{kind}}"), limits=(1, 20)),
            panel("Jobs in the broker", "short", "Ready, due later and running.",
                  (f"max by (queue, state) (ganger_queue_jobs{{{QUEUE}}})", "{{queue}} {{state}}")),
        ]),
        ("What becomes of jobs", [
            panel("Came to rest", "ops", "Jobs a second by the state in which they came to rest.",
                  (rate("ganger_jobs_finished_total", "outcome", QUEUE), "{{outcome}}")),
            panel("Failed runs by error class", "ops", "Runs a second that failed, retried ones too.",
                  (rate("ganger_attempts_total", "queue, error_class", f'error_class!="", {QUEUE}'), "{{queue}} {{error_class}}")),
            panel("Accepted and refused", "ops", "Submits a second by decision.",
                  (rate("ganger_admissions_total", "queue, decision", QUEUE), "{{queue}} {{decision}}")),
            panel("Run time, 95th percentile", "s", "By job type.",
                  (p95("ganger_job_run_seconds", "type", QUEUE), "{{type}}")),
            panel("Deferrals", "ops", "Returns that cost a job no attempt, by reason.",
                  (rate("ganger_deferrals_total", "reason", QUEUE), "{{reason}}")),
            panel("Paused or stalled", "short", "1 while a queue is paused, or has jobs that nobody takes.",
                  (f"max by (queue) (ganger_queue_paused{{{QUEUE}}})", "{{queue}} paused"),
                  (f"max by (queue) (ganger_queue_stalled{{{QUEUE}}})", "{{queue}} stalled"), limits=(1, 2), top=1),
        ]),
    ]),
    "worker-pools": ("Worker Pools", [
        ("The runbook's", [
            panel("CPU", "percentunit", "Share of the CPU that each node may use. Pools stop growing at 90 %; the alert is at 80 %, shedding at 95 %.",
                  ("cpu_usage", "{{instance}}"), limits=(0.8, 0.95), top=1),
            panel("Memory", "percentunit", "The same for memory: the alert is at 85 %, shedding at 90 %.",
                  ("memory_usage", "{{instance}}"), limits=(0.85, 0.9), top=1),
            panel("Active jobs", "short", "Jobs that run in each pool, over all nodes.",
                  (f"sum by (worker_pool) (active_jobs{{{POOL}}})", "{{worker_pool}}")),
        ]),
        ("Workers", [
            panel("Utilisation", "percentunit", "Mean share of the time that a pool's workers were busy.",
                  ("avg by (worker_type) (worker_utilization)", "{{worker_type}}"), limits=(0.8, 0.95), top=1),
            panel("Runs by pool", "ops", "Runs a second that each pool finished, over all nodes and the last minute.",
                  (f"sum by (worker_pool) (queue_processing_rate{{{POOL}}})", "{{worker_pool}}")),
            panel("Workers by state", "short", "Idle, busy, draining and hung workers of all nodes.",
                  ('sum by (pool, state) (ganger_pool_workers{pool=~"$pool"})', "{{pool}} {{state}}")),
            panel("Workers wanted", "short", "What the autoscaler decided last, over all nodes.",
                  ('sum by (pool) (ganger_pool_desired_workers{pool=~"$pool"})', "{{pool}}")),
            panel("Changes of size", "ops", "By the signal that asked for most.",
                  (rate("ganger_scale_changes_total", "pool, direction, metric", 'pool=~"$pool"'), "{{pool}} {{direction}} for {{metric}}")),
            panel("What limits the size", "ops", "Decisions of the autoscaler by what held them back: the bounds, the rate, the node's headroom.",
                  (rate("ganger_scale_decisions_total", "pool, limiter", 'pool=~"$pool"'), "{{pool}} {{limiter}}")),
        ]),
        ("Trouble", [
            panel("Replaced workers", "short", "Within an hour, by reason. Drain and replace are an operator's.",
                  ('sum by (pool, reason) (increase(ganger_worker_replacements_total{pool=~"$pool"}[1h]))', "{{pool}} {{reason}}"), limits=(3, 10)),
            panel("Pools in panic", "short", "1 while so many workers are unhealthy that nobody is replaced.",
                  ('max by (pool, node) (ganger_pool_panic{pool=~"$pool"})', "{{pool}} {{node}}"), limits=(1, 2), top=1),
            panel("Recycled workers", "short", "Healthy ones that were due, within an hour.",
                  ('sum by (pool, reason) (increase(ganger_workers_recycled_total{pool=~"$pool"}[1h]))', "{{pool}} {{reason}}")),
            panel("Crashes and dropped runs", "short", "Children, workers or nodes that died under a job, and handlers that did not stop, within an hour.",
                  ("sum by (queue) (increase(ganger_crashes_total[1h]))", "{{queue}} crashed"),
                  ("sum by (queue) (increase(ganger_abandoned_runs_total[1h]))", "{{queue}} dropped"), limits=(1, 10)),
            panel("Leases", "short", "Expired ones that were returned to their queue, and those that a node lost, within an hour.",
                  ("sum by (queue, kind) (increase(ganger_leases_expired_total[1h]))", "{{queue}} expired, {{kind}}"),
                  ("sum by (queue) (increase(ganger_leases_lost_total[1h]))", "{{queue}} lost"), limits=(1, 10)),
            panel("Health checks", "short", "1 while the node's shares of memory and of good runs are in bounds.",
                  ("ganger_health_check", "{{instance}} {{check}}"), limits=(0.5, 1), low_is_bad=True, top=1),
        ]),
    ]),
    "healing": ("Healing", [
        ("The runbook's", [
            panel("Healing success", "percentunit", "Share of the healings that healed: of the last five minutes, and of the last 24 hours. The runbook alerts below 85 %.",
                  ("max(heal_success_rate)", "5 minutes"), ("max(healing_success_rate_24h)", "24 hours"), limits=(0.85, 0.95), low_is_bad=True, top=1),
            panel("Confidence", "percentunit", "Mean confidence of the last five minutes' healings, failed ones too.",
                  ("max(heal_confidence)", "confidence"), limits=(0.6, 0.8), low_is_bad=True, top=1),
            panel("Manual review", "percentunit", "Share of the healing jobs that went to a person. The runbook alerts above 20 %.",
                  ("max(manual_review_rate)", "to review"), limits=(0.2, 0.4), top=1),
        ]),
        ("Elements and tests", [
            panel("Healing success by strategy", "percentunit", "Which way of finding an element again works.",
                  ("max by (strategy) (element_healing_success_rate)", "{{strategy}}"), limits=(0.85, 0.95), low_is_bad=True, top=1),
            panel("Element repository hits", "percentunit", "By cache level, each of the lookups that reached it, and over all levels. The runbook alerts below 70 %.",
                  ("max by (cache_level) (element_repository_hit_rate)", "{{cache_level}}"),
                  ("1 - exp(sum(ln(1 - max by (cache_level) (element_repository_hit_rate))))", "any level"), limits=(0.7, 0.9), low_is_bad=True, top=1),
            panel("Test success", "percentunit", "Share of finished tests that succeeded, by environment.",
                  ("max by (environment) (test_execution_success_rate)", "{{environment}}"), limits=(0.8, 0.95), low_is_bad=True, top=1),
            panel("Satisfaction", "short", "Mean score of the last day's feedback, 1 to 5.",
                  ("max by (feature) (user_satisfaction_score)", "{{feature}}"), limits=(3, 4), low_is_bad=True, top=5),
            panel("Policy evaluation, 95th percentile", "ms", "How long an evaluation of a policy takes.",
                  (p95("policy_evaluation_duration_ms", "policy"), "{{policy}}")),
            panel("Observations", "ops", "What handlers and callers observed, by kind, and what could not be counted.",
                  (rate("ganger_observations_total", "kind"), "{{kind}}"),
                  (rate("ganger_observations_refused_total", "reason"), "refused: {{reason}}")),
        ]),
        ("Reviews", [
            panel("Open reviews", "short", "What waits for a person, by why.",
                  ("max by (reason) (ganger_reviews_open)", "{{reason}}")),
            panel("Oldest review", "s", "How long the oldest open review has waited.",
                  ("max(ganger_review_oldest_age_seconds)", "oldest"), limits=(28800, 86400)),
            panel("Decisions", "short", "Reviews that were decided within an hour.",
                  ("sum by (decision) (increase(ganger_review_decisions_total[1h]))", "{{decision}}")),
        ]),
    ]),
    "overload-dependencies": ("Overload and Dependencies", [
        ("Overload", [
            panel("Pressure", "percentunit", "What the rules of shedding see of CPU and memory, and the kernel's stall figures.",
                  ("ganger_pressure_ratio", "{{instance}} {{resource}}"), limits=(0.8, 0.95), top=1),
            panel("Failed runs", "percentunit", "Share of the last five minutes' runs that failed, by node. Shedding begins at 20 %.",
                  ("error_rate_5m", "{{instance}}"), limits=(0.1, 0.2), top=1),
            panel("Response time, 95th percentile", "ms", "Length of the last five minutes' runs, by node. Shedding looks at quick types only, at 30 s.",
                  ("response_time_p95", "{{instance}}"), limits=(20000, 30000)),
            panel("Shedding level", "short", "0 refuses nothing, 5 everything but the most urgent.",
                  (f"max by (queue) (ganger_shed_level{{{QUEUE}}})", "{{queue}}"), limits=(1, 3), top=5),
            panel("Rules of shedding", "short", "1 while a rule is active on a node.",
                  ("max by (rule) (ganger_shed_rule_active)", "{{rule}}"), limits=(1, 2), top=1),
            panel("Refused for load", "ops", "Submits a second, by the rule that refused them.",
                  (rate("ganger_shed_total", "queue, rule", QUEUE), "{{queue}} {{rule}}")),
            panel("All refusals", "ops", "Requests and batch items a second, by problem code.",
                  (rate("ganger_refusals_total", "code"), "{{code}}"), wide=True),
        ]),
        ("Dependencies", [
            panel("Breakers not closed", "short", "1 while a breaker is open, half open or held open by an operator.",
                  ('max by (breaker) (ganger_breaker_state{state!="closed"})', "{{breaker}}"), limits=(1, 2), top=1),
            panel("Held jobs", "short", "Due jobs that wait for a breaker and spend no attempt.",
                  ("max by (breaker) (ganger_breaker_held_jobs)", "{{breaker}}"), limits=(100, 1000)),
            panel("Breakers: changes and probes", "short", "Within an hour.",
                  ("sum by (breaker, to) (increase(ganger_breaker_transitions_total[1h]))", "{{breaker}} to {{to}}"),
                  ("sum by (breaker, outcome) (increase(ganger_breaker_probes_total[1h]))", "{{breaker}} probe {{outcome}}")),
            panel("MCP servers", "short", "1 while a server answers a node's pings.",
                  ("min by (server) (mcp_server_health_check)", "{{server}}"), limits=(0.5, 1), low_is_bad=True, top=1),
            panel("Tool calls, 95th percentile", "s", "Length by tool.",
                  (p95("mcp_tool_call_duration_seconds", "tool"), "{{tool}}")),
            panel("Tool calls", "ops", "Calls a second by tool and outcome.",
                  (rate("mcp_tool_call_duration_seconds_count", "tool, outcome"), "{{tool}} {{outcome}}")),
        ]),
    ]),
    "store-ledger": ("Store and Ledger", [
        ("At a glance", [
            stat("Nodes that accept", "short", "Up, with their ledger.", ("cluster:ganger_accepting_nodes:count", "nodes"), limits=(1, 2), low_is_bad=True),
            stat("Ledger", "short", "Nodes without their ledger.", ("count(ganger_ledger_up == 0) or vector(0)", "without"), limits=(1, 2)),
            stat("Broker", "short", "Nodes without an open broker.", ("count(ganger_broker_up == 0) or vector(0)", "without"), limits=(1, 2)),
            stat("Integrity violations", "short", "Contradictions of ledger and broker that no outage explains, within a day.",
                 ("sum(increase(ganger_integrity_violations_total[1d]))", "violations"), limits=(1, 2)),
            stat("Open incidents", "short", "Incidents that are not resolved.", ("max(ganger_incidents_open)", "open"), limits=(1, 2)),
            stat("Versions", "short", "Nodes by version.", ("count by (version) (ganger_build_info)", "{{version}}")),
        ]),
        ("Ledger", [
            panel("Commit time", "s", "Every accept and every outcome waits for one. Alerts above 250 ms.",
                  (p95("ganger_ledger_commit_seconds", "instance"), "{{instance}}, 95th percentile"), limits=(0.1, 0.25)),
            panel("Rows in a commit", "short", "Mean rows of accepts and of outcomes: one when idle, hundreds under load.",
                  ("sum by (kind) (rate(ganger_ledger_batch_rows_sum[$__rate_interval])) / sum by (kind) (rate(ganger_ledger_batch_rows_count[$__rate_interval]))", "{{kind}}")),
            panel("Rows", "short", "Live and finished jobs; estimates on Postgres.",
                  ("max by (table) (ganger_ledger_rows)", "{{table}}")),
            panel("Size", "bytes", "The ledger on disk.", ("max(ganger_ledger_bytes)", "ledger")),
            panel("Free disk", "percentunit", "Of the disk under the ledger's file; absent on Postgres.",
                  ("ganger_ledger_disk_free_ratio", "{{instance}}"), limits=(0.03, 0.1), low_is_bad=True, top=1),
            panel("Connections", "short", "To Postgres, busy and free, and calls that wait for one; absent on SQLite.",
                  ("sum by (instance, state) (ganger_ledger_connections)", "{{instance}} {{state}}"),
                  ("ganger_ledger_calls_waiting", "{{instance}} waiting")),
            panel("Dropped by retention", "ops", "Jobs and keys a second.", (rate("ganger_retention_dropped_total", "kind"), "{{kind}}")),
        ]),
        ("Broker", [
            panel("Redis memory", "percentunit", "Share of maxmemory. Jobs are refused from 85 %; absent on the embedded footing.",
                  ("max(ganger_broker_memory_ratio)", "in use"), limits=(0.75, 0.85), top=1),
            panel("Epoch and rebuilds", "short", "Each rebuild from the ledger raises the epoch.",
                  ("max(ganger_broker_epoch)", "epoch"), ("sum(increase(ganger_broker_rebuilds_total[1h]))", "rebuilds within an hour")),
            panel("Repairs", "short", "Entries that were put right, within an hour. In steady state missing, ghost and misplaced are none.",
                  ("sum by (kind) (increase(ganger_broker_repairs_total[1h]))", "{{kind}}"), limits=(1, 10)),
            panel("Fences at work", "short", "Late results that were refused, and claims that the ledger knew as done, within an hour.",
                  ("sum by (queue) (increase(ganger_stale_results_total[1h]))", "{{queue}} stale"),
                  ("sum by (queue) (increase(ganger_idempotent_hits_total[1h]))", "{{queue}} done before")),
            panel("Lost wake-ups", "short", "Jobs that only the look once a second found, within an hour.",
                  ('sum by (queue) (increase(ganger_safety_looks_total{found="true"}[1h]))', "{{queue}}"), limits=(1, 10)),
            panel("Length of the last rebuild", "s", "On the embedded footing every start is one.",
                  ("max by (instance) (ganger_broker_rebuild_seconds)", "{{instance}}")),
        ]),
        ("Operations", [
            panel("Remediations", "short", "Actions within an hour, by what came of them.",
                  ("sum by (action, result) (increase(ganger_remediations_total[1h]))", "{{action}} {{result}}")),
            panel("Incidents", "s", "Mean time from detection to notice, response and resolution over the last 50 incidents.",
                  ("max by (phase) (ganger_incident_seconds)", "{{phase}}")),
            panel("Configuration reloads", "short", "Within an hour, by outcome.",
                  ("sum by (outcome) (increase(ganger_config_reloads_total[1h]))", "{{outcome}}")),
            panel("Age of the configuration", "s", "Since a node last took one over.",
                  ("time() - ganger_config_last_success_timestamp_seconds", "{{instance}}")),
        ]),
    ]),
}

def dashboard(name):
    return drawing.dashboard(name, *DASHBOARDS[name])


if __name__ == "__main__":
    for name in DASHBOARDS:
        text = json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"
        file = FOLDER / f"{name}.json"
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            sys.exit(f"{file} does not follow from scripts/deploy/dashboards.py: run it")
