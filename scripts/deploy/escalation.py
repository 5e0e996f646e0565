"""Writes deploy/prometheus/rules/escalation.yml from the alerts: `python escalation.py`; `--check` compares only.

Alertmanager has no escalation by time, so Prometheus raises an alert a second time when it has lasted.
"""
import pathlib
import sys

import yaml

RULES = pathlib.Path("deploy/prometheus/rules")
# The escalation matrix: how long an alert of a severity lasts before more people hear of it.
AFTER = {"critical": "5m", "warning": "30m"}

HEAD = """\
# What becomes of alerts that last: the escalation matrix's second notification, after 5 minutes (critical) and half an
# hour (warning) of firing. Each has the name and all labels of its first alert, so that a silence or an inhibition of
# that one holds here too, and `escalation` beside them.
#
# Made from alerts.yml by scripts/deploy/escalation.py; scripts/check-deploy.sh compares.
groups:
  - name: ganger-escalation
    rules:
"""


def rule(name, severity):
    own = f'alertname="{name}", alertstate="firing", severity="{severity}", escalation=""'
    return f"""\
      - alert: {name}
        expr: max without (alertstate) (ALERTS{{{own}}})
        for: {AFTER[severity]}
        labels: {{severity: {severity}, escalation: "2"}}
        annotations:
          summary: {name} has been firing for {AFTER[severity]}
          description: '{{{{ range $name, $value := $labels }}}}{{{{ $name }}}}={{{{ $value }}}} {{{{ end }}}}'
          runbook_url: '{{{{ $externalLabels.runbooks }}}}/OPERATING.md#{name.lower()}'
"""


def made():
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    alerts = [(r["alert"], r["labels"]["severity"]) for group in groups for r in group["rules"]]
    return HEAD + "\n".join(rule(name, severity) for name, severity in alerts if severity in AFTER)


if __name__ == "__main__":
    target = RULES / "escalation.yml"
    if "--check" not in sys.argv:
        target.write_text(made())
    elif target.read_text() != made():
        sys.exit(f"{target} does not follow from alerts.yml: run python scripts/deploy/escalation.py")
