"""Spoils each alert in turn and demands that its tests notice: `python rule_mutants.py`.

A rule that never fires, fires before or after its `for`, or fires a little too early (its thresholds moved by a
twentieth, or by one where they are small counts) must fail promtool's tests.
"""
import copy
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import yaml

HOME = pathlib.Path("deploy/prometheus")
ALERTS = yaml.safe_load((HOME / "rules/alerts.yml").read_text())
COMPARED = re.compile(r"(>=|<=|>|<)\s*(\d+(?:\.\d+)?)")


def easier(match):
    """The same comparison, met a little earlier."""
    operator, number = match.group(1), float(match.group(2))
    if operator == ">" and number == 0:
        return ">= 0"
    step = 1 if number.is_integer() and number <= 100 else number / 20
    return f"{operator} {number - step if '>' in operator else number + step:g}"


def mutants(rule):
    """Pairs of a name and the rule spoilt."""
    yield "unspoilt", rule
    yield "never fires", rule | {"expr": "vector(0) == 1"}
    if "for" in rule:
        yield "fires at once", {key: value for key, value in rule.items() if key != "for"}
        yield "fires late", rule | {"for": rule["for"] + "15s"}
    for found in COMPARED.finditer(rule["expr"]):
        expr = rule["expr"][: found.start()] + easier(found) + rule["expr"][found.end() :]
        yield f"{found.group(0)} is {easier(found)}", rule | {"expr": expr}


def tests_of(alert):
    """The file of tests that name the alert."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((HOME / "tests").glob("*.yml"))]
    return files[0] | {"tests": [test for file in files for test in file["tests"] if alert in yaml.safe_dump(test)]}


def unnoticed(place):
    """What is wrong with the tests, if they do not notice this rule in the place of the original one."""
    group, at, name, rule = place
    alerts = copy.deepcopy(ALERTS)
    alerts["groups"][group]["rules"][at] = rule
    alert = rule["alert"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HOME / "rules", pathlib.Path(folder, "rules"))
        pathlib.Path(folder, "rules/alerts.yml").write_text(yaml.safe_dump(alerts))
        tests = pathlib.Path(folder, "tests/of-it.yml")
        tests.parent.mkdir()
        tests.write_text(yaml.safe_dump(tests_of(alert)))
        ran = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True)
    if ran.returncode == 0:
        return name != "unspoilt" and f"{alert} ({rule['labels']['severity']}): no test notices: {name}"
    if name == "unspoilt" or "got:" not in ran.stdout + ran.stderr:
        return f"{alert}, {name}: the tests do not run: {ran.stdout}{ran.stderr}"
    return None


if __name__ == "__main__":
    places = [
        (group, at, name, mutant)
        for group, rules in enumerate(ALERTS["groups"])
        for at, rule in enumerate(rules["rules"])
        for name, mutant in mutants(rule)
    ]
    with ThreadPoolExecutor(2) as pool:
        wrong = [words for words in pool.map(unnoticed, places) if words]
    print(f"{sum(place[2] != 'unspoilt' for place in places)} spoilt alerts, {len(wrong)} not noticed")
    sys.exit("\n".join(wrong) or None)
