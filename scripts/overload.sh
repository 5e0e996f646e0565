#!/usr/bin/env bash
# Offers a daemon three times what it can do, for long and with the default rules, and judges what becomes of it.
#
#   scripts/overload.sh [SECONDS] [embedded|cluster]    180 s and both footings by default
#
# First the peak is measured with shedding off: ten workers, a tenth of a second a job. Then three times that is offered
# over loopback: 20 % of priority 1, 30 % of priority 3, 50 % of a type that goes first; then a third of the peak until
# nothing is shed any more, which takes up to ten minutes, because response times are remembered for five. Printed for
# each footing: jobs a second done at best and under the load, urgent jobs offered and succeeded, accepted and refused
# jobs of the other classes, refusals by rule, the range of Retry-After, the highest level, seconds from the end of the
# last rule to level 0, and priority inversions. It fails below 99 % of the urgent jobs or 90 % of the peak, beyond
# four minutes, with any inversion, or where a refusal is not counted with its rule. On a machine that others use too,
# GANGER__SHEDDING__CPU=1 leaves their CPU out of it.
set -euo pipefail
cd "$(dirname "$0")/.."

export GANGER_OVERLOAD_S=${1:-180} GANGER_TEST_PATIENCE_S=${GANGER_TEST_PATIENCE_S:-600}
cargo test --release --locked --quiet --test daemon -- --nocapture --test-threads 1 \
  "${2:-}${2:+::}three_times_the_load_keeps_what_is_urgent" | grep -aE 'FIGURES|panicked|FAILED|test result'
