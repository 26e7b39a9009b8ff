//! Counts of events that could not be stored.
//!
//! The file is written in place and its blocks are allocated when it is made, so that it can be written
//! when the disk is full and the counts survive a restart. Format: one JSON object of counts by kind,
//! padded with blanks to [`LEDGER_LEN`].

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Length of the file: one block.
const LEDGER_LEN: usize = 4096;

/// The counts.
#[derive(Debug)]
pub struct Ledger {
    file: Option<File>,
    counts: BTreeMap<String, u64>,
    dirty: bool,
}

impl Ledger {
    /// Opens or makes the file. A ledger without a file still counts, but forgets at a restart.
    pub fn open(path: &Path) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut ledger = Self {
            file: None,
            counts: BTreeMap::new(),
            dirty: false,
        };
        match file {
            Ok(file) => {
                let mut bytes = vec![0; LEDGER_LEN];
                let read = file.read_at(&mut bytes, 0).unwrap_or(0);
                ledger.counts = serde_json::from_slice(&bytes[..read]).unwrap_or_default();
                ledger.file = Some(file);
                ledger.dirty = read < LEDGER_LEN;
                ledger.save();
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot open the ledger of lost events");
            }
        }
        ledger
    }

    /// Counts one event.
    pub fn count(&mut self, kind: &str) {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        self.dirty = true;
    }

    /// Events counted.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The counts, if there are any; they are forgotten here.
    pub fn take_if_due(&mut self) -> Option<BTreeMap<String, u64>> {
        if self.counts.is_empty() {
            return None;
        }
        self.dirty = true;
        Some(std::mem::take(&mut self.counts))
    }

    /// Takes back counts that could not be reported. The report itself, which was refused as well, was
    /// never an event that happened and is not counted.
    pub fn give_back(&mut self, counts: BTreeMap<String, u64>) {
        self.counts = counts;
        self.dirty = true;
    }

    /// Writes the counts where they changed.
    pub fn save(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| self.dirty) else {
            return;
        };
        let Ok(mut bytes) = serde_json::to_vec(&self.counts) else {
            return;
        };
        bytes.resize(LEDGER_LEN, b' ');
        match file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()) {
            Ok(()) => self.dirty = false,
            Err(error) => tracing::warn!(%error, "cannot write the ledger of lost events"),
        }
    }
}
