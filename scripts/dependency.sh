#!/usr/bin/env bash
# Takes a dependency down for a while with many jobs queued on it, in a release build, and says what it noticed.
#
#   scripts/dependency.sh [SECONDS]    180 by default
#
# 1,000 jobs wait for the dead dependency, and 1,000 for a healthy one in the same queue come meanwhile, on both
# footings, with the breaker's own times (five failures, a minute, five seconds a step). Printed are the calls that reached the dead one,
# the probes among them, the calls at once while it came back, and the p99 wait of the healthy jobs beside that of the
# same load without an outage. Attempts spent and the order of the held jobs are judged; a wrong one fails the run.
set -euo pipefail
cd "$(dirname "$0")/.."

export GANGER_OUTAGE_S=${1:-180} GANGER_TEST_PATIENCE_S=${GANGER_TEST_PATIENCE_S:-600}
cargo test --release --locked --quiet --test daemon -- --nocapture --test-threads 1 a_dead_dependency
