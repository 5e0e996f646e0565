#!/usr/bin/env bash
# Brings docker-compose.yml up with podman-compose and looks whether its parts find each other. Needs root, podman,
# buildah, crun, podman-compose, and the image that scripts/try-image.sh leaves; no engine, no registry.
#
#   scripts/try-compose.sh
#
# There is no registry here, so the images are stand-ins under the same names, made from Debian's packages: PostgreSQL 15
# for 17, Redis 7.0 for Valkey, Prometheus 2.42 for 3.5, Alertmanager 0.25 for 0.28. Grafana is in no Debian and is left
# out. So are the limits, which need control groups of one's own; checks of health are run from here, because
# podman wants systemd for that.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*" >&2; }
for tool in podman buildah crun podman-compose; do
  command -v "$tool" >/dev/null || { echo "try-compose: $tool is missing" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "try-compose: containers without an engine need root here" >&2; exit 1; }
store=$PWD/target/foreign/containers
export CONTAINERS_STORAGE_CONF=$store/storage.conf

# stand_in NAME: the image of this name, from the Dockerfile on stdin.
stand_in() {
  if podman image exists "$1"; then cat >/dev/null; return; fi
  say "stand-in for $1"
  local folder
  folder=$(mktemp -d)
  cat >"$folder/Dockerfile"
  buildah bud --isolation chroot --pull-never --format docker --tag "$1" "$folder" >"$store/stand-in.log" 2>&1 ||
    { tail -n 20 "$store/stand-in.log" >&2; exit 1; }
  rm -r "$folder"
}

stage=${GANGER_IN_NAMESPACE:-}
if [ -z "$stage" ]; then
  GANGER_IN_NAMESPACE=images exec unshare --mount --propagation private "$0" "$@"
fi
if [ "$stage" = images ]; then
  mount -t cgroup2 none /sys/fs/cgroup
  podman image exists ganger:local || { echo "try-compose: no image ganger:local; run scripts/try-image.sh" >&2; exit 1; }
  stand_in docker.io/library/postgres:17-bookworm <<'DOCKERFILE'
FROM docker.io/library/debian:bookworm-slim
RUN useradd --uid 999 --home /var/lib/postgresql postgres && apt-get update && apt-get install --yes --no-install-recommends postgresql-15 && \
    install -d -o postgres -m 0700 /var/lib/postgresql/data && install -d -o postgres /var/run/postgresql
# What the official image's entry point does at a first start.
RUN printf '%s\n' '#!/bin/sh' 'set -e' 'bin=/usr/lib/postgresql/15/bin data=/var/lib/postgresql/data' \
    'if [ ! -s $data/PG_VERSION ]; then' \
    '  $bin/initdb -D $data -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256 >/dev/null' \
    '  echo "host all all all scram-sha-256" >>$data/pg_hba.conf' \
    '  $bin/pg_ctl -D $data -w -o "-c listen_addresses= -c unix_socket_directories=/tmp" start >/dev/null' \
    '  PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") $bin/createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"' \
    '  $bin/pg_ctl -D $data -w stop >/dev/null' 'fi' \
    'exec $bin/postgres -D $data -c "listen_addresses=*" -c unix_socket_directories=/var/run/postgresql' >/entrypoint && \
    chmod +x /entrypoint && ln -s /usr/lib/postgresql/15/bin/pg_isready /usr/local/bin/
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
USER postgres
ENTRYPOINT ["/entrypoint"]
DOCKERFILE
  stand_in docker.io/valkey/valkey:8.1-bookworm <<'DOCKERFILE'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && useradd --uid 998 valkey && \
    install -d -o valkey /data && ln -s /usr/bin/redis-server /usr/local/bin/valkey-server && \
    ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli
VOLUME /data
WORKDIR /data
USER valkey
DOCKERFILE
  stand_in docker.io/prom/prometheus:v3.5.0 <<'DOCKERFILE'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus wget && \
    rm -r /etc/prometheus && install -d -o nobody /prometheus /etc/prometheus
VOLUME /prometheus
USER nobody
ENTRYPOINT ["/usr/bin/prometheus"]
DOCKERFILE
  stand_in docker.io/prom/alertmanager:v0.28.1 <<'DOCKERFILE'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus-alertmanager wget && \
    install -d -o nobody /alertmanager /etc/alertmanager && ln -s /usr/bin/prometheus-alertmanager /usr/bin/alertmanager
VOLUME /alertmanager
USER nobody
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]
DOCKERFILE
  # Ports and addresses of its own, so that nothing here meets anything of this machine.
  GANGER_IN_NAMESPACE=stack exec unshare --net "$0" "$@"
fi

ip link set lo up
project=ganger-try-$$
file=$PWD/docker-compose.try.yml
compose() { podman-compose --project-name "$project" --profile monitoring --file "$file" \
  --podman-run-args='--cgroups=disabled --ulimit nofile=4096:4096 --ulimit nproc=4096:4096' "$@"; }
checker=
leave() {
  local status=$?
  [ -z "$checker" ] || kill "$checker" 2>/dev/null || true
  if [ "$status" != 0 ]; then
    podman ps --all --format '{{.Names}} {{.Status}}' >&2
    for name in $(podman ps --all --quiet); do echo "-- $name" >&2; podman logs --tail 8 "$name" >&2 || true; done
  fi
  compose down --volumes >/dev/null 2>&1 || true
  rm -f "$file"
  exit "$status"
}
trap leave EXIT
python3 - "$file" <<'PYTHON'
import subprocess, sys, yaml
compose = yaml.safe_load(open("docker-compose.yml"))
del compose["services"]["grafana"], compose["services"]["secrets"]["build"]
for name, service in compose["services"].items():
    service.pop("deploy", None)
    service.pop("restart", None)
compose = {key: value for key, value in compose.items() if not key.startswith("x-")}
yaml.safe_dump(compose, open(sys.argv[1], "w"))
PYTHON

say "docker compose up"
# Podman asks systemd to run checks of health; here this does.
(while sleep 1; do for id in $(podman ps --quiet); do podman healthcheck run "$id" >/dev/null 2>&1 || true; done; done) &
checker=$!
compose up --detach 2>&1 | grep -v 'systemd connection' | tail -n 20 >&2

node() { podman exec "${project}_ganger-$1_1" "${@:2}"; }
# shellcheck disable=SC2016 # it is a shell inside that expands it
as_client='GANGER_TOKEN=$(cat /run/ganger/api-token) exec ganger'
until_true() {
  local end=$((SECONDS + 120)) what=$1
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "try-compose: never: $what" >&2; "$@" >&2 || true; exit 1; }
    sleep 1
  done
}
until_true "both nodes live" node 1 ganger health --live
until_true "both nodes live" node 2 ganger health --live
until_true "the stack is healthy" node 1 ganger health

say "without the token nobody gets in, with it both nodes see each other"
! node 1 ganger queues list >/dev/null 2>&1 || { echo "try-compose: no token is asked for" >&2; exit 1; }
until_true "workers of both nodes" sh -c "podman exec ${project}_ganger-1_1 sh -c '$as_client workers list' | grep -q ganger-2"
node 1 sh -c "$as_client submit plan_generation --payload '{}' -o json" | head -c 300
node 2 sh -c "$as_client queues list"

say "Prometheus sees both nodes, has its rules and its Alertmanager"
prometheus() { podman exec "${project}_prometheus_1" wget -q -O - "http://127.0.0.1:9090/api/v1/$1"; }
two_up() { [ "$(prometheus 'query?query=sum(up%7Bjob%3D%22ganger%22%7D)' | grep -o '"2"')" = '"2"' ]; }
until_true "two nodes up" two_up
prometheus alertmanagers | grep -q 'http://alertmanager:9093' || { echo "try-compose: no Alertmanager" >&2; exit 1; }
prometheus rules | grep -q '"type":"alerting"' || { echo "try-compose: no rules" >&2; exit 1; }

say "nobody runs as root, and all leave in order"
for name in $(podman ps --format '{{.Names}}'); do
  [ "$(podman exec "$name" id -u)" != 0 ] || { echo "try-compose: $name runs as root" >&2; exit 1; }
done
podman stop --time 45 "${project}_ganger-1_1" "${project}_ganger-2_1" >/dev/null 2>&1
for number in 1 2; do
  status=$(podman inspect "${project}_ganger-${number}_1" --format '{{.State.ExitCode}}')
  [ "$status" = 0 ] || { echo "try-compose: node $number left with $status" >&2; exit 1; }
done
say "the stack holds"
