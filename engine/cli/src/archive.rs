//! The folder that gets runs before they are forgotten.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use futures_util::future::BoxFuture;
use heddle_kernel::RunId;
use heddle_runtime::ports::Archive;

use crate::output;

/// A folder with one file for each run.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, or makes it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("--export-before-forgetting {}", output::path(path)))?;
        Ok(Self(path.to_owned()))
    }
}

impl Archive for Folder {
    fn put(&self, run: RunId, export: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        let path = self.0.join(format!("{run}.ndjson"));
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || {
                write(&path, &export).map_err(|error| format!("{}: {error}", output::path(&path)))
            });
            written.await.unwrap_or_else(|error| Err(error.to_string()))
        })
    }
}

/// Writes a file that is there as a whole or not at all, also after a crash.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    // The name is durable when its folder is.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10".parse().expect("an id")
    }

    #[tokio::test]
    async fn a_run_is_written_as_a_whole_and_over_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Folder::open(&folder.path().join("deep/er")).expect("it is made");
        archive
            .put(run(), b"one\n".to_vec())
            .await
            .expect("it is written");
        archive
            .put(run(), b"two\n".to_vec())
            .await
            .expect("it is written");
        let names: Vec<_> = std::fs::read_dir(&archive.0)
            .expect("it is there")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10.ndjson"]);
        let text = std::fs::read_to_string(archive.0.join(&names[0])).expect("it is there");
        assert_eq!(text, "two\n");
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Folder::open(&folder.path().join("gone")).expect("it is made");
        std::fs::remove_dir(&archive.0).expect("it is empty");
        let error = archive
            .put(run(), Vec::new())
            .await
            .expect_err("there is no folder");
        assert!(error.contains(".ndjson"), "{error}");
    }
}
