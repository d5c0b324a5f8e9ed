//! Runs operations on files on the host's threads for files.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView},
    p2::{FsResult, StreamError, StreamResult},
};

use crate::{resources::Resources, sandbox::OpenFile};

/// Runs the operations of one plugin.
#[derive(Clone)]
pub(super) struct FileWorker {
    pub(super) resources: Arc<Resources>,
    pub(super) plugin: Arc<str>,
}

impl FileWorker {
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> StreamResult<T> + Send + 'static,
    ) -> BoxFuture<'static, StreamResult<T>> {
        let Self { resources, plugin } = self.clone();
        Box::pin(async move {
            let done = resources.file_threads.run(&plugin, work).await;
            // A guest that gets no thread ends with the reason.
            done.unwrap_or_else(|error| Err(StreamError::Trap(error.into())))
        })
    }

    /// Closes a file or folder, which may block. The instance may open another file at once.
    pub(super) fn close(&self, open: OpenFile, what: impl Send + 'static) {
        let taken = open.closing();
        let threads = &self.resources.file_threads;
        threads.run_detached(&self.plugin, move || drop((what, taken)));
    }
}

/// Runs an operation of wasmtime-wasi on one descriptor: on this thread, which may block, and without the guest's
/// table.
pub(super) fn run_alone<T>(
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
