//! Reading a file from its disk, past the cache of the kernel.
//!
//! What is verified is then what the disk holds, and not what memory has of it since it was written; it takes a seventh of
//! the processor's time, and leaves the cache to the collector beside it. The kernel reads nothing ahead of that, so
//! several threads do: while one waits for a processor, the disk works for the others.

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_setfl};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are read, and worked on, at once: they fit into what a processor of today has of caches for itself alone,
/// and cost the disk no more than larger pieces when several are under way.
pub const CHUNK: usize = if cfg!(test) { 4 << 10 } else { 512 << 10 };
/// Readings that are under way at once.
const READERS: usize = 4;
/// What places in the file, lengths and addresses in memory must be a multiple of: the largest block of disks in use.
const ALIGNMENT: usize = 4096;
/// Room before what is read for the part of a frame that was read before.
const FRONT: usize = 16 * ALIGNMENT;

/// A file that is read once, from its beginning.
#[derive(Debug)]
pub struct Disk {
    /// Bytes that were not given yet.
    left: u64,
    /// What each thread reads; they take turns.
    readers: Vec<Receiver<Piece>>,
    turn: usize,
    /// Where memory goes that nobody looks at any more.
    give_back: Sender<Vec<u8>>,
}

/// What was read at once.
#[derive(Debug)]
struct Piece {
    memory: Vec<u8>,
    begin: usize,
    end: usize,
    done: io::Result<()>,
}

/// What the threads share.
struct Source {
    file: File,
    length: u64,
    used: Mutex<Receiver<Vec<u8>>>,
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
    /// Begins to read the file at `path`, of which what is there now is read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path);
        let file = match direct {
            Ok(file) => file,
            // Its file system has no such way, or there is no such file.
            Err(_) => File::open(path)?,
        };
        let (give_back, used) = channel();
        let length = file.metadata()?.len();
        let source = Arc::new(Source {
            file,
            length,
            used: Mutex::new(used),
        });
        let mut readers = Vec::with_capacity(READERS);
        for number in 0..READERS {
            let (pieces, receiver) = sync_channel(1);
            let source = Arc::clone(&source);
            std::thread::Builder::new()
                .name("audit-disk".to_owned())
                .spawn(move || source.read_turns(number, &pieces))?;
            readers.push(receiver);
        }
        Ok(Self {
            left: length,
            readers,
            turn: 0,
            give_back,
        })
    }

    /// Bytes that were not given yet; more that are added meanwhile do not count.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Gives what comes next behind the bytes in `before`, and why it is the last, if the file cannot be read on.
    pub fn read(&mut self, before: &[u8]) -> (Bytes, io::Result<()>) {
        let reader = &self.readers[self.turn % READERS];
        let Ok(piece) = reader.recv() else {
            let ended = io::Error::other("what reads the file has ended");
            return (Bytes::copy_from_slice(before), Err(ended));
        };
        self.turn += 1;
        let Piece {
            mut memory,
            begin,
            end,
            done,
        } = piece;
        self.left -= (end - begin) as u64;
        let Some(from) = begin.checked_sub(before.len()) else {
            return ([before, &memory[begin..end]].concat().into(), done);
        };
        memory[from..begin].copy_from_slice(before);
        let bytes = Bytes::from_owner(Lent {
            memory,
            begin: from,
            end,
            give_back: self.give_back.clone(),
        });
        (bytes, done)
    }
}

impl Source {
    /// Reads the pieces of one thread, until nobody wants them or one cannot be read.
    fn read_turns(&self, number: usize, pieces: &SyncSender<Piece>) {
        let chunks = (0..self.length).step_by(CHUNK);
        for at in chunks.skip(number).step_by(READERS) {
            let piece = self.read(at);
            let is_last = piece.done.is_err();
            if pieces.send(piece).is_err() || is_last {
                return;
            }
        }
    }

    fn read(&self, at: u64) -> Piece {
        let used = self
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv();
        let mut memory = used.unwrap_or_else(|_| vec![0; FRONT + ALIGNMENT + CHUNK]);
        let begin = FRONT + memory.as_ptr().align_offset(ALIGNMENT);
        let want = usize::try_from(self.length - at).map_or(CHUNK, |left| left.min(CHUNK));
        let (mut got, mut done, mut by_cache) = (0, Ok(()), false);
        while got < want && done.is_ok() {
            match self
                .file
                .read_at(&mut memory[begin + got..begin + CHUNK], at + got as u64)
            {
                Ok(0) => done = Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Its blocks are larger than any that are known of, or one of them is bad: the kernel gives those before
                // that by way of its cache.
                Err(_) if !by_cache => {
                    by_cache = true;
                    done = fcntl_setfl(&self.file, OFlags::empty()).map_err(io::Error::from);
                }
                Err(error) => done = Err(error),
            }
        }
        Piece {
            begin,
            end: begin + got.min(want),
            memory,
            done,
        }
    }
}
