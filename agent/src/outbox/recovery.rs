//! What is found when the spool is opened, and its repair.

use super::bound::Written;
use super::segment::{HEADER_LEN, Header, Item, Mark, Record, Scanner, SegmentFile};
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
pub(super) fn recover(directory: &Path, acked: u64, repairs: &mut Vec<Repair>) -> io::Result<Found> {
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
    let candidates: Vec<Candidate> = paths
        .into_iter()
        .map(Candidate::examine)
        .collect::<io::Result<_>>()?;
    let epoch = epoch_of(&candidates);
    let is_foreign = |candidate: &Candidate| candidate.proven.is_some_and(|proven| Some(proven) != epoch);
    let newest = candidates.iter().rposition(|candidate| !is_foreign(candidate));
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut accounts = Accounts::default();
    // What cannot be used since the last one that can, and whether the end of that is damaged.
    let (mut unusable, mut is_broken) = (Vec::new(), false);
    for (position, candidate) in candidates.into_iter().enumerate() {
        // What is proven to be of another spool says nothing of this one.
        if is_foreign(&candidate) {
            set_aside(&candidate.path, "is of another epoch", repairs)?;
            continue;
        }
        let Some(header) = candidate.make_usable(epoch, repairs)? else {
            if is_broken && let (Some(before), Some(first)) = (segments.back_mut(), candidate.first) {
                before.last = before.last.max(first.saturating_sub(1));
            }
            unusable.push(candidate);
            continue;
        };
        let gap = Gap {
            unusable: std::mem::take(&mut unusable),
            through: Some(header.first - 1),
            is_broken,
            acked,
        };
        gap.close(epoch, &mut segments, &mut accounts, repairs)?;
        // What it should have is told as damage by whoever reads it or writes it anew.
        if is_broken && let Some(before) = segments.back_mut() {
            before.last = before.last.max(header.first - 1);
        }
        let is_newest = Some(position) == newest;
        let path = &candidate.path;
        let scanner = Scanner::open(path)?;
        let (segment, is_whole) = inspect(path, header.first, scanner, is_newest, repairs, &mut accounts)?;
        is_broken = !is_newest && !is_whole;
        segments.push_back(segment);
    }
    let gap = Gap {
        unusable,
        through: None,
        is_broken,
        acked,
    };
    gap.close(epoch, &mut segments, &mut accounts, repairs)?;
    let (losses, damage) = accounts.settle(&mut segments);
    Ok(Found {
        epoch: epoch.unwrap_or_else(new_epoch),
        segments,
        losses,
        damage,
    })
}

/// A file that may be a segment of this spool.
struct Candidate {
    path: PathBuf,
    /// The first sequence that it had, which names it.
    first: Option<u64>,
    /// What its header says, where that can be read and agrees with its name.
    header: Option<Header>,
    /// A later agent wrote it.
    is_later: bool,
    /// The epoch that a checksum proves: of the header, or of an event in it.
    proven: Option<u64>,
    /// Something in it is intact.
    has_frames: bool,
}

impl Candidate {
    fn examine(path: PathBuf) -> io::Result<Self> {
        let (header, is_later) = match Header::of(&path) {
            Ok(header) => (Some(header), false),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => (None, false),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => (None, true),
            Err(error) => return Err(error),
        };
        let first = first_of(&path);
        let mut candidate = Self {
            // Of a header that never came to the disk as a whole the sequences to come must not be told.
            header: header.filter(|header| first.is_none_or(|first| first == header.first)),
            path,
            first,
            is_later,
            proven: None,
            has_frames: false,
        };
        match candidate.header.filter(|header| header.checked) {
            Some(header) => candidate.proven = Some(header.epoch),
            None if is_later => {}
            None => candidate.look_inside()?,
        }
        Ok(candidate)
    }

    /// What its records say, which have checksums where the header has none that holds.
    fn look_inside(&mut self) -> io::Result<()> {
        for item in Scanner::open_headless(&self.path, self.first.unwrap_or(1))? {
            match item {
                Item::Record { record, .. } => {
                    self.has_frames = true;
                    if let Ok(Event { id: Some(id), .. }) = Event::decode(&record.event[..]) {
                        self.proven = Some(id.epoch);
                        break;
                    }
                }
                Item::Mark { .. } => self.has_frames = true,
                Item::Damaged { .. } | Item::Torn { .. } => {}
            }
        }
        Ok(())
    }

    /// The header with which it is a segment of the spool, written anew where it was damaged; `None` where it cannot be
    /// used and is out of the way.
    fn make_usable(&self, epoch: Option<u64>, repairs: &mut Vec<Repair>) -> io::Result<Option<Header>> {
        if let Some(header) = self.header.filter(|header| Some(header.epoch) == epoch) {
            return Ok(Some(header));
        }
        if let (Some(epoch), Some(first), true) = (epoch, self.first, self.has_frames) {
            let header = Header {
                epoch,
                first,
                checked: true,
            };
            header.mend(&self.path)?;
            repairs.push(Repair {
                what: format!(
                    "the damaged header of segment {} was written anew",
                    self.path.display()
                ),
                bytes: 0,
            });
            return Ok(Some(header));
        }
        Ok(None)
    }

    /// Takes it out of the way; where another file is about to take its place it stays until then.
    fn put_aside(&self, is_replaced: bool, repairs: &mut Vec<Repair>) -> io::Result<()> {
        // Made and never written to, or not a segment at all: there is no record to lose or save.
        let bytes = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if !self.is_later && bytes <= HEADER_LEN as u64 {
            repairs.push(Repair {
                what: format!("segment {} without a header was removed", self.path.display()),
                bytes,
            });
            if !is_replaced {
                remove(&self.path);
            }
            return Ok(());
        }
        let why = match self.is_later {
            true => "was written by a later agent",
            false => "has a damaged header",
        };
        if is_replaced {
            let aside = self.path.with_extension(ASIDE);
            super::rewrite::remove_if_there(&aside);
            std::fs::hard_link(&self.path, aside)?;
            told_aside(&self.path, why, repairs);
            return Ok(());
        }
        set_aside(&self.path, why, repairs)
    }
}

/// Files that cannot be used, between two segments that can, or at the end.
struct Gap {
    unusable: Vec<Candidate>,
    /// The sequence before that of the next segment.
    through: Option<u64>,
    /// The end of the segment before is damaged.
    is_broken: bool,
    /// Everything up to this sequence was acknowledged.
    acked: u64,
}

impl Gap {
    /// Puts them aside, and in their place a segment that says what else nothing would say any more after another crash:
    /// what is missing, or, at the end, up to where sequences were given.
    fn close(
        self,
        epoch: Option<u64>,
        segments: &mut VecDeque<Segment>,
        accounts: &mut Accounts,
        repairs: &mut Vec<Repair>,
    ) -> io::Result<()> {
        let first = self.unusable.iter().find_map(|candidate| candidate.first);
        let (Some(first), Some(epoch), Some(directory)) = (
            first,
            epoch,
            self.unusable.first().and_then(|it| it.path.parent()),
        ) else {
            return self.put_aside(repairs);
        };
        let begin = segments.back().map_or(first, |before| first.max(before.last + 1));
        let mark = match self.through {
            Some(last) if !self.is_broken && begin <= last && last > self.acked => Some(Mark {
                first: begin,
                last,
                cause: LossCause::OutboxDamaged as i32,
                counts: BTreeMap::new(),
            }),
            None if self.is_broken => None,
            _ => return self.put_aside(repairs),
        };
        let path = directory.join(format!("{begin:020}.spool"));
        let temporary = path.with_extension("tmp");
        let written = SegmentFile::create(&temporary, epoch, begin).and_then(|mut file| {
            if let Some(mark) = &mark {
                file.append_mark(mark)?;
            }
            file.sync()?;
            Ok(file.bytes())
        });
        let bytes = match written {
            Ok(bytes) => bytes,
            // On a full disk they stay where they are, and say it again at the next start.
            Err(error) => {
                tracing::warn!(%error, "cannot note in the outbox what damage took from it");
                if let Some(mark) = mark {
                    accounts.missing.push((mark.first, mark.last));
                }
                return Ok(());
            }
        };
        let (replaced, others): (Vec<_>, Vec<_>) =
            self.unusable.iter().partition(|candidate| candidate.path == path);
        for candidate in replaced {
            candidate.put_aside(true, repairs)?;
        }
        std::fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()?;
        for candidate in others {
            candidate.put_aside(false, repairs)?;
        }
        let mut segment = Segment::new(path, begin, bytes);
        if let Some(mark) = mark {
            segment.last = mark.last;
            segment.content = Content::Marks;
            segment.packed = true;
            accounts.marks.push((begin, mark));
        }
        segments.push_back(segment);
        Ok(())
    }

    fn put_aside(&self, repairs: &mut Vec<Repair>) -> io::Result<()> {
        let mut unusable = self.unusable.iter();
        unusable.try_for_each(|candidate| candidate.put_aside(false, repairs))
    }
}

/// The epoch of most segments, of the newest ones among equals: what is proven decides, and what a header says that
/// nothing proves only where there is nothing else.
fn epoch_of(candidates: &[Candidate]) -> Option<u64> {
    let most = |epochs: &dyn Fn(&Candidate) -> Option<u64>| {
        let mut votes: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for (position, epoch) in candidates.iter().map(epochs).enumerate() {
            if let Some(epoch) = epoch {
                let (count, newest) = votes.entry(epoch).or_default();
                *count += 1;
                *newest = position;
            }
        }
        let most = votes.into_iter().max_by_key(|(_, vote)| *vote);
        most.map(|(epoch, _)| epoch)
    };
    let claimed = |candidate: &Candidate| candidate.header.map(|header| header.epoch);
    most(&|candidate| candidate.proven).or_else(|| most(&claimed))
}

/// The first sequence that a segment had, which names its file.
fn first_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What is set aside ends so.
const ASIDE: &str = "foreign";

fn set_aside(path: &Path, why: &str, repairs: &mut Vec<Repair>) -> io::Result<()> {
    told_aside(path, why, repairs);
    std::fs::rename(path, path.with_extension(ASIDE))
}

fn told_aside(path: &Path, why: &str, repairs: &mut Vec<Repair>) {
    repairs.push(Repair {
        what: format!("segment {} {why} and was set aside", path.display()),
        bytes: 0,
    });
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
