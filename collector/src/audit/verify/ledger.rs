//! The tlog under verification: its entries one after the other, each held against the tiles, and the roots against
//! what was signed, cosigned and remembered.

use super::report::{Fault, LogReport};
use super::{Expected, VerifyError, tiles};
use crate::audit::entry::{Entry, OpenHead, Sealed};
use crate::audit::rotation;
use crate::audit::tlog::{CHECKPOINT, FOLDER, Tiles, TlogError, WITNESSED};
use norma_tlog::policy::Trusted;
use norma_tlog::tile::{HEIGHT, Tile, WIDTH, push_entry};
use norma_tlog::tree::{Growing, Tree};
use norma_tlog::{Checkpoint, Hash, Note, Policy, VerifierKey};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A checkpoint that somebody remembers.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Who or what, for the report.
    pub name: String,
    /// It, with its signatures.
    pub note: Note,
}

/// What the tlog says of one segment.
#[derive(Debug, Default)]
pub struct Group {
    /// How far it had come at times, while it was open.
    pub heads: Vec<OpenHead>,
    /// What it was sealed as.
    pub sealed: Option<Sealed>,
}

/// The tlog, being read.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    tiles: Tiles,
    tree: Growing,
    /// Entries of the newest bundle that are not looked at yet.
    queue: VecDeque<Entry>,
    next_bundle: u64,
    /// Full tiles' roots that are not in a full tile of their own yet, by level of tiles from 1 on.
    upper: Vec<Vec<Hash>>,
    /// Roots that are to be met at a size.
    wanted: Vec<Wanted>,
    witnessed: Option<(u64, Trusted)>,
    /// The last record that an entry within the witnessed size speaks of.
    witnessed_records: u64,
    /// Nothing further can be read.
    broken: bool,
    last_head: Option<OpenHead>,
    report: LogReport,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Wanted {
    size: u64,
    root: Hash,
    file: PathBuf,
    what: String,
}

impl Ledger {
    /// Opens the tlog of an audit directory; `None` where there is none and none was expected.
    pub fn open(audit: &Path, expected: &Expected) -> Result<Option<Self>, VerifyError> {
        let policy = expected.policy.as_ref();
        let folder = audit.join(FOLDER);
        let opened = match Tiles::open(audit) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) if policy.is_none() && expected.checkpoints.is_empty() && !folder.exists() => {
                return Ok(None);
            }
            Ok(None) => Err("it is missing".to_owned()),
            Err(TlogError::Io { path, source }) => return Err(VerifyError::Unreadable { path, source }),
            Err(TlogError::Damaged { what, .. }) => Err(what),
        };
        let mut ledger = Self {
            report: LogReport::default(),
            tree: Growing::default(),
            queue: VecDeque::new(),
            next_bundle: 0,
            upper: Vec::new(),
            wanted: Vec::new(),
            witnessed: None,
            witnessed_records: 0,
            broken: false,
            last_head: None,
            faults: Vec::new(),
            tiles: Tiles::of(&folder),
            folder,
        };
        let path = ledger.folder.join(CHECKPOINT);
        let (tiles, checkpoint, note) = match opened {
            Ok(opened) => opened,
            Err(what) => {
                ledger.broken = true;
                ledger.fault(
                    path,
                    format!("there is no checkpoint to prove anything by: {what}"),
                );
                return Ok(Some(ledger));
            }
        };
        ledger.tiles = tiles;
        ledger.report.origin.clone_from(&checkpoint.origin);
        ledger.report.size = checkpoint.size;
        ledger.want(&path, &checkpoint, "the checkpoint");
        match policy {
            Some(policy) => ledger.signatures(policy, &path, &note),
            None => ledger.report.unsigned = true,
        }
        match ledger.tiles.witnessed() {
            Ok(Some((note, witnessed))) => {
                let path = ledger.folder.join(WITNESSED);
                ledger.want(&path, &witnessed, "the witnessed checkpoint");
                if let Some(policy) = policy {
                    ledger.signatures(policy, &path, &note);
                }
            }
            Ok(None) => {}
            Err(error) => ledger.fault(ledger.folder.join(WITNESSED), error.to_string()),
        }
        if let Some(policy) = policy.filter(|policy| policy.wants_witnesses())
            && ledger.witnessed.is_none()
        {
            let known = policy.witnesses.len();
            ledger.fault(
                path,
                format!("no checkpoint has the cosignatures that the trust policy demands (it knows {known} witnesses)"),
            );
        }
        for kept in &expected.checkpoints {
            ledger.expect(kept, policy);
        }
        Ok(Some(ledger))
    }

    fn signatures(&mut self, policy: &Policy, path: &Path, note: &Note) {
        match policy.check(note) {
            Ok(trusted) => {
                self.report.signed_by = Some(trusted.log.to_string());
                let newer = self
                    .witnessed
                    .as_ref()
                    .is_none_or(|(size, _)| trusted.checkpoint.size > *size);
                if policy.wants_witnesses() && trusted.quorum && newer {
                    self.witnessed = Some((trusted.checkpoint.size, trusted));
                }
            }
            Err(error) => {
                let hint = rotation::hint(&self.folder, policy).map(|hint| format!("; {hint}"));
                self.fault(path.to_owned(), format!("{error}{}", hint.unwrap_or_default()));
            }
        }
    }

    fn expect(&mut self, kept: &Remembered, policy: Option<&Policy>) {
        let path = self.folder.join(CHECKPOINT);
        let Ok(checkpoint) = kept.note.text.parse::<Checkpoint>() else {
            self.fault(path, format!("{} is not a checkpoint", kept.name));
            return;
        };
        if let Some(Err(error)) = policy.map(|policy| policy.check(&kept.note)) {
            self.fault(path, format!("{} proves nothing: {error}", kept.name));
            return;
        }
        if checkpoint.origin != self.report.origin {
            let ours = &self.report.origin;
            let what = format!(
                "{} is of the log `{}`, this one is `{ours}`",
                kept.name, checkpoint.origin
            );
            self.fault(path, what);
        } else if checkpoint.size > self.report.size {
            let what = format!(
                "{} promised {} entries, and there are {}: the end of the log was removed, or an older copy was put \
                 in its place",
                kept.name, checkpoint.size, self.report.size
            );
            self.fault(path, what);
        } else {
            self.want(&path, &checkpoint, &kept.name);
            self.report.remembered += 1;
        }
    }

    fn want(&mut self, file: &Path, checkpoint: &Checkpoint, what: &str) {
        self.wanted.push(Wanted {
            size: checkpoint.size,
            root: checkpoint.root,
            file: file.to_owned(),
            what: what.to_owned(),
        });
    }

    /// The log's key, where a checkpoint is signed by it as the trust policy demands, and those that it followed.
    pub fn keys(&self) -> Vec<VerifierKey> {
        let current = self.report.signed_by.as_ref().and_then(|key| key.parse().ok());
        current.map_or_else(Vec::new, |current| {
            let mut keys = rotation::earlier(&rotation::read(&self.folder).unwrap_or_default(), &current);
            keys.push(current);
            keys
        })
    }

    /// What the entries say of segment `number`, the next one.
    pub fn next_segment(&mut self, number: u64) -> Group {
        let mut group = Group::default();
        while let Some(entry) = self.peek() {
            match entry {
                Entry::Head(head) if head.segment == number => group.heads.push(head.clone()),
                Entry::Segment(sealed) if sealed.segment == number => {
                    group.sealed = Some(sealed.clone());
                    self.report.segments += 1;
                    self.queue.pop_front();
                    break;
                }
                Entry::Head(_) | Entry::Segment(_) => {
                    let sealed = entry.sealed();
                    let what = format!(
                        "an entry about segment {sealed} where one about segment {number} is next: entries were \
                         removed, added or swapped"
                    );
                    self.fault(self.folder.clone(), what);
                    self.broken = true;
                    break;
                }
            }
            self.queue.pop_front();
        }
        for head in &group.heads {
            self.follow(head);
        }
        group
    }

    fn follow(&mut self, head: &OpenHead) {
        self.report.heads += 1;
        if let Some(before) = &self.last_head
            && (head.records.1 < before.records.1 || head.segment < before.segment)
        {
            let what = format!(
                "a head goes back from record {} to {}",
                before.records.1, head.records.1
            );
            self.fault(self.folder.clone(), what);
        }
        self.last_head = Some(head.clone());
    }

    /// The next entry, once its bundle was held against the tiles.
    fn peek(&mut self) -> Option<&Entry> {
        if self.queue.is_empty() && !self.broken && self.tree.size() < self.tiles.size() {
            self.read_bundle();
        }
        if self.broken {
            return None;
        }
        self.queue.front()
    }

    fn read_bundle(&mut self) {
        let index = self.next_bundle;
        self.next_bundle += 1;
        let list = match self.tiles.bundle(index) {
            Ok(list) => list,
            Err(error) => {
                self.broken = true;
                let (path, what) = match error {
                    TlogError::Io { path, source } => (path, format!("cannot be read: {source}")),
                    TlogError::Damaged { path, what } => (path, what),
                };
                return self.fault(path, what);
            }
        };
        let mut hashes = Tree::default();
        let mut bundle = Vec::new();
        for (number, entry) in list.iter().enumerate() {
            push_entry(&mut bundle, entry);
            hashes.push(Hash::leaf(entry));
            self.tree.push(Hash::leaf(entry));
            let parsed = Entry::parse(entry);
            if let (Ok(entry), Some((size, _))) = (&parsed, &self.witnessed)
                && self.tree.size() <= *size
            {
                self.witnessed_records = self.witnessed_records.max(entry.records().1);
            }
            match parsed {
                Ok(entry) => self.queue.push_back(entry),
                Err(error) => {
                    let index = index * WIDTH + number as u64;
                    self.fault(
                        self.folder.clone(),
                        format!("entry {index} cannot be read: {error}"),
                    );
                    self.broken = true;
                }
            }
            self.meet();
        }
        let width = list.len() as u64;
        self.tile(
            Tile {
                level: None,
                index,
                width,
            },
            &bundle,
        );
        let bytes: Vec<u8> = hashes.leaves().iter().flat_map(|hash| hash.0).collect();
        self.tile(
            Tile {
                level: Some(0),
                index,
                width,
            },
            &bytes,
        );
        if width == WIDTH {
            self.raise(0, hashes.root());
        }
    }

    /// Takes the root of a full tile of `level` into the level above.
    fn raise(&mut self, level: u32, root: Hash) {
        let above = level as usize;
        if self.upper.len() == above {
            self.upper.push(Vec::new());
        }
        self.upper[above].push(root);
        let row = self.upper[above].clone();
        let count = self.tree.size() >> (HEIGHT * (level + 1));
        if row.len() as u64 == WIDTH {
            self.upper[above].clear();
            let bytes: Vec<u8> = row.iter().flat_map(|hash| hash.0).collect();
            let tile = Tile {
                level: Some(level + 1),
                index: (count - 1) / WIDTH,
                width: WIDTH,
            };
            self.tile(tile, &bytes);
            self.raise(level + 1, row.into_iter().collect::<Tree>().root());
        }
    }

    /// Compares the roots that are to be met at the size that was reached.
    fn meet(&mut self) {
        let (size, root) = (self.tree.size(), self.tree.root());
        let (here, later) = std::mem::take(&mut self.wanted)
            .into_iter()
            .partition(|wanted| wanted.size == size);
        self.wanted = later;
        let here: Vec<Wanted> = here;
        for wanted in here.into_iter().filter(|wanted| wanted.root != root) {
            let what = format!(
                "{} has another root for its {size} entries than the entries have: entries were changed, or the log \
                 was replaced by another one",
                wanted.what
            );
            self.fault(wanted.file, what);
        }
    }

    /// Compares the files of a tile with what it must hold.
    fn tile(&mut self, tile: Tile, bytes: &[u8]) {
        self.faults
            .extend(tiles::faults(&self.tiles, &self.folder, &tile, bytes));
    }

    fn fault(&mut self, file: PathBuf, what: String) {
        self.faults.push(Fault::of_file(file, what));
    }

    /// The verdict on the tlog, once all segments were asked for.
    pub fn finish(mut self, proven: u64) -> (LogReport, Vec<Fault>) {
        while self.peek().is_some() {
            let what = "entries follow about segments that are not there".to_owned();
            self.fault(self.folder.clone(), what);
            self.broken = true;
        }
        for (above, row) in std::mem::take(&mut self.upper).into_iter().enumerate() {
            let level = above as u32 + 1;
            let count = self.tiles.size() >> (HEIGHT * level);
            if !row.is_empty() && !self.broken {
                let bytes: Vec<u8> = row.iter().flat_map(|hash| hash.0).collect();
                let (index, width) = (count / WIDTH, count % WIDTH);
                self.tile(
                    Tile {
                        level: Some(level),
                        index,
                        width,
                    },
                    &bytes,
                );
            }
        }
        if self.tree.size() == 0 {
            self.meet();
        }
        if let Some((_, trusted)) = &self.witnessed {
            self.report.cosigned_by = trusted.cosigned.clone();
            self.report.witnessed_records = self.witnessed_records.min(proven);
        }
        self.report.last_head_ns = self.last_head.as_ref().map_or(0, |head| head.time_ns);
        (self.report, self.faults)
    }
}
