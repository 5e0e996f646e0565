"""Checks the dashboards: that they follow from dashboards.py, that Grafana's own model reads all of them, and our rules.

No Grafana runs here: what its foundation SDK reads and writes again without a loss is its classic model.
"""
import json
import pathlib
import re
import sys

import catalogue
import dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

FILES = sorted(pathlib.Path("deploy/grafana/dashboards").glob("*.json"))
# What an annotation of a Prometheus source has beside the model, as Grafana itself saves it.
OF_PROMETHEUS = {"step", "useValueForTime", "titleFormat", "textFormat", "tagKeys"}
RUNBOOK = {"queue_depth", "processing_rate", "wait_time_p95", "cpu_usage", "memory_usage", "active_jobs",
           "heal_success_rate", "heal_confidence", "manual_review_rate"}


def lost(before, after, path=""):
    """What a round trip has lost or changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                if key not in OF_PROMETHEUS and value not in (None, [], {}, ""):
                    yield f"{path}/{key}"
            else:
                yield from lost(value, after[key], f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{path}/{number}")
    elif before != after:
        yield f"{path}: {before!r} is {after!r}"


def panels_of(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def about(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        yield "panel ids are not unique"
    if not re.fullmatch(r"ganger-[a-z-]{1,33}", dashboard["uid"]) or dashboard["id"] is not None:
        yield f"uid {dashboard['uid']!r} is not stable, or id is set"
    if not any(entry.get("expr", "").startswith("ALERTS") for entry in dashboard["annotations"]["list"]):
        yield "alerts are no annotations"
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        if cells & taken or place["x"] + place["w"] > 24:
            yield f"{panel['title']} overlaps another panel or the edge"
        taken |= cells
    for panel in panels_of(dashboard):
        yield from (f"{panel['title']}: {words}" for words in about_panel(panel))


def about_panel(panel):
    defaults = panel["fieldConfig"]["defaults"]
    if not panel["description"].endswith("."):
        yield "no description"
    if not defaults.get("unit") or not defaults["thresholds"]["steps"]:
        yield "no unit or no thresholds"
    values = [step["value"] for step in defaults["thresholds"]["steps"]]
    if values[0] is not None or values[1:] != sorted(values[1:]):
        yield "thresholds do not rise from the base"
    sources = [panel["datasource"]] + [target["datasource"] for target in panel["targets"]]
    if any(source != {"type": "prometheus", "uid": "${datasource}"} for source in sources):
        yield "a data source is not the variable"
    for target in panel["targets"]:
        if not target["legendFormat"]:
            yield "no legend"
        yield from catalogue.wrong(target["expr"])


def queries():
    """Every panel's query as Prometheus takes it: dashboard and panel, expression."""
    for file in FILES:
        for panel in panels_of(json.loads(file.read_text())):
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", "1m")
                yield f"{file.stem}: {panel['title']}", re.sub(r'=~"\$\w+"', '=~".*"', expr)


if __name__ == "__main__":
    wrong, seen = [], set()
    for file in FILES:
        dashboard = json.loads(file.read_text())
        again = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
        wrong += [f"{file.name}: {words}" for words in about(dashboard)]
        wrong += [f"{file.name}: Grafana's model has no {words}" for words in lost(dashboard, again)]
        if file.stem not in dashboards.DASHBOARDS or dashboards.dashboard(file.stem) != dashboard:
            wrong.append(f"{file} does not follow from scripts/deploy/dashboards.py: run it")
    for _, expr in queries():
        seen |= {name for name, _ in catalogue.named(expr)}
    wrong += [f"no panel shows the runbook's {name}" for name in sorted(RUNBOOK - seen)]
    print(f"{len(FILES)} dashboards, {len({where for where, _ in queries()})} panels, {len([*queries()])} queries")
    sys.exit("\n".join(wrong) or None)
