//! Reading a file from its disk, past the cache of the kernel.
//!
//! What is verified is then what the disk holds, and not what memory has of it since it was written; it takes a seventh of
//! the processor's time, and leaves the cache to the collector beside it.

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_setfl};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What places in the file, lengths and addresses in memory must be a multiple of: the largest block of disks in use.
const BLOCK: usize = 4096;

/// A file that is read once, from its beginning.
#[derive(Debug)]
pub struct Disk {
    file: File,
    /// Whether the file system allows to pass by the cache.
    direct: bool,
    /// Bytes that are not read yet.
    left: u64,
    /// Memory that nobody looks at any more.
    used: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
}

/// Memory that goes back when nobody looks at it any more.
#[derive(Debug)]
struct Lent {
    memory: Vec<u8>,
    begin: usize,
    end: usize,
    give_back: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.begin..self.end]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.give_back.send(std::mem::take(&mut self.memory)).is_err() {
            tracing::trace!("the file is read");
        }
    }
}

impl Disk {
    /// Opens the file at `path`, of which what is there now is read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path);
        let (file, direct) = match direct {
            Ok(file) => (file, true),
            // Its file system has no such way, or there is no such file.
            Err(_) => (File::open(path)?, false),
        };
        let (give_back, used) = channel();
        Ok(Self {
            left: file.metadata()?.len(),
            file,
            direct,
            used,
            give_back,
        })
    }

    /// Bytes that are left to read; more that are added meanwhile do not count.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads on, and gives what it read behind the bytes in `before`: `want` bytes at least, unless fewer are left or the
    /// file cannot be read on.
    pub fn read(&mut self, before: &[u8], want: usize) -> (Bytes, io::Result<()>) {
        let want = usize::try_from(self.left).map_or(want, |left| left.min(want));
        let (want, room) = (want.next_multiple_of(BLOCK), before.len().next_multiple_of(BLOCK));
        let need = room + BLOCK + want;
        let mut memory = self.used.try_recv().unwrap_or_default();
        if memory.len() < need {
            memory = vec![0; need];
        }
        let place = memory.as_ptr().align_offset(BLOCK) + room;
        let begin = place - before.len();
        memory[begin..place].copy_from_slice(before);
        let (got, done) = self.fill(&mut memory[place..place + want]);
        let bytes = Bytes::from_owner(Lent {
            memory,
            begin,
            end: place + got,
            give_back: self.give_back.clone(),
        });
        (bytes, done)
    }

    /// Reads as much as fits or as is left; how much it was, and why not more.
    fn fill(&mut self, memory: &mut [u8]) -> (usize, io::Result<()>) {
        let want = usize::try_from(self.left).map_or(memory.len(), |left| left.min(memory.len()));
        let (mut got, mut done) = (0, Ok(()));
        while got < want && done.is_ok() {
            match self.file.read(&mut memory[got..]) {
                Ok(0) => done = Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Its blocks are larger than any that are known of, or one of them is bad: the kernel gives those before
                // that by way of its cache.
                Err(_) if self.direct => {
                    self.direct = false;
                    done = fcntl_setfl(&self.file, OFlags::empty()).map_err(io::Error::from);
                }
                Err(error) => done = Err(error),
            }
        }
        let got = got.min(want);
        self.left -= got as u64;
        (got, done)
    }
}
