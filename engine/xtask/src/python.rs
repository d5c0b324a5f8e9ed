//! The project's own Python environment in `target/python`, for the client tests and for tools from Python packages.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{output, program, quietly, under_root};

const FOLDER: &str = "target/python";

/// Installs the packages of a requirements file and returns the path of a program in the environment.
pub(crate) fn tool(name: &str, requirements: &str) -> Result<PathBuf> {
    let bin = under_root(FOLDER).join("bin");
    if !bin.join("python3").exists() {
        ensure_python()?;
        println!("creating {FOLDER}");
        quietly(program("python3").args(["-m", "venv", "--clear", FOLDER]))?;
    }
    // Skips pip, which needs a second to find that the packages are installed.
    let wanted = fs::read_to_string(under_root(requirements))
        .with_context(|| format!("could not read {requirements}"))?;
    let installed = under_root(FOLDER).join(format!("{}.installed", requirements.replace('/', "-")));
    if fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
        println!("installing {requirements} into {FOLDER}");
        let mut pip = program(bin.join("python3"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        ]);
        quietly(pip.args(["--requirement", requirements]))?;
        fs::write(&installed, wanted).with_context(|| format!("could not write {}", installed.display()))?;
    }
    Ok(bin.join(name))
}

/// Ensures that a Python with the venv module is installed. Installs it on Debian if this is run by root.
pub(crate) fn ensure_python() -> Result<()> {
    if has_python() {
        return Ok(());
    }
    const WHAT: &str =
        "Python 3 with its venv module is needed (on Debian: apt-get install python3 python3-venv)";
    let root = output(program("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || quietly(program("apt-get").arg("--version")).is_err() {
        bail!(WHAT);
    }
    println!("installing python3 and python3-venv");
    quietly(program("apt-get").args(["update"])).context(WHAT)?;
    let mut install = program("apt-get");
    install.args([
        "install",
        "--yes",
        "--no-install-recommends",
        "python3",
        "python3-venv",
    ]);
    quietly(install.env("DEBIAN_FRONTEND", "noninteractive")).context(WHAT)?;
    if !has_python() {
        bail!(WHAT);
    }
    Ok(())
}

fn has_python() -> bool {
    quietly(program("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}
