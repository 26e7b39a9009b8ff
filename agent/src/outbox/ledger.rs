//! Counts of events that could not be stored.
//!
//! The file is written in place and its blocks are allocated when it is made, so that it can be written
//! when the disk is full. Each count is written when it changes, so it survives the agent; what survives power loss is
//! what was there at the last [`Ledger::sync`]. Format: "NORMALST", then a little-endian u64 for each kind of event by
//! its number in the contract; the last stands for all kinds beyond. Earlier agents wrote a JSON object of
//! counts by kind.

use super::kind_name;
use norma_wire::pb::Kind;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Length of the file: one block.
const LEDGER_LEN: usize = 4096;
const MAGIC: &[u8; 8] = b"NORMALST";
/// Kinds that are told apart.
const SLOTS: usize = 256;

/// The counts.
#[derive(Debug)]
pub struct Ledger {
    file: Option<File>,
    counts: [u64; SLOTS],
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
            counts: [0; SLOTS],
            dirty: false,
        };
        match file {
            Ok(file) => {
                let mut bytes = vec![0; LEDGER_LEN];
                let read = file.read_at(&mut bytes, 0).unwrap_or(0);
                ledger.counts = counts_in(&bytes[..read]);
                ledger.file = Some(file);
                ledger.write_all();
                ledger.sync();
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot open the ledger of lost events");
            }
        }
        ledger
    }

    /// Counts one event.
    pub fn count(&mut self, kind: i32) {
        self.change(kind, |count| count.saturating_add(1));
    }

    /// Takes back one that was never an event that happened: a report that was refused as well.
    pub fn uncount(&mut self, kind: i32) {
        self.change(kind, |count| count.saturating_sub(1));
    }

    /// Events counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The counts by kind, if there are any.
    pub fn due(&self) -> Option<BTreeMap<String, u64>> {
        let counts: BTreeMap<String, u64> = (0i32..)
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(kind, count)| (kind_name(kind), *count))
            .collect();
        (!counts.is_empty()).then_some(counts)
    }

    /// They were reported; counting begins anew.
    pub fn reported(&mut self) {
        self.counts = [0; SLOTS];
        self.write_all();
    }

    /// Brings the counts to stable storage where they changed.
    pub fn sync(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| self.dirty) {
            match file.sync_data() {
                Ok(()) => self.dirty = false,
                Err(error) => {
                    tracing::warn!(%error, "cannot bring the ledger of lost events to stable storage");
                }
            }
        }
    }

    fn change(&mut self, kind: i32, change: impl Fn(u64) -> u64) {
        let slot = usize::try_from(kind).unwrap_or(SLOTS).min(SLOTS - 1);
        self.counts[slot] = change(self.counts[slot]);
        let bytes = self.counts[slot].to_le_bytes();
        self.write(&bytes, (MAGIC.len() + slot * bytes.len()) as u64);
    }

    fn write_all(&mut self) {
        let mut bytes = MAGIC.to_vec();
        for count in &self.counts {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.resize(LEDGER_LEN, 0);
        self.write(&bytes, 0);
    }

    fn write(&mut self, bytes: &[u8], offset: u64) {
        self.dirty = true;
        if let Some(file) = &self.file
            && let Err(error) = file.write_all_at(bytes, offset)
        {
            tracing::warn!(%error, "cannot write the ledger of lost events");
        }
    }
}

fn counts_in(bytes: &[u8]) -> [u64; SLOTS] {
    let mut counts = [0; SLOTS];
    if let Some(slots) = bytes.strip_prefix(MAGIC) {
        for (count, bytes) in counts.iter_mut().zip(slots.as_chunks::<8>().0) {
            *count = u64::from_le_bytes(*bytes);
        }
        return counts;
    }
    let by_name: BTreeMap<String, u64> = serde_json::from_slice(bytes).unwrap_or_default();
    for (name, count) in by_name {
        let kind = Kind::from_str_name(&format!("KIND_{}", name.to_ascii_uppercase()));
        let slot = kind.map_or(0, |kind| kind as usize).min(SLOTS - 1);
        counts[slot] += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_survives_the_agent_and_what_was_reported_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lost");
        let mut ledger = Ledger::open(&path);
        for kind in [Kind::Open as i32, Kind::Open as i32, Kind::Exec as i32, 9_999] {
            ledger.count(kind);
        }
        ledger.count(Kind::Loss as i32);
        ledger.uncount(Kind::Loss as i32);
        std::mem::forget(ledger);
        let mut again = Ledger::open(&path);
        let due = again.due().unwrap();
        assert_eq!((due["open"], due["exec"], due.len(), again.total()), (2, 1, 3, 4));
        again.reported();
        assert_eq!(Ledger::open(&path).due(), None);
    }

    #[test]
    fn the_counts_of_an_earlier_agent_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lost");
        std::fs::write(&path, format!("{:4096}", r#"{"dns":3,"file_hash":1}"#)).unwrap();
        let due = Ledger::open(&path).due().unwrap();
        assert_eq!((due["dns"], due["file_hash"]), (3, 1));
    }
}
