//! What was said of each workload, on disk.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Version of the file.
const VERSION: u32 = 1;
/// Most workloads that are remembered. One that is forgotten is only said again.
const WORKLOADS_MAX: usize = 10_000;

#[derive(Default, Serialize, Deserialize)]
struct Said {
    version: u32,
    /// Values of findings by their name, by workload.
    workloads: BTreeMap<String, BTreeMap<String, String>>,
}

pub(super) struct Memory {
    path: PathBuf,
    said: Said,
    dirty: bool,
    /// The last attempt to write failed, and that was said.
    failing: bool,
}

impl Memory {
    /// Reads what was said; what cannot be read is only said again.
    pub fn open(path: &Path) -> Self {
        let said = match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice::<Said>(&bytes) {
                Ok(said) if said.version == VERSION => said,
                Ok(said) => {
                    tracing::warn!(
                        file = %path.display(),
                        version = said.version,
                        "of another version: posture is reported anew"
                    );
                    Said::default()
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "damaged: posture is reported anew");
                    Said::default()
                }
            },
            Err(_) => Said::default(),
        };
        Self {
            path: path.to_owned(),
            said: Said {
                version: VERSION,
                ..said
            },
            dirty: false,
            failing: false,
        }
    }

    /// Takes what holds of a workload now; gives what held before.
    pub fn replace(&mut self, workload: &str, now: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let before = self.said.workloads.get(workload).cloned().unwrap_or_default();
        if before != now {
            self.dirty = true;
            if self.said.workloads.len() >= WORKLOADS_MAX {
                self.said.workloads.pop_first();
            }
            self.said.workloads.insert(workload.to_owned(), now);
        }
        before
    }

    /// Writes it, where there is something new.
    pub fn save(&mut self) {
        if !self.dirty {
            return;
        }
        match self.write() {
            Ok(()) => (self.dirty, self.failing) = (false, false),
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(file = %self.path.display(), %error, "cannot be written: posture is reported anew after a restart");
            }
            Err(_) => {}
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&self.said)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }
}
