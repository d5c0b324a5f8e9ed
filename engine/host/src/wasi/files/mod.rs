//! The folders of a guest: those that its plugin is granted. Each file that the guest opens is logged.
//!
//! wasmtime-wasi and cap-primitives resolve every path beneath its folder, so neither `..` nor a link leads out of a
//! granted folder. All file system operations run on the host's threads for files. Only regular files and directories
//! are opened (see `open`).

mod descriptor;
mod listing;
mod open;
mod streams;
mod worker;

use std::sync::Arc;

use heddle_json::object::clip;
use heddle_kernel::Level;
use wasmtime::{
    StoreContextMut,
    component::{Linker, LinkerInstance, Resource},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, File, WasiFilesystemCtxView, WasiFilesystemView},
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
    streams::{Reader, STREAM_BYTES, StreamParts, Writer},
    worker::{FileWorker, run_alone},
};
use crate::{
    error::TooManyFiles,
    memory::{Charge, HANDLE_BYTES},
    sandbox::{OpenFile, OpenedPath, Sandbox, SandboxView},
};

/// wasmtime-wasi's interface and function that return the preopened folders.
const PREOPENS: (&str, &str) = ("wasi:filesystem/preopens@0.2.12", "get-directories");

/// The longest path in a log line or in the table of opened paths, in bytes.
const SHOWN_LEN: usize = 400;

/// The longest path in bytes, as on most systems, and its most parts: where the system cannot resolve a path beneath a
/// folder by itself, each part is opened for a moment.
const PATH_LEN: usize = 4096;
const PATH_PARTS: usize = 256;

/// wasmtime-wasi's interface of files.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, SandboxView>(linker, |sandbox| sandbox)?;
    streams_to_linker(&mut linker.instance(TYPES)?)?;
    linker.instance(PREOPENS.0)?.func_wrap_async(
        PREOPENS.1,
        |mut store: StoreContextMut<'_, Sandbox>, (): ()| {
            Box::new(async move { Ok((store.data_mut().folders().await?,)) })
        },
    )
}

/// These functions wait for memory for a stream, which the functions of the trait cannot.
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

impl Sandbox {
    /// Runs work that may block on a thread for files.
    ///
    /// # Errors
    /// If no thread is available: the guest ends.
    async fn on_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> wasmtime::Result<T> {
        let (resources, plugin) = (self.resources.clone(), self.rules.plugin.clone());
        Ok(resources.file_threads.run(&plugin, work).await?)
    }

    /// Runs [`run_alone`] on a thread for files.
    async fn on_descriptor<T: Send + 'static>(
        &mut self,
        descriptor: Resource<Descriptor>,
        work: impl AsyncFnOnce(WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T> + Send + 'static,
    ) -> FsResult<T> {
        let descriptor = self.table.get(&descriptor)?.clone();
        let done = self.on_thread(move || run_alone(descriptor, work)).await;
        done.map_err(FsError::trap)?
    }

    /// The same with a path beneath the descriptor, which is checked first.
    async fn on_path<T: Send + 'static>(
        &mut self,
        folder: Resource<Descriptor>,
        path: String,
        work: impl AsyncFnOnce(WasiFilesystemCtxView<'_>, Resource<Descriptor>, String) -> FsResult<T>
        + Send
        + 'static,
    ) -> FsResult<T> {
        check_path(&path)?;
        self.on_descriptor(folder, async move |view, folder| work(view, folder, path).await)
            .await
    }

    /// The same with a second descriptor.
    async fn on_two_descriptors<T: Send + 'static>(
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
        self.on_descriptor(descriptor, async move |view, descriptor| {
            let other = view.table.push(other)?;
            work(view, descriptor, other).await
        })
        .await
    }

    /// Opens the granted folders. A folder that cannot be opened is logged and left out.
    async fn folders(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        // The libraries of most guests ask at start, so only the opening of files is logged.
        self.record_use(|used| &mut used.folders);
        let mut folders = Vec::new();
        for dir in self.rules.grants.dirs.clone() {
            let (at, shown) = (dir.at.clone(), dir.to_string());
            let open = self.acquire_open_file().await?;
            match self.on_thread(move || open::open_folder(&dir)).await? {
                Ok(add_descriptor) => {
                    folders.push((self.add_descriptor(add_descriptor, at.clone(), open).await?, at))
                }
                Err(error) => {
                    let line = format!("the folder {shown} cannot be opened: {error:#}");
                    self.context.output.log_host_line(Level::Warn, &line);
                }
            }
        }
        Ok(folders)
    }

    /// Waits until one more file may be opened.
    ///
    /// # Errors
    /// If the instance has as many open files as it may: the guest ends.
    async fn acquire_open_file(&mut self) -> wasmtime::Result<OpenFile> {
        let limit = self.resources.max_open_files;
        // The sandbox itself holds one reference.
        if Arc::strong_count(&self.wasi_state.open) > limit {
            return Err(TooManyFiles(limit).into());
        }
        let (pool, usage) = (self.resources.open_files.clone(), self.rules.usage.files.clone());
        let permit = pool.acquire(&usage, 1).await;
        Ok(OpenFile::new(permit, &self.wasi_state.open))
    }

    /// Adds an opened file or folder to the guest's table.
    async fn add_descriptor(
        &mut self,
        add_descriptor: Descriptor,
        shown: String,
        open: OpenFile,
    ) -> wasmtime::Result<Resource<Descriptor>> {
        self.hold(HANDLE_BYTES + shown.len()).await?;
        let add_descriptor = self.table.push(add_descriptor)?;
        self.wasi_state
            .opened_paths
            .insert(add_descriptor.rep(), OpenedPath { shown, open });
        Ok(add_descriptor)
    }

    fn worker(&self) -> FileWorker {
        FileWorker {
            resources: self.resources.clone(),
            plugin: self.rules.plugin.clone(),
        }
    }

    /// The path as the guest names it.
    fn path_of(&self, folder: &Resource<Descriptor>, path: &str) -> String {
        let path = clip(path, SHOWN_LEN);
        let mut shown = match self.wasi_state.opened_paths.get(&folder.rep()) {
            Some(OpenedPath { shown: at, .. }) => format!("{}/{path}", at.strip_suffix('/').unwrap_or(at)),
            None => path.to_owned(),
        };
        shown.truncate(clip(&shown, SHOWN_LEN).len());
        shown
    }

    /// Logs why something was not opened, and keeps it for the hint of a failure.
    fn log_refusal(&mut self, path: &str, to: &str, refusal: &Refusal) {
        let shown = clip(path, SHOWN_LEN);
        let why = match refusal {
            Refusal::Special(what) => {
                let why = format!("it is {what}, and only regular files and directories are opened");
                self.wasi_state.refused_special = Some(format!("{shown} was not opened: {why}"));
                why
            }
            Refusal::Code(ErrorCode::NoEntry) => "it does not exist".to_owned(),
            Refusal::Code(ErrorCode::ReadOnly | ErrorCode::NotPermitted | ErrorCode::Access) => {
                "it is not permitted".to_owned()
            }
            Refusal::Code(_) => "it failed".to_owned(),
        };
        self.log_file(Level::Warn, &format!("{shown} was not opened to {to}: {why}"));
    }

    /// Logs a line about a file, within the limit of such lines.
    fn log_file(&mut self, level: Level, line: &str) {
        self.wasi_state.log_file(&self.context.output, level, line);
    }

    /// The file of a descriptor, for a stream.
    fn file(&self, descriptor: &Resource<Descriptor>, of_folder: ErrorCode) -> FsResult<File> {
        match self.table.get(descriptor)? {
            Descriptor::File(file) => Ok(file.clone()),
            Descriptor::Dir(_) => Err(of_folder.into()),
        }
    }

    /// The parts of a stream of an open file.
    async fn stream_parts(&mut self, descriptor: &Resource<Descriptor>, file: File) -> FsResult<StreamParts> {
        let limit = self.resources.max_open_files;
        let open = match self.wasi_state.opened_paths.get(&descriptor.rep()) {
            Some(add_descriptor) if Arc::strong_count(&self.wasi_state.open) <= limit => {
                add_descriptor.open.clone()
            }
            Some(_) => return Err(FsError::trap(TooManyFiles(limit))),
            None => self.acquire_open_file().await.map_err(FsError::trap)?,
        };
        let charge: Charge = self.charge(STREAM_BYTES).await.map_err(FsError::trap)?;
        Ok(StreamParts {
            file,
            open,
            worker: self.worker(),
            charge: Some(charge),
        })
    }

    async fn reader(
        &mut self,
        descriptor: &Resource<Descriptor>,
        position: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let file = self.file(descriptor, ErrorCode::IsDirectory)?;
        let stream_parts = self.stream_parts(descriptor, file).await?;
        let reader: DynInputStream = Box::new(Reader::new(stream_parts, position));
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
        let stream_parts = self.stream_parts(descriptor, file).await?;
        let writer: DynOutputStream = Box::new(Writer::new(stream_parts, position));
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

/// Refuses a path that is too long or has too many parts.
fn check_path(path: &str) -> FsResult<()> {
    let fits = path.len() <= PATH_LEN && path.split('/').count() <= PATH_PARTS;
    fits.then_some(()).ok_or_else(|| ErrorCode::NameTooLong.into())
}

/// The error of a trait function that is replaced in the linker.
fn replaced() -> FsError {
    FsError::trap(wasmtime::format_err!("this function is replaced in the linker"))
}
