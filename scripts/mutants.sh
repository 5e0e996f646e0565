#!/usr/bin/env bash
# Shows that the tests look: each build that is broken on purpose must fail its tests.
#
#   scripts/mutants.sh            all mutants of tests/mutants.toml
#   scripts/mutants.sh NAME...    these
#
# One build holds all mutants; GANGER_MUTANT wakes one. First the named tests run with none alive, and all must
# pass; then each mutant runs its own, and every one of them must fail: a test that is missing, that ends
# in another way than by failing, or that passes, lets the mutant survive. Ends with 1 if one does.
#
#   JOBS=N   how many mutants run at once (default: one and a half for each core)
set -euo pipefail
cd "$(dirname "$0")/.."

catalogue=tests/mutants.toml
# A mutant may leave a fact waiting that never comes; the tests need not be as patient as with the product.
export GANGER_TEST_PATIENCE_S=${GANGER_TEST_PATIENCE_S:-15}
export RUSTFLAGS="--cfg ganger_mutants" CARGO_TARGET_DIR=target/mutants
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Lines of "mutant suite test".
expected() {
  awk '/^\[[a-z_]+\]$/ { name = substr($0, 2, length($0) - 2) }
       /^caught_by = \[/ { open = 1 }
       open { line = $0; while (match(line, /"[^"]+"/)) {
                print name, substr(line, RSTART + 1, RLENGTH - 2); line = substr(line, RSTART + RLENGTH) } }
       open && /\]/ { open = 0 }' "$catalogue"
}

names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(sed -nE 's/^\[([a-z_]+)\]$/\1/p' "$catalogue")
for name in "${names[@]}"; do
  grep -qx "\[$name\]" "$catalogue" || { echo "$catalogue lists no $name" >&2; exit 1; }
  expected | awk -v name="$name" '$1 == name' >> "$out/expected"
done

echo "== build" >&2
suites=$(awk '{ print $2 }' "$out/expected" | sort -u)
targets=()
for suite in $suites; do
  case $suite in lib) targets+=(--lib) ;; *) targets+=(--test "$suite") ;; esac
done
cargo test --locked --no-run "${targets[@]}" 2>&1 | tee "$out/build" | grep -E '^(warning|error)' >&2 || true
binary() {
  case $1 in lib) place='unittests src/lib.rs' ;; *) place="tests/$1[./]" ;; esac
  sed -nE "s|^ *Executable ${place}[^(]*\((.*)\)$|\1|p" "$out/build"
}
for suite in $suites; do
  [ -x "$(binary "$suite")" ] || { cat "$out/build" >&2; exit 1; }
done

# Runs tests of a suite with a mutant alive (or none); the output goes to a file.
run() { # mutant suite file test...
  local mutant=$1 suite=$2 file=$3
  shift 3
  GANGER_MUTANT=$mutant timeout 120 "$(binary "$suite")" --exact "$@" > "$file" 2>&1 || true
}

echo "== control: no mutant is alive, every test passes" >&2
for suite in $suites; do
  mapfile -t tests < <(awk -v suite="$suite" '$2 == suite { print $3 }' "$out/expected" | sort -u)
  # The product gets all the patience it may need.
  GANGER_TEST_PATIENCE_S= run "" "$suite" "$out/control" "${tests[@]}"
  for test in "${tests[@]}"; do
    grep -qxF "test $test ... ok" "$out/control" || { cat "$out/control" >&2; echo "control: $suite $test did not pass" >&2; exit 1; }
  done
done

# What a failed test said.
words() { grep -m1 -A2 'panicked at' "$1" | tail -n +2 | tr '\n' ' ' | cut -c 1-110; }

# One mutant against its tests; prints its lines.
attack() {
  local name=$1 begun=$SECONDS suite test verdict=caught lines=() count=0
  while read -r _ suite test; do
    count=$((count + 1))
    local file=$out/$name.$count
    run "$name" "$suite" "$file" "$test"
    if grep -qxF "test $test ... FAILED" "$file"; then
      lines+=("    $suite $test" "        $(words "$file")")
    else
      verdict=SURVIVES lines+=("    $suite $test" "        DID NOT FAIL: $(tail -n 3 "$file" | tr '\n' ' ')")
    fi
  done < <(awk -v name="$name" '$1 == name' "$out/expected")
  [ $count -gt 0 ] || { verdict=SURVIVES lines=('    no test is named'); }
  printf '%s\n' "$(printf '%-26s %-8s %4d s' "$name" "$verdict" $((SECONDS - begun)))" "${lines[@]}"
}

echo "== mutants" >&2
jobs=${JOBS:-$(( $(nproc) * 3 / 2 ))}
for name in "${names[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  attack "$name" | tee -a "$out/table" &
done
wait
survivors=$(grep -c SURVIVES "$out/table" || true)
echo "${#names[@]} mutants in $SECONDS s, $survivors survive" >&2
[ "$survivors" -eq 0 ]
