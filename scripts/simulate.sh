#!/usr/bin/env bash
# Plays whole clusters on virtual time with seeded faults, on all cores, in a release build.
#
#   scripts/simulate.sh                 10,000 seeds from 1
#   scripts/simulate.sh SEEDS [FROM]    that many, from that one
#
# A seed that fails is told with what was wrong. See it, call by call, with
#   GANGER_SIM_SEED=N cargo test --release --test simulation -- replay --nocapture
# and keep it in tests/simulation/seeds.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

export GANGER_SIM_SEEDS="${1:-10000}" GANGER_SIM_FROM="${2:-1}"
exec cargo test --locked --release --test simulation -- fresh_seeds_pass --nocapture
