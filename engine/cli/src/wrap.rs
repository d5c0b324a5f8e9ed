//! `heddle plugin wrap`: a component of a core module that was compiled against the contract.
//!
//! Compilers of C and its like leave a core module. Which types its exports have stands in the contract, which this
//! program carries, so that nothing but the module is needed.

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

/// The contract's text.
pub(crate) const CONTRACT: &str = include_str!("../../../wit/0.1.0/plugin.wit");

/// What a module imports that was linked with a C library, where it asks for more than the SDK answers.
const OLD_WASI: &str = "wasi_snapshot_preview1";

#[derive(Args)]
pub(crate) struct Wrap {
    /// The core module: a .wasm file
    module: PathBuf,
    /// Where to write the component
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

impl Wrap {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let module =
            fs::read(&self.module).with_context(|| format!("cannot read {}", output::path(&self.module)))?;
        let component = component(module)
            .with_context(|| format!("no component can be made of {}", output::path(&self.module)))?;
        fs::write(&self.out, component)
            .with_context(|| format!("cannot write {}", output::path(&self.out)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The component of a module.
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
        let asks = format!("{error:#}");
        match asks.contains(OLD_WASI) {
            true => anyhow!(
                "{asks}\nThe code asks the system for what a plugin in this language does not have, as files: the \
                 import that is named says what it is. Leave it out, or answer it in the plugin as the SDK's wasi.c does"
            ),
            false => error,
        }
    })
}

/// The world that a module was compiled for, by what it exports.
fn world_of(module: &[u8]) -> anyhow::Result<&'static str> {
    match module.get(..8) {
        Some(b"\0asm\x01\0\0\0") => {}
        Some([0, b'a', b's', b'm', ..]) => bail!("it is a component already"),
        _ => bail!("it is no WebAssembly module"),
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
            "it exports neither heddle:plugin/node@0.1.0 nor heddle:plugin/tool@0.1.0: compile it with the SDK, or with the \
             bindings that `wit-bindgen` makes of the contract"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_of_a_plugin_is_told() {
        let refusal = |bytes: &[u8]| format!("{:#}", component(bytes.to_vec()).unwrap_err());
        assert!(refusal(b"").contains("no WebAssembly"));
        assert!(refusal(b"\0asm\x0d\0\x01\0").contains("already"));
        assert!(refusal(b"\0asm\x01\0\0\0").contains("exports neither"));
    }
}
