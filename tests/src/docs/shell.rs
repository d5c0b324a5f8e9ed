//! The terminal of a page: bash, which keeps its folder and its variables between blocks.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{heddle, repository, target};

/// The time limit of a block. A build may wait for other builds.
const BLOCK_TIME: Duration = Duration::from_secs(400);

/// The commands before and after each block. `$PAGE` is the folder of the terminal's own files.
const PRELUDE: &str = r#"
set -a
[ -e "$PAGE/environment" ] && source "$PAGE/environment"
cd "$(cat "$PAGE/folder")"
keep() { pwd >"$PAGE/folder"; export -p >"$PAGE/environment"; }
trap keep EXIT
heddle() { if [ "${1-}" = serve ]; then keep; exec heddle "$@"; else command heddle "$@"; fi; }
set -euo pipefail
"#;

/// The `cargo` on the path. Outside of a project it records its arguments; in a project it builds with a compiler for
/// wasm.
const CARGO: &str = r#"#!/bin/bash
case "${1-}" in
  xtask|test|bench|run|install)
    if [ ! -e Cargo.toml ]; then printf '%s\n' "$*" >>"$PAGE/cargo"; exit 0; fi;;
esac
PATH="${PATH//"$PAGE/bin:"/}"
# A project with a script for it finds its own compiler for wasm.
[[ "$*" != *wasm32* || -e build.sh || -z "$WASM_RUSTC" ]] || export RUSTC="$WASM_RUSTC"
exec cargo "$@"
"#;

/// A terminal: a folder and an environment that last from one block to the next.
pub(super) struct Shell {
    /// The terminal's own files.
    own: TempDir,
    environment: Vec<(String, String)>,
}

/// The result of a block.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) succeeded: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Shell {
    /// Creates a terminal in a folder, for a server at a port.
    pub(super) fn open(folder: &Path, plugins: &Path, port: u16) -> Self {
        let own = TempDir::new().expect("a folder for the terminal");
        let bin = own.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(heddle(), bin.join("heddle")).unwrap();
        let cargo = bin.join("cargo");
        fs::write(&cargo, CARGO).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(own.path().join("folder"), folder.display().to_string()).unwrap();

        let path = std::env::var("PATH").unwrap_or_default();
        let mut environment: Vec<(String, String)> = [
            ("PAGE", own.path().display().to_string()),
            ("PATH", format!("{}:{path}", bin.display())),
            ("HEDDLE", heddle().display().to_string()),
            ("HEDDLE_SERVER", format!("http://127.0.0.1:{port}")),
            ("HEDDLE_LISTEN", format!("127.0.0.1:{port}")),
            ("HEDDLE_PLUGINS", plugins.display().to_string()),
            // The tests share one cache of compiled plugins, like the servers of one machine.
            ("HEDDLE_CACHE", target().join("test-cache").display().to_string()),
            ("NO_COLOR", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("NODE_NO_WARNINGS", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.push(("WASM_RUSTC".to_owned(), wasm_compiler().unwrap_or_default()));
        Self { own, environment }
    }

    /// The current folder.
    pub(super) fn folder(&self) -> PathBuf {
        let folder = fs::read_to_string(self.own.path().join("folder")).expect("the terminal has a folder");
        PathBuf::from(folder.trim())
    }

    /// Changes the folder.
    pub(super) fn go_to(&self, folder: &Path) {
        fs::write(self.own.path().join("folder"), folder.display().to_string()).unwrap();
    }

    /// The command that runs a script, without the environment of this test's cargo.
    pub(super) fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{PRELUDE}{script}\n")]);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let cargos = name.starts_with("CARGO_") && name != "CARGO_HOME";
            if cargos || name.starts_with("HEDDLE_") || name.contains("RUSTC") || name.ends_with("RUSTFLAGS")
            {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a script to its end.
    pub(super) fn run(&self, script: &str) -> Ran {
        let out = |name: &str| self.own.path().join(name);
        // Files instead of pipes: a background process of a script would keep a pipe open.
        let mut child = self
            .command(script)
            .stdout(File::create(out("stdout")).unwrap())
            .stderr(File::create(out("stderr")).unwrap())
            .spawn()
            .expect("bash can be started");
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("bash can be waited for") {
                break status;
            }
            if began.elapsed() > BLOCK_TIME {
                let _ = child.kill();
                let _ = child.wait();
                panic!("after {BLOCK_TIME:?} it is not done:\n{script}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |name: &str| String::from_utf8_lossy(&fs::read(out(name)).unwrap()).into_owned();
        Ran {
            succeeded: status.success(),
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }

    /// The calls of the repository's own `cargo` since the last time.
    pub(super) fn cargo_calls(&self) -> Vec<String> {
        let kept = self.own.path().join("cargo");
        let calls = fs::read_to_string(&kept).unwrap_or_default();
        let _ = fs::remove_file(kept);
        calls.lines().map(str::to_owned).collect()
    }

    /// Links the build tools, packages and target folder of the repository's plugins into the projects in and below a
    /// folder.
    pub(super) fn share_builds(&self, folder: &Path, depth: usize) {
        for (language, source) in [("python", "app.py"), ("js", "package.json"), ("c", "plugin.c")] {
            let tools = target().join("languages").join(language);
            if folder.join("sdk").join(language).is_dir() || folder.join(source).is_file() {
                link(&tools, &folder.join(".tools"));
            }
        }
        if folder.join("Cargo.toml").is_file() {
            link(&target().join("guests"), &folder.join("target"));
            let lock = folder.join("Cargo.lock");
            if !lock.exists() {
                fs::copy(repository().join("plugins/Cargo.lock"), lock).unwrap();
            }
        }
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in below.filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            self.share_builds(&entry.path(), depth - 1);
        }
    }
}

/// Creates a link unless the path exists.
pub(super) fn link(to: &Path, at: &Path) {
    if to.exists() && fs::symlink_metadata(at).is_err() {
        symlink(to, at).unwrap_or_else(|error| panic!("{}: {error}", at.display()));
    }
}

/// The compiler for wasm if it is not the toolchain's own.
pub(super) fn wasm_compiler() -> Option<String> {
    static RUSTC: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        let mut ensure = Command::new("bash");
        ensure
            .args([
                "-c",
                r#"answer=$("$0") && eval "$answer" && printf %s "$WASM_RUSTC""#,
            ])
            .arg(repository().join("engine/xtask/ensure-wasm-target.sh"))
            .env("WASM_TARGET", "wasm32-wasip2");
        let found = ensure.output().expect("bash can be started");
        assert!(found.status.success(), "{ensure:?}: {found:?}");
        Some(String::from_utf8(found.stdout).unwrap()).filter(|path| !path.is_empty())
    };
    RUSTC.get_or_init(find).clone()
}
