//! Opening the file: where it is, that nobody else has it, and that its format is known.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Marks a file as a store of Heddle: `Hddl`.
const APPLICATION_ID: i32 = 0x4864_646c;

/// The newest format that is known: the number of the last migration.
pub(crate) const FORMAT: i32 = 6;

/// The write-ahead log is copied into the file when it has this many pages. A commit that does
/// so takes longer by two syncs; the log's size on disk follows from it (16 MiB).
const CHECKPOINT_PAGES: i64 = 4_000;

/// The memory for pages, in KiB: the writer's holds the pages that runs in flight are on.
const WRITER_CACHE_KIB: i64 = 8_192;
const READER_CACHE_KIB: i64 = 1_024;

/// How long a connection waits for one of another process, such as `sqlite3` on the same file.
const WRITER_WAITS: Duration = Duration::from_secs(1);
const READER_WAITS: Duration = Duration::from_secs(5);

/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS: usize = 64;

refinery::embed_migrations!("migrations");

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path cannot be a store: name another one.
    #[error("the store cannot be at {}: {message}", .path.display())]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Another process has it: stop that one, or name another path.
    #[error("the store {} is in use: another heddle holds {}", .path.display(), .lock.display())]
    InUse {
        /// The store.
        path: PathBuf,
        /// The file that the other one has locked.
        lock: PathBuf,
    },
    /// The system does not let it be read and written: mend that, and try again.
    #[error("the store {} cannot be opened: {source}", .path.display())]
    Access {
        /// The file that is concerned.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else, and it is left as it is.
    #[error("{} is not a store of Heddle: {message}", .path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it is.
        message: String,
    },
    /// A newer Heddle wrote it: use that one.
    #[error(
        "the store {} has format {found} and this heddle knows up to {known}: use the version that wrote it, or a newer one",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest format that this version knows.
        known: i32,
    },
    /// SQLite fails on it.
    #[error("the store {} cannot be opened: {message}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        message: String,
    },
}

/// A store that was opened: the only connection that writes, and the lock that keeps it so.
pub(super) struct Opened {
    /// Declared before the lock, so that it is closed before that is let go.
    pub(super) connection: Connection,
    pub(super) lock: File,
    /// The file with links resolved: one store has one lock, whatever way leads to it.
    pub(super) path: PathBuf,
}

/// Opens the store at this path, or makes it there.
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

/// A store that no engine has open, and none can open.
pub(crate) struct Exclusive {
    path: PathBuf,
    _lock: File,
}

impl Exclusive {
    /// The store at this path, which is there.
    pub(crate) fn of(given: &Path) -> Result<Self, OpenError> {
        let path = existing(given)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Brings it to the newest format.
    pub(crate) fn migrate(self) -> Result<(), OpenError> {
        let connection = connect(&self.path)?;
        // The log is copied into the file, and goes with the connection.
        let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        copied.map_err(|error| failed(&self.path, &error))
    }
}

/// A connection to a store that is there, through which nothing can be changed, beside whoever has it open;
/// with the path of the file and its format.
pub(crate) fn look(given: &Path) -> Result<(Connection, PathBuf, i32), OpenError> {
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

/// The absolute path of a store that is there.
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
    // Not opened read-only: the last connection to go tidies the log up, and must be able to.
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
    // Absolute, so that SQLite takes no path for one of its own words (`:memory:`, `file:`).
    let path = std::path::absolute(given).map_err(|error| refuse(error.to_string()))?;
    if path.is_dir() {
        return Err(refuse("this is a folder; name a file in it".to_owned()));
    }
    if path.exists() {
        return fs::canonicalize(&path).map_err(|source| OpenError::Access { path, source });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refuse("it names no file".to_owned()));
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

/// Locks the store for this process, by a file beside it that stays.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let lock = PathBuf::from(name);
    let access = |source| OpenError::Access {
        path: lock.clone(),
        source,
    };
    let file = private()
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

/// Makes an empty file that only its owner can read, where there is none. SQLite gives the
/// files beside it the same mode.
fn create(path: &Path) -> io::Result<()> {
    match private().read(true).write(true).create_new(true).open(path) {
        Ok(_) => {
            // The entry of a new file is durable when its folder is.
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

/// How a file is made that only its owner can read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The connection that writes, to a file that is there: an older format is brought to the newest.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| failed(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(WRITER_WAITS).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // SQLite takes what it gets where a file cannot be written.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(OpenError::Access {
            path: path.to_owned(),
            source: io::ErrorKind::ReadOnlyFilesystem.into(),
        });
    }
    let format = format(&connection, path, failed)?;
    settle(&connection).map_err(failed)?;
    if format < FORMAT {
        if format > 0 {
            tracing::info!(
                path = %path.display(), from = format, to = FORMAT,
                "the store has an older format and is being migrated: this takes a few seconds for a million runs"
            );
        }
        let began = Instant::now();
        // All of them in one transaction, each with its entry in their history: a start that is cut short
        // leaves the format that was there.
        migrations::runner()
            .set_grouped(true)
            .run(&mut connection)
            .map_err(|error| OpenError::Failed {
                path: path.to_owned(),
                message: format!("bringing format {format} to {FORMAT}: {error}"),
            })?;
        if format > 0 {
            let seconds = began.elapsed().as_secs_f64();
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
            message: "it is no SQLite file".to_owned(),
        },
        _ => OpenError::Failed {
            path,
            message: error.to_string(),
        },
    }
}

/// The format of the file, 0 where it is new. Looks at it only.
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
        let message = "it is an SQLite file of another program".to_owned();
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

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    // Takes effect on a new file only: what is deleted can be given back to the disk bit by bit.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Where `fsync` leaves data in the disk's own cache (macOS), ask for more than that.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", CHECKPOINT_PAGES * 4096, |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}
