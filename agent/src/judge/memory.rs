//! What the judge knows for a while and finds again after a restart of the agent: the names that containers resolved, the
//! sessions that go on, and the incidents that are open.
//!
//! It is told in times since boot and by control groups, and so holds for one boot of the node. A thread of its own
//! writes it: judging never waits for the disk. A crash loses the last [`WRITE_EVERY`] of it, which costs names and not
//! evidence.

use super::incident::KeptIncident;
use super::peers::KeptNames;
use super::session::KeptSession;
use crate::observation::BootTime;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Name of the file below the state directory.
pub const MEMORY_FILE: &str = "memory";
/// Version of the file.
const VERSION: u32 = 1;
/// A larger file is none that was written here.
const BYTES_MAX: u64 = 16 << 20;
/// It is written so often at most.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The boot that its times are of.
    pub(super) boot: String,
    /// Names and servers, by container.
    pub(super) names: Vec<KeptNames>,
    /// Sessions that have begun.
    pub(super) sessions: Vec<KeptSession>,
    /// Incidents that are open.
    pub(super) incidents: Vec<KeptIncident>,
}

/// Why there is none to go on from.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("has {0} bytes, which is more than was ever written")]
    TooLarge(u64),
    #[error("is damaged: {0}")]
    Damaged(#[from] rmp_serde::decode::Error),
    #[error("is of version {0}, and this agent reads version {VERSION}")]
    Version(u32),
}

impl Memory {
    /// What was known in this boot; nothing where that is not there or cannot be read, which is said.
    fn read(path: &Path, boot: &str) -> Self {
        match Self::try_read(path) {
            Ok(Some(memory)) if memory.boot == boot => memory,
            Ok(_) => Self::default(),
            Err(error) => {
                tracing::warn!(
                    file = %path.display(),
                    "{error}; names that containers resolved before, and incidents that were open, are not known"
                );
                Self::default()
            }
        }
    }

    fn try_read(path: &Path) -> Result<Option<Self>, Unreadable> {
        let size = match std::fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if size > BYTES_MAX {
            return Err(Unreadable::TooLarge(size));
        }
        let bytes = std::fs::read(path)?;
        // Alone, since another version may have anything behind it.
        let version: u32 = rmp_serde::decode::from_slice::<(u32, serde::de::IgnoredAny)>(&bytes)
            .map(|(version, _)| version)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let (_, memory) = rmp_serde::from_slice::<(u32, Self)>(&bytes)?;
        Ok(Some(memory))
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let bytes = rmp_serde::to_vec(&(VERSION, self)).map_err(std::io::Error::other)?;
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)
    }
}

/// Brings it to the disk.
pub struct Keeper {
    boot: String,
    sender: Option<SyncSender<Memory>>,
    writer: Option<JoinHandle<()>>,
    offered: BootTime,
}

impl Keeper {
    /// What was known, and who keeps it from now on.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn open(state_dir: &Path, boot: &str) -> std::io::Result<(Memory, Self)> {
        let path = state_dir.join(MEMORY_FILE);
        let memory = Memory::read(&path, boot);
        let (sender, receiver) = sync_channel(1);
        let writer = std::thread::Builder::new()
            .name("norma-memory".to_owned())
            .spawn(move || write_all(&path, &receiver))?;
        let keeper = Self {
            boot: boot.to_owned(),
            sender: Some(sender),
            writer: Some(writer),
            offered: BootTime(0),
        };
        Ok((memory, keeper))
    }

    /// Whether it is time to offer what is known.
    pub(super) fn is_due(&self, now: BootTime) -> bool {
        now.0.saturating_sub(self.offered.0) >= WRITE_EVERY.as_nanos() as u64
    }

    /// Has it written, unless the disk is still busy with the one before; whether it will be.
    pub(super) fn offer(&mut self, memory: Memory, now: BootTime) -> bool {
        self.offered = now;
        let memory = Memory {
            boot: self.boot.clone(),
            ..memory
        };
        match &self.sender {
            Some(sender) => !matches!(sender.try_send(memory), Err(TrySendError::Full(_))),
            None => false,
        }
    }

    /// Has the last state written, and waits for that.
    pub(super) fn close(&mut self, memory: Memory) {
        let Some(sender) = self.sender.take() else {
            return;
        };
        let memory = Memory {
            boot: self.boot.clone(),
            ..memory
        };
        // A writer that is gone has said why.
        let _gone = sender.send(memory);
        drop(sender);
        if let Some(writer) = self.writer.take() {
            let _panicked = writer.join();
        }
    }
}

fn write_all(path: &Path, receiver: &Receiver<Memory>) {
    let mut failing = false;
    while let Ok(memory) = receiver.recv() {
        match memory.write(path) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(
                    file = %path.display(),
                    %error,
                    "cannot be written: a restart forgets names that containers resolved, and open incidents"
                );
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_again_in_the_same_boot_and_damage_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(MEMORY_FILE);
        let open = |boot: &str| Keeper::open(directory.path(), boot).unwrap();
        let known = || Memory {
            sessions: vec![KeptSession::example()],
            ..Memory::default()
        };
        let (nothing, mut keeper) = open("one");
        assert!(nothing.sessions.is_empty());
        keeper.close(known());
        assert_eq!(open("one").0.sessions, known().sessions);
        assert!(open("two").0.sessions.is_empty(), "times of another boot");

        let good = std::fs::read(&path).unwrap();
        for bytes in [&good[..good.len() - 3], b"garbage", b""] {
            std::fs::write(&path, bytes).unwrap();
            assert!(open("one").0.sessions.is_empty());
        }
        let newer = rmp_serde::to_vec(&(VERSION + 1, ["something", "else"])).unwrap();
        std::fs::write(&path, newer).unwrap();
        let error = Memory::try_read(&path).unwrap_err().to_string();
        assert!(error.contains("is of version 2"), "{error}");
    }
}
