#!/usr/bin/env bash
# Prints a digest of everything the example components are made of. `make test` compares it with
# sources.sha256, so that a committed .wasm is never older than its source.
set -euo pipefail
cd "$(dirname "$0")"
find . ../proto/wit -type f \( -name '*.rs' -o -name '*.wit' -o -name Cargo.toml -o -name Cargo.lock \) \
    -not -path './target/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
