//! Writing a closed segment anew: packed, and without what is to be dropped.
//!
//! What is dropped is stated by a [`Mark`] in the same file, which takes the place of the old one by a rename: after a
//! crash there is either the old segment, or one that still says what it had. The event of loss follows, and a mark
//! without one is reported when the spool is opened. What states the last sequence stays, a mark or the last record: a
//! full disk may have nothing else that does, and a sequence must not be given twice.

use super::segment::{Item, Mark, PACK_BYTES, Record, Scanner, SegmentFile, frame};
use super::{Content, kind_name};
use norma_wire::pb::{Kind, LossCause};
use norma_wire::{Detail, Event};
use prost::Message as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is to be rewritten, and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// The segment.
    pub path: PathBuf,
    /// Sequence of the first record that was ever in it.
    pub first: u64,
    /// Sequence of the last.
    pub last: u64,
    /// Epoch of the spool.
    pub epoch: u64,
    /// What is acknowledged is left out, but for what states the last sequence, and needs no mark.
    pub acked: u64,
    /// What stays.
    pub keep: Content,
    /// Why the rest goes.
    pub cause: LossCause,
    /// Where the new file is made; on the same file system.
    pub temporary: PathBuf,
}

/// The new file, on stable storage and not yet in place of the old one.
#[derive(Debug)]
pub struct Rewritten {
    /// Where it is.
    pub temporary: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What was dropped now.
    pub dropped: Vec<Mark>,
}

/// Makes the new file.
pub fn rewrite(job: &Job) -> io::Result<Rewritten> {
    let modified = std::fs::metadata(&job.path)?.modified()?;
    let mut marks = Vec::new();
    let mut dropped = Dropped::default();
    let mut kept = Vec::new();
    let mut damage = Damage::default();
    let mut last = job.first.saturating_sub(1);
    let is_settled = |mark: &Mark| mark.last <= job.acked && mark.last != job.last;
    for item in Scanner::open(&job.path)? {
        match item {
            Item::Record { record, .. } => {
                damage.ends_before(record.sequence, last);
                last = record.sequence;
                if record.sequence <= job.acked {
                    if record.sequence == job.last {
                        kept.push(record);
                    }
                    continue;
                }
                match job.keep {
                    Content::Everything => kept.push(record),
                    Content::Important if record.keep => kept.push(record),
                    Content::Important | Content::Marks => dropped.count(&record),
                }
            }
            Item::Mark { mark, .. } if is_settled(&mark) => {}
            Item::Mark { mark, .. } => marks.push(mark),
            Item::Damaged { .. } | Item::Torn { .. } => damage.begins(),
        }
    }
    damage.ends_before(job.last.saturating_add(1), last);
    let new: Vec<Mark> = dropped
        .into_mark(job.cause)
        .into_iter()
        .chain(damage.marks)
        .filter(|mark| !is_settled(mark))
        .collect();
    let written = write(job, &kept, marks.iter().chain(&new)).and_then(|bytes| {
        // Its age is that of what is in it.
        File::options()
            .write(true)
            .open(&job.temporary)?
            .set_modified(modified)?;
        Ok(bytes)
    });
    match written {
        Ok(bytes) => Ok(Rewritten {
            temporary: job.temporary.clone(),
            bytes,
            dropped: new,
        }),
        Err(error) => {
            remove_if_there(&job.temporary);
            Err(error)
        }
    }
}

fn write<'a>(job: &Job, kept: &[Record], marks: impl Iterator<Item = &'a Mark>) -> io::Result<u64> {
    let mut file = SegmentFile::create(&job.temporary, job.epoch, job.first)?;
    for mark in marks {
        file.append_mark(mark)?;
    }
    let mut frames = Vec::new();
    for record in kept {
        frames.extend(frame(record)?);
        if frames.len() >= PACK_BYTES {
            file.append_pack(&frames)?;
            frames.clear();
        }
    }
    if !frames.is_empty() {
        file.append_pack(&frames)?;
    }
    file.sync()?;
    Ok(file.bytes())
}

/// Removes a file that may not be there.
pub fn remove_if_there(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "cannot remove a file of the outbox");
    }
}

/// Events that are dropped.
#[derive(Default)]
struct Dropped {
    counts: BTreeMap<String, u64>,
    first: u64,
    last: u64,
}

impl Dropped {
    fn count(&mut self, record: &Record) {
        *self.counts.entry(kind_name(record.kind)).or_default() += 1;
        if self.first == 0 {
            self.first = record.sequence;
        }
        self.last = record.sequence;
        // What an admission admitted must not be forgotten with it.
        if record.kind == Kind::Loss as i32
            && let Ok(event) = Event::decode(&record.event[..])
            && let Some(Detail::Loss(loss)) = event.detail
        {
            for count in loss.counts {
                *self.counts.entry(count.kind).or_default() += count.count;
            }
            if loss.first_sequence != 0 {
                self.first = self.first.min(loss.first_sequence);
            }
        }
    }

    fn into_mark(self, cause: LossCause) -> Option<Mark> {
        (self.first != 0).then_some(Mark {
            first: self.first,
            last: self.last,
            cause: cause as i32,
            counts: self.counts,
        })
    }
}

/// Sequences that cannot be read any more.
#[derive(Default)]
struct Damage {
    open: bool,
    marks: Vec<Mark>,
}

impl Damage {
    fn begins(&mut self) {
        self.open = true;
    }

    /// The next intact record is `next`, the one before it was `last`.
    fn ends_before(&mut self, next: u64, last: u64) {
        if std::mem::take(&mut self.open) && next > last + 1 {
            self.marks.push(Mark {
                first: last + 1,
                last: next - 1,
                cause: LossCause::OutboxDamaged as i32,
                counts: BTreeMap::new(),
            });
        }
    }
}
