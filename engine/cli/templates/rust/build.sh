#!/usr/bin/env bash
# Builds the plugin with `cargo build --release --target wasm32-wasip2`. If the toolchain does not have this target and
# rustup cannot install it, the script unpacks Debian's compiler into a cache folder and uses that.
set -euo pipefail
cd "$(dirname "$0")"
answer=$(bash sdk/ensure-wasm-target.sh)
eval "$answer"
${WASM_RUSTC:+env RUSTC="$WASM_RUSTC"} cargo build --release --target wasm32-wasip2 "$@"
