//! What the test of the description needs: the packages of `tests/clients`, in `target/clients`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::languages::ensure_node;
use crate::process::{program, quietly, under_root};

/// Where the packages are named.
const PACKAGES: &str = "tests/clients";
/// Where they are installed, and where the clients are made.
const FOLDER: &str = "target/clients";

/// The folder with the packages, which are installed where they are not there yet.
pub(crate) fn folder() -> Result<PathBuf> {
    ensure_node()?;
    let folder = under_root(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("could not create {FOLDER}"))?;
    let mut wanted = String::new();
    for name in ["package.json", "package-lock.json"] {
        let path = under_root(PACKAGES).join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        fs::write(folder.join(name), &text).with_context(|| format!("could not write {FOLDER}/{name}"))?;
        wanted += &text;
    }
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
        println!("installing the packages of {PACKAGES} into {FOLDER}");
        let mut npm = program("npm");
        npm.current_dir(&folder);
        quietly(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
        fs::write(&installed, wanted).with_context(|| format!("could not write {}", installed.display()))?;
    }
    Ok(folder)
}
