//! Starts other programs in the workspace's root, without the environment variables of `cargo run`; errors name the
//! command.

use std::ffi::OsStr;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate is two folders below the root")
        .to_path_buf()
}

/// A path below the workspace's root.
pub(crate) fn under_root(path: impl AsRef<Path>) -> PathBuf {
    root().join(path)
}

/// A command that runs in the root, without the variables that `cargo run` set for this program.
///
/// Some build scripts run again when these variables change, so builds from here and from a shell would invalidate
/// each other.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    for (key, _) in std::env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME" {
            command.env_remove(key);
        }
    }
    // Cargo prepends its own folders, which the programs started here do not need.
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        let target = under_root("target");
        let rest = std::env::split_paths(&paths)
            .filter(|path| !path.starts_with(&target) && !path.to_string_lossy().contains("/toolchains/"));
        match std::env::join_paths(rest) {
            Ok(rest) if !rest.is_empty() => command.env("LD_LIBRARY_PATH", rest),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
    command
}

/// The cargo that runs this program. It overrides `CARGO_TARGET_DIR`, because this crate starts the programs that it
/// built. In continuous integration it does not change the lock files.
pub(crate) fn cargo(subcommand: &str, target_dir: &str) -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .arg(subcommand)
        .env("CARGO_TARGET_DIR", under_root(target_dir));
    if subcommand != "fmt" && std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        command.arg("--locked");
    }
    command
}

/// The command as typed in a shell.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command with this process's input and output. An exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(command));
    Ok(())
}

/// Runs a command and returns its standard output. Its standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not start `{}`", shown(command)))?;
    ensure!(
        output.status.success(),
        "`{}` failed ({})",
        shown(command),
        output.status
    );
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` wrote text that is not UTF-8", shown(command)))
}

/// Runs a command without showing its output and returns the output. If the command fails, the error contains it.
pub(crate) fn quietly(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("could not start `{}`", shown(command)))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !output.status.success() {
        bail!(
            "`{}` failed ({})\n{}",
            shown(command),
            output.status,
            text.trim_end()
        );
    }
    Ok(text)
}

/// Prints a heading that stands out from the output of other programs.
pub(crate) fn heading(text: &str) {
    if stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        println!("\n\u{1b}[1;36m── {text}\u{1b}[0m");
    } else {
        println!("\n── {text}");
    }
}
