#!/usr/bin/env bash
# Compiles the example components and puts each .wasm beside its source.
# With the wasm32-wasip2 target: plain cargo. Without it (no rustup, no network): the standard
# library from source, then `componentize` makes a component of the core module.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}/examples
components="${*:-http-hello kv-counter toolbox edge-gateway/gateway edge-gateway/auth edge-gateway/users edge-gateway/search}"

# Paths of the building machine stay out of what is committed.
flags="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$here=examples"

componentize() { # core module, component
    cargo run -q --manifest-path "$here/componentize/Cargo.toml" -- "$1" "$2"
}

if rustc --print target-libdir --target wasm32-wasip2 2>/dev/null | xargs test -d; then
    triple=wasm32-wasip2
    (cd "$here" && RUSTFLAGS="$flags" CARGO_TARGET_DIR=$target cargo build --release --target $triple)
else
    triple=wasm32-unknown-unknown
    for tool in /usr/bin/rustc /usr/bin/cargo; do
        [ -x $tool ] || { echo "examples: install rustc-web, cargo-web and rust-web-src (apt-get), or 'rustup target add wasm32-wasip2'" >&2; exit 1; }
    done
    lld=$(command -v rust-lld || find "$(rustc --print sysroot)" -name rust-lld | head -n 1)
    (cd "$here" && env -u RUSTC_WRAPPER RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        RUSTFLAGS="-Zlocation-detail=none $flags --remap-path-prefix=/usr/src=rust" \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$lld CARGO_TARGET_DIR=$target \
        /usr/bin/cargo build --release --target $triple -Zbuild-std=std,panic_abort)
fi

for component in $components; do
    name=$(basename "$component")
    built=$target/$triple/release/${name//-/_}.wasm
    into=$here/$component.wasm
    case $component in */*) ;; *) into=$here/$component/$name.wasm ;; esac
    if [ $triple = wasm32-wasip2 ]; then cp "$built" "$into"; else componentize "$built" "$into"; fi
    echo "examples: ${into#"$here"/} $(stat -c %s "$into") bytes"
done
"$here/sources.sh" > "$here/sources.sha256"
