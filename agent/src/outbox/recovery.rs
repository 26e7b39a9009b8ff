//! What is found when the spool is opened, and its repair.

use super::bound::Written;
use super::segment::{HEADER_LEN, Item, Mark, Record, Scanner};
use super::{Content, Damage, OutboxError, PendingLoss, Repair, Segment, remove};
use norma_wire::pb::{Kind, LossCause};
use norma_wire::{Detail, Event};
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Takes the directory for this agent alone, until the file is dropped.
pub(super) fn lock(directory: &Path) -> Result<File, OutboxError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|reason| OutboxError::Io {
            path: path.clone(),
            reason,
        })?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OutboxError::Locked {
            path: directory.to_owned(),
        }),
        Err(error) => Err(OutboxError::Io {
            path,
            reason: error.into(),
        }),
    }
}

/// What is in the directory.
pub(super) struct Found {
    /// Epoch of the spool: a new one where there is no segment.
    pub epoch: u64,
    /// The segments in their order.
    pub segments: VecDeque<Segment>,
    /// What was dropped and not reported.
    pub losses: Vec<PendingLoss>,
    /// What closed segments should have and do not.
    pub damage: Damage,
}

/// Marks and the reports of them.
#[derive(Default)]
struct Accounts {
    /// With the first sequence of the segment.
    marks: Vec<(u64, Mark)>,
    /// Sequences of the events that report, by cause and range.
    reports: BTreeMap<(i32, u64, u64), u64>,
    /// First and last sequence of what closed segments should have.
    missing: Vec<(u64, u64)>,
}

/// Finds the segments, repairs the newest, and tells the epoch and what is still to be reported.
pub(super) fn recover(directory: &Path, repairs: &mut Vec<Repair>) -> io::Result<Found> {
    let (mut paths, unfinished): (Vec<PathBuf>, Vec<PathBuf>) = std::fs::read_dir(directory)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            ["spool", "tmp", "packing"]
                .iter()
                .any(|kind| path.extension().is_some_and(|extension| extension == *kind))
        })
        .partition(|path| path.extension().is_some_and(|extension| extension == "spool"));
    // What a crash left half rewritten; the segment itself is as it was.
    unfinished.iter().for_each(|path| remove(path));
    paths.sort();
    let mut epoch = None;
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut accounts = Accounts::default();
    // The end of the segment before is damaged; from which sequence on segments cannot be read.
    let (mut is_broken, mut broken_from) = (false, None);
    let count = paths.len();
    for (position, path) in paths.into_iter().enumerate() {
        let scanner = match open(&path) {
            Ok(scanner) => scanner,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                if is_broken && let (Some(before), Some(first)) = (segments.back_mut(), first_of(&path)) {
                    before.last = before.last.max(first.saturating_sub(1));
                }
                // Made and never written to, or not a segment at all: there is no record to lose or save.
                let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                if bytes > HEADER_LEN as u64 {
                    set_aside(&path, "has a damaged header", repairs)?;
                    broken_from = broken_from.or_else(|| first_of(&path));
                    continue;
                }
                repairs.push(Repair {
                    what: format!("segment {} without a header was removed", path.display()),
                    bytes,
                });
                remove(&path);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                set_aside(&path, "was written by a later agent", repairs)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let header = scanner.header();
        if epoch.is_some_and(|epoch| epoch != header.epoch) {
            set_aside(&path, "is of another epoch", repairs)?;
            broken_from = broken_from.or_else(|| first_of(&path));
            continue;
        }
        epoch = Some(header.epoch);
        match (segments.back_mut(), broken_from.take()) {
            // What it should have is told as damage by whoever reads it or writes it anew.
            (Some(before), _) if is_broken => before.last = before.last.max(header.first - 1),
            (_, Some(from)) if from < header.first => accounts.missing.push((from, header.first - 1)),
            _ => {}
        }
        let newest = position + 1 == count;
        let (segment, is_whole) = inspect(&path, header.first, scanner, newest, repairs, &mut accounts)?;
        is_broken = !newest && !is_whole;
        segments.push_back(segment);
    }
    let (losses, damage) = accounts.settle(&mut segments);
    Ok(Found {
        epoch: epoch.unwrap_or_else(new_epoch),
        segments,
        losses,
        damage,
    })
}

/// Opens a segment, whose name and header say the same: of a header that never came to the disk as a whole the
/// sequences to come must not be told.
fn open(path: &Path) -> io::Result<Scanner> {
    let scanner = Scanner::open(path)?;
    if first_of(path).is_some_and(|first| first != scanner.header().first) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(scanner)
}

/// The first sequence that a segment had, which names its file.
fn first_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn set_aside(path: &Path, why: &str, repairs: &mut Vec<Repair>) -> io::Result<()> {
    repairs.push(Repair {
        what: format!("segment {} {why} and was set aside", path.display()),
        bytes: 0,
    });
    std::fs::rename(path, path.with_extension("foreign"))
}

/// What a segment has, and whether nothing is wrong with its end.
fn inspect(
    path: &Path,
    first: u64,
    scanner: Scanner,
    newest: bool,
    repairs: &mut Vec<Repair>,
    accounts: &mut Accounts,
) -> io::Result<(Segment, bool)> {
    let metadata = std::fs::metadata(path)?;
    let mut segment = Segment::new(path.to_owned(), first.max(1), metadata.len());
    segment.written = Written::at(metadata.modified()?);
    let (mut low, mut records, mut marks, mut gaps) = (false, 0, 0, false);
    let (mut is_whole, mut is_intact) = (true, true);
    for item in scanner {
        is_whole = !matches!(item, Item::Torn { .. } | Item::Damaged { .. });
        is_intact &= is_whole;
        match item {
            Item::Record { record, .. } => {
                gaps |= record.sequence > segment.last + 1;
                // Marks stand before the records that were kept.
                segment.last = segment.last.max(record.sequence);
                low |= !record.keep;
                records += 1;
                accounts.report(&record);
            }
            Item::Mark { mark, .. } => {
                marks += 1;
                segment.packed = true;
                segment.last = segment.last.max(mark.last);
                accounts.marks.push((segment.first, mark));
            }
            Item::Torn { offset } if newest => {
                let file = OpenOptions::new().write(true).open(path)?;
                file.set_len(offset)?;
                file.sync_all()?;
                repairs.push(Repair {
                    what: format!(
                        "an unfinished record at the end of {} was cut off",
                        path.display()
                    ),
                    bytes: segment.bytes - offset,
                });
                segment.bytes = offset;
            }
            // The reader tells what is missing before an intact record when it comes to it.
            Item::Torn { .. } | Item::Damaged { .. } => {}
        }
    }
    segment.content = match (low, records, marks) {
        // One of nothing but marks goes when these are reported; what damage took from it is not, until it is read.
        (false, 0, 1..) if is_intact => Content::Marks,
        (false, 0, 1..) => Content::Important,
        (false, 1.., _) if marks > 0 || gaps => Content::Important,
        _ => Content::Everything,
    };
    if newest {
        // After a kill its end may be in memory only, and what is given out must be on stable storage.
        File::open(path)?.sync_all()?;
    }
    Ok((segment, is_whole))
}

impl Accounts {
    fn report(&mut self, record: &Record) {
        if record.kind == Kind::Loss as i32
            && let Ok(event) = Event::decode(&record.event[..])
            && let Some(Detail::Loss(loss)) = event.detail
        {
            let range = (loss.cause, loss.first_sequence, loss.last_sequence);
            self.reports.insert(range, record.sequence);
        }
    }

    /// The losses without a report, and the damage; each segment is told when its own losses were reported.
    fn settle(self, segments: &mut VecDeque<Segment>) -> (Vec<PendingLoss>, Damage) {
        let mut damage = Damage::default();
        for (cause, first, last) in self.reports.keys() {
            if *cause == LossCause::OutboxDamaged as i32 {
                damage.met.insert((*first, *last));
            }
        }
        for (first, last) in self.missing {
            damage.meet(first, last);
        }
        let mut losses = Vec::new();
        for (of, mark) in self.marks {
            match self.reports.get(&(mark.cause, mark.first, mark.last)) {
                Some(sequence) => {
                    if let Some(segment) = segments.iter_mut().find(|segment| segment.first == of) {
                        segment.loss_at = segment.loss_at.max(Some(*sequence));
                    }
                }
                None => losses.push(PendingLoss {
                    loss: (&mark).into(),
                    of: Some(of),
                }),
            }
        }
        (losses, damage)
    }
}

/// Wall time in nanoseconds: different for each spool of a node, and later for a later one.
fn new_epoch() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| u64::try_from(since.as_nanos()).unwrap_or(1))
}
