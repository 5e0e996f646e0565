"""Runs every query of alerts and dashboards on a real Prometheus that scrapes real daemons under load: `live.py GANGER`.

A daemon of each footing works meanwhile: the demo's day on SQLite, and jobs that succeed, fail, wait and are refused on
Redis and Postgres. A query has to give series at some time, except where chance decides.
"""
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse

import alerts
import panels
import stage
from stage import fetch, until

# What may give nothing here, since its series appear with an event that chance decides. Whatever else gives nothing is wrong;
# a query that is none is an error in any case.
BY_CHANCE = {
    'sum by (queue) (increase(ganger_safety_looks_total{found="true"}[1h]))': "a wake-up got lost",
    'sum by (queue) (increase(ganger_safety_looks_total{found="true"}[10m]))': "a wake-up got lost",
}
# What promtool has against /metrics: the runbook's own names, which are as they are.
UNUSUAL = {
    "policy_evaluation_duration_ms": "the runbook's unit",
}
CONFIG = """
[server]
node = "b"
[auth.tokens.operator]
role = "operate"
token = "%s"
[job_types.plan_generation.handler]
kind = "builtin"
name = "noop"
[job_types.test_execution.handler]
kind = "builtin"
name = "fail"
[job_types.element_healing.handler]
kind = "builtin"
name = "fail"
[job_types.analytics_queries.handler]
kind = "builtin"
name = "sleep"
[shedding]
queue_depth = 50
[breakers]
failures = 5
""" % stage.TOKEN
COMPARISON = re.compile(r"(>=|<=|==|>|<)\s*-?\d+(\.\d+)?")


def left_side(expr):
    """An alert's expression without its thresholds."""
    return " ".join(COMPARISON.sub("", expr).split())


def queries():
    for rule in alerts.rules_of("alerts.yml"):
        yield f"alert {rule['alert']}", left_side(rule["expr"])
    for where, expr in panels.queries():
        yield f"panel {where}", expr


def work(daemon):
    """Load of every kind for the second footing."""
    jobs = [{"type": "plan_generation"}] * 300
    jobs += [{"type": "test_execution", "payload": {"class": "browser_crash", "times": 9}}] * 20
    jobs += [{"type": "element_healing", "payload": {"class": "odd", "times": 9}}] * 10
    jobs += [{"type": "analytics_queries", "payload": {"ms": 300}}] * 200
    jobs += [{"type": "no_such_type"}]
    fetch(f"http://{daemon}/v1/jobs/batch", jobs)
    fetch(f"http://{daemon}/v1/observations", [
        {"kind": "cache_lookup", "cache_level": "l1", "hit": True},
        {"kind": "healing", "strategy": "id_match", "healed": True, "confidence": 0.9},
        {"kind": "policy_evaluation", "policy": "seating_selection", "duration_ms": 1.5}])


def asked(prometheus, path, **parameters):
    answer = json.loads(fetch(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
    return answer["data"]


def about_queries(prometheus, began):
    """Every query over the whole time."""
    end = time.time()
    for where, expr in queries():
        found = asked(prometheus, "query_range", query=expr, start=began, end=end, step=1)["result"]
        if not found and expr not in BY_CHANCE:
            yield f"{where}: no series for {expr}"
    asked_for = {expr for _, expr in queries()}
    yield from (f"nobody asks {expr} any more" for expr in BY_CHANCE if expr not in asked_for)


def about_rules(prometheus):
    for group in asked(prometheus, "rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                yield f"{rule['name']} is {rule['health']}: {rule.get('lastError')}"
    for alert in asked(prometheus, "alerts")["alerts"]:
        for name, text in alert["annotations"].items():
            if any(sign in text for sign in ("<error", "<no value>", "{{")) or (name == "runbook_url" and "://" not in text):
                yield f"{alert['labels']['alertname']}: {name} is {text!r}"


def about_metrics(daemons):
    told = set()
    for daemon in daemons:
        text = fetch(f"http://{daemon}/metrics")
        ran = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        told |= {tuple(line.split(" ", 1)) for line in (ran.stdout + ran.stderr).splitlines()}
    yield from (f"promtool has something against {name}: {words}" for name, words in sorted(told) if name not in UNUSUAL)
    yield from (f"promtool has nothing against {name}" for name in sorted(UNUSUAL.keys() - {name for name, _ in told}))


def trial(name, severity="warning", **labels):
    return {"labels": {"alertname": name, "severity": severity, "trial": "yes", **labels}, "annotations": {"summary": "a trial"}}


# What silences, what is silenced by it, what is not.
INHIBITIONS = [
    (trial("TargetDown", instance="x"), trial("CpuHigh", instance="x"), trial("CpuHigh", instance="y")),
    (trial("Shedding", queue="x"), trial("HighQueueDepth", "critical", queue="x"), trial("HighQueueDepth", "critical", queue="y")),
    (trial("PoolPanic", "critical", pool="x"), trial("WorkerUnhealthy", pool="x"), trial("WorkerUnhealthy", pool="y")),
    (trial("LedgerDiskLow", "critical", instance="z"), trial("LedgerDiskLow", instance="z"), trial("LedgerDiskLow", instance="u")),
    (trial("NothingStarts", "critical"), trial("WaitTimeHigh", "critical", queue="x"), trial("LedgerSlow", instance="u")),
    (trial("PlatformDown", "critical"), trial("MemoryHigh", instance="u"), trial("DataCorruption", "critical")),
]


def about_inhibitions(manager):
    """What is silenced by what, tried with alerts of our own, one rule after the other."""
    def words(alert):
        return " ".join(f"{name}={value}" for name, value in sorted(alert["labels"].items()))

    def silenced():
        found = json.loads(fetch(f"http://{manager}/api/v2/alerts?active=true&inhibited=true&silenced=false"))
        return {words(alert): bool(alert["status"]["inhibitedBy"]) for alert in found}

    for three in INHIBITIONS:
        fetch(f"http://{manager}/api/v2/alerts", three)
        got = {}
        wanted = {words(alert): number == 1 for number, alert in enumerate(three)}
        for _ in range(50):
            got = silenced()
            if wanted.items() <= got.items():
                break
            time.sleep(0.2)
        else:
            yield from (f"{one} should{'' if wanted[one] else ' not'} be silenced" for one in wanted if got.get(one) != wanted[one])
        over = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 9))
        fetch(f"http://{manager}/api/v2/alerts", [alert | {"startsAt": began, "endsAt": over} for alert in three])
        until("the trial is over", lambda: not wanted.keys() & silenced().keys())


def about_commands(manager):
    """The blocks of docs/OPERATING.md that are marked `sh alertmanager`."""
    text = pathlib.Path("docs/OPERATING.md").read_text()
    blocks = re.findall(r"^```sh alertmanager\n(.*?)^```", text, re.S | re.M)
    if not blocks:
        yield "docs/OPERATING.md has no commands for Alertmanager"
    for block in blocks:
        ran = subprocess.run(["sh", "-euc", block.replace("localhost:9093", manager)], capture_output=True, text=True)
        if ran.returncode:
            yield f"{block}{ran.stdout}{ran.stderr}"


def about_webhook(daemon):
    """The daemon has heard of an alert, and hears of nobody without a token."""
    heard = json.loads(fetch(f"http://{daemon}/v1/incidents"))["incidents"]
    if not heard:
        yield "the daemon heard of no alert"
    try:
        fetch(f"http://{daemon}/v1/alerts", {"version": "4", "alerts": []}, token="none")
    except urllib.error.HTTPError as refused:
        if refused.code != 401:
            yield f"a webhook without the token is answered {refused.code}"
    else:
        yield "a webhook without the token is taken"


def main(ganger):
    with stage.Stage(ganger) as site:
        second = site.cluster(CONFIG)
        until("the second footing accepts", lambda: fetch(f"http://{second}/readyz"))
        manager = site.alertmanager(second)
        first = site.demo()
        began = time.time()
        prometheus = site.prometheus(manager, [first, second])
        until("Prometheus answers", lambda: fetch(f"{prometheus}/-/ready"))
        until("the second footing was scraped", lambda: asked(prometheus, "query", query=f'queue_depth{{instance="{second}"}}')["result"])
        work(second)
        fetch(f"http://{manager}/api/v2/alerts", [trial("AbandonedRuns", queue="x")])
        until("the demo's day is over", lambda: "stays up for a look around" in site.log("demo"), 600)
        # What counts for an hour or five minutes has been there for a minute by now; the last looks follow.
        until("the last figures are scraped", lambda: time.time() > began + 40)
        wrong = [*about_queries(prometheus, began), *about_rules(prometheus), *about_inhibitions(manager),
                 *about_webhook(second), *about_commands(manager)]
        wrong += about_metrics([first, second])
        heard = {receiver for receiver, _, _ in stage.Sink.heard}
        wrong += [f"nobody told {receiver}" for receiver in {"watchdog", "oncall_engineer", "platform_lead", "platform_team"} - heard]
        print(f"{len([*queries()])} queries on two footings, {len(BY_CHANCE)} of them by chance; receivers told: {', '.join(sorted(heard))}")
        if wrong and "--keep" in sys.argv:
            input(f"{prometheus} {manager} {first} {second} stay up: Enter ends them")
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main(sys.argv[1])
