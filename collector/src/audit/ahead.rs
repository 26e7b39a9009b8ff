//! A file read ahead of the one who walks it: other threads check sums, hash and decode, so that the one who walks is
//! left with what depends on the order of records.
//!
//! What is found is what [`Frames`] of the file itself give, frame for frame and fault for fault. So many chunks are on
//! their way at once as there are threads, and two; more is not held in memory, however long the file is.

use super::format::{FrameError, Hash, MAGIC, OVERHEAD, PREFIX, is_sound, payload_length};
use super::frames::{Facts, Frames, Taken};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::vec::IntoIter;

/// Bytes that a thread is given at a time; a longer frame is given whole.
const CHUNK: usize = if cfg!(test) { 1 << 10 } else { 256 << 10 };

/// Threads that hash and decode; they end with the last handle on them.
#[derive(Clone, Debug)]
pub struct Pool {
    jobs: SyncSender<Job>,
    threads: usize,
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
        Ok(Self { jobs, threads })
    }
}

impl Chunk {
    /// Its frames up to the first that is not what was written.
    fn prepare(&self) -> Vec<Result<Taken, FrameError>> {
        let mut frames = Vec::with_capacity(self.ends.len());
        let (mut begin, mut before) = (0, self.before);
        for end in &self.ends {
            let frame = self.bytes.slice(begin..*end);
            begin = *end;
            let (Some(prefix), Some(hash)) = (frame.first_chunk(), frame.last_chunk()) else {
                break;
            };
            let (prefix, hash) = (*prefix, Hash(*hash));
            let payload = frame.slice(PREFIX..frame.len() + PREFIX - OVERHEAD);
            if !is_sound(prefix, &payload, &hash) {
                frames.push(Err(FrameError::Checksum));
                break;
            }
            let facts = Some(Facts::of(&payload, before.as_ref()));
            before = Some(hash);
            frames.push(Ok(Taken {
                prefix,
                payload,
                hash,
                facts,
            }));
        }
        frames
    }
}

/// The frames of a file that is read ahead.
#[derive(Debug)]
pub struct Ahead {
    /// Until the magic was asked for.
    idle: Option<(File, Pool)>,
    length: u64,
    steps: Option<Receiver<Step>>,
    here: IntoIter<Result<Taken, FrameError>>,
    digest: Option<[u8; 32]>,
}

#[derive(Debug)]
enum Step {
    /// Frames, when they are prepared.
    Frames(Receiver<Vec<Result<Taken, FrameError>>>),
    /// There are no more, and why; the digest of the file where it ended with the last of them.
    End(FrameError, Option<[u8; 32]>),
}

impl Ahead {
    /// Opens the file at `path`, and gives its length, of which everything is read.
    pub fn open(path: &Path, pool: &Pool) -> io::Result<(Self, u64)> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let ahead = Self {
            idle: Some((file, pool.clone())),
            length,
            steps: None,
            here: Vec::new().into_iter(),
            digest: None,
        };
        Ok((ahead, length))
    }

    /// SHA-256 of the file, once all its frames were taken.
    pub fn digest(&mut self) -> Option<[u8; 32]> {
        if self.digest.is_none()
            && let Some(Step::End(_, digest)) = self.steps.as_ref().and_then(|steps| steps.recv().ok())
        {
            self.digest = digest;
        }
        self.digest
    }
}

impl Frames for Ahead {
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]> {
        let mut magic = [0; MAGIC.len()];
        if let Some((mut file, pool)) = self.idle.take() {
            file.read_exact(&mut magic)?;
            let (steps, receiver) = sync_channel(pool.threads + 2);
            let (whole, pieces) = sync_channel::<Bytes>(pool.threads + 2);
            let digest = std::thread::Builder::new()
                .name("audit-digest".to_owned())
                .spawn(move || {
                    let digest = pieces
                        .iter()
                        .fold(Sha256::new_with_prefix(magic), Sha256::chain_update);
                    digest.finalize().into()
                })?;
            let mut reader = Reader {
                file,
                left: self.length - MAGIC.len() as u64,
                pool,
                steps,
                whole: Some(whole),
                digest: Some(digest),
                before: None,
            };
            std::thread::Builder::new()
                .name("audit-read".to_owned())
                .spawn(move || reader.run())?;
            self.steps = Some(receiver);
        }
        Ok(magic)
    }

    fn next_frame(&mut self, _: u64) -> Result<Taken, FrameError> {
        loop {
            if let Some(frame) = self.here.next() {
                return frame;
            }
            match self.steps.as_ref().and_then(|steps| steps.recv().ok()) {
                Some(Step::Frames(prepared)) => {
                    let frames = prepared.recv().map_err(io::Error::other)?;
                    self.here = frames.into_iter();
                }
                Some(Step::End(error, digest)) => {
                    self.digest = digest;
                    return Err(error);
                }
                None => return Err(io::Error::other("what reads the file ahead has ended").into()),
            }
        }
    }
}

/// Reads a file, finds its frames and has them prepared.
struct Reader {
    file: File,
    /// Bytes of the file that are in no frame yet.
    left: u64,
    pool: Pool,
    steps: SyncSender<Step>,
    /// To the one who computes the digest of the file.
    whole: Option<SyncSender<Bytes>>,
    digest: Option<JoinHandle<[u8; 32]>>,
    before: Option<Hash>,
}

impl Reader {
    fn run(&mut self) {
        let mut bytes = Vec::new();
        loop {
            let read = self.read(&mut bytes);
            let (ends, end) = self.split(&bytes);
            let rest = bytes.split_off(ends.last().copied().unwrap_or(0));
            if !bytes.is_empty() && !self.hand_on(std::mem::take(&mut bytes), ends) {
                return;
            }
            bytes = rest;
            let end = end.or_else(|| read.err().map(FrameError::from));
            if let Some(error) = end {
                self.whole = None;
                let digest = self.digest.take().filter(|_| self.left == 0);
                let digest = digest.and_then(|digest| digest.join().ok());
                if self.steps.send(Step::End(error, digest)).is_err() {
                    tracing::trace!("nobody walks that file any more");
                }
                return;
            }
        }
    }

    /// Reads on behind what is there.
    fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let want = (self.left - bytes.len() as u64).min(CHUNK as u64);
        bytes.reserve(want as usize);
        let got = self.file.by_ref().take(want).read_to_end(bytes)?;
        if (got as u64) < want {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Where each whole frame in `bytes` ends, and what is wrong with the one after them, or that there is none.
    fn split(&self, bytes: &[u8]) -> (Vec<usize>, Option<FrameError>) {
        let (mut ends, mut begin) = (Vec::new(), 0);
        loop {
            let (here, left) = (&bytes[begin..], self.left - begin as u64);
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

    /// Has frames prepared; whether somebody still wants them.
    fn hand_on(&mut self, bytes: Vec<u8>, ends: Vec<usize>) -> bool {
        self.left -= bytes.len() as u64;
        let last = bytes.last_chunk().map(|hash| Hash(*hash));
        let bytes = Bytes::from(bytes);
        if let Some(whole) = &self.whole
            && whole.send(bytes.clone()).is_err()
        {
            return false;
        }
        let chunk = Chunk {
            bytes,
            ends,
            before: std::mem::replace(&mut self.before, last),
        };
        let (done, prepared) = sync_channel(1);
        self.steps.send(Step::Frames(prepared)).is_ok() && self.pool.jobs.send(Job { chunk, done }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{FORMAT, push_frame};
    use super::super::scan::Scan;
    use super::super::segment::Segment;
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
    fn told<F: Frames>(mut scan: Scan<F>) -> (Vec<String>, F) {
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
                return (told, scan.into_parts().1);
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
            let (plain, _) = told(Scan::open(&segment.path, 1, None).unwrap());
            let (ahead, length) = Ahead::open(&segment.path, &Pool::start(2).unwrap()).unwrap();
            let (found, mut frames) = told(Scan::new(ahead, length, 1, None));
            prop_assert_eq!(&found, &plain);
            if plain.iter().any(|line| line == "the end") {
                prop_assert_eq!(frames.digest(), Some(Sha256::digest(&bytes).into()));
            }
        }
    }
}
