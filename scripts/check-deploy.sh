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

checks+=(rules)
check_rules() {
  need promtool prometheus
  promtool check config deploy/prometheus/prometheus.yml
  promtool test rules deploy/prometheus/tests/*.yml
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
