//! Saves failing inputs in `target/fuzz/TARGET/`, each with a text that describes the problem.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The folder below `target/fuzz` where the inputs that break a target are stored.
pub(crate) fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/fuzz")
        .join(target)
}

/// Saves an input and its problem. Returns the file of the input.
pub(crate) fn save(target: &str, input: &[u8], problem: &str) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let folder = folder(target);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(format!("{:016x}", hasher.finish()));
    fs::write(&path, input).with_context(|| path.display().to_string())?;
    fs::write(path.with_extension("txt"), problem)?;
    Ok(path)
}

/// The first part of a problem, in one line.
pub(crate) fn first_line(problem: &str) -> String {
    let text: Vec<&str> = problem.split_whitespace().collect();
    let text = text.join(" ");
    text.chars().take(300).collect()
}
