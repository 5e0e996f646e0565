"""What PromQL may name: the metrics of docs/METRICS.md, Prometheus' own few, and the recording rules."""
import pathlib
import re

import yaml

# Not the daemon's: name, labels.
FOREIGN = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity", "escalation"},
    "alertmanager_notifications_failed_total": {"integration", "instance", "job"},
}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset", "group_left", "group_right", "inf", "nan"}
ROW = re.compile(r"^\| `([a-z_0-9]+)` \| (Counter|Gauge|Histogram) \| ([a-z_,]*) ?\|", re.M)


def metrics():
    """Name to kind and labels."""
    text = pathlib.Path("docs/METRICS.md").read_text()
    return {name: (kind, set(filter(None, labels.split(",")))) for name, kind, labels in ROW.findall(text)}


def recorded():
    rules = yaml.safe_load(pathlib.Path("deploy/prometheus/rules/recording.yml").read_text())
    return {rule["record"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


def named(expr):
    """The metrics that an expression names, each with the labels that it is asked for."""
    expr = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", expr)
    expr = re.sub(r"\[[^\]]*\]", " ", expr)
    for name, matchers, call in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?\s*(\()?", expr_without_texts(expr)):
        if not call and name.lower() not in WORDS and not name[0].isdigit():
            yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers))


def expr_without_texts(expr):
    return re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', '""', expr)


def wrong(expr):
    """What an expression names that is not there."""
    known, rules = metrics(), recorded()
    for name, labels in named(expr):
        if ":" in name:
            if name not in rules:
                yield f"there is no recording rule {name}"
            continue
        if name in FOREIGN:
            own = FOREIGN[name]
        else:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            kind, own = known.get(name) or known.get(base) or (None, set())
            if kind is None or (name not in known and kind != "Histogram"):
                yield f"docs/METRICS.md has no {name}"
                continue
        if labels - own - {"instance", "job", "le"}:
            yield f"{name} has no label {', '.join(sorted(labels - own))}"


if __name__ == "__main__":
    # What this must find, tried on bad snippets.
    assert [*wrong("sum by (x) (rate(no_such_total{a=\"b\"}[5m])) > 0")] == ["docs/METRICS.md has no no_such_total"]
    assert [*wrong('queue_depth{pool="x"}')] == ["queue_depth has no label pool"]
    assert [*wrong("queue:nothing:sum > 5")] == ["there is no recording rule queue:nothing:sum"]
    assert [*wrong("ganger_job_wait_seconds_bucket")] == [] and [*wrong("queue_depth_bucket")] != []
    assert {name for name, _ in named('max(a{x="b or c"}) and on (q) histogram_quantile(0.5, d_bucket) or vector(0)')} == {"a", "d_bucket"}
