//! A file read ahead of the one who walks it: other threads check sums, hash and decode, so that the one who walks is
//! left with what depends on the order of records.
//!
//! Where a frame ends is known when its length was read, so one thread after the other looks for the frames of what came
//! from the disk, and checks their sums. It works on the ones that it found: its processor has their bytes at hand.
//!
//! What is found is what [`Frames`] of the file itself give, frame for frame and fault for fault. Only so many chunks are
//! on their way at once, however long the file is.

mod disk;

use super::format::{FrameError, Hash, MAGIC, OVERHEAD, PREFIX, is_sound, payload_length};
use super::frames::{Frames, Sound, Taken, take};
use bytes::{Buf as _, Bytes};
use disk::Disk;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks that are on their way beside those that threads work on: enough for nobody to wait for long.
const WAITING: usize = 8;
/// Frames whose hashes and contents are worked out one after the other, while the processor has them at hand.
const GROUP: usize = 24;

/// Threads that hash and decode; they end with the last file that they work on.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    files: Sender<Reader>,
    /// The file that comes next, of which as much is read as may be on its way.
    next: Option<(PathBuf, Ahead, u64)>,
}

/// What the threads take their work from, one at a time.
#[derive(Debug)]
struct Work {
    files: Receiver<Reader>,
    /// The one that is being read.
    file: Option<Reader>,
}

/// Sound frames of a file.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Where each ends.
    ends: Vec<usize>,
    /// The hash that is stored before the first; `None` at the beginning of the file.
    before: Option<Hash>,
    done: SyncSender<Vec<Taken>>,
}

impl Pool {
    /// Starts so many threads.
    pub fn start(threads: usize) -> io::Result<Self> {
        let (files, receiver) = channel();
        let work = Arc::new(Mutex::new(Work {
            files: receiver,
            file: None,
        }));
        for _ in 0..threads {
            let work = Arc::clone(&work);
            std::thread::Builder::new()
                .name("audit-hash".to_owned())
                .spawn(move || {
                    loop {
                        let chunk = work.lock().unwrap_or_else(PoisonError::into_inner).take();
                        let Some(chunk) = chunk else { return };
                        if chunk.done.send(chunk.prepare()).is_err() {
                            tracing::trace!("nobody walks that file any more");
                        }
                    }
                })?;
        }
        Ok(Self {
            threads,
            files,
            next: None,
        })
    }

    /// Begins to read the file at `path`, and gives its length, of which everything is read. `next` is begun as well, if
    /// it can be opened, so that there is no pause between the two.
    pub fn read(&mut self, path: &Path, next: Option<&Path>) -> io::Result<(Ahead, u64)> {
        let (ahead, length) = match self.next.take() {
            Some((begun, ahead, length)) if begun == path => (ahead, length),
            _ => self.begin(path)?,
        };
        if let Some(next) = next
            && let Ok((ahead, length)) = self.begin(next)
        {
            self.next = Some((next.to_owned(), ahead, length));
        }
        Ok((ahead, length))
    }

    fn begin(&self, path: &Path) -> io::Result<(Ahead, u64)> {
        let disk = Disk::open(path)?;
        let length = disk.left();
        let (steps, receiver) = sync_channel(self.threads + WAITING);
        let reader = Reader {
            disk,
            steps,
            begun: false,
            rest: Bytes::new(),
            before: None,
        };
        self.files.send(reader).map_err(|_| ended())?;
        let ahead = Ahead {
            steps: receiver,
            here: Vec::new(),
            given: 0,
        };
        Ok((ahead, length))
    }
}

impl Work {
    /// The chunk that comes next; `None` when there will be no more.
    fn take(&mut self) -> Option<Chunk> {
        loop {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(self.files.recv().ok()?),
            };
            let (chunk, more) = file.next();
            if !more {
                self.file = None;
            }
            if chunk.is_some() {
                return chunk;
            }
        }
    }
}

impl Chunk {
    fn prepare(&self) -> Vec<Taken> {
        let mut taken = Vec::with_capacity(self.ends.len());
        let (mut begin, mut before, mut outbox) = (0, self.before, None);
        for ends in self.ends.chunks(GROUP) {
            let group = ends.iter().map(|end| {
                let frame = self.bytes.slice(begin..*end);
                begin = *end;
                let sound = Sound { frame, before };
                before = Some(sound.hash());
                sound
            });
            take(group.collect(), &mut outbox, &mut taken);
        }
        taken
    }
}

/// The frames of a file that is read ahead.
#[derive(Debug)]
pub struct Ahead {
    steps: Receiver<Step>,
    here: Vec<Taken>,
    /// How many of these were given.
    given: usize,
}

#[derive(Debug)]
enum Step {
    /// How the file begins.
    Magic(io::Result<[u8; MAGIC.len()]>),
    /// Frames, when they are prepared.
    Frames(Receiver<Vec<Taken>>),
    /// There are no more, and why.
    End(FrameError),
}

impl Frames for Ahead {
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]> {
        match self.steps.recv() {
            Ok(Step::Magic(magic)) => magic,
            _ => Err(ended()),
        }
    }

    fn next_frame(&mut self, _: u64) -> Result<&Taken, FrameError> {
        while self.given == self.here.len() {
            match self.steps.recv() {
                Ok(Step::Frames(prepared)) => self.here = prepared.recv().map_err(io::Error::other)?,
                Ok(Step::End(error)) => return Err(error),
                _ => return Err(ended().into()),
            }
            self.given = 0;
        }
        self.given += 1;
        Ok(&self.here[self.given - 1])
    }
}

fn ended() -> io::Error {
    io::Error::other("what reads the file ahead has ended")
}

/// Reads a file and finds its frames.
#[derive(Debug)]
struct Reader {
    disk: Disk,
    steps: SyncSender<Step>,
    begun: bool,
    /// What was read of the frame after those that were handed on.
    rest: Bytes,
    /// The hash that is stored before it.
    before: Option<Hash>,
}

impl Reader {
    /// The frames that come next, where what is read has any, and whether there may be more.
    fn next(&mut self) -> (Option<Chunk>, bool) {
        let (mut bytes, done) = self.disk.read(&self.rest);
        if !self.begun {
            let Some(magic) = bytes.first_chunk().copied() else {
                let error = done.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                tell(&self.steps, Step::Magic(Err(error)));
                return (None, false);
            };
            tell(&self.steps, Step::Magic(Ok(magic)));
            bytes.advance(magic.len());
            self.begun = true;
        }
        let (ends, fault) = split(&bytes, self.disk.left());
        self.rest = bytes.split_off(ends.last().copied().unwrap_or(0));
        let chunk = (!bytes.is_empty()).then(|| self.chunk(bytes, ends));
        let mut more = chunk.as_ref().is_none_or(Result::is_ok);
        if let Some(error) = fault.or_else(|| done.err().map(FrameError::from)) {
            tell(&self.steps, Step::End(error));
            more = false;
        }
        (chunk.and_then(Result::ok), more)
    }

    /// Frames to be prepared, if somebody still wants them.
    fn chunk(&mut self, bytes: Bytes, ends: Vec<usize>) -> Result<Chunk, SendError<Step>> {
        let last = bytes.last_chunk().map(|hash| Hash(*hash));
        let (done, prepared) = sync_channel(1);
        self.steps.send(Step::Frames(prepared))?;
        Ok(Chunk {
            bytes,
            ends,
            before: std::mem::replace(&mut self.before, last),
            done,
        })
    }
}

fn tell(steps: &SyncSender<Step>, step: Step) {
    if steps.send(step).is_err() {
        tracing::trace!("nobody walks that file any more");
    }
}

/// Where each sound frame in `bytes` ends, after which `left` bytes of the file come, and what is wrong with what comes
/// after them, or that there is nothing more.
fn split(bytes: &[u8], left: u64) -> (Vec<usize>, Option<FrameError>) {
    let (mut ends, mut begin) = (Vec::new(), 0);
    loop {
        let here = &bytes[begin..];
        let left = left + here.len() as u64;
        let prefix = here.first_chunk();
        let length = match prefix {
            None if left >= PREFIX as u64 => return (ends, None),
            _ => payload_length(prefix.unwrap_or(&[0; PREFIX]), left),
        };
        match length {
            Ok(length) => match here.get(..OVERHEAD + length) {
                Some(frame) if is_sound(frame) => {
                    begin += frame.len();
                    ends.push(begin);
                }
                Some(_) => return (ends, Some(FrameError::Checksum)),
                None => return (ends, None),
            },
            Err(error) => return (ends, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{FORMAT, push_frame};
    use super::super::scan::Scan;
    use super::super::segment::Segment;
    use super::disk::CHUNK;
    use super::*;
    use norma_wire::Event;
    use norma_wire::audit::{FileHeader, Record, record::Body};
    use norma_wire::pb::EventId;
    use proptest::prelude::*;
    use prost::Message as _;

    fn file(paddings: &[usize]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let header = FileHeader {
            format: FORMAT,
            previous_hash: vec![0; 32],
            ..FileHeader::default()
        };
        let events = (1..).zip(paddings).map(|(sequence, padding)| {
            let mut event = Event {
                id: Some(EventId {
                    node: "n".into(),
                    epoch: 1,
                    sequence,
                }),
                kind: 1,
                ..Event::default()
            };
            event.process.get_or_insert_default().exe = "x".repeat(*padding);
            Body::Event(event.encode_to_vec().into())
        });
        let mut hash = Hash::ZERO;
        for (index, body) in (1..).zip([Body::Header(header)].into_iter().chain(events)) {
            let record = Record {
                index,
                received_wall_ns: index,
                body: Some(body),
            };
            (_, hash) = push_frame(&mut bytes, &hash, &record.encode_to_vec());
        }
        bytes
    }

    /// Everything that a scan says, up to the first thing that is wrong.
    fn told<F: Frames>(mut scan: Scan<F>) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let next = scan.next();
            let end = !matches!(next, Ok(Some(_)));
            told.push(match &next {
                Ok(Some(found)) => format!("{found:?}"),
                Ok(None) => "the end".to_owned(),
                Err(defect) => defect.to_string(),
            });
            told.push(format!("{} {}", scan.offset(), scan.next_index()));
            if end {
                told.push(format!("{:?}", scan.into_state()));
                return told;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_read_ahead_is_what_is_in_the_file(
            paddings in proptest::collection::vec(prop_oneof![0..80usize, Just(3 * CHUNK), Just(CHUNK - 90)], 0..60),
            damage in proptest::option::of((any::<proptest::sample::Index>(), 1u8..)),
            cut in proptest::option::of(any::<proptest::sample::Index>()),
        ) {
            let mut bytes = file(&paddings);
            if let Some((place, flip)) = damage {
                let place = place.index(bytes.len());
                bytes[place] ^= flip;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let folder = tempfile::tempdir().unwrap();
            let segment = Segment::new(folder.path(), 1);
            std::fs::write(&segment.path, &bytes).unwrap();
            let plain = told(Scan::open(&segment.path, 1, None).unwrap());
            let (ahead, length) = Pool::start(2).unwrap().read(&segment.path, None).unwrap();
            let found = told(Scan::new(ahead, length, 1, None));
            prop_assert_eq!(found, plain);
        }
    }
}
