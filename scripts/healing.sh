#!/usr/bin/env bash
# Measures locators and healing on pages that nobody here wrote and prints the tables of docs/HEALING.md.
#
#   scripts/healing.sh             about ten minutes
#   scripts/healing.sh --quick     a tenth of the pages
#   scripts/healing.sh --fit       weights for src/platform/healing/weights.rs, fitted on the other half of the pages
#
# Installs with apt-get and npm what is missing: chromium and node to check locators, python3-doc and three
# templates of web sites as pages. Ends with 1 if a locator selects anything but its element.
set -euo pipefail
cd "$(dirname "$0")/.."
work=target/healing
mkdir -p "$work"

need() { # COMMAND-OR-PATH PACKAGE
    if ! command -v "$1" >/dev/null && ! [ -e "$1" ]; then
        apt-get install -y -qq "$2" >/dev/null
    fi
}
need chromium chromium
need node nodejs
need npm npm
need /usr/share/doc/python3-doc/html python3-doc

# name version: unpacked without what it depends on, whose pages are demonstrations of widgets.
package() {
    if ! [ -d "$work/pages/$1" ]; then
        mkdir -p "$work/pages/$1"
        (cd "$work" && tar -xzf "$(npm pack --silent "$1@$2")" -C "pages/$1" --strip-components=1)
    fi
}
package admin-lte 3.2.0
package startbootstrap-sb-admin-2 4.1.4
package gentelella 1.4.0
if ! [ -d "$work/node_modules/playwright-core" ]; then
    npm install --silent --no-save --ignore-scripts --prefix "$work" playwright-core@1
fi

# Every nth page below so many KB, in the order of their names. The last site is the one that nothing is fitted on.
pages() { # FOLDER EVERY-NTH KB
    find -L "$1" -name '*.html' -size "-${3}k" | sort | awk -v nth="$2" 'NR % nth == 0'
}
few=1
[ "${1:-}" = --quick ] && few=10
{
    pages /usr/share/doc/python3-doc/html $((3 * few)) 2000
    pages "$work/pages/admin-lte" $few 2000
    pages "$work/pages/startbootstrap-sb-admin-2" $few 2000
    pages "$work/pages/gentelella" $((2 * few)) 2000
} >"$work/all.txt"
{
    pages /usr/share/doc/python3-doc/html $((8 * few)) 300
    pages "$work/pages/admin-lte" $few 300
    pages "$work/pages/startbootstrap-sb-admin-2" $few 300
    pages "$work/pages/gentelella" $((4 * few)) 300
} >"$work/some.txt"

cargo build --quiet --release --example healing
bin=${CARGO_TARGET_DIR:-target}/release/examples/healing
if [ "${1:-}" = --fit ]; then
    exec xargs -d '\n' "$bin" fit <"$work/some.txt"
fi

echo "# Locators"
echo
xargs -d '\n' "$bin" locators "$work/locators.jsonl" <"$work/all.txt"
echo
status=0
NODE_PATH_DIR=$work node examples/healing/check.mjs "$work/locators.jsonl" "$(command -v chromium)" || status=1
echo
echo "# Healing"
echo
xargs -d '\n' "$bin" mutations <"$work/some.txt"
exit "$status"
