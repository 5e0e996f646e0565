#!/usr/bin/env bash
# Builds the container image and runs it as docker-compose.yml and the Kubernetes deployment do: not as root, on a
# read-only root, without capabilities. Needs root, podman, buildah, crun and debootstrap; no engine, no registry.
#
#   scripts/try-image.sh             with the compiled program of this machine, a few minutes
#   scripts/try-image.sh --compile   compiles inside of the image build as the Dockerfile says, much longer
#
# There is no registry here, so the base images are stand-ins under the same names: debian:bookworm-slim is a fresh
# debootstrap, and rust:1.95-bookworm is the same with this machine's toolchain or, without --compile, with a `cargo`
# that only puts GANGER_TEST_BINARY (or target/release/ganger) where a build would. Everything is left in target/foreign.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*" >&2; }
fail() { echo "try-image: $*" >&2; exit 1; }

for tool in podman buildah crun debootstrap; do
  command -v "$tool" >/dev/null || fail "$tool is missing (Debian: apt-get install podman buildah crun debootstrap)"
done
[ "$(id -u)" = 0 ] || fail "containers without an engine need root here"
# The container tools want one plain hierarchy of control groups, which nobody else is to be troubled with.
if [ -z "${GANGER_IN_NAMESPACE:-}" ]; then
  GANGER_IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
mount -t cgroup2 none /sys/fs/cgroup

compile=
[ "${1:-}" != --compile ] || compile=1
program=$(realpath "${GANGER_TEST_BINARY:-target/release/ganger}")
[ "$compile" ] || [ -x "$program" ] || fail "$program is not there: cargo build --release, or --compile"

store=$PWD/target/foreign/containers
mkdir -p "$store"
export CONTAINERS_STORAGE_CONF=$store/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$store" "$store" >"$store/storage.conf"
run=(podman run --cgroups=disabled --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --network none
  --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp)
name=ganger-try-$$
trap 'podman rm --force --time 0 "$name" >/dev/null 2>&1 || true' EXIT

has_image() { podman image exists "$1"; }

# stand_in FOLDER NAME: the folder's files become an image of this name.
stand_in() { tar -C "$1" -c . | podman import --quiet - "$2" >/dev/null; }

say "base images"
slim=docker.io/library/debian:bookworm-slim rust=docker.io/library/rust:1.95-bookworm
base=$store/base
if [ ! -e "$base.done" ]; then
  rm -rf "$base"
  debootstrap --variant=minbase bookworm "$base" >"$store/debootstrap.log"
  touch "$base.done"
fi
has_image "$slim" || stand_in "$base" "$slim"
podman image rm --force "$rust" >/dev/null 2>&1 || true
bench=$store/rust
rm -rf "$bench"
mkdir -p "$bench"
if [ "$compile" ]; then
  debootstrap --variant=minbase --include=gcc,g++,libc6-dev,make,perl,ca-certificates bookworm "$bench" \
    >"$store/debootstrap.log"
  sysroot=$(rustc --print sysroot)
  cp -a "$sysroot/bin" "$sysroot/lib" "$bench/usr/local/"
else
  cp -a "$base/." "$bench/"
  install -D "$program" "$bench/prebuilt/ganger"
  printf '#!/bin/sh\nmkdir -p target/release && cp /prebuilt/ganger target/release/ganger\n' >"$bench/usr/local/bin/cargo"
  chmod +x "$bench/usr/local/bin/cargo"
fi
stand_in "$bench" "$rust"
rm -rf "$bench"

say "the image"
buildah bud --isolation chroot --pull-never --format docker --tag ganger:local \
  --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
podman image inspect ganger:local --format 'size {{.Size}} bytes, user {{.User}}, stop {{.Config.StopSignal}}, {{.Labels}}'

say "without a token it refuses to listen off loopback"
status=0
"${run[@]}" --name "$name" ganger:local 2>"$store/refused" || status=$?
podman rm --force "$name" >/dev/null
[ "$status" = 78 ] || fail "exit status $status instead of 78: $(cat "$store/refused")"

say "it runs as 10001, read-only, without capabilities"
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
credentials=$(mktemp -d)
chmod 755 "$credentials"
printf %s "$token" >"$credentials/api-token"
"${run[@]}" --detach --name "$name" --volume "$credentials:/run/ganger:ro" --env CREDENTIALS_DIRECTORY=/run/ganger \
  --env GANGER_TOKEN="$token" --env GANGER__JOB_TYPES__TRY__QUEUE=plan \
  --env GANGER__JOB_TYPES__TRY__HANDLER__KIND=command --env GANGER__JOB_TYPES__TRY__HANDLER__PROGRAM=cat \
  ganger:local >/dev/null
inside() { podman exec "$name" "$@"; }
for _ in $(seq 100); do
  ! inside ganger health --live >/dev/null 2>&1 || break
  [ "$(podman inspect "$name" --format '{{.State.Status}}')" = running ] || fail "it ended: $(podman logs "$name" 2>&1)"
  sleep 0.2
done
[ "$(inside id -u):$(inside id -g)" = 10001:10001 ] || fail "not 10001"
inside sh -c 'grep -q "^CapEff:[[:space:]]*0*$" /proc/1/status' || fail "it has capabilities"
inside sh -c 'grep -q "^NoNewPrivs:[[:space:]]*1$" /proc/1/status' || fail "it may gain privileges"
inside sh -c '! touch /usr/x /x 2>/dev/null' || fail "the root can be written to"
podman healthcheck run "$name" || fail "its own check calls it unhealthy"
[ "$(inside ganger submit try --payload 41 --wait 2>/dev/null | tail -n 1)" ] || fail "it does no work"

say "orphans are buried by the first process"
inside sh -c 'sh -c "sleep 0.2 &"' # its parent is gone when it ends
for _ in $(seq 50); do
  zombies=$(inside sh -c 'grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null | wc -l')
  sleeping=$(inside sh -c 'grep -l "^Name:.sleep" /proc/[0-9]*/status 2>/dev/null | wc -l')
  [ "$zombies$sleeping" != 00 ] || break
  sleep 0.1
done
[ "$zombies$sleeping" = 00 ] || fail "$zombies zombies"

say "podman stop ends it in order"
podman stop --time 45 "$name" >/dev/null
status=$(podman inspect "$name" --format '{{.State.ExitCode}}')
rm -r "$credentials"
[ "$status" = 0 ] || fail "exit status $status: $(podman logs "$name" 2>&1 | tail -5)"
say "the image holds"
