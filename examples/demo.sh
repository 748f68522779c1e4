#!/usr/bin/env bash
# `make demo`: three hosts, an application spread over them, a host killed. Uses the given wash for
# everything, in a folder and on ports of its own. KEEP=1 leaves it running.
set -euo pipefail
wash=$(realpath "${1:?usage: demo.sh WASH}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/lattice-demo.XXXXXX")
export WASH_DATA_DIR=$work/data WASH_CONFIG_DIR=$work/config WASH_CACHE_DIR=$work/cache
export WASMCLOUD_LATTICE=demo RUST_BACKTRACE=0
registry_pid='' up_pid='' done_well=''

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ wash %s%s\n' "$dim" "$*" "$plain"; "$wash" "$@"; }

cleanup() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [ "${KEEP:-}" = 1 ] && [ -n "$done_well" ]; then exit $code; fi
    [ -n "$done_well" ] || { echo "demo: failed; the last lines of the logs:" >&2; tail -n 15 "$work"/*.log >&2 || true; }
    step "Cleaning up"
    [ -z "$up_pid" ] || { kill -TERM "$up_pid" 2>/dev/null && wait "$up_pid" 2>/dev/null; } || true
    [ -z "$registry_pid" ] || { kill "$registry_pid" 2>/dev/null && wait "$registry_pid" 2>/dev/null; } || true
    rm -rf "$work"
    exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# Ports that are free now.
ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
PY
}
read -r nats_port registry_port http_west < <(ports 3)
export WASMCLOUD_CTL_PORT=$nats_port

# waits_for SECONDS COMMAND...: until it succeeds
waits_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "demo: gave up waiting for: $*" >&2; return 1; }
        sleep 0.1
    done
}

ask() { # METHOD PATH [BODY], on the ingress of the host in us-west
    local answer
    answer=$(curl -sS --max-time 10 -X "$1" ${3:+-d "$3"} -H "Host: gateway.edge-gateway.localhost" "http://127.0.0.1:$http_west$2")
    printf '   %-4s %-32s %s\n' "$1" "$2" "$answer"
}

step "Starting an OCI registry on 127.0.0.1:$registry_port"
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: '127.0.0.1:$registry_port'}
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry_pid=$!
waits_for 20 curl -sf "http://127.0.0.1:$registry_port/v2/"

step "Starting a lattice: NATS, wadm and three hosts"
"$wash" up --nats-port "$nats_port" --registry-mirror "localhost:5000=127.0.0.1:$registry_port" \
    --http-addr "127.0.0.1:$http_west" \
    --host zone=us-west --host zone=us-east --host zone=eu-central >"$work/up.log" 2>&1 &
up_pid=$!
three_hosts() { [ "$("$wash" get hosts -o json | grep -c '"friendly_name"')" = 3 ]; }
waits_for 30 three_hosts
show get hosts

step "Pushing the example components"
for component in gateway auth users search; do
    show push "127.0.0.1:$registry_port/edge-gateway/$component:0.1.0" "$here/edge-gateway/$component.wasm" --insecure
done

step "Deploying examples/edge-gateway/app.wadm.yaml"
show app deploy "$here/edge-gateway/app.wadm.yaml" --wait --timeout 60s

step "Where everything runs, and why"
show app status edge-gateway
show get inventory

step "Asking the gateway"
waits_for 10 curl -sf -H "Host: gateway.edge-gateway.localhost" "http://127.0.0.1:$http_west/health"
ask PUT /api/users/ada "Ada Lovelace"
ask PUT /api/users/alan "Alan Turing"
ask GET /api/users/ada
ask GET '/api/search?q=lovelace'
ask POST '/api/auth/login?user=ada'
ask POST '/api/auth/login?user=ada'

step "Killing the host in us-east (kill -9)"
victim=$("$wash" get hosts -o json | python3 -c '
import json, sys
hosts = json.load(sys.stdin)["hosts"]
print(next(h["id"] for h in hosts if h["labels"].get("zone") == "us-east"))')
pid=$(pgrep -P "$up_pid" -f 'zone=us-east' | head -n 1)
kill -9 "$pid"
echo "   host $victim, process $pid"
moved() {
    "$wash" app status edge-gateway -o json | python3 -c "
import sys
text = sys.stdin.read()
import json
status = json.loads(text)['status']
sys.exit(0 if status['status']['type'] == 'deployed' and '$victim' not in text else 1)"
}
start=$(date +%s%N)
waits_for 60 moved
echo "   everything runs elsewhere after $((($(date +%s%N) - start) / 1000000)) ms"
show app status edge-gateway
show get inventory

step "Asking again: the counters went on"
ask GET /api/users/ada
ask GET '/api/search?q=turing'
ask POST '/api/auth/login?user=ada'

done_well=1
if [ "${KEEP:-}" = 1 ]; then
    step "Left running (KEEP=1)"
    cat <<TXT
   export WASMCLOUD_CTL_PORT=$nats_port WASMCLOUD_LATTICE=demo WASH_DATA_DIR=$WASH_DATA_DIR
   $wash app status edge-gateway --watch
   $wash get inventory
   curl http://gateway.edge-gateway.localhost:$http_west/api/users/ada
   kill $up_pid $registry_pid; rm -rf $work      # when you have seen enough
TXT
fi
