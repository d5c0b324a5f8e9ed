//! Opens the store's file: resolves its path, locks it, checks its format, migrates it, and configures connections.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The SQLite application id of a Heddle store: `Hddl`.
const APPLICATION_ID: i32 = 0x4864_646c;

/// The newest format: the number of the last migration.
pub(crate) const FORMAT: i32 = 7;

/// The number of pages at which the write-ahead log is copied into the file. The commit that does so needs two more
/// syncs. It limits the log to about 16 MiB.
const CHECKPOINT_PAGES: i64 = 4_000;

/// The page cache of a connection, in KiB. The writer's cache holds the pages that active runs use.
const WRITER_CACHE_KIB: i64 = 8_192;
const READER_CACHE_KIB: i64 = 1_024;

/// How long a connection waits for a lock of another process, such as `sqlite3` on the same file.
const WRITER_WAITS: Duration = Duration::from_secs(1);
const READER_WAITS: Duration = Duration::from_secs(5);

/// How many prepared statements a connection caches: more than exist.
const STATEMENTS: usize = 64;

refinery::embed_migrations!("migrations");

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path cannot be that of a store. The operator names another one.
    #[error("the store cannot be at {}: {message}", .path.display())]
    Path {
        /// The path, as given.
        path: PathBuf,
        /// What is wrong with the path.
        message: String,
    },
    /// Another process has the store open. The operator stops that process, or names another path.
    #[error("the store {} is in use: another heddle process has locked {}", .path.display(), .lock.display())]
    InUse {
        /// The path of the store.
        path: PathBuf,
        /// The lock file that the other process holds.
        lock: PathBuf,
    },
    /// The operating system does not allow to read and write the file. The operator corrects that and tries again.
    #[error("the store {} cannot be opened: {source}", .path.display())]
    Access {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a store of Heddle. It is left unchanged.
    #[error("{} is not a store of Heddle: {message}", .path.display())]
    NotAStore {
        /// The path of the store's file.
        path: PathBuf,
        /// What it is instead.
        message: String,
    },
    /// A newer version of Heddle wrote the store.
    #[error(
        "the store {} has format {found}, but this version of heddle supports formats up to {known}: use the version that wrote the store, or a newer one",
        .path.display()
    )]
    Newer {
        /// The path of the store's file.
        path: PathBuf,
        /// The format of the file.
        found: i32,
        /// The newest format that this version supports.
        known: i32,
    },
    /// SQLite reports an error.
    #[error("the store {} cannot be opened: {message}", .path.display())]
    Failed {
        /// The path of the store's file.
        path: PathBuf,
        /// The error of SQLite.
        message: String,
    },
}

/// An open store: the only connection that writes, and the lock that excludes other processes.
pub(super) struct Opened {
    /// Declared before the lock, so that the connection is closed before the lock is released.
    pub(super) connection: Connection,
    pub(super) lock: File,
    /// The path with links resolved, so that one file has one lock under every name.
    pub(super) path: PathBuf,
}

/// Opens the store at this path. Creates it if the file does not exist.
pub(super) fn open(given: &Path) -> Result<Opened, OpenError> {
    let path = locate(given)?;
    let lock = lock(&path)?;
    create(&path).map_err(|source| OpenError::Access {
        path: path.clone(),
        source,
    })?;
    let connection = connect(&path)?;
    Ok(Opened {
        connection,
        lock,
        path,
    })
}

/// A locked store that no engine can open.
pub(crate) struct Exclusive {
    path: PathBuf,
    _lock: File,
}

impl Exclusive {
    /// Locks the existing store at this path.
    pub(crate) fn lock(given: &Path) -> Result<Self, OpenError> {
        let path = existing(given)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Migrates the store to the newest format.
    pub(crate) fn migrate(self) -> Result<(), OpenError> {
        let connection = connect(&self.path)?;
        // Copies the write-ahead log into the file. Closing the connection then removes the log.
        let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        copied.map_err(|error| failed(&self.path, &error))
    }
}

/// Opens a read-only connection to an existing store, which an engine may have open. Also returns the absolute path and
/// the format of the file.
pub(crate) fn open_read_only(given: &Path) -> Result<(Connection, PathBuf, i32), OpenError> {
    let path = existing(given)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| failed(&path, &error);
    let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
    connection.busy_timeout(READER_WAITS).map_err(failed)?;
    let format = format(&connection, &path, failed)?;
    if format == 0 {
        return Err(OpenError::NotAStore {
            path,
            message: "it is empty".to_owned(),
        });
    }
    Ok((connection, path, format))
}

/// Creates a new store at this path, and opens its writing connection.
pub(crate) fn create_new(given: &Path) -> Result<Connection, OpenError> {
    let path = locate(given)?;
    let created = owner_only_file().write(true).create_new(true).open(&path);
    created.map_err(|source| OpenError::Access {
        path: path.clone(),
        source,
    })?;
    connect(&path)
}

/// The absolute path of an existing file.
fn existing(given: &Path) -> Result<PathBuf, OpenError> {
    let path = locate(given)?;
    match path.exists() {
        true => Ok(path),
        false => Err(OpenError::Path {
            path: given.to_owned(),
            message: "there is no such file".to_owned(),
        }),
    }
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    // Not opened read-only: the last connection that is closed copies the log into the file and must be able to write.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(READER_WAITS)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(connection)
}

/// The absolute path of the store, with links resolved.
fn locate(given: &Path) -> Result<PathBuf, OpenError> {
    let refuse = |message: String| OpenError::Path {
        path: given.to_owned(),
        message,
    };
    if given.as_os_str().is_empty() {
        return Err(refuse("the path is empty".to_owned()));
    }
    // Absolute, so that SQLite does not treat a path as a special name (`:memory:`, `file:`).
    let path = std::path::absolute(given).map_err(|error| refuse(error.to_string()))?;
    if path.is_dir() {
        return Err(refuse("it is a folder; name a file in it".to_owned()));
    }
    if path.exists() {
        return fs::canonicalize(&path).map_err(|source| OpenError::Access { path, source });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refuse("the path does not end with a file name".to_owned()));
    };
    if !parent.is_dir() {
        return Err(refuse(format!("the folder {} does not exist", parent.display())));
    }
    let parent = fs::canonicalize(parent).map_err(|source| OpenError::Access {
        path: parent.to_owned(),
        source,
    })?;
    Ok(parent.join(name))
}

/// Locks the store for this process with a lock file beside it. The lock file is never removed.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let lock = PathBuf::from(name);
    let access = |source| OpenError::Access {
        path: lock.clone(),
        source,
    };
    let file = owner_only_file()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock)
        .map_err(access)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
            lock,
        }),
        Err(TryLockError::Error(source)) => Err(access(source)),
    }
}

/// Creates an empty file that only its owner can read, if none exists. SQLite gives the files beside it the same mode.
fn create(path: &Path) -> io::Result<()> {
    match owner_only_file()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
    {
        Ok(_) => {
            // A new file is durable when its folder is synced.
            #[cfg(unix)]
            if let Some(parent) = path.parent() {
                File::open(parent)?.sync_all()?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path).map(|_| ())
        }
        Err(error) => Err(error),
    }
}

/// Options to create a file that only its owner can read.
pub(crate) fn owner_only_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opens the writing connection to an existing file, and migrates an older format to the newest.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| failed(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(WRITER_WAITS).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // SQLite opens a file that cannot be written as read-only, without an error.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(OpenError::Access {
            path: path.to_owned(),
            source: io::ErrorKind::ReadOnlyFilesystem.into(),
        });
    }
    let format = format(&connection, path, failed)?;
    configure(&connection).map_err(failed)?;
    if format < FORMAT {
        if format > 0 {
            tracing::info!(
                path = %path.display(), from = format, to = FORMAT,
                "migrating the store from an older format; this takes a few seconds for a million runs"
            );
        }
        let found_ids = Instant::now();
        // All migrations run in one transaction, so an interrupted start leaves the old format.
        migrations::runner()
            .set_grouped(true)
            .run(&mut connection)
            .map_err(|error| OpenError::Failed {
                path: path.to_owned(),
                message: format!("the migration from format {format} to {FORMAT} failed: {error}"),
            })?;
        if format > 0 {
            let seconds = found_ids.elapsed().as_secs_f64();
            tracing::info!(path = %path.display(), seconds, "the store is migrated");
        }
    }
    Ok(connection)
}

fn failed(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore {
            path,
            message: "it is not an SQLite file".to_owned(),
        },
        _ => OpenError::Failed {
            path,
            message: error.to_string(),
        },
    }
}

/// Reads the format of the file; 0 if the file is empty.
fn format(
    connection: &Connection,
    path: &Path,
    failed: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<i32, OpenError> {
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i32>(0))
            .map_err(&failed)
    };
    let application = number("PRAGMA application_id")?;
    let found = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema WHERE tbl_name NOT LIKE 'refinery%'")?;
    if application == 0 && found == 0 && tables == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        let message = "it is the SQLite file of another program".to_owned();
        return Err(OpenError::NotAStore {
            path: path.to_owned(),
            message,
        });
    }
    if found > FORMAT {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    Ok(found)
}

/// Sets the pragmas of the writing connection.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Takes effect on a new file only: free pages can be returned to the disk in small steps.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On macOS, `fsync` leaves data in the cache of the disk; this flushes that cache too.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", CHECKPOINT_PAGES * 4096, |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}
