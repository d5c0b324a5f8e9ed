//! Copies of a store: on request, and before its format changes.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{MaintenanceError, Migrated, Report, check};
use crate::sqlite::{Exclusive, FORMAT, look, private};

/// Copies the store at `path` to a new file, as it is at one moment, and checks the copy. An engine may have
/// it open meanwhile. The copy has no free room in it, and is itself a store.
///
/// # Errors
/// Where there is a file already, the store cannot be read, or the copy cannot be written.
pub fn backup(path: &Path, to: &Path) -> Result<Report, MaintenanceError> {
    let (connection, path, _) = look(path)?;
    copy(&connection, &path, to)?;
    check(to)
}

/// Brings the store at `path` to the newest format. With `backup`, a copy of it as it was is left beside
/// it: `PATH.v2.bak`, after the format.
///
/// # Errors
/// Where an engine has the store open, or as for [`backup`].
pub fn migrate(path: &Path, backup: bool) -> Result<Migrated, MaintenanceError> {
    let store = Exclusive::of(path)?;
    let (connection, path, from) = look(path)?;
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
    private().write(true).create_new(true).open(to).map_err(write)?;
    let copied = vacuum_into(connection, to).map_err(|error| match error {
        Ok(error) => MaintenanceError::Failed {
            path: path.to_owned(),
            message: error.to_string(),
        },
        Err(error) => write(error),
    });
    if copied.is_err() {
        // What is there is no copy: nobody shall take it for one.
        let _ = fs::remove_file(to);
    }
    copied
}

/// Deletes the keys that an engine made for itself: whoever gets a copy gets none of them, and an engine that
/// opens the copy makes new ones.
fn forget_secrets(to: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(to, flags)?;
    if !copy.table_exists(None, "secrets")? {
        return Ok(());
    }
    // What is deleted is overwritten, too.
    copy.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    copy.execute_batch("DELETE FROM secrets")
}

/// Copies into an empty file, and has it on the disk. SQLite's error, or the system's.
fn vacuum_into(connection: &Connection, to: &Path) -> Result<(), Result<rusqlite::Error, io::Error>> {
    let name = to.to_str().ok_or_else(|| {
        let message = "its path is no text";
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(Ok)?;
    forget_secrets(to).map_err(Ok)?;
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
