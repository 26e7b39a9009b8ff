//! A file read ahead of the one who walks it: other threads check sums, hash and decode, so that the one who walks is
//! left with what depends on the order of records.
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
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::IntoIter;

/// Chunks that are on their way beside those that threads work on: enough for nobody to wait for long.
const WAITING: usize = 8;

/// Threads that hash and decode; they end with the last file that they work on.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    jobs: SyncSender<Job>,
    /// The file that comes next, of which as much is read as may be on its way.
    next: Option<(PathBuf, Ahead, u64)>,
}

#[derive(Debug)]
struct Job {
    chunk: Chunk,
    done: SyncSender<Vec<Result<Taken, FrameError>>>,
}

/// Whole frames of a file.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Where each ends.
    ends: Vec<usize>,
    /// The hash that is stored before the first; `None` at the beginning of the file.
    before: Option<Hash>,
}

impl Pool {
    /// Starts so many threads.
    pub fn start(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name("audit-hash".to_owned())
                .spawn(move || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(Job { chunk, done }) = job else { return };
                        if done.send(chunk.prepare()).is_err() {
                            tracing::trace!("nobody walks that file any more");
                        }
                    }
                })?;
        }
        Ok(Self {
            threads,
            jobs,
            next: None,
        })
    }

    /// Begins to read the file at `path`, and gives its length, of which everything is read. `next` is begun as well, if
    /// it can be opened, so that there is no pause between the two.
    pub fn read(&mut self, path: &Path, next: Option<&Path>) -> io::Result<(Ahead, u64)> {
        let (ahead, length) = match self.next.take() {
            Some((begun, ahead, length)) if begun == path => (ahead, length),
            _ => Ahead::open(path, self)?,
        };
        if let Some(next) = next
            && let Ok((ahead, length)) = Ahead::open(next, self)
        {
            self.next = Some((next.to_owned(), ahead, length));
        }
        Ok((ahead, length))
    }
}

impl Chunk {
    /// Its frames up to the first that is not what was written.
    fn prepare(&self) -> Vec<Result<Taken, FrameError>> {
        let mut frames = Vec::with_capacity(self.ends.len());
        let (mut begin, mut before, mut fault) = (0, self.before, None);
        for end in &self.ends {
            let frame = &self.bytes[begin..*end];
            let (Some(prefix), Some(hash)) = (frame.first_chunk(), frame.last_chunk()) else {
                break;
            };
            let hash = Hash(*hash);
            let payload = self.bytes.slice(begin + PREFIX..end + PREFIX - OVERHEAD);
            if !is_sound(*prefix, &payload, &hash) {
                fault = Some(Err(FrameError::Checksum));
                break;
            }
            begin = *end;
            frames.push(Sound {
                prefix: *prefix,
                payload,
                before: before.replace(hash),
                hash,
            });
        }
        take(frames).map(Ok).chain(fault).collect()
    }
}

/// The frames of a file that is read ahead.
#[derive(Debug)]
pub struct Ahead {
    steps: Receiver<Step>,
    here: IntoIter<Result<Taken, FrameError>>,
}

#[derive(Debug)]
enum Step {
    /// How the file begins.
    Magic(io::Result<[u8; MAGIC.len()]>),
    /// Frames, when they are prepared.
    Frames(Receiver<Vec<Result<Taken, FrameError>>>),
    /// There are no more, and why.
    End(FrameError),
}

impl Ahead {
    fn open(path: &Path, pool: &Pool) -> io::Result<(Self, u64)> {
        let disk = Disk::open(path)?;
        let length = disk.left();
        let (steps, receiver) = sync_channel(pool.threads + WAITING);
        let reader = Reader {
            disk,
            jobs: pool.jobs.clone(),
            steps,
            before: None,
        };
        std::thread::Builder::new()
            .name("audit-read".to_owned())
            .spawn(move || reader.run())?;
        let ahead = Self {
            steps: receiver,
            here: Vec::new().into_iter(),
        };
        Ok((ahead, length))
    }
}

impl Frames for Ahead {
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]> {
        match self.steps.recv() {
            Ok(Step::Magic(magic)) => magic,
            _ => Err(ended()),
        }
    }

    fn next_frame(&mut self, _: u64) -> Result<Taken, FrameError> {
        loop {
            if let Some(frame) = self.here.next() {
                return frame;
            }
            match self.steps.recv() {
                Ok(Step::Frames(prepared)) => {
                    let frames = prepared.recv().map_err(io::Error::other)?;
                    self.here = frames.into_iter();
                }
                Ok(Step::End(error)) => return Err(error),
                _ => return Err(ended().into()),
            }
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("what reads the file ahead has ended")
}

/// Reads a file, finds its frames and has them prepared.
struct Reader {
    disk: Disk,
    jobs: SyncSender<Job>,
    steps: SyncSender<Step>,
    before: Option<Hash>,
}

impl Reader {
    fn run(mut self) {
        let (mut bytes, mut done) = self.disk.read(&[]);
        let Some(magic) = bytes.first_chunk().copied() else {
            let error = done.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
            return tell(&self.steps, Step::Magic(Err(error)));
        };
        tell(&self.steps, Step::Magic(Ok(magic)));
        bytes.advance(magic.len());
        loop {
            let (ends, fault) = split(&bytes, self.disk.left());
            let rest = bytes.split_off(ends.last().copied().unwrap_or(0));
            if !bytes.is_empty() && !self.hand_on(bytes, ends) {
                return;
            }
            let error = fault.or_else(|| done.err().map(FrameError::from));
            if let Some(error) = error {
                return tell(&self.steps, Step::End(error));
            }
            (bytes, done) = self.disk.read(&rest);
        }
    }

    /// Has frames prepared; whether somebody still wants them.
    fn hand_on(&mut self, bytes: Bytes, ends: Vec<usize>) -> bool {
        let last = bytes.last_chunk().map(|hash| Hash(*hash));
        let chunk = Chunk {
            bytes,
            ends,
            before: std::mem::replace(&mut self.before, last),
        };
        let (done, prepared) = sync_channel(1);
        self.steps.send(Step::Frames(prepared)).is_ok() && self.jobs.send(Job { chunk, done }).is_ok()
    }
}

fn tell(steps: &SyncSender<Step>, step: Step) {
    if steps.send(step).is_err() {
        tracing::trace!("nobody walks that file any more");
    }
}

/// Where each whole frame in `bytes` ends, after which `left` bytes of the file come, and what is wrong with the frame after
/// them, or that there is none.
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
            Ok(length) if here.len() >= OVERHEAD + length => {
                begin += OVERHEAD + length;
                ends.push(begin);
            }
            Ok(_) => return (ends, None),
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
                Ok(Some(record)) => format!(
                    "{record:?} {:?} {:?} {:?} {:?}",
                    scan.frame(),
                    scan.place(),
                    scan.frame().leaf,
                    scan.event_hash(record)
                ),
                Ok(None) => "the end".to_owned(),
                Err(defect) => defect.to_string(),
            });
            told.push(format!("{} {:?}", scan.offset(), scan.state()));
            if end {
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
