#!/usr/bin/env bash
# Runs the chaos scenarios for long, in a release build, and prints a table of figures.
#
#   scripts/chaos.sh [ROUNDS] [NAME...]    20 rounds by default; of tests whose name contains a NAME
#
# 500 jobs a second are offered, stores stay away for 60 s and 100,000 jobs wait, unless
# GANGER_CHAOS_RATE, GANGER_CHAOS_AWAY_S and GANGER_CHAOS_LIVE say otherwise. GANGER_CHAOS_SEED is the
# first round's seed. A round that fails does not stop the others; its history and its seed are named.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-20}
[ $# -eq 0 ] || shift
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(losses outages nodes network memory commits)
first=${GANGER_CHAOS_SEED:-$RANDOM}
export GANGER_CHAOS_RATE=${GANGER_CHAOS_RATE:-500} GANGER_CHAOS_AWAY_S=${GANGER_CHAOS_AWAY_S:-60}
export GANGER_CHAOS_LIVE=${GANGER_CHAOS_LIVE:-100000} GANGER_CHAOS_ROUNDS=1

cargo test --release --locked --quiet --test chaos --no-run
log=target/chaos-$first.log
: > "$log"
failed=0
for round in $(seq 0 $((rounds - 1))); do
  printf 'round %s of %s, seed %s\n' $((round + 1)) "$rounds" $((first + round)) >&2
  GANGER_CHAOS_SEED=$((first + round)) \
    cargo test --release --locked --quiet --test chaos -- --nocapture "${names[@]}" >> "$log" 2>&1 || failed=$((failed + 1))
done

# One line a scenario: sums of counts, and the longest times.
grep -a 'FIGURES' "$log" | sed 's/.*FIGURES //' | awk '
  {
    delete f
    for (i = 1; i <= NF; i++) { split($i, pair, "="); f[pair[1]] = pair[2] }
    s = f["scenario"]
    rounds[s]++; jobs[s] += f["jobs"]; runs[s] += f["runs"]; twice[s] += f["repeated"]; bad[s] += f["violations"]
    free[s] += f["without_fault"]
    if (f["first_start_after_s"] > first[s]) first[s] = f["first_start_after_s"]
    if (f["rebuilt_after_s"] > rebuilt[s]) rebuilt[s] = f["rebuilt_after_s"]
    if (f["at_rest_after_s"] > rest[s]) rest[s] = f["at_rest_after_s"]
  }
  END {
    format = "%-18s %6s %9s %9s %9s %13s %10s %12s %10s %8s\n"
    printf format, "SCENARIO", "ROUNDS", "JOBS", "RUNS", "RAN TWICE", "WITHOUT FAULT", "VIOLATIONS", "FIRST START", "REBUILT", "AT REST"
    for (s in rounds)
      printf format, s, rounds[s], jobs[s], runs[s], twice[s], free[s], bad[s], first[s] " s", rebuilt[s] " s", rest[s] " s" | "sort"
  }'
echo "the log is $log"
if [ "$failed" -gt 0 ]; then
  echo "$failed of $rounds rounds failed:"
  grep -aE 'panicked at|violations; ganger' "$log"
  exit 1
fi
