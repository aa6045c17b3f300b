//! The files under raft-engine, watched: an fsync that fails is remembered here and not handed up.
//!
//! raft-engine panics where an fsync fails, and panics again as it unwinds, which ends the process with no word to the operator.
//! The log's writer looks here after each write, before it reports anything as durable: see [`WatchedFiles::failure`].

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

type Inner = <DefaultFileSystem as FileSystem>::Handle;

pub(super) struct WatchedFiles {
    inner: DefaultFileSystem,
    failure: Arc<OnceLock<String>>,
}

pub(super) struct WatchedHandle {
    inner: Arc<Inner>,
    failure: Arc<OnceLock<String>>,
}

impl WatchedFiles {
    pub fn new() -> Self {
        Self { inner: DefaultFileSystem, failure: Arc::default() }
    }

    /// Of the first fsync that failed. From then on nobody knows what the disk holds: the kernel may have dropped the pages and
    /// report success for the next one.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn watched(&self, inner: Inner) -> WatchedHandle {
        WatchedHandle { inner: Arc::new(inner), failure: self.failure.clone() }
    }
}

impl FileSystem for WatchedFiles {
    type Handle = WatchedHandle;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = <DefaultFileSystem as FileSystem>::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<WatchedHandle> {
        Ok(self.watched(self.inner.create(path)?))
    }
    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<WatchedHandle> {
        Ok(self.watched(self.inner.open(path, permission)?))
    }
    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.inner.delete(path)
    }
    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn reuse<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.inner.reuse(from, to)
    }
    fn new_reader(&self, handle: Arc<WatchedHandle>) -> io::Result<Self::Reader> {
        self.inner.new_reader(handle.inner.clone())
    }
    fn new_writer(&self, handle: Arc<WatchedHandle>) -> io::Result<Self::Writer> {
        self.inner.new_writer(handle.inner.clone())
    }
}

impl Handle for WatchedHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.inner.truncate(offset)
    }
    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }
    fn sync(&self) -> io::Result<()> {
        if let Err(error) = self.inner.sync() {
            // The first one says what happened; those behind it follow from it.
            let _ = self.failure.set(format!("fsync failed: {error} (disk broken?)"));
        }
        Ok(())
    }
}
