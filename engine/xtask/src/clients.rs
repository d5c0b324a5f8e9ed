//! Installs the npm packages of `tests/clients` into `target/clients`. The test of the OpenAPI description needs them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::languages::ensure_node;
use crate::process::{program, quietly, under_root};

/// The folder with package.json and package-lock.json.
const PACKAGES: &str = "tests/clients";
/// The packages are installed here, and the test generates its clients here.
const FOLDER: &str = "target/clients";

/// Returns the folder with the packages. Installs them first if they are absent or outdated.
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
