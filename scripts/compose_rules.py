#!/usr/bin/env python3
"""Holds a rendered compose file to the rules of this project: every service is confined, checked and bounded.

    compose_rules.py FILE
"""
import sys

import yaml

compose = yaml.safe_load(open(sys.argv[1]))
wrong = []
for name, service in compose["services"].items():
    def rule(holds: object, words: str) -> None:
        if not holds:
            wrong.append(f"{name}: {words}")

    rule(service.get("read_only") is True, "its root can be written to")
    rule(service.get("cap_drop") == ["ALL"], "it keeps capabilities")
    rule("no-new-privileges:true" in service.get("security_opt", []), "it may gain privileges")
    image, _, tag = service["image"].rpartition(":")
    rule(image and tag != "latest", "its image has no tag")
    for port in service.get("ports", []):
        rule(str(port).startswith("127.0.0.1:"), f"port {port} is open to other machines")
    for key, value in dict(service.get("environment") or {}).items():
        secret = any(word in key.lower() for word in ("password", "token", "secret"))
        rule(not secret or str(value).startswith("/"), f"{key} is a secret in the environment")
    if name != "secrets":
        rule("healthcheck" in service, "nothing checks its health")
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        rule("memory" in limits and "cpus" in limits, "it has no limits")
        rule(service.get("restart"), "it is not started again")

nodes = [service for name, service in compose["services"].items() if name.startswith("ganger-")]
if len(nodes) != 2:
    wrong.append(f"{len(nodes)} nodes instead of 2")
for node in nodes:
    if node.get("stop_grace_period") != "45s":
        wrong.append("a node is killed before its drain is over")
for line in wrong:
    print(line, file=sys.stderr)
sys.exit(bool(wrong))
