//! The folder to which runs are exported before they are deleted.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use futures_util::{StreamExt, future::BoxFuture};
use heddle_kernel::RunId;
use heddle_runtime::ports::{Archive, Pieces};

use crate::{output, private_file};

/// A folder with one file for each run.
pub(super) struct ExportFolder(PathBuf);

impl ExportFolder {
    /// Opens the folder, or creates it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        private_file::create_folder(path)
            .with_context(|| format!("--export-before-forgetting {}", output::path(path)))?;
        Ok(Self(path.to_owned()))
    }
}

impl Archive for ExportFolder {
    fn put(&self, run: RunId, export: Pieces) -> BoxFuture<'_, Result<(), String>> {
        let path = self.0.join(format!("{run}.ndjson"));
        Box::pin(write(path, export))
    }
}

/// Writes a file atomically: after a crash it is complete or absent.
async fn write(path: PathBuf, mut export: Pieces) -> Result<(), String> {
    let part = path.with_extension("part");
    let at = {
        let path = path.clone();
        move |error: std::io::Error| format!("{}: {error}", output::path(&path))
    };
    let mut file = blocking({
        let part = part.clone();
        move || private_file::create(&part)
    })
    .await
    .map_err(&at)?;
    while let Some(piece) = export.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                let _ = std::fs::remove_file(&part);
                return Err(error.to_string());
            }
        };
        file = blocking(move || file.write_all(&piece).map(|()| file))
            .await
            .map_err(&at)?;
    }
    blocking(move || finish(&file, &part, &path)).await.map_err(&at)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

fn finish(file: &File, part: &Path, path: &Path) -> std::io::Result<()> {
    file.sync_all()?;
    std::fs::rename(part, path)?;
    // The new name is durable when the folder is synced.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use heddle_runtime::ReadError;

    use super::*;

    fn pieces(of: &[&'static str]) -> Pieces {
        let of: Vec<_> = of.iter().map(|piece| Ok(piece.as_bytes().to_vec())).collect();
        stream::iter(of).boxed()
    }

    fn run() -> RunId {
        "019ab0c4-54d2-7bd1-9d4a-7a3c3f9a2b10".parse().expect("an id")
    }

    #[tokio::test]
    async fn a_run_is_written_completely_and_replaces_an_older_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = ExportFolder::open(&folder.path().join("deep/er")).expect("it is made");
        archive
            .put(run(), pieces(&["o", "ne\n"]))
            .await
            .expect("it is written");
        archive
            .put(run(), pieces(&["two\n"]))
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
    async fn nothing_is_left_of_a_run_that_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = ExportFolder::open(folder.path()).expect("it is there");
        let broken = ReadError::Damaged {
            run: run(),
            message: "event 3 is missing".to_owned(),
        };
        let export = stream::iter([Ok(b"one\n".to_vec()), Err(broken)]).boxed();
        let error = archive.put(run(), export).await.expect_err("it breaks off");
        assert!(error.contains("event 3 is missing"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = ExportFolder::open(&folder.path().join("gone")).expect("it is made");
        std::fs::remove_dir(&archive.0).expect("it is empty");
        let error = archive
            .put(run(), pieces(&[]))
            .await
            .expect_err("there is no folder");
        assert!(error.contains(".ndjson"), "{error}");
    }
}
