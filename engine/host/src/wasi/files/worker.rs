//! Work with files on the threads for files.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView},
    p2::{FsResult, StreamError, StreamResult},
};

use crate::{resources::Resources, sandbox::OpenFile};

/// Where the work of a stream is done.
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
            // A guest without a thread cannot go on: it ends with the reason.
            done.unwrap_or_else(|error| Err(StreamError::Trap(error.into())))
        })
    }

    /// Closes what is open, which may block. Its instance may open another at once.
    pub(super) fn close(&self, open: OpenFile, what: impl Send + 'static) {
        let taken = open.closing();
        let threads = &self.resources.file_threads;
        threads.run_detached(&self.plugin, move || drop((what, taken)));
    }
}

/// Does what wasmtime-wasi does with one descriptor: on this thread, which it may block, and without the tables of
/// the guest.
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
