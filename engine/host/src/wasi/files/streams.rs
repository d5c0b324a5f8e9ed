//! The streams of a guest's files. Threads for files do all reads and writes.
//!
//! A guest may poll a stream instead of waiting for it, so each call checks the active operation.

use std::mem;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use wasmtime_wasi::{
    async_trait,
    filesystem::{Descriptor, File},
    p2::{
        InputStream, OutputStream, Pollable, StreamError, StreamResult,
        bindings::filesystem::types::HostDescriptor,
    },
};

use super::worker::{FileWorker, run_alone};
use crate::{memory::Charge, sandbox::OpenFile};

/// How many bytes are read if the guest does not say.
const READ_LEN: usize = 4 << 10;

/// How many bytes a guest may write at once.
const WRITE_LEN: usize = 64 << 10;

/// The memory of a stream: data that the guest has not read yet, or data to write.
pub(super) const STREAM_BYTES: usize = WRITE_LEN + (1 << 10);

/// The file of a stream. Closing it may block.
struct StreamFile {
    file: Option<File>,
    open: Option<OpenFile>,
    worker: FileWorker,
    _charge: Option<Charge>,
}

/// A file with what a stream of it needs.
pub(super) struct StreamParts {
    pub(super) file: File,
    pub(super) open: OpenFile,
    pub(super) worker: FileWorker,
    pub(super) charge: Option<Charge>,
}

impl StreamFile {
    fn of(stream_parts: StreamParts) -> Self {
        let StreamParts {
            file,
            open,
            worker,
            charge,
        } = stream_parts;
        Self {
            file: Some(file),
            open: Some(open),
            worker,
            _charge: charge,
        }
    }

    /// The file for one operation.
    fn descriptor(&self) -> Descriptor {
        Descriptor::File(
            self.file
                .clone()
                .expect("the file is open until the stream is dropped"),
        )
    }
}

impl Drop for StreamFile {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.worker.close(open, self.file.take());
        }
    }
}

/// Reads a file from a position on.
pub(super) struct Reader {
    // Dropped before the file, which the active operation may also hold.
    state: Reading,
    handle: StreamFile,
    position: u64,
}

enum Reading {
    Idle,
    Active(BoxFuture<'static, StreamResult<Bytes>>),
    Data(Bytes),
    Ended(StreamError),
}

impl Reader {
    pub(super) fn new(file: StreamParts, position: u64) -> Self {
        let handle = StreamFile::of(file);
        Self {
            handle,
            position,
            state: Reading::Idle,
        }
    }

    fn start(&mut self, len: usize) {
        let (file, position) = (self.handle.descriptor(), self.position);
        self.state = Reading::Active(self.handle.worker.run(move || {
            let read = run_alone(file, async move |mut view, file| {
                let stream = view.read_via_stream(file, position)?;
                let mut stream = view.table.delete(stream)?;
                Ok(stream.blocking_read(len).await)
            });
            read.unwrap_or_else(|error| Err(StreamError::Trap(error.into())))
        }));
    }

    fn take(&mut self, read: StreamResult<Bytes>) {
        self.state = match read {
            Ok(data) => Reading::Data(data),
            Err(error) => Reading::Ended(error),
        };
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, len: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Reading::Idle) && len > 0 {
            self.start(len);
        }
        if let Reading::Active(read) = &mut self.state
            && let Some(read) = read.now_or_never()
        {
            self.take(read);
        }
        match &mut self.state {
            Reading::Idle | Reading::Active(_) => Ok(Bytes::new()),
            Reading::Data(data) => {
                let part = data.split_to(data.len().min(len));
                self.position += part.len() as u64;
                if data.is_empty() {
                    self.state = Reading::Idle;
                }
                Ok(part)
            }
            Reading::Ended(error) => Err(mem::replace(error, StreamError::Closed)),
        }
    }

    async fn blocking_read(&mut self, len: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Reading::Idle) && len > 0 {
            self.start(len);
        }
        self.ready().await;
        self.read(len)
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if matches!(self.state, Reading::Idle) {
            self.start(READ_LEN);
        }
        if let Reading::Active(read) = &mut self.state {
            let read = read.await;
            self.take(read);
        }
    }
}

/// Writes to a file from a position on, or to its end.
pub(super) struct Writer {
    // Dropped before the file, which the active operation may also hold.
    state: Writing,
    handle: StreamFile,
    /// None: append to the file.
    position: Option<u64>,
}

enum Writing {
    Ready,
    Active(BoxFuture<'static, StreamResult<usize>>),
    Ended(StreamError),
}

impl Writer {
    pub(super) fn new(file: StreamParts, position: Option<u64>) -> Self {
        let handle = StreamFile::of(file);
        Self {
            handle,
            position,
            state: Writing::Ready,
        }
    }

    fn take(&mut self, written: StreamResult<usize>) {
        self.state = match written {
            Ok(len) => {
                self.position = self.position.map(|position| position + len as u64);
                Writing::Ready
            }
            Err(error) => Writing::Ended(error),
        };
    }

    fn poll_write(&mut self) {
        if let Writing::Active(written) = &mut self.state
            && let Some(written) = written.now_or_never()
        {
            self.take(written);
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_LEN {
            return Err(StreamError::trap(
                "write not permitted: more than check_write allows",
            ));
        }
        match &mut self.state {
            Writing::Ready => {}
            Writing::Active(_) => {
                return Err(StreamError::trap(
                    "write not permitted: check_write not called first",
                ));
            }
            Writing::Ended(error) => return Err(mem::replace(error, StreamError::Closed)),
        }
        let (file, position, len) = (self.handle.descriptor(), self.position, bytes.len());
        self.state = Writing::Active(self.handle.worker.run(move || {
            let written = run_alone(file, async move |mut view, file| {
                let stream = match position {
                    Some(position) => view.write_via_stream(file, position)?,
                    None => view.append_via_stream(file)?,
                };
                let mut stream = view.table.delete(stream)?;
                Ok(stream.blocking_write_and_flush(bytes).await.map(|()| len))
            });
            written.unwrap_or_else(|error| Err(StreamError::Trap(error.into())))
        }));
        // Starts the write even if the guest does not wait for it.
        self.poll_write();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.poll_write();
        match &mut self.state {
            Writing::Ready | Writing::Active(_) => Ok(()),
            Writing::Ended(error) => Err(mem::replace(error, StreamError::Closed)),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.poll_write();
        match &mut self.state {
            Writing::Ready => Ok(WRITE_LEN),
            Writing::Active(_) => Ok(0),
            Writing::Ended(error) => Err(mem::replace(error, StreamError::Closed)),
        }
    }

    async fn cancel(&mut self) {
        // Completes the write even though the stream is being dropped.
        self.ready().await;
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if let Writing::Active(written) = &mut self.state {
            let written = written.await;
            self.take(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::{FsPerms, OpenMode};

    use std::sync::Arc;

    use super::*;
    use crate::{HostSettings, resources::Resources};

    fn worker() -> FileWorker {
        FileWorker {
            resources: Arc::new(Resources::new(&HostSettings::default()).expect("resources")),
            plugin: "test".into(),
        }
    }

    fn file(path: &std::path::Path, worker: &FileWorker) -> StreamParts {
        let options = std::fs::OpenOptions::new().read(true).write(true).open(path);
        let mode = OpenMode::READ | OpenMode::WRITE;
        let permit = worker.resources.open_files.try_acquire(&Arc::default(), 1);
        StreamParts {
            file: File::new(options.expect("the file"), FsPerms::ReadWrite, mode, true),
            open: OpenFile::new(permit.expect("a file may be opened"), &Arc::default()),
            worker: worker.clone(),
            charge: None,
        }
    }

    #[tokio::test]
    async fn written_data_is_visible_when_the_stream_is_ready_and_is_read_in_parts() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let worker = worker();
        let mut writer = Writer::new(file(scratch.path(), &worker), Some(0));
        let long = Bytes::from("weft ".repeat(5_000));
        writer.blocking_write_and_flush(long.clone()).await.unwrap();
        assert_eq!(std::fs::read(scratch.path()).unwrap(), long);
        writer.blocking_write_and_flush("end".into()).await.unwrap();
        let mut appender = Writer::new(file(scratch.path(), &worker), None);
        for part in ["-a", "-b"] {
            assert!(appender.check_write().unwrap() > 0);
            appender.write(part.into()).unwrap();
            appender.ready().await;
        }
        let mut reader = Reader::new(file(scratch.path(), &worker), 24_999);
        let mut read = Vec::new();
        loop {
            match reader.blocking_read(3).await {
                Ok(part) => read.extend_from_slice(&part),
                Err(StreamError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(read, b" end-a-b");
    }

    #[tokio::test]
    async fn a_guest_that_only_asks_and_never_waits_gets_its_data_and_a_dropped_write_is_done() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let worker = worker();
        let mut writer = Writer::new(file(scratch.path(), &worker), Some(0));
        writer.write("warp".into()).unwrap();
        writer.cancel().await;
        drop(writer);
        let mut reader = Reader::new(file(scratch.path(), &worker), 0);
        let data = loop {
            let data = reader.read(10).unwrap();
            if !data.is_empty() {
                break data;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(data, "warp");
    }
}
