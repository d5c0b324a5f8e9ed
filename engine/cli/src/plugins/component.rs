//! Reading components from files, and their names.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use heddle_host::ComponentSummary;

use crate::{client::escape, output};

/// Reads a component from a file.
pub(super) fn read_component(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", output::path(file)))
}

/// The name of a component that carries no name: the file name without its extension.
pub(super) fn stem_of(file: &Path) -> Option<&str> {
    file.file_stem().and_then(|stem| stem.to_str())
}

/// The URL for uploading a component. It contains `name`, or `stem` if the component carries no name.
pub(super) fn named_path(route: &str, component: &[u8], name: Option<&str>, stem: Option<&str>) -> String {
    let name = name.map(str::to_owned).or_else(|| {
        // If this is not a component, the server refuses it with a message.
        let is_nameless = ComponentSummary::of(component, None).is_err();
        let by_stem = ComponentSummary::of(component, stem).ok();
        by_stem.filter(|_| is_nameless).map(|summary| summary.name)
    });
    match name {
        Some(name) => format!("{route}?name={}", escape(&name)),
        None => route.to_owned(),
    }
}

/// The components in a folder, sorted by name.
pub(super) fn components_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", output::path(folder)))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "wasm") && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} has no .wasm file", output::path(folder));
    }
    files.sort();
    Ok(files)
}
