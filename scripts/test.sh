#!/usr/bin/env bash
# Runs every test, with real Redis and PostgreSQL servers that the tests start themselves.
#
#   scripts/test.sh                  all tests that need nothing else
#   scripts/test.sh NAME...          tests whose name contains NAME
#   scripts/test.sh --all [NAME...]  these, and the tests against programs of others, which it installs first
#
# Missing servers are installed with apt-get where that is allowed. Servers that run already are used
# when GANGER_TEST_REDIS_URL and GANGER_TEST_POSTGRES_URL name them.
set -euo pipefail
cd "$(dirname "$0")/.."

is_all=
if [ "${1:-}" = --all ]; then
  is_all=yes
  shift
fi

say() { printf '\n== %s\n' "$*" >&2; }

have_postgres() { command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

# The packages that are needed and not there.
missing=()
if [ -z "${GANGER_TEST_REDIS_URL:-}" ] && ! command -v redis-server >/dev/null; then missing+=(redis-server); fi
if [ -z "${GANGER_TEST_POSTGRES_URL:-}" ] && ! have_postgres; then missing+=(postgresql); fi

if [ ${#missing[@]} -gt 0 ]; then
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    say "installing ${missing[*]}"
    # The packages would start servers of their own, which nobody here needs.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
  else
    say "the tests need ${missing[*]} and may not install them"
    echo "Install them (Debian, Ubuntu: apt-get install ${missing[*]}), or point GANGER_TEST_REDIS_URL and" >&2
    echo "GANGER_TEST_POSTGRES_URL at servers that run already." >&2
    exit 1
  fi
fi

# The lints are part of the tests where the tools are there; rustup's minimal profile lacks them.
if [ $# -eq 0 ]; then
  if cargo fmt --version >/dev/null 2>&1; then
    say "format"
    cargo fmt --all --check
  fi
  if cargo clippy --version >/dev/null 2>&1; then
    say "lints"
    cargo clippy --locked --all-targets --quiet -- -D warnings
    # `--all-targets` leaves out the tests that plain `cargo test` leaves out.
    cargo clippy --locked --test foreign --quiet -- -D warnings
  fi
fi

if [ "$is_all" ]; then
  say "programs of others"
  scripts/foreign.sh
fi

say "examples, which the tests run"
cargo build --locked --examples --quiet

say "tests"
# Each test binary starts its own servers once; the binaries run one after the other.
cargo test --locked --all-targets -- "$@"

if [ "$is_all" ]; then
  say "tests against programs of others"
  cargo test --locked --test foreign -- "$@"
  if [ $# -eq 0 ]; then
    say "checks of deploy/"
    scripts/check-deploy.sh
  fi
fi
