//! The lock file `heddle.lock`: pins each reference to a registry to the digest of the component that it named when it
//! was added.
//!
//! A tag in a registry can be moved; a digest cannot. The file is JSON, sorted by reference. Operators commit it together
//! with their configuration.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::output;

/// The version of the file's format.
const FORMAT: u32 = 1;

/// A lock file: the pinned source and digest of each plugin.
pub(super) struct LockFile {
    path: PathBuf,
    pins: BTreeMap<String, Pin>,
}

/// The component that a reference is pinned to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// The reference, as `oci://…`.
    pub(crate) reference: String,
    /// The digest of the manifest in the registry, as `sha256:…`.
    pub(crate) manifest: String,
    /// The digest of the component, as `sha256:…`.
    pub(crate) component: String,
    /// The registered plugin, as `name@version`.
    pub(crate) plugin: String,
    /// The name that replaces the component's own name.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    plugins: Vec<Pin>,
}

impl LockFile {
    /// Reads a lock file. If the file does not exist, there are no pins.
    ///
    /// # Errors
    /// If the file is not a lock file, or has a newer format.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let pins = match std::fs::read_to_string(path) {
            Ok(text) => {
                parse(&text).with_context(|| format!("cannot use the lock file {}", output::path(path)))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", output::path(path))),
        };
        let path = path.to_owned();
        Ok(Self { path, pins })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All pins, sorted by reference.
    pub(crate) fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }

    /// The pin of a reference.
    pub(crate) fn pin(&self, reference: &str) -> Option<&Pin> {
        self.pins.get(reference)
    }

    /// Adds a pin, or replaces the one with the same reference, and writes the file atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn pin_component(&mut self, pin: Pin) -> anyhow::Result<()> {
        if self.pin(&pin.reference) == Some(&pin) {
            return Ok(());
        }
        self.pins.insert(pin.reference.clone(), pin);
        let content = Content {
            format: FORMAT,
            plugins: self.pins.values().cloned().collect(),
        };
        let mut text = serde_json::to_string_pretty(&content)?;
        text.push('\n');
        replace(&self.path, &text).with_context(|| format!("cannot write {}", output::path(&self.path)))
    }
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, Pin>> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_str(text)?;
    if format != FORMAT {
        bail!("it has format {format}, but this version of heddle supports format {FORMAT}");
    }
    let Content { plugins, .. } = serde_json::from_str(text)?;
    Ok(plugins
        .into_iter()
        .map(|pin| (pin.reference.clone(), pin))
        .collect())
}

fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut beside = tempfile::Builder::new();
    // As for any file that a command writes, the umask decides who may read it.
    #[cfg(unix)]
    beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut beside = beside.tempfile_in(folder)?;
    beside.write_all(text.as_bytes())?;
    beside.as_file().sync_all()?;
    beside.persist(file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(reference: &str, manifest: &str) -> Pin {
        Pin {
            reference: reference.to_owned(),
            manifest: manifest.to_owned(),
            component: "sha256:c".to_owned(),
            plugin: "shout@1.0.0".to_owned(),
            name: None,
        }
    }

    #[test]
    fn a_reference_has_one_pin() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heddle.lock");
        let mut lock = LockFile::read(&file).unwrap();
        assert_eq!(lock.pins().count(), 0);
        lock.pin_component(pin("oci://b/b:1", "sha256:1")).unwrap();
        lock.pin_component(pin("oci://a/a:1", "sha256:2")).unwrap();
        lock.pin_component(pin("oci://b/b:1", "sha256:3")).unwrap();
        let lock = LockFile::read(&file).unwrap();
        let pins: Vec<&Pin> = lock.pins().collect();
        assert_eq!(
            pins,
            [&pin("oci://a/a:1", "sha256:2"), &pin("oci://b/b:1", "sha256:3")]
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_file_of_another_format_is_refused() {
        let refusal = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(refusal(r#"{"format": 2, "more": 1}"#).contains("format 2"));
        assert!(refusal("{}").contains("missing field"));
        assert!(refusal(r#"{"format": 1, "plugins": [{"reference": 1}]}"#).contains("string"));
    }
}
