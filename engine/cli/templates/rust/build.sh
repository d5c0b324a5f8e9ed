#!/usr/bin/env bash
# Builds the plugin: `cargo build --release --target wasm32-wasip2`, with a compiler that has this target. That is the
# toolchain's own where the target is installed or rustup may install it, else Debian's, unpacked into a cache folder.
set -euo pipefail
cd "$(dirname "$0")"
answer=$(bash sdk/ensure-wasm-target.sh)
eval "$answer"
${WASM_RUSTC:+env RUSTC="$WASM_RUSTC"} cargo build --release --target wasm32-wasip2 "$@"
