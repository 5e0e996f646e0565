"""Checks what promtool does not: names, severities, links and the agreements between rules, Alertmanager and daemon."""
import pathlib
import re
import subprocess
import sys
import tomllib

import yaml

import catalogue
import escalation

RULES = pathlib.Path("deploy/prometheus/rules")
MANAGER = pathlib.Path("deploy/alertmanager/alertmanager.yml")
ROUTES = pathlib.Path("deploy/alertmanager/routes.txt")
CONDITIONS = {"platform_down", "data_corruption", "sla_violation", "high_error_rate"}


def load(path):
    return yaml.safe_load(path.read_text())


def rules_of(name):
    return [rule for group in load(RULES / name)["groups"] for rule in group["rules"]]


def anchors(text):
    """The anchors of a Markdown text's headings."""
    fenced = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    titles = re.findall(r"^#+ (.+)$", fenced, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def about_rules(alerts):
    """What is wrong with each alert for itself."""
    operating = anchors(pathlib.Path("docs/OPERATING.md").read_text())
    for rule in alerts:
        name, labels, texts = rule["alert"], rule["labels"], rule["annotations"]
        if labels.get("severity") not in ("critical", "warning", "info"):
            yield f"{name} has no severity"
        if set(texts) != {"summary", "description", "runbook_url"} or not all(texts.values()):
            yield f"{name} has not just summary, description and runbook_url"
        link = texts["runbook_url"].removeprefix("{{ $externalLabels.runbooks }}/OPERATING.md#")
        if link != name.lower() or link not in operating:
            yield f"{name}: docs/OPERATING.md has no section {link!r}"
        yield from (f"{name}: {words}" for words in catalogue.wrong(rule["expr"]))
    for record, expr in catalogue.recorded().items():
        if not re.fullmatch(r"[a-z_]+:[a-z_0-9]+:[a-z_0-9]+", record):
            yield f"{record} is not level:metric:operation"
        yield from (f"{record}: {words}" for words in catalogue.wrong(expr))
    conditions = {rule["labels"].get("condition") for rule in alerts} - {None}
    if conditions != CONDITIONS:
        yield f"the escalation matrix names {CONDITIONS}, the alerts {conditions}"


def about_inhibitions(alerts, manager):
    """Alerts that silence others must end first, or Alertmanager would never tell of the end of those."""
    names = {rule["alert"] for rule in alerts}
    keeps = {rule["alert"] for rule in alerts if "keep_firing_for" in rule}
    for inhibition in manager["inhibit_rules"]:
        matchers = inhibition["source_matchers"] + inhibition["target_matchers"]
        for name in re.findall(r'alertname[=~!]+"([^"]+)"', " ".join(matchers)):
            yield from (f"an inhibition names {one}, which is no alert" for one in name.split("|") if one not in names)
        for name in re.findall(r'alertname="([^"]+)"', " ".join(inhibition["source_matchers"])):
            if name in keeps:
                yield f"{name} silences others and has keep_firing_for"


def about_routes(alerts):
    """Who hears of each label set that the rules can produce, asked of amtool."""
    wanted = {}
    for line in ROUTES.read_text().splitlines():
        if not line.startswith("#"):
            name, severity, level, receivers = line.split()
            wanted[name, severity, level] = receivers
    produced = {(rule["alert"], rule["labels"]["severity"], "-") for rule in alerts}
    produced |= {(rule["alert"], rule["labels"]["severity"], "2") for rule in rules_of("escalation.yml")}
    yield from (f"{ROUTES} does not say who hears of {' '.join(one)}" for one in sorted(produced - set(wanted)))
    yield from (f"{ROUTES}: no rule makes {' '.join(one)}" for one in sorted(set(wanted) - produced))
    for (name, severity, level), receivers in wanted.items():
        labels = [f"alertname={name}", f"severity={severity}"] + ([f"escalation={level}"] if level != "-" else [])
        command = ["amtool", "config", "routes", "test", f"--config.file={MANAGER}", f"--verify.receivers={receivers}"]
        ran = subprocess.run(command + labels, capture_output=True, text=True)
        if ran.returncode:
            yield f"{' '.join(labels)}: wanted {receivers}, got {ran.stdout.strip()}"
    named = {receiver for receivers in wanted.values() for receiver in receivers.split(",")}
    unheard = {receiver["name"] for receiver in load(MANAGER)["receivers"]} - named
    yield from (f"nobody is told through receiver {name}" for name in unheard)


def about_remediation(alerts):
    """The daemon's configuration acts on alerts by name."""
    remediation = tomllib.loads(pathlib.Path("config/default.toml").read_text()).get("remediation", {})
    named = {entry.get("alert", name) for name, entry in remediation.get("alerts", {}).items()}
    missing = named - {rule["alert"] for rule in alerts}
    yield from (f"config/default.toml remedies {name}, which is no alert" for name in sorted(missing))


if __name__ == "__main__":
    alerts = rules_of("alerts.yml")
    wrong = [*about_rules(alerts), *about_inhibitions(alerts, load(MANAGER)), *about_routes(alerts), *about_remediation(alerts)]
    if (RULES / "escalation.yml").read_text() != escalation.made():
        wrong.append("escalation.yml does not follow from alerts.yml: run python scripts/deploy/escalation.py")
    print(f"{len(alerts)} alerts, {len(rules_of('escalation.yml'))} escalations, {len(catalogue.recorded())} recorded series")
    sys.exit("\n".join(wrong) or None)
