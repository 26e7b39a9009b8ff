//! What this node remembers of the collectors' audit logs.
//!
//! A collector sends its newest checkpoint with its acknowledgements. The newest one of each log is kept here, on
//! disk, and the next one has to go on from it, which a consistency proof shows: a collector that removed records,
//! rewrote them, or was set back to an older copy cannot make one, whatever keys it has. Of which log a checkpoint is,
//! and under which key, is believed the first time; the connection is authenticated, and what is watched is that
//! nothing is taken back afterwards. Another key is followed where the remembered one has signed that it comes next.

use crate::event;
use norma_tlog::tree::check_consistency;
use norma_tlog::{Checkpoint, Hash, Note, Rotation, VerifierKey};
use norma_wire::Event;
use norma_wire::pb;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Logs that are remembered; a node talks to one or a few collectors.
const LOGS_MAX: usize = 16;
/// The folder in the state directory.
const FOLDER: &str = "checkpoints";
/// Extension of a checkpoint that did not go on from the remembered one: the evidence.
const CONFLICT: &str = "inconsistent";

/// The memory.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    logs: BTreeMap<String, Remembered>,
}

/// What is remembered of one log.
#[derive(Clone, Debug)]
struct Remembered {
    key: VerifierKey,
    note: Note,
    checkpoint: Checkpoint,
    /// The last checkpoint that did not go on from it.
    conflict: Option<Vec<u8>>,
}

/// Why a checkpoint is not believed.
#[derive(Debug, thiserror::Error)]
enum Disbelief {
    #[error("it is not a checkpoint signed under the key that comes with it")]
    Unsigned,
    #[error(
        "it is signed with another key than the log had, and that one has not signed that this one follows it"
    )]
    Key,
    #[error(
        "the log has {found} entries, and had {remembered}: its end was removed, or it was set back to an older copy"
    )]
    Shrunk { found: u64, remembered: u64 },
    #[error("the collector does not prove that the log goes on from what it was: {0}")]
    Unproven(norma_tlog::tree::Unproven),
}

impl Checkpoints {
    /// Reads what is remembered in the state directory; what cannot be read is said and set aside.
    pub fn open(state_dir: &Path) -> Self {
        let folder = state_dir.join(FOLDER);
        let mut logs = BTreeMap::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some() {
                continue;
            }
            match Remembered::read(&path) {
                Ok(remembered) => {
                    logs.insert(remembered.checkpoint.origin.clone(), remembered);
                }
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "a remembered checkpoint cannot be read; setting it aside");
                    if let Err(error) = fs::rename(&path, path.with_extension("unreadable")) {
                        tracing::error!(%error, "cannot set it aside");
                    }
                }
            }
        }
        Self { folder, logs }
    }

    /// What the next collector is told: the newest checkpoint of each log, and those that did not go on from it.
    pub fn tell(&self, hello: &mut pb::Hello) {
        hello.checkpoints = self
            .logs
            .values()
            .map(|remembered| remembered.note.to_string().into_bytes())
            .collect();
        hello.inconsistent_checkpoints = self
            .logs
            .values()
            .filter_map(|remembered| remembered.conflict.clone())
            .collect();
    }

    /// Takes a checkpoint that the collector at `address` sent; an event where it takes back what was promised.
    pub fn hear(&mut self, address: &str, sent: &pb::Checkpoint) -> Option<Event> {
        match self.take(sent) {
            Ok(()) => None,
            Err((_, disbelief @ Disbelief::Unsigned)) => {
                tracing::error!(
                    collector = address,
                    "a checkpoint of the audit log counts for nothing: {disbelief}"
                );
                None
            }
            Err((origin, disbelief)) => {
                let remembered = self.logs.get_mut(&origin)?;
                // Said once for each; the collector repeats its checkpoint with every acknowledgement.
                if remembered.conflict.as_ref() == Some(&sent.note) {
                    return None;
                }
                remembered.conflict = Some(sent.note.clone());
                let path = place(&self.folder, &origin).with_extension(CONFLICT);
                if let Err(error) = replace(&path, &sent.note) {
                    tracing::error!(%error, "cannot keep the evidence on disk; it is in the event");
                }
                let detail = pb::CheckpointInconsistent {
                    collector: address.to_owned(),
                    origin,
                    remembered: remembered.note.to_string(),
                    presented: String::from_utf8_lossy(&sent.note).into_owned(),
                    reason: disbelief.to_string(),
                };
                Some(event::checkpoint_inconsistent(detail))
            }
        }
    }

    fn take(&mut self, sent: &pb::Checkpoint) -> Result<(), (String, Disbelief)> {
        let unsigned = || (String::new(), Disbelief::Unsigned);
        let key: VerifierKey = sent.key.parse().map_err(|_| unsigned())?;
        let note = Note::parse(&sent.note).map_err(|_| unsigned())?;
        let checkpoint: Checkpoint = note.text.parse().map_err(|_| unsigned())?;
        if checkpoint.origin != key.name() || !matches!(note.verify(&key), Ok(Some(_))) {
            return Err(unsigned());
        }
        let origin = checkpoint.origin.clone();
        if let Some(remembered) = self.logs.get(&origin) {
            remembered
                .goes_on(&key, &checkpoint, sent)
                .map_err(|disbelief| (origin.clone(), disbelief))?;
            if remembered.checkpoint == checkpoint {
                return Ok(());
            }
        } else if self.logs.len() >= LOGS_MAX {
            tracing::warn!(
                log = origin,
                "too many audit logs to remember the checkpoints of this one as well"
            );
            return Ok(());
        }
        let conflict = self
            .logs
            .get(&origin)
            .and_then(|remembered| remembered.conflict.clone());
        let remembered = Remembered {
            key,
            note,
            checkpoint,
            conflict,
        };
        if let Err(error) = remembered.write(&place(&self.folder, &origin)) {
            tracing::error!(%error, "cannot remember a checkpoint of the audit log on disk");
        }
        self.logs.insert(origin, remembered);
        Ok(())
    }
}

impl Remembered {
    fn goes_on(&self, key: &VerifierKey, next: &Checkpoint, sent: &pb::Checkpoint) -> Result<(), Disbelief> {
        if self.key != *key {
            let statements = sent.rotations.iter().map(Vec::as_slice);
            if !Rotation::lead(statements, &self.key, key) {
                return Err(Disbelief::Key);
            }
            tracing::info!(log = key.name(), old = %self.key, new = %key, "the key of an audit log was changed by its owner");
        }
        let (old, new) = (
            (self.checkpoint.size, self.checkpoint.root),
            (next.size, next.root),
        );
        if new.0 < old.0 {
            return Err(Disbelief::Shrunk {
                found: new.0,
                remembered: old.0,
            });
        }
        let hash = |bytes: &Vec<u8>| bytes.as_slice().try_into().map(Hash).ok();
        let proof: Option<Vec<Hash>> = sent.consistency.iter().map(hash).collect();
        // A proof from somewhere else proves nothing about what is remembered, and does not verify.
        let proof = proof
            .filter(|_| sent.proven_from == old.0 && old.0 != new.0)
            .unwrap_or_default();
        check_consistency(old, new, &proof).map_err(Disbelief::Unproven)
    }

    /// A line with the key, and the note.
    fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let wrong = || io::Error::other("it is not a key and a checkpoint");
        let (key, note) = text.split_once('\n').ok_or_else(wrong)?;
        let note = Note::parse(note.as_bytes()).map_err(io::Error::other)?;
        Ok(Self {
            key: key.parse().map_err(io::Error::other)?,
            checkpoint: note.text.parse().map_err(io::Error::other)?,
            note,
            conflict: fs::read(path.with_extension(CONFLICT)).ok(),
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, format!("{}\n{}", self.key, self.note).as_bytes())
    }
}

/// An origin is anything; its hash is a name of a file.
fn place(folder: &Path, origin: &str) -> PathBuf {
    let digest = Sha256::digest(origin);
    folder.join(norma_wire::text::Hex(&digest[..16]).to_string())
}

/// Puts `content` in place of the file at `path`, durable when it returns.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_tlog::SigningKey;
    use norma_tlog::key::Use;
    use norma_tlog::tree::{Tree, consistency};

    struct Collector {
        key: SigningKey,
        tree: Tree,
    }

    impl Collector {
        fn new(size: u64) -> Self {
            let (key, _) = SigningKey::generate("log.example").unwrap();
            let tree = (0..size)
                .map(|number| Hash::leaf(&number.to_be_bytes()))
                .collect();
            Self { key, tree }
        }

        fn at(&self, size: u64, proven_from: u64) -> pb::Checkpoint {
            let root = self.tree.root_at(size).unwrap();
            let origin = self.key.name().to_owned();
            let text = Checkpoint { origin, size, root }.to_string();
            let note = Note {
                signatures: vec![self.key.sign(&text)],
                text,
            };
            let proof = consistency(&self.tree, proven_from, size).unwrap();
            pb::Checkpoint {
                note: note.to_string().into_bytes(),
                key: self.key.verifier(Use::Log).to_string(),
                proven_from,
                consistency: proof.iter().map(|hash| hash.0.to_vec()).collect(),
                rotations: Vec::new(),
            }
        }
    }

    fn reason(event: Option<Event>) -> String {
        match event.and_then(|event| event.detail) {
            Some(norma_wire::Detail::CheckpointInconsistent(detail)) => detail.reason,
            _ => String::new(),
        }
    }

    #[test]
    fn a_log_that_goes_on_is_remembered_across_restarts() {
        let state = tempfile::tempdir().unwrap();
        let collector = Collector::new(20);
        let mut memory = Checkpoints::open(state.path());
        for (size, from) in [(3, 0), (3, 3), (8, 3)] {
            assert!(
                memory.hear("c", &collector.at(size, from)).is_none(),
                "{size} from {from}"
            );
        }
        let mut memory = Checkpoints::open(state.path());
        let mut hello = pb::Hello::default();
        memory.tell(&mut hello);
        assert_eq!(hello.checkpoints, [collector.at(8, 0).note]);
        assert!(memory.hear("c", &collector.at(20, 8)).is_none());
    }

    #[test]
    fn another_key_is_followed_only_where_the_remembered_one_says_so() {
        let state = tempfile::tempdir().unwrap();
        let old = Collector::new(20);
        let new = Collector::new(20);
        let statement = |by: &SigningKey| {
            let rotation = Rotation {
                old: old.key.verifier(Use::Log),
                new: new.key.verifier(Use::Log),
                time: 1,
            };
            let text = rotation.to_string();
            let signatures = vec![by.sign(&text), new.key.sign(&text)];
            Note { text, signatures }.to_string().into_bytes()
        };
        let mut memory = Checkpoints::open(state.path());
        assert!(memory.hear("c", &old.at(8, 0)).is_none());
        let mut next = new.at(12, 8);
        assert!(reason(memory.hear("c", &next)).contains("another key"));
        let thief = SigningKey::generate("log.example").unwrap().0;
        next.rotations = vec![statement(&thief)];
        next.note = new.at(13, 8).note;
        assert!(reason(memory.hear("c", &next)).contains("another key"));
        let mut next = new.at(12, 8);
        next.rotations = vec![statement(&old.key)];
        assert!(memory.hear("c", &next).is_none());

        // The old key counts no more, and the log has to go on from what it was under it.
        let mut memory = Checkpoints::open(state.path());
        assert!(reason(memory.hear("c", &old.at(15, 12))).contains("another key"));
        assert!(reason(memory.hear("c", &new.at(5, 0))).contains("its end was removed"));
        assert!(memory.hear("c", &new.at(20, 12)).is_none());
    }

    #[test]
    fn what_is_taken_back_is_an_alert_once_and_told_to_the_next_collector() {
        let state = tempfile::tempdir().unwrap();
        let collector = Collector::new(20);
        let mut memory = Checkpoints::open(state.path());
        assert!(memory.hear("c", &collector.at(8, 0)).is_none());
        assert!(reason(memory.hear("c", &collector.at(5, 0))).contains("its end was removed"));
        assert!(memory.hear("c", &collector.at(5, 0)).is_none(), "it was said");
        assert!(reason(memory.hear("c", &collector.at(12, 0))).contains("does not prove"));
        assert!(reason(memory.hear("c", &collector.at(13, 5))).contains("does not prove"));

        let mut forked = Collector::new(8);
        forked.key = collector.key;
        forked.tree.push(Hash::leaf(b"another"));
        let mut changed: Tree = [Hash::leaf(b"changed")].into_iter().collect();
        forked.tree.leaves()[1..]
            .iter()
            .for_each(|leaf| changed.push(*leaf));
        forked.tree = changed;
        assert!(reason(memory.hear("c", &forked.at(8, 0))).contains("another root"));
        assert!(reason(memory.hear("c", &forked.at(9, 8))).contains("another root"));

        let mut hello = pb::Hello::default();
        Checkpoints::open(state.path()).tell(&mut hello);
        assert_eq!(hello.inconsistent_checkpoints, [forked.at(9, 8).note]);
        assert_eq!(hello.checkpoints.len(), 1);

        let other_key = Collector::new(20);
        assert!(reason(memory.hear("c", &other_key.at(12, 8))).contains("another key"));
        let mut unsigned = other_key.at(12, 8);
        let at = unsigned.note.len() - 10;
        unsigned.note[at] ^= 1;
        assert!(memory.hear("c", &unsigned).is_none());
    }
}
