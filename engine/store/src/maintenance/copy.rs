//! Copies of a store: on request, and before its format changes.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{MaintenanceError, Migrated, Report, check};
use crate::sqlite::{Exclusive, FORMAT, open_read_only, owner_only_file};

/// Copies a consistent state of the store at `path` to a new file, and checks the copy. An engine may have the store
/// open. The copy is a store without free pages.
///
/// # Errors
/// If a file exists at `to`, the store cannot be read, or the copy cannot be written.
pub fn backup(path: &Path, to: &Path) -> Result<Report, MaintenanceError> {
    let (connection, path, _) = open_read_only(path)?;
    copy(&connection, &path, to)?;
    check(to)
}

/// Migrates the store at `path` to the newest format. With `backup`, first copies the store to `PATH.v<format>.bak`.
///
/// # Errors
/// If an engine has the store open, and for the reasons of [`backup`].
pub fn migrate(path: &Path, backup: bool) -> Result<Migrated, MaintenanceError> {
    let store = Exclusive::lock(path)?;
    let (connection, path, from) = open_read_only(path)?;
    let mut done = Migrated {
        from,
        to: FORMAT,
        backup: None,
    };
    if from == FORMAT {
        return Ok(done);
    }
    if backup {
        let mut name = OsString::from(&path);
        name.push(format!(".v{from}.bak"));
        let to = PathBuf::from(name);
        copy(&connection, &path, &to)?;
        done.backup = Some(to);
    }
    drop(connection);
    store.migrate()?;
    Ok(done)
}

fn copy(connection: &Connection, path: &Path, to: &Path) -> Result<(), MaintenanceError> {
    let write = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => MaintenanceError::Exists(to.to_owned()),
        _ => MaintenanceError::Write {
            path: to.to_owned(),
            source,
        },
    };
    owner_only_file()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(write)?;
    let copied = vacuum_into(connection, to).map_err(|error| match error {
        Ok(error) => MaintenanceError::Failed {
            path: path.to_owned(),
            message: error.to_string(),
        },
        Err(error) => write(error),
    });
    if copied.is_err() {
        // An incomplete file must not be mistaken for a copy.
        let _ = fs::remove_file(to);
    }
    copied
}

/// Deletes the engine's own keys from a copy, so that its recipient does not get them. An engine that opens the copy
/// makes new keys.
fn delete_secrets(to: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(to, flags)?;
    if !copy.table_exists(None, "secrets")? {
        return Ok(());
    }
    // Overwrites the deleted bytes in the file.
    copy.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    copy.execute_batch("DELETE FROM secrets")
}

/// Copies into an empty file and syncs it to the disk. Fails with SQLite's error (`Ok`) or the system's (`Err`).
fn vacuum_into(connection: &Connection, to: &Path) -> Result<(), Result<rusqlite::Error, io::Error>> {
    let name = to.to_str().ok_or_else(|| {
        let message = "its path is not valid UTF-8";
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(Ok)?;
    delete_secrets(to).map_err(Ok)?;
    let synced = || {
        File::open(to)?.sync_all()?;
        #[cfg(unix)]
        if let Some(folder) = std::path::absolute(to)?.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    synced().map_err(Err)
}
