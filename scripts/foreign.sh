#!/usr/bin/env bash
# Installs what the tests in tests/foreign need: programs that nobody here wrote, to be tested against.
#
#   scripts/foreign.sh         does nothing where everything is there
#
# Debian's Chromium, Node.js, npm, Python, Prometheus and Alertmanager come from apt-get where they are missing and it may. The MCP servers go to
# target/foreign (or GANGER_FOREIGN) in the versions that tests/foreign names, and no install script of theirs runs.
set -euo pipefail
cd "$(dirname "$0")/.."
into=${GANGER_FOREIGN:-target/foreign}
mkdir -p "$into"

packages=()
need() { # PACKAGE COMMAND...: the package, unless the command succeeds
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}
need chromium test -x "${GANGER_TEST_CHROMIUM:-/usr/bin/chromium}"
need nodejs node --version
need npm npm --version
need prometheus promtool --version
need prometheus-alertmanager amtool --version
need python3-venv /usr/bin/python3 -c 'import ensurepip'

if [ ${#packages[@]} -gt 0 ]; then
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  echo "installing ${packages[*]}" >&2
  if ! { "${sudo[@]}" apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}"; }; then
    echo "The foreign tests need ${packages[*]}: install them, or run scripts/test.sh without --all." >&2
    exit 1
  fi
fi

# A copy of what was installed stands beside it, so that the next run sees whether that is still what is wanted.
is_there() { # FILE
  cmp -s "tests/foreign/$1" "$into/$1.installed"
}
if ! is_there package-lock.json; then
  echo "installing MCP servers from npm" >&2
  cp tests/foreign/package.json tests/foreign/package-lock.json "$into/"
  npm ci --prefix "$into" --ignore-scripts --no-audit --no-fund --silent
  cp tests/foreign/package-lock.json "$into/package-lock.json.installed"
fi
if ! is_there requirements.txt; then
  echo "installing MCP servers from PyPI" >&2
  /usr/bin/python3 -m venv --clear "$into/python"
  "$into/python/bin/pip" install --quiet --disable-pip-version-check --requirement tests/foreign/requirements.txt
  cp tests/foreign/requirements.txt "$into/requirements.txt.installed"
fi
