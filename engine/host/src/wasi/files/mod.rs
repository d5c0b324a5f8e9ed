//! The folders of a guest: those that its plugin is granted. Each file that the guest opens in them is logged.
//!
//! wasmtime-wasi and cap-primitives, of which it is made, resolve every path beneath the folder that it is asked of, so
//! nothing leads out of a folder, by `..` or by a link. Everything that asks the file system is done on a thread of the
//! host's pool for files, never on one that the rest of the engine needs. Only regular files and directories are
//! opened (see `open`).

mod descriptor;
mod listing;
mod open;
mod streams;

use std::sync::Arc;

use futures_util::FutureExt;
use heddle_json::object::clip;
use heddle_kernel::Level;
use wasmtime::{
    StoreContextMut,
    component::{Linker, LinkerInstance, Resource, ResourceTable},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, File, WasiFilesystemCtx, WasiFilesystemCtxView, WasiFilesystemView},
    p2::{
        DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator,
        bindings::filesystem::types::{
            self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
            Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags,
            PathFlags,
        },
    },
};

use self::{
    listing::{LISTING_BYTES, Listing},
    open::Refusal,
    streams::{Place, Reader, STREAM_BYTES, Streamed, Writer},
};
use super::FILES_TOLD;
use crate::{
    memory::{Charge, HANDLE_BYTES},
    sandbox::{Own, Sandbox},
    shares::Taken,
};

/// The interface with the function that gives the folders, as wasmtime-wasi has it, and that function.
const PREOPENS: (&str, &str) = ("wasi:filesystem/preopens@0.2.12", "get-directories");

/// How much of a path is shown, and how much of it is kept.
const SHOWN_LEN: usize = 400;

/// How long a path may be, as most systems have it, and how many parts it may have: where the system cannot resolve a
/// path beneath a folder by itself, each part is opened for a moment.
const PATH_LEN: usize = 4096;
const PATH_PARTS: usize = 256;

/// The interface of files, as wasmtime-wasi has it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// A guest would have more files open than it may.
#[derive(Debug, thiserror::Error)]
#[error("more files are open than the limit of {0} (open_files)")]
pub(crate) struct TooManyFiles(pub(crate) usize);

/// Something that is open: a file, a folder, a stream of a file, a list of a folder.
#[derive(Clone)]
pub(crate) struct OpenFile {
    /// Its place among the open files of all calls.
    taken: Arc<Taken>,
    /// It counts as one of its instance's for as long as this is there.
    _of_instance: Arc<()>,
}

impl OpenFile {
    fn new(taken: Taken, of_instance: &Arc<()>) -> Self {
        Self {
            taken: Arc::new(taken),
            _of_instance: of_instance.clone(),
        }
    }

    /// It is about to be closed: it is no longer one of its instance's, and is open until what is returned is dropped.
    fn closing(self) -> Arc<Taken> {
        self.taken
    }
}

/// Where a folder or file is, as the guest names it.
pub(super) struct Opened {
    shown: String,
    open: OpenFile,
}

pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    streams_to_linker(&mut linker.instance(TYPES)?)?;
    linker.instance(PREOPENS.0)?.func_wrap_async(
        PREOPENS.1,
        |mut store: StoreContextMut<'_, Sandbox>, (): ()| {
            Box::new(async move { Ok((store.data_mut().folders().await?,)) })
        },
    )
}

/// The functions that make streams wait where there is no memory for one, which the trait's cannot.
fn streams_to_linker(types: &mut LinkerInstance<'_, Sandbox>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Sandbox>;
    type At = (Resource<Descriptor>, Filesize);

    fn of_files<T>(done: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
        Ok((match done {
            Ok(done) => Ok(done),
            Err(error) => Err(error.downcast()?),
        },))
    }

    types.func_wrap_async(
        "[method]descriptor.read-via-stream",
        |mut store: Store<'_>, (file, offset): At| {
            Box::new(async move { of_files(store.data_mut().reader(&file, offset).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (file, offset): At| {
            Box::new(async move { of_files(store.data_mut().writer(&file, Some(offset)).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (file,): (Resource<Descriptor>,)| {
            Box::new(async move { of_files(store.data_mut().writer(&file, None).await) })
        },
    )
}

/// Does what wasmtime-wasi does with one descriptor: on this thread, which it may block, and without the tables of
/// the guest.
fn alone<T>(
    descriptor: Descriptor,
    work: impl AsyncFnOnce(WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T>,
) -> FsResult<T> {
    let (mut table, mut ctx) = (ResourceTable::new(), WasiFilesystemCtx::default());
    let descriptor = table.push(descriptor)?;
    let view = WasiFilesystemCtxView {
        table: &mut table,
        ctx: &mut ctx,
    };
    let done = work(view, descriptor).now_or_never();
    done.expect("a descriptor that may block its thread waits for nothing else")
}

impl Sandbox {
    /// Does something that may block on a thread of the pool. A guest that can have no thread ends.
    async fn on_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> wasmtime::Result<T> {
        let (host, plugin) = (self.host.clone(), self.rules.plugin.clone());
        Ok(host.files.run(&plugin, work).await?)
    }

    /// Does the same as `alone` on a thread of the pool.
    async fn with<T: Send + 'static>(
        &mut self,
        descriptor: Resource<Descriptor>,
        work: impl AsyncFnOnce(WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T> + Send + 'static,
    ) -> FsResult<T> {
        let descriptor = self.table.get(&descriptor)?.clone();
        let done = self.on_thread(move || alone(descriptor, work)).await;
        done.map_err(FsError::trap)?
    }

    /// The same with the descriptor of another folder.
    async fn with_two<T: Send + 'static>(
        &mut self,
        descriptor: Resource<Descriptor>,
        other: Resource<Descriptor>,
        work: impl AsyncFnOnce(
            WasiFilesystemCtxView<'_>,
            Resource<Descriptor>,
            Resource<Descriptor>,
        ) -> FsResult<T>
        + Send
        + 'static,
    ) -> FsResult<T> {
        let other = self.table.get(&other)?.clone();
        self.with(descriptor, async move |view, descriptor| {
            let other = view.table.push(other)?;
            work(view, descriptor, other).await
        })
        .await
    }

    /// The granted folders. One that cannot be opened is logged, and is not there.
    async fn folders(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        // The libraries of most guests ask at their start, so only the opening of files is logged.
        self.uses(|used| &mut used.folders);
        let mut folders = Vec::new();
        for dir in self.rules.grants.dirs.clone() {
            let (at, shown) = (dir.at.clone(), dir.to_string());
            let open = self.may_open().await?;
            match self.on_thread(move || open::folder(&dir)).await? {
                Ok(opened) => folders.push((self.opened(opened, at.clone(), open).await?, at)),
                Err(error) => {
                    let line = format!("the folder {shown} cannot be opened: {error:#}");
                    self.frame.output.note(Level::Warn, &line);
                }
            }
        }
        Ok(folders)
    }

    /// Takes the files and folders that are open from the guest.
    pub(crate) fn open_files(&mut self) -> Vec<(Descriptor, OpenFile)> {
        let places = std::mem::take(&mut self.world.places);
        let table = &mut self.table;
        let open = places.into_iter().filter_map(|(rep, place)| {
            let descriptor = table.delete(Resource::new_own(rep)).ok()?;
            Some((descriptor, place.open))
        });
        open.collect()
    }

    /// Waits until one more file may be opened. The guest ends where it has as many as an instance may.
    async fn may_open(&mut self) -> wasmtime::Result<OpenFile> {
        let limit = self.host.settings.open_files;
        // The sandbox has one of the counted references itself.
        if Arc::strong_count(&self.world.open) > limit {
            return Err(TooManyFiles(limit).into());
        }
        let (supply, share) = (self.host.open_files.clone(), self.rules.shares.files.clone());
        let taken = supply.take(&share, 1).await;
        Ok(OpenFile::new(taken, &self.world.open))
    }

    /// Gives the guest a handle of what was opened.
    async fn opened(
        &mut self,
        opened: Descriptor,
        shown: String,
        open: OpenFile,
    ) -> wasmtime::Result<Resource<Descriptor>> {
        self.hold(HANDLE_BYTES + shown.len()).await?;
        let opened = self.table.push(opened)?;
        self.world.places.insert(opened.rep(), Opened { shown, open });
        Ok(opened)
    }

    fn place(&self) -> Place {
        Place {
            host: self.host.clone(),
            plugin: self.rules.plugin.clone(),
        }
    }

    /// The path as the guest names it.
    fn path_of(&self, folder: &Resource<Descriptor>, path: &str) -> String {
        let path = clip(path, SHOWN_LEN);
        let mut shown = match self.world.places.get(&folder.rep()) {
            Some(Opened { shown: at, .. }) => format!("{}/{path}", at.strip_suffix('/').unwrap_or(at)),
            None => path.to_owned(),
        };
        shown.truncate(clip(&shown, SHOWN_LEN).len());
        shown
    }

    /// Logs why something was not opened, and keeps what a failure may have to explain.
    fn refused(&mut self, path: &str, to: &str, refusal: &Refusal) {
        let shown = clip(path, SHOWN_LEN);
        let why = match refusal {
            Refusal::Special(what) => {
                let why = format!("it is {what}, and only regular files and directories are opened");
                self.world.special = Some(format!("{shown} was not opened: {why}"));
                why
            }
            Refusal::Code(ErrorCode::NoEntry) => "it is not there".to_owned(),
            Refusal::Code(ErrorCode::ReadOnly | ErrorCode::NotPermitted | ErrorCode::Access) => {
                "it is not permitted".to_owned()
            }
            Refusal::Code(_) => "it failed".to_owned(),
        };
        self.tell(Level::Warn, &format!("{shown} was not opened to {to}: {why}"));
    }

    /// Logs a line about a file, unless a guest may be flooding the log with them.
    fn tell(&mut self, level: Level, line: &str) {
        self.world.files += 1;
        match self.world.files {
            n if n <= FILES_TOLD => self.frame.output.note(level, line),
            n if n == FILES_TOLD + 1 => {
                let line = format!("this instance opened more than {FILES_TOLD} files: the rest is not told");
                self.frame.output.note(Level::Info, &line);
            }
            _ => {}
        }
    }

    /// A file, for one of its streams.
    fn file(&self, descriptor: &Resource<Descriptor>, of_folder: ErrorCode) -> FsResult<File> {
        match self.table.get(descriptor)? {
            Descriptor::File(file) => Ok(file.clone()),
            Descriptor::Dir(_) => Err(of_folder.into()),
        }
    }

    /// What a stream of an open file is made of.
    async fn streamed(&mut self, descriptor: &Resource<Descriptor>, file: File) -> FsResult<Streamed> {
        let limit = self.host.settings.open_files;
        let open = match self.world.places.get(&descriptor.rep()) {
            Some(opened) if Arc::strong_count(&self.world.open) <= limit => opened.open.clone(),
            Some(_) => return Err(FsError::trap(TooManyFiles(limit))),
            None => self.may_open().await.map_err(FsError::trap)?,
        };
        let charge: Charge = self.charge(STREAM_BYTES).await.map_err(FsError::trap)?;
        Ok(Streamed {
            file,
            open,
            place: self.place(),
            charge: Some(charge),
        })
    }

    async fn reader(
        &mut self,
        descriptor: &Resource<Descriptor>,
        position: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let file = self.file(descriptor, ErrorCode::IsDirectory)?;
        let streamed = self.streamed(descriptor, file).await?;
        let reader: DynInputStream = Box::new(Reader::new(streamed, position));
        Ok(self.table.push(reader)?)
    }

    async fn writer(
        &mut self,
        descriptor: &Resource<Descriptor>,
        position: Option<Filesize>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.file(descriptor, ErrorCode::BadDescriptor)?;
        if file.perms.write_not_permitted() {
            return Err(ErrorCode::NotPermitted.into());
        }
        let streamed = self.streamed(descriptor, file).await?;
        let writer: DynOutputStream = Box::new(Writer::new(streamed, position));
        Ok(self.table.push(writer)?)
    }
}

impl types::Host for Sandbox {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.filesystem().filesystem_error_code(error)
    }
}

/// Refuses a path that is longer, or has more parts, than a path may.
fn check_path(path: &str) -> FsResult<()> {
    let fits = path.len() <= PATH_LEN && path.split('/').count() <= PATH_PARTS;
    fits.then_some(()).ok_or_else(|| ErrorCode::NameTooLong.into())
}

/// What is linked in place of this function is above.
fn replaced() -> FsError {
    FsError::trap(wasmtime::format_err!("another function stands in for this one"))
}
