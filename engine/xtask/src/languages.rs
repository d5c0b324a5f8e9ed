//! Builds the guests in Python, JavaScript and C into `target/plugins/languages` with the build programs of their SDKs.
//! These components are large, so they are outside the folder that `heddle serve` loads by default.
//!
//! The build tools (componentize-py, esbuild and QuickJS, a C compiler) are installed in `target/languages`, in the
//! versions that the SDKs pin. A guest is built again only if its sources, its SDK or the WIT changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use crate::process::{program, quietly, under_root};
use crate::python;

/// The build tools, and the checksum of the sources of each component.
const TOOLS: &str = "target/languages";
/// The folder for the built components.
const COMPONENTS: &str = "target/plugins/languages";
/// The WIT that the guests implement.
const WIT: &str = "wit/0.1.0";
/// The oldest major version of Node.js that the tools support.
const OLDEST_NODE: u32 = 18;

/// The language of a guest.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Language {
    Python,
    Js,
    C,
}

/// The guests with their folders below `plugins/`.
const GUESTS: [(Language, &str); 6] = [
    (Language::Python, "measure"),
    (Language::Js, "report"),
    (Language::C, "histogram"),
    (Language::Python, "probes/probe-python"),
    (Language::Js, "probes/probe-js"),
    (Language::C, "probes/probe-c"),
];

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Js => "js",
            Self::C => "c",
        }
    }

    fn sdk(self) -> String {
        format!("plugins/sdk-{}", self.name())
    }
}

/// Builds the guests that changed. Returns all components and the number of those that were built.
pub(crate) fn build() -> Result<(Vec<PathBuf>, usize)> {
    let mut components = Vec::new();
    let mut changed = 0;
    for (language, folder) in GUESTS {
        let source = Path::new("plugins").join(folder);
        let name = source
            .file_name()
            .expect("a guest has a folder")
            .to_string_lossy()
            .into_owned();
        let component = under_root(COMPONENTS).join(format!("{name}.wasm"));
        let stamp = under_root(TOOLS).join(format!("{name}.built"));
        let checksum = checksum_of(&[under_root(&source), under_root(language.sdk()), under_root(WIT)])?;
        if !component.exists() || fs::read_to_string(&stamp).ok().as_deref() != Some(checksum.as_str()) {
            println!("building {}", source.display());
            build_guest(language, &source, &component)
                .with_context(|| format!("{} was not built", source.display()))?;
            fs::write(&stamp, checksum).with_context(|| format!("could not write {}", stamp.display()))?;
            changed += 1;
        }
        components.push(component);
    }
    Ok((components, changed))
}

/// Builds one guest.
fn build_guest(language: Language, source: &Path, component: &Path) -> Result<()> {
    let folder = component.parent().expect("a component's path has a folder");
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let (mut build, script) = match language {
        Language::Js => {
            ensure_node()?;
            (program("node"), "build.mjs")
        }
        Language::Python | Language::C => {
            python::ensure_python()?;
            (program("python3"), "build.py")
        }
    };
    build
        .arg(Path::new(&language.sdk()).join(script))
        .arg(source)
        .env("HEDDLE_TOOLS", under_root(TOOLS).join(language.name()))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    // The C SDK calls the `heddle` command to turn a core module into a component.
    build.env("HEDDLE", under_root("target/debug/heddle"));
    quietly(build.arg("-o").arg(component)).map(drop)
}

/// Checks that a supported Node.js and npm are installed.
pub(crate) fn ensure_node() -> Result<()> {
    const WHAT: &str = "Node.js 18 or newer and npm are needed (on Debian: apt-get install nodejs npm)";
    let version = quietly(program("node").arg("--version")).map_err(|error| anyhow!("{WHAT}: {error:#}"))?;
    let major = version.trim().trim_start_matches('v').split('.').next();
    let major: u32 = major.and_then(|major| major.parse().ok()).unwrap_or_default();
    ensure!(major >= OLDEST_NODE, "{WHAT}; this is {}", version.trim());
    quietly(program("npm").arg("--version")).map_err(|error| anyhow!("{WHAT}: {error:#}"))?;
    Ok(())
}

/// The SHA-256 of the names and contents of all files below the folders, as hex.
fn checksum_of(folders: &[PathBuf]) -> Result<String> {
    let mut files = Vec::new();
    for folder in folders {
        collect(folder, &mut files)?;
    }
    let mut sum = Sha256::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
        sum.update(file.to_string_lossy().as_bytes());
        sum.update((content.len() as u64).to_le_bytes());
        sum.update(content);
    }
    Ok(format!("{:x}", sum.finalize()))
}

/// Collects the files below a folder, sorted by name, without caches, build output and Markdown.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_cache = ["__pycache__", "build", "node_modules"].contains(&&*name);
        if name.starts_with('.') || is_cache || name.ends_with(".md") {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_covers_every_source_and_ignores_caches() {
        let folder = std::env::temp_dir().join(format!("heddle-xtask-sum-{}", std::process::id()));
        fs::create_dir_all(folder.join("inner/__pycache__")).unwrap();
        let sum = || checksum_of(std::slice::from_ref(&folder)).unwrap();
        fs::write(folder.join("inner/a"), "one").unwrap();
        let first = sum();
        fs::write(folder.join("inner/__pycache__/a"), "cached").unwrap();
        assert_eq!(sum(), first);
        fs::write(folder.join("inner/a"), "two").unwrap();
        let second = sum();
        assert_ne!(second, first);
        fs::rename(folder.join("inner/a"), folder.join("inner/b")).unwrap();
        assert_ne!(sum(), second);
        fs::remove_dir_all(&folder).unwrap();
    }
}
