//! `heddle plugin wrap`: turns a core module that was compiled against the contract into a component.
//!
//! C compilers make core modules. The types of their exports come from the contract, which this program embeds, so the
//! module is the only input.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::output;

/// The text of the contract (WIT).
pub(super) const CONTRACT: &str = include_str!("../../../../wit/0.1.0/plugin.wit");

/// The module of WASI 0.1 imports. A C library adds such an import if the code uses a function that the SDK's `wasi.c` does
/// not implement.
const WASI_0_1: &str = "wasi_snapshot_preview1";

#[derive(Args)]
pub(crate) struct Wrap {
    /// The core module: a .wasm file
    module: PathBuf,
    /// The file to write the component to
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

impl Wrap {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let module =
            fs::read(&self.module).with_context(|| format!("cannot read {}", output::path(&self.module)))?;
        let component = component(module)
            .with_context(|| format!("cannot turn {} into a component", output::path(&self.module)))?;
        fs::write(&self.out, component)
            .with_context(|| format!("cannot write {}", output::path(&self.out)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Encodes a module as a component.
fn component(mut module: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let world = world_of(&module)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str(Path::new("plugin.wit"), CONTRACT)?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let encoded = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| {
        let message = format!("{error:#}");
        match message.contains(WASI_0_1) {
            true => anyhow!(
                "{message}\nThe code uses the system function that the import names, such as file access, which plugins \
                 in this language do not have. Remove the call, or implement the import as the SDK's wasi.c does"
            ),
            false => error,
        }
    })
}

/// The world that a module was compiled for, derived from its exports.
fn world_of(module: &[u8]) -> anyhow::Result<&'static str> {
    match module.get(..8) {
        Some(b"\0asm\x01\0\0\0") => {}
        Some([0, b'a', b's', b'm', ..]) => bail!("it is a component already"),
        _ => bail!("it is not a WebAssembly module"),
    }
    let exports = |name: &str| module.windows(name.len()).any(|part| part == name.as_bytes());
    match (
        exports("heddle:plugin/node@0.1.0#run"),
        exports("heddle:plugin/tool@0.1.0#call"),
    ) {
        (true, true) => Ok("plugin"),
        (true, false) => Ok("node-plugin"),
        (false, true) => Ok("tool-plugin"),
        (false, false) => bail!(
            "it exports neither heddle:plugin/node@0.1.0 nor heddle:plugin/tool@0.1.0: compile it with the SDK, or with \
             bindings that `wit-bindgen` generates from the contract"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_plugin_module_is_refused_with_the_reason() {
        let refusal = |bytes: &[u8]| format!("{:#}", component(bytes.to_vec()).unwrap_err());
        assert!(refusal(b"").contains("not a WebAssembly"));
        assert!(refusal(b"\0asm\x0d\0\x01\0").contains("already"));
        assert!(refusal(b"\0asm\x01\0\0\0").contains("exports neither"));
    }
}
