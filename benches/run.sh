#!/usr/bin/env bash
# Measures both footings with `ganger bench`, on a private Redis and PostgreSQL that it starts and stops.
#
#   benches/run.sh [ROUNDS]     3 rounds by default; the median of each figure is printed last
#
# The machine should have nothing else to do. fsync is on everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
cargo build --release --locked --quiet
ganger=$PWD/target/release/ganger

folder=$(mktemp -d)
stop() {
  [ -z "${redis:-}" ] || kill "$redis" 2>/dev/null || true
  [ -z "${postgres:-}" ] || kill -INT "$postgres" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

bin=$(dirname "$(readlink -f "$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)")")
# PostgreSQL refuses root.
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }
redis_port=$(free_port) postgres_port=$(free_port)
chmod 755 "$folder"
mkdir "$folder/postgres"
[ "$(id -u)" != 0 ] || chown postgres "$folder/postgres"
(cd "$folder" && as "$bin/initdb" -D "$folder/postgres/data" -U ganger -A trust >/dev/null)
(cd "$folder" && as "$bin/postgres" -D "$folder/postgres/data" -k "$folder/postgres" -h 127.0.0.1 -p "$postgres_port" >"$folder/postgres/log" 2>&1) &
postgres=$!
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --maxmemory-policy noeviction --dir "$folder" >/dev/null &
redis=$!
for _ in $(seq 100); do "$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" && break || sleep 0.1; done
postgres=$(head -n 1 "$folder/postgres/data/postmaster.pid")

measure() { # NAME ARGUMENTS...
  local name=$1
  shift
  for round in $(seq "$rounds"); do
    for mode in batch single; do
      local jobs=100000
      [ "$mode" = batch ] || jobs=20000
      "$ganger" bench --mode "$mode" --jobs "$jobs" -o json "$@" 2>/dev/null | tee "$folder/$name-$mode-$round.json" >/dev/null
      printf '%s %s round %s: %s\n' "$name" "$mode" "$round" "$(tr -d '\n ' < "$folder/$name-$mode-$round.json")"
    done
  done
}
measure embedded
for round in $(seq "$rounds"); do
  # A fresh database each time, so that rounds do not inherit each other's tables.
  "$bin/createdb" -h 127.0.0.1 -p "$postgres_port" -U ganger "bench$round"
done
for round in $(seq "$rounds"); do
  rounds_kept=$rounds rounds=1
  redis-cli -p "$redis_port" flushall >/dev/null
  measure "cluster-$round" --redis-url "redis://127.0.0.1:$redis_port" \
    --database-url "postgres://ganger@127.0.0.1:$postgres_port/bench$round"
  rounds=$rounds_kept
done
