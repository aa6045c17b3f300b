//! The machine under one gateway: a clock that leaps, a disk that is full or fails, and power that goes. `machine.c` stands before libc in
//! the gateway's process and does what is written here into a file that both map or read.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("machine.c");
/// Places in the file, as `struct machine` has them.
const CLOCK: u64 = 0;
const FULL: u64 = 8;
const FAILING: u64 = 12;
const LOG_INODE: u64 = 16;
const LOG_DURABLE: u64 = 24;
const LEN: u64 = 32;

pub struct Machine {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Machine {
    /// Builds the library that all machines in `folder` share.
    pub fn library(folder: &Path) -> PathBuf {
        let (source, library) = (folder.join("machine.c"), folder.join("machine.so"));
        std::fs::write(&source, SOURCE).expect("a file");
        let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
        assert!(compiled.expect("a C compiler, which the build needs as well").success());
        library
    }

    /// One that is as it should be. `name` is its file's in `folder`.
    pub fn new(folder: &Path, name: &str, library: &Path) -> Self {
        let path = folder.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        file.set_len(LEN).expect("room for it");
        Self { library: library.to_owned(), path, file }
    }

    /// The environment of a gateway that runs on it.
    pub fn variables(&self) -> [(&str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("CHAOS_MACHINE", &self.path)]
    }

    /// How far the wall clock is ahead; below zero, behind.
    pub fn set_clock_ms(&self, offset: i64) {
        self.put(CLOCK, &offset.to_ne_bytes());
    }

    /// Nothing more can be written.
    pub fn set_full(&self, full: bool) {
        self.put(FULL, &u32::from(full).to_ne_bytes());
    }

    /// Nothing more can be made durable.
    pub fn set_failing(&self, failing: bool) {
        self.put(FAILING, &u32::from(failing).to_ne_bytes());
    }

    /// Once its gateway is dead: of what it wrote to its log below `data` and never heard to be durable, `kept` bytes stay at most, and
    /// the rest is gone or was never written, as the file system likes it. Says how many bytes could be lost.
    pub fn lose_what_is_not_durable(&self, data: &Path, kept: u64, truncated: bool) -> io::Result<u64> {
        let (inode, durable) = (self.get(LOG_INODE)?, self.get(LOG_DURABLE)?);
        for entry in std::fs::read_dir(data.join("raft"))? {
            let entry = entry?;
            if entry.metadata()?.ino() != inode {
                continue;
            }
            let file = File::options().read(true).write(true).open(entry.path())?;
            let bytes = std::fs::read(entry.path())?;
            let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            let lost = written.saturating_sub(durable);
            let cut = durable + kept.min(lost);
            let len = bytes.len() as u64;
            file.set_len(cut.min(len))?;
            if !truncated {
                file.set_len(len)?;
            }
            return Ok(lost);
        }
        Ok(0)
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).expect("it is there");
    }

    fn get(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
