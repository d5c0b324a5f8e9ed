//! Builds the guests and collects their components: the plugins in `target/plugins`, where `heddle serve` finds them,
//! and the components that the tests throw at the host in `target/plugins/fixtures`, where it does not look. Those that
//! are written in other languages than Rust are [`languages`]' work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{cargo, output, program, under_root};
use crate::{languages, progress};

/// The manifest of the guests' workspace, from the root.
pub(crate) const MANIFEST: &str = "plugins/Cargo.toml";
/// Guests compile with another compiler than the engine, so they have a target folder of their own.
const TARGET_DIR: &str = "target/guests";
const TARGET: &str = "wasm32-wasip2";
/// The plugin that only benchmarks and tests use.
pub(crate) const BENCH: &str = "bench";

/// What a build left in `target/plugins`.
#[derive(Default)]
pub(crate) struct Built {
    /// The components, in the order of their names.
    components: Vec<PathBuf>,
    /// How many of them differ from what was there.
    changed: usize,
}

impl Built {
    /// Copies the components of guests in Rust that changed.
    fn add_rust(&mut self, guests: &[Guest]) -> Result<()> {
        let made = under_root(TARGET_DIR).join(TARGET).join("release");
        for guest in guests {
            let folder = under_root(if guest.fixture {
                "target/plugins/fixtures"
            } else {
                "target/plugins"
            });
            let component = folder.join(format!("{}.wasm", guest.name));
            self.changed += usize::from(copy(&made.join(&guest.file), &component)?);
            self.components.push(component);
        }
        self.components.sort();
        Ok(())
    }

    /// Builds the guests in other languages. The `heddle` command has to be built.
    pub(crate) fn add_languages(&mut self) -> Result<()> {
        let (components, changed) = languages::build()?;
        self.components.extend(components);
        self.changed += changed;
        Ok(())
    }

    /// Says it in a few lines.
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

/// A guest that becomes a component.
#[derive(Debug, PartialEq)]
struct Guest {
    /// The package's name, which is the component's.
    name: String,
    /// How cargo knows the package: its name may be that of a crate that it depends on, too.
    id: String,
    /// The file that cargo makes, without its folder.
    file: String,
    /// Whether it is one of the components that only tests use.
    fixture: bool,
}

/// Which guests that are written in Rust are built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rust {
    /// The samples and the standard plugins.
    Demo,
    /// Those, and what only tests and benchmarks use.
    All,
}

/// Builds guests in Rust and, at the same time, the engine. Copies the components that changed.
pub(crate) fn build_with_engine(which: Rust, engine: Command) -> Result<Built> {
    let guests = guests(&metadata()?, &under_root("plugins/fixtures"), which);
    let guest_build = rust_build(&guests)?;
    progress::build(vec![("engine", engine), ("plugins", guest_build)])?;
    let mut built = Built::default();
    built.add_rust(&guests)?;
    Ok(built)
}

/// Builds every guest, in all languages, and the `heddle` command, which makes components of C's modules.
pub(crate) fn build_all() -> Result<Built> {
    let mut built = build_with_engine(Rust::All, heddle())?;
    built.add_languages()?;
    Ok(built)
}

/// The build of the `heddle` command. It selects features as a build of the whole workspace does, so that both share
/// what they compile.
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
    // Flags and wrappers that the engine's builds are given are not made for wasm or for another compiler.
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

/// The packages that are a cdylib, from cargo's metadata.
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

/// Sees to it that something can compile for wasm. The compiler to use, where it is not the toolchain's own.
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
        "nothing here can compile for {TARGET}: run `rustup target add {TARGET}`, or, on x86_64 Debian, \
         see what engine/xtask/ensure-wasm-target.sh says above"
    );
    let rustc = String::from_utf8(run.stdout).context("the path of the compiler is not UTF-8")?;
    Ok(Some(rustc).filter(|path| !path.is_empty()))
}

/// Copies a file unless the copy is there already, and says whether it did. A reader sees the old file or the new one,
/// never a part.
fn copy(from: &Path, to: &Path) -> Result<bool> {
    let new = fs::read(from).with_context(|| format!("the build left no {}", from.display()))?;
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
    fn guests_are_the_packages_that_are_a_cdylib() {
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
    fn a_component_is_copied_only_when_it_changed() {
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
            "nothing else is left beside it"
        );
        assert!(copy(&folder.join("missing.wasm"), &to).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
