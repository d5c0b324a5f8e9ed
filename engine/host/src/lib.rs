//! Heddle's functions port: wasmtime, the plugin registry, the sandbox and its limits.
