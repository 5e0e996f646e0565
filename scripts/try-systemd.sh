#!/usr/bin/env bash
# Puts the unit to the test under a real service manager: systemd as a user manager in a namespace of its own.
#
#   scripts/try-systemd.sh         half a dozen minutes; GANGER_TEST_BINARY or target/release/ganger
#
# Shown: a start waits for READY and for the ledger, the status is told, a reload takes a configuration over, Redis may
# hang for a minute without a restart, a daemon whose threads are stopped from outside is killed by the watchdog and
# started again, credentials arrive as files, a stop drains and ends with 0, Node runs as a handler with the drop-in and only
# with it, and a wrong configuration is not started again and again. What a user manager cannot do is left out of the unit for this: the user, the sandbox of mounts and
# users, and network-online.target. Needs root (for the namespace), systemd 252 or newer, redis-server and PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*" >&2; }
fail() { echo "try-systemd: $*" >&2; systemctl --user status ganger --no-pager 2>&1 | head -20 >&2; exit 1; }

if [ "$(id -u)" != 0 ] || ! unshare --mount true 2>/dev/null; then
  echo "try-systemd: skipped: a service manager of its own needs root and namespaces" >&2
  exit 0
fi
if [ -z "${GANGER_IN_NAMESPACE:-}" ]; then
  GANGER_IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
program=$(realpath "${GANGER_TEST_BINARY:-target/release/ganger}")
[ -x "$program" ] || { echo "try-systemd: $program is not there: cargo build --release" >&2; exit 1; }
manager_program=$(command -v /lib/systemd/systemd || command -v /usr/lib/systemd/systemd)
unit=$PWD/deploy/systemd/ganger.service

# --- A machine of its own, as far as systemd looks ---

folder=$(mktemp -d)
pids=()
manager=
leave() {
  # The manager is killed, since it cannot be told to leave without a session; its daemon before it.
  if [ -n "$manager" ]; then
    timeout 60 systemctl --user kill --signal KILL ganger 2>/dev/null || true
    kill -KILL "$manager" 2>/dev/null || true
  fi
  for pid in "${pids[@]}"; do kill -CONT "$pid" 2>/dev/null || true; kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap leave EXIT
mount -t tmpfs none /run
# Credentials are mounted in a namespace of their own and come over from there.
mount --make-shared /run
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/systemd/system /run/user/0 "$folder/units" "$folder/home" "$folder/credentials"
export XDG_RUNTIME_DIR=/run/user/0 HOME=$folder/home SYSTEMD_UNIT_PATH=$folder/units
unset XDG_CONFIG_HOME XDG_STATE_HOME DBUS_SESSION_BUS_ADDRESS
for target in basic shutdown exit; do printf '[Unit]\nDescription=%s\n' "$target" >"$folder/units/$target.target"; done

# --- Stores ---

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
redis_port=$(free_port) postgres_port=$(free_port) port=$(free_port)
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --dir "$folder" >"$folder/redis.log" &
redis=$!
pids+=("$redis")
initdb=(/usr/lib/postgresql/*/bin/initdb)
postgres_bin=$(dirname "${initdb[-1]}")
chmod 711 "$folder"
install -d -o nobody -g nogroup "$folder/postgres"
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups env HOME="$folder/postgres" "$@"; }
as_nobody "$postgres_bin/initdb" -D "$folder/postgres/data" -U ganger --auth trust >"$folder/initdb.log"
start_postgres() {
  as_nobody "$postgres_bin/postgres" -D "$folder/postgres/data" -p "$postgres_port" -k "$folder/postgres" \
    -c listen_addresses=127.0.0.1 >>"$folder/postgres.log" 2>&1 &
  pids+=($!)
}

# --- The unit, as it is but for what a user manager cannot do ---

token=try-systemd-token-0123456789
printf %s "$token" >"$folder/credentials/api-token"
printf 'redis://127.0.0.1:%s' "$redis_port" >"$folder/credentials/redis-url"
printf 'postgres://ganger@127.0.0.1:%s/postgres' "$postgres_port" >"$folder/credentials/database-url"
cat >"$folder/ganger.toml" <<CONFIG
[server]
listen = "127.0.0.1:$port"
[redis]
timeout_ms = 500
[ledger]
timeout_ms = 2000
[shedding]
# What else runs on this machine is not what is tried here.
cpu = 1.0
[startup]
wait_ms = 300000
[queues.try]
[pools.try-workers]
queue = "try"
[job_types.try_sleep]
queue = "try"
[job_types.try_sleep.handler]
kind = "builtin"
name = "sleep"
CONFIG
sed -E \
  -e "s#/usr/bin/ganger serve --config /etc/ganger/ganger.toml#$program serve --migrate --config $folder/ganger.toml#" \
  -e "s#/etc/ganger/credentials#$folder/credentials#" \
  -e '/^(User|Group|WorkingDirectory|StateDirectory.*|Wants|After|LimitNOFILE|TasksMax|DevicePolicy)=/d' \
  -e '/^(Protect|Private|CapabilityBoundingSet|AmbientCapabilities|RemoveIPC|KeyringMode)/d' \
  -e 's/^WatchdogSec=.*/WatchdogSec=6/' -e "s#%S/ganger#$folder/data#" \
  "$unit" >"$folder/units/ganger.service"
grep -q '^Type=notify$' "$folder/units/ganger.service"
"$manager_program" --user --unit=basic.target >"$folder/manager.log" 2>&1 &
manager=$!
disown "$manager"
for _ in $(seq 100); do ! systemctl --user is-active basic.target >/dev/null 2>&1 || break; sleep 0.1; done

show() { systemctl --user show ganger --value --property "$1"; }
is() { [ "$(show "$1")" = "$2" ]; }
says() { show StatusText | grep -q "$1"; }
ganger() { GANGER_SERVER=http://127.0.0.1:$port GANGER_TOKEN=$token "$program" "$@"; }
# until_true SECONDS WHAT COMMAND...: waits until the command succeeds.
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" 2>/dev/null; do
    [ $SECONDS -lt $end ] || fail "never: $what"
    sleep 0.2
  done
}

say "a start waits for the ledger, longer than TimeoutStartSec would let it"
sed -i 's/^TimeoutStartSec=.*/TimeoutStartSec=5/' "$folder/units/ganger.service"
systemctl --user daemon-reload
systemctl --user start ganger &
starting=$!
until_true 10 "it says what it waits for" says "opening the ledger"
sleep 8 # more than the 5 s after which it would be given up
[ "$(show ActiveState)" = activating ] || fail "it is $(show ActiveState) without a ledger"
start_postgres
wait "$starting" || fail "the start failed"
[ "$(show ActiveState)" = active ] || fail "not active"
ganger health --live >/dev/null || fail "READY came before the listener"
echo "active once it was ready: $(show StatusText)"

say "secrets came as credentials"
[ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/v1/queues")" = 401 ] || fail "no token is asked for"
ganger queues list >/dev/null || fail "the credential's token is not known"

say "a reload takes a new type over"
printf '\n[job_types.try_more]\nqueue = "try"\n[job_types.try_more.handler]\nkind = "builtin"\nname = "echo"\n' >>"$folder/ganger.toml"
systemctl --user reload ganger
until_true 20 "the new type is known" ganger submit try_more --payload 1
[ "$(show NRestarts)" = 0 ] || fail "the reload restarted it"

say "Redis hangs for a minute: no restart"
kill -STOP "$redis"
until_true 30 "it tells that the broker is away" says "broker away"
sleep 60
[ "$(show NRestarts)/$(show ActiveState)" = 0/active ] || fail "restarted $(show NRestarts) times, $(show ActiveState)"
echo "still active: $(show StatusText)"
kill -CONT "$redis"
until_true 30 "the broker is back" says "shedding level 0$"

say "a daemon that no longer moves is started again by the watchdog"
old=$(show MainPID)
python3 scripts/freeze-threads.py "$old" tokio &
pids+=($!)
# Seen in the two seconds before it is started again.
until_true 60 "the watchdog bites" is Result watchdog
until_true 60 "it is active again" is ActiveState active
[ "$(show MainPID)" != "$old" ] || fail "the same process"
is NRestarts 1 || fail "restarted $(show NRestarts) times"
ganger submit try_more --payload 2 --wait >/dev/null || fail "it does no work after the restart"
echo "killed and started again: NRestarts=$(show NRestarts)"

say "a stop lets running jobs finish"
id=$(ganger submit try_sleep --payload '{"ms":6000}' -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
until_true 20 "the job runs" sh -c "curl -s -H 'Authorization: Bearer $token' http://127.0.0.1:$port/v1/jobs/$id | grep -q '\"state\":\"running\"'"
began=$SECONDS
systemctl --user stop ganger
[ "$(show Result)/$(show ExecMainStatus)/$(show ActiveState)" = success/0/inactive ] || fail "the stop ended with $(show Result), status $(show ExecMainStatus)"
echo "stopped with status 0 after $((SECONDS - began)) s"
systemctl --user start ganger
curl -s -H "Authorization: Bearer $token" "http://127.0.0.1:$port/v1/jobs/$id" |
  python3 -c 'import json, sys; job = json.load(sys.stdin); assert (job["state"], job["attempts"]) == ("succeeded", 1), job'

if node=$(command -v node); then
  say "a JIT compiler needs the drop-in"
  cat >>"$folder/ganger.toml" <<CONFIG
[job_types.try_jit]
queue = "try"
[job_types.try_jit.handler]
kind = "command"
program = "$(realpath "$node")"
args = ["-e", "console.log(41 + 1)"]
CONFIG
  state_of_jit() {
    ganger submit try_jit --wait -o json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])' || true
  }
  systemctl --user restart ganger
  [ "$(state_of_jit)" = in_review ] || fail "node ran in spite of MemoryDenyWriteExecute"
  install -D deploy/systemd/50-jit.conf "$folder/units/ganger.service.d/50-jit.conf"
  sed -i '/^TasksMax=/d' "$folder/units/ganger.service.d/50-jit.conf"
  systemctl --user daemon-reload
  systemctl --user restart ganger
  [ "$(state_of_jit)" = succeeded ] || fail "node does not run with the drop-in"
fi

say "a wrong configuration is not tried again"
echo 'queuez = 1' >"$folder/ganger.toml"
systemctl --user stop ganger
! systemctl --user start ganger 2>/dev/null || fail "it started"
[ "$(show ExecMainStatus)/$(show ActiveState)" = 78/failed ] || fail "status $(show ExecMainStatus), $(show ActiveState)"
say "the unit holds"
