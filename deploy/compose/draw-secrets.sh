#!/bin/sh
# Draws the passwords and the token of the compose stack, each once: what is there stays.
set -eu
cd /run/ganger
# Read by several users in containers that have nothing else in common with this volume; see docker-compose.yml.
umask 022

# put FILE: stdin becomes the file, whole or not at all.
put() {
  cat >"$1.new"
  mv "$1.new" "$1"
}

for name in api-token postgres-password valkey-password grafana-password; do
  [ -s "$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' | put "$name"
done
printf 'postgres://ganger:%s@postgres/ganger' "$(cat postgres-password)" | put database-url
printf 'redis://:%s@valkey:6379' "$(cat valkey-password)" | put redis-url
printf 'requirepass %s\n' "$(cat valkey-password)" | put valkey.conf
