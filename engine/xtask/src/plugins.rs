//! Builds the guests in Rust and copies their components: plugins to `target/plugins`, which `heddle serve` loads by
//! default, and components for the host's tests to `target/plugins/fixtures`. [`languages`] builds the other guests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{cargo, output, program, under_root};
use crate::{languages, progress};

/// The manifest of the guests' workspace, relative to the root.
pub(crate) const MANIFEST: &str = "plugins/Cargo.toml";
/// Guests may use another compiler than the engine, so they need a separate target folder.
const TARGET_DIR: &str = "target/guests";
const TARGET: &str = "wasm32-wasip2";
/// The plugin for benchmarks and tests.
pub(crate) const BENCH: &str = "bench";

/// The components of a build.
#[derive(Default)]
pub(crate) struct Built {
    /// Their paths, sorted.
    components: Vec<PathBuf>,
    /// How many of them are new or changed.
    changed: usize,
}

impl Built {
    /// Copies the changed components of guests in Rust.
    fn add_rust(&mut self, guests: &[Guest]) -> Result<()> {
        let built = under_root(TARGET_DIR).join(TARGET).join("release");
        for guest in guests {
            let folder = under_root(if guest.fixture {
                "target/plugins/fixtures"
            } else {
                "target/plugins"
            });
            let component = folder.join(format!("{}.wasm", guest.name));
            self.changed += usize::from(copy(&built.join(&guest.file), &component)?);
            self.components.push(component);
        }
        self.components.sort();
        Ok(())
    }

    /// Builds the guests in other languages. Requires that the `heddle` command is built.
    pub(crate) fn add_languages(&mut self) -> Result<()> {
        let (components, changed) = languages::build()?;
        self.components.extend(components);
        self.changed += changed;
        Ok(())
    }

    /// Prints the size and path of each component.
    pub(crate) fn report(&self) {
        for component in &self.components {
            let size = fs::metadata(component).map_or(0, |metadata| metadata.len());
            let shown = component
                .strip_prefix(crate::process::root())
                .unwrap_or(component);
            println!("{:>6} kB  {}", size / 1000, shown.display());
        }
        println!(
            "{} components, {} of them new or changed",
            self.components.len(),
            self.changed
        );
    }
}

/// A guest package that becomes a component.
#[derive(Debug, PartialEq)]
struct Guest {
    /// The name of the package and of the component.
    name: String,
    /// Cargo's package id. The name alone can be ambiguous: a dependency may have the same name.
    id: String,
    /// The name of cargo's output file.
    file: String,
    /// Whether only tests use it.
    fixture: bool,
}

/// Selects the guests in Rust to build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rust {
    /// The samples and the standard plugins.
    Demo,
    /// All, with those for tests and benchmarks.
    All,
}

/// Builds guests in Rust and the engine in parallel, then copies the changed components.
pub(crate) fn build_with_engine(which: Rust, engine: Command) -> Result<Built> {
    let guests = guests(&metadata()?, &under_root("plugins/fixtures"), which);
    let guest_build = rust_build(&guests)?;
    progress::build(vec![("engine", engine), ("plugins", guest_build)])?;
    let mut built = Built::default();
    built.add_rust(&guests)?;
    Ok(built)
}

/// Builds the guests in all languages and the `heddle` command, which the C SDK needs.
pub(crate) fn build_all() -> Result<Built> {
    let mut built = build_with_engine(Rust::All, heddle())?;
    built.add_languages()?;
    Ok(built)
}

/// The build of the `heddle` command. It selects features like a build of the whole workspace, so that both share
/// their dependencies.
pub(crate) fn heddle() -> Command {
    let mut build = cargo("build", "target");
    build.args(["--workspace", "--bin", "heddle"]);
    build
}

/// The build of guests in Rust.
fn rust_build(guests: &[Guest]) -> Result<Command> {
    ensure!(
        !guests.is_empty(),
        "no package of {MANIFEST} is a cdylib, so there is no component to build"
    );

    let mut build = cargo("build", TARGET_DIR);
    build.args([
        "--release",
        "--target",
        TARGET,
        "--manifest-path",
        MANIFEST,
        "--lib",
    ]);
    for guest in guests {
        build.args(["--package", &guest.id]);
    }
    // Flags and wrappers for the engine's builds may not work for wasm or with another compiler.
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        build.env_remove(name);
    }
    if let Some(rustc) = wasm_compiler()? {
        build.env("RUSTC", rustc);
    }
    Ok(build)
}

fn metadata() -> Result<Value> {
    let mut metadata = cargo("metadata", TARGET_DIR);
    metadata.args(["--format-version", "1", "--no-deps", "--manifest-path", MANIFEST]);
    serde_json::from_str(&output(&mut metadata)?).context("cargo metadata did not answer with JSON")
}

/// Finds the packages with a cdylib target in cargo's metadata.
fn guests(metadata: &Value, fixtures: &Path, which: Rust) -> Vec<Guest> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter_map(|package| {
            let targets = package["targets"].as_array()?;
            let cdylib = |target: &&Value| {
                target["kind"]
                    .as_array()
                    .is_some_and(|kinds| kinds.contains(&"cdylib".into()))
            };
            let library = targets.iter().find(cdylib)?["name"].as_str()?;
            let guest = Guest {
                name: package["name"].as_str()?.to_string(),
                id: package["id"].as_str()?.to_string(),
                file: format!("{}.wasm", library.replace('-', "_")),
                fixture: Path::new(package["manifest_path"].as_str()?).starts_with(fixtures),
            };
            let wanted = which == Rust::All || !guest.fixture && guest.name != BENCH;
            wanted.then_some(guest)
        })
        .collect()
}

/// Ensures that a compiler for wasm is available. Returns its path if it is not the toolchain's own.
fn wasm_compiler() -> Result<Option<String>> {
    let mut ensure = program("bash");
    ensure
        .arg("-c")
        .arg(r#"answer=$("$0") && eval "$answer" && printf %s "$WASM_RUSTC""#);
    ensure
        .arg(under_root("engine/xtask/ensure-wasm-target.sh"))
        .env("WASM_TARGET", TARGET);
    let run = ensure
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("could not start bash, which finds a compiler for wasm")?;
    ensure!(
        run.status.success(),
        "no compiler for {TARGET} is available: run `rustup target add {TARGET}`, or, on x86_64 Debian, \
         see the messages of engine/xtask/ensure-wasm-target.sh above"
    );
    let rustc = String::from_utf8(run.stdout).context("the path of the compiler is not UTF-8")?;
    Ok(Some(rustc).filter(|path| !path.is_empty()))
}

/// Copies a file unless an identical copy exists; returns whether it did. The copy is atomic: a reader sees the whole old
/// file or the whole new file.
fn copy(from: &Path, to: &Path) -> Result<bool> {
    let new = fs::read(from).with_context(|| format!("the build did not produce {}", from.display()))?;
    match fs::read(to) {
        Ok(old) if old == new => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("could not read {}", to.display())),
    }
    let folder = to.parent().expect("a component's path has a folder");
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let part = to.with_extension(format!("{}.part", std::process::id()));
    fs::write(&part, new).with_context(|| format!("could not write {}", part.display()))?;
    fs::rename(&part, to).with_context(|| format!("could not write {}", to.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn guests_are_the_packages_with_a_cdylib() {
        let package = |name: &str, folder: &str, kind: &str| {
            json!({
                "name": name, "id": format!("path+file:///repo/plugins/{folder}#{name}@0.1.0"),
                "manifest_path": format!("/repo/plugins/{folder}/Cargo.toml"),
                "targets": [
                    {"name": "all", "kind": ["test"]},
                    {"name": name.replace('-', "_"), "kind": [kind]},
                ],
            })
        };
        let metadata = json!({"packages": [
            package("heddle-plugin", "sdk-rust", "lib"),
            package("heddle-plugin-macros", "sdk-rust/macros", "proc-macro"),
            package("code-review", "code-review", "cdylib"),
            package("raw-tool", "fixtures/raw-tool", "cdylib"),
        ]});
        let guest = |name: &str, folder: &str, file: &str, fixture| Guest {
            name: name.into(),
            id: format!("path+file:///repo/plugins/{folder}#{name}@0.1.0"),
            file: file.into(),
            fixture,
        };
        let expected = [
            guest("code-review", "code-review", "code_review.wasm", false),
            guest("raw-tool", "fixtures/raw-tool", "raw_tool.wasm", true),
        ];
        let fixtures = Path::new("/repo/plugins/fixtures");
        assert_eq!(guests(&metadata, fixtures, Rust::All), expected);
        assert_eq!(guests(&metadata, fixtures, Rust::Demo), expected[..1]);
    }

    #[test]
    fn only_changed_components_are_copied() {
        let folder = std::env::temp_dir().join(format!("heddle-xtask-copy-{}", std::process::id()));
        let (from, to) = (folder.join("made.wasm"), folder.join("plugins/made.wasm"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(&from, "one").unwrap();
        assert!(copy(&from, &to).unwrap());
        assert!(!copy(&from, &to).unwrap());
        fs::write(&from, "two").unwrap();
        assert!(copy(&from, &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert_eq!(
            fs::read_dir(to.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file remains"
        );
        assert!(copy(&folder.join("missing.wasm"), &to).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
