#!/bin/sh
# Sends every regular file under a folder through ganger and compares the hashes with sha256sum's.
#
#   run.sh FOLDER [TYPE]        TYPE is sha256 (default) or sha256_http
#
# GANGER is the program (default: ganger), RUN names the run: the same name again asks for the same
# jobs, so a run that broke off can be repeated and does nothing twice.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 FOLDER [sha256|sha256_http]" >&2
    exit 2
fi
type=${2:-sha256}
run=${RUN:-checksums-$(date +%s)-$$}
ganger=${GANGER:-ganger}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# The daemon has another working folder, so names are absolute.
cd -P -- "$1"

# Two files side by side: what ganger is asked, and what sha256sum says. A job's id is made of its
# file's name, so both can be laid beside each other in any order.
: > "$work/submits"
: > "$work/expected"
: > "$work/names"
find "$PWD" -type f -readable -exec sh -euc '
    work=$1 type=$2 run=$3
    shift 3
    for file do
        key=$(printf %s "$file" | sha256sum)
        id="$run-$(printf %.32s "$key")"
        # From standard input the line holds no name, so no odd name can disturb it.
        hash=$(sha256sum < "$file") || continue
        printf "%s %.64s\n" "$id" "$hash" >> "$work/expected"
        printf "%s %s\n" "$id" "$(printf %s "$file" | tr "\n" "?")" >> "$work/names"
        printf "{\"id\":\"%s\",\"type\":\"%s\",\"payload\":{\"path_base64\":\"%s\"}}\n" \
            "$id" "$type" "$(printf %s "$file" | base64 -w 0)" >> "$work/submits"
    done
' sh "$work" "$type" "$run" {} +

count=$(wc -l < "$work/submits")
if [ "$count" -eq 0 ]; then
    echo "no readable files under $PWD" >&2
    exit 1
fi

# A job that failed is a difference below, and is listed there.
status=0
"$ganger" submit --ndjson - --wait -o json < "$work/submits" > "$work/answers" || status=$?

# A result begins with the hash; before it stands a backslash (two, in JSON) where the name has one.
sed -n 's/.*"id":"\([^"]*\)".*"result":"\(\\\\\)\{0,1\}\([0-9a-f]\{64\}\) .*/\1 \3/p' "$work/answers" \
    | LC_ALL=C sort > "$work/actual"
LC_ALL=C sort -o "$work/expected" "$work/expected"

if LC_ALL=C comm -3 "$work/expected" "$work/actual" > "$work/differences" && [ ! -s "$work/differences" ]; then
    echo "$count files, all equal"
    exit 0
fi
echo "$count files; these differ (indented: what ganger says):"
cat "$work/differences"
cut -d ' ' -f 1 "$work/differences" | tr -d '\t' | sort -u | while read -r id; do
    grep -a -F -- "$id " "$work/names" || true
    grep -a -F -- "\"$id\"" "$work/answers" || true
done
[ "$status" -eq 0 ] || echo "ganger submit ended with status $status" >&2
exit 1
