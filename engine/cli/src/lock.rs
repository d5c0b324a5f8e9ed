//! The lock file: which component each reference to a registry stood for when it was first added.
//!
//! A tag can be moved by whoever may push; the digests here cannot. The file is JSON, sorted by reference, and belongs
//! into the repository of whoever runs the server.

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

/// A lock file.
pub(crate) struct Lock {
    file: PathBuf,
    pins: BTreeMap<String, Pin>,
}

/// What a reference stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// The reference, as `oci://…`.
    pub(crate) reference: String,
    /// The digest of the manifest in the registry, as `sha256:…`.
    pub(crate) manifest: String,
    /// The digest of the component, as `sha256:…`.
    pub(crate) component: String,
    /// The plugin that it was registered as: `name@version`.
    pub(crate) plugin: String,
    /// The name that it was given in place of its own.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub(crate) given: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    plugins: Vec<Pin>,
}

impl Lock {
    /// Reads a lock file; one that is not there has no pins.
    ///
    /// # Errors
    /// Where it is none, or one of a newer format.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let pins = match std::fs::read_to_string(file) {
            Ok(text) => {
                read(&text).with_context(|| format!("cannot use the lock file {}", output::path(file)))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", output::path(file))),
        };
        let file = file.to_owned();
        Ok(Self { file, pins })
    }

    /// Where it is.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Every pin, by its reference.
    pub(crate) fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }

    /// The pin of a reference.
    pub(crate) fn pin(&self, reference: &str) -> Option<&Pin> {
        self.pins.get(reference)
    }

    /// Writes a pin, in place of the one that its reference had. The file is there as a whole or as it was.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn keep(&mut self, pin: Pin) -> anyhow::Result<()> {
        if self.pin(&pin.reference) == Some(&pin) {
            return Ok(());
        }
        self.pins.insert(pin.reference.clone(), pin);
        let written = Written {
            format: FORMAT,
            plugins: self.pins.values().cloned().collect(),
        };
        let mut text = serde_json::to_string_pretty(&written)?;
        text.push('\n');
        replace(&self.file, &text).with_context(|| format!("cannot write {}", output::path(&self.file)))
    }
}

fn read(text: &str) -> anyhow::Result<BTreeMap<String, Pin>> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_str(text)?;
    if format != FORMAT {
        bail!("it has the format {format}, and this version of heddle knows {FORMAT}");
    }
    let Written { plugins, .. } = serde_json::from_str(text)?;
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
    // As any file that a command writes: who may read it is up to the umask.
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
            given: None,
        }
    }

    #[test]
    fn pins_are_kept_by_reference() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heddle.lock");
        let mut lock = Lock::read(&file).unwrap();
        assert_eq!(lock.pins().count(), 0);
        lock.keep(pin("oci://b/b:1", "sha256:1")).unwrap();
        lock.keep(pin("oci://a/a:1", "sha256:2")).unwrap();
        lock.keep(pin("oci://b/b:1", "sha256:3")).unwrap();
        let lock = Lock::read(&file).unwrap();
        let pins: Vec<&Pin> = lock.pins().collect();
        assert_eq!(
            pins,
            [&pin("oci://a/a:1", "sha256:2"), &pin("oci://b/b:1", "sha256:3")]
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_file_of_another_format_is_refused() {
        let refusal = |text: &str| format!("{:#}", read(text).unwrap_err());
        assert!(refusal(r#"{"format": 2, "more": 1}"#).contains("format 2"));
        assert!(refusal("{}").contains("missing field"));
        assert!(refusal(r#"{"format": 1, "plugins": [{"reference": 1}]}"#).contains("string"));
    }
}
