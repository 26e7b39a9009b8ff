//! What a witness saw of each log, and whether it cosigns what comes next.

use crate::durable::{self, Sync};
use norma_tlog::key::Use;
use norma_tlog::note::SignatureLine;
use norma_tlog::submission::Submission;
use norma_tlog::tree::check_consistency;
use norma_tlog::{Checkpoint, Hash, Note, Policy, SigningKey, VerifierKey};
use norma_wire::text::Hex;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The witness's state: the newest cosigned checkpoint of each log, on disk before anybody gets the cosignature.
#[derive(Debug)]
pub struct Memory {
    folder: PathBuf,
    key: SigningKey,
    logs: Vec<VerifierKey>,
    /// By origin. The lock is held from comparing to writing, so that no older checkpoint overtakes a newer one.
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    checkpoint: Checkpoint,
    note: Note,
}

/// What a submission is answered with, and the HTTP status of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: the cosignature.
    Cosigned(SignatureLine),
    /// 400: not a submission.
    Malformed(String),
    /// 403: the log has not signed it.
    Unsigned,
    /// 404: the log is not watched.
    UnknownLog,
    /// 409: the size that was cosigned last.
    Elsewhere(u64),
    /// 422: it does not go on from what was cosigned.
    Inconsistent(String),
    /// 500: it cannot be kept.
    Failed,
}

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what the witness wrote.
    #[error("{} is not a checkpoint that this witness cosigned; what it saw of the log is lost, and it must not go on as if it had seen nothing: put the file back from a backup, or begin with a new key and tell those who trust it", .0.display())]
    Damaged(PathBuf),
    /// Nothing to do.
    #[error("no log to watch: name its verifier key with --log, as `norma-collector audit key` prints it")]
    NoLogs,
}

impl Memory {
    /// Opens the memory in `folder`, of a witness with `key` that watches `logs`.
    pub fn open(folder: &Path, key: SigningKey, logs: Vec<VerifierKey>) -> Result<Self, MemoryError> {
        if logs.is_empty() {
            return Err(MemoryError::NoLogs);
        }
        durable::create_folders(folder).map_err(io_error(folder))?;
        let mut seen = BTreeMap::new();
        for log in &logs {
            let path = place(folder, log.name());
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error(&path)(error)),
            };
            let damaged = || MemoryError::Damaged(path.clone());
            let note = Note::parse(&bytes).map_err(|_| damaged())?;
            let checkpoint: Checkpoint = note.text.parse().map_err(|_| damaged())?;
            let cosigned = note
                .verify(&key.verifier(Use::Witness))
                .is_ok_and(|verified| verified.is_some());
            if !cosigned || checkpoint.origin != log.name() {
                return Err(damaged());
            }
            seen.insert(checkpoint.origin.clone(), Seen { checkpoint, note });
        }
        Ok(Self {
            folder: folder.to_owned(),
            key,
            logs,
            seen: Mutex::new(seen),
        })
    }

    /// The key that cosignatures verify under.
    pub fn verifier(&self) -> VerifierKey {
        self.key.verifier(Use::Witness)
    }

    /// Cosigns the checkpoint of a submission at `time`, in seconds since 1970, or says why not.
    pub fn add(&self, body: &[u8], time: u64) -> Answer {
        let submission = match Submission::parse(body) {
            Ok(submission) => submission,
            Err(error) => return Answer::Malformed(error.to_string()),
        };
        let Ok(checkpoint) = submission.checkpoint.text.parse::<Checkpoint>() else {
            return Answer::Malformed("it has no checkpoint".to_owned());
        };
        // A log whose key is being changed has two.
        let mut keys = self.logs.iter().filter(|log| log.name() == checkpoint.origin);
        let Some(first) = keys.next() else {
            return Answer::UnknownLog;
        };
        let mut policy = Policy::of_log(first.clone());
        policy.logs.extend(keys.cloned());
        if policy.check(&submission.checkpoint).is_err() {
            return Answer::Unsigned;
        }
        if submission.old_size > checkpoint.size {
            return Answer::Malformed("the old size is larger than the new one".to_owned());
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen
            .get(&checkpoint.origin)
            .map(|seen| (seen.checkpoint.size, seen.checkpoint.root));
        let before = before.unwrap_or_else(|| (0, Hash::empty()));
        if submission.old_size != before.0 {
            return Answer::Elsewhere(before.0);
        }
        let next = (checkpoint.size, checkpoint.root);
        let is_empty_tree = next.0 == 0 && next.1 != Hash::empty();
        let proven = check_consistency(before, next, &submission.proof);
        if let (Err(error), _) | (Ok(()), Some(error)) =
            (proven, is_empty_tree.then_some(norma_tlog::tree::Unproven::Root))
        {
            tracing::error!(log = checkpoint.origin, %error, "a log does not go on from what was cosigned");
            let evidence = place(&self.folder, &checkpoint.origin).with_extension("refused");
            if let Err(error) = durable::replace(&evidence, body, Sync::Now) {
                tracing::error!(%error, "cannot keep the evidence");
            }
            return Answer::Inconsistent(error.to_string());
        }
        let cosignature = self.key.cosign(&submission.checkpoint.text, time);
        // Only the log's own signatures: those of others are not verified here.
        let mut note = submission.checkpoint;
        note.signatures
            .retain(|line| policy.logs.iter().any(|log| line.is_of(log)));
        note.signatures.push(cosignature.clone());
        let path = place(&self.folder, &checkpoint.origin);
        if let Err(error) = durable::replace(&path, note.to_string().as_bytes(), Sync::Now) {
            tracing::error!(%error, file = %path.display(), "cannot keep a checkpoint; it is not cosigned");
            return Answer::Failed;
        }
        seen.insert(checkpoint.origin.clone(), Seen { checkpoint, note });
        Answer::Cosigned(cosignature)
    }

    /// The newest cosigned checkpoint of the log whose origin hashes to `hash`, lower-case hex of SHA-256.
    pub fn newest(&self, hash: &str) -> Option<Note> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values()
            .find(|seen| hash_of(&seen.checkpoint.origin) == hash)
            .map(|seen| seen.note.clone())
    }
}

/// An origin as it is asked for.
pub fn hash_of(origin: &str) -> String {
    Hex(&Sha256::digest(origin)).to_string()
}

fn place(folder: &Path, origin: &str) -> PathBuf {
    folder.join(hash_of(origin)).with_extension("checkpoint")
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> MemoryError + use<> {
    let path = path.to_owned();
    move |source| MemoryError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_tlog::tree::{Tree, consistency};

    struct Log {
        key: SigningKey,
        tree: Tree,
    }

    impl Log {
        fn new(size: u64, salt: u8) -> Self {
            let key = SigningKey::generate("log.example").unwrap().0;
            let tree = (0..size)
                .map(|number| Hash::leaf(&[number as u8, salt]))
                .collect();
            Self { key, tree }
        }

        fn submission(&self, old_size: u64, size: u64) -> Submission {
            let checkpoint = Checkpoint {
                origin: "log.example".to_owned(),
                size,
                root: self.tree.root_at(size).unwrap(),
            };
            let text = checkpoint.to_string();
            Submission {
                old_size,
                proof: consistency(&self.tree, old_size, size).unwrap(),
                checkpoint: Note {
                    signatures: vec![self.key.sign(&text)],
                    text,
                },
            }
        }

        fn body(&self, old_size: u64, size: u64) -> Vec<u8> {
            self.submission(old_size, size).to_string().into_bytes()
        }
    }

    fn witness(folder: &Path, key: &str, log: &Log) -> Memory {
        let key = SigningKey::parse(key).unwrap();
        Memory::open(folder, key, vec![log.key.verifier(Use::Log)]).unwrap()
    }

    #[test]
    fn a_witness_cosigns_what_goes_on_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (_, key) = SigningKey::generate("w.example").unwrap();
        let log = Log::new(30, 0);
        let memory = witness(folder.path(), &key, &log);
        let Answer::Cosigned(line) = memory.add(&log.body(0, 5), 1_700_000_000) else {
            panic!()
        };
        let mut note = log.submission(0, 5).checkpoint;
        note.signatures.push(line);
        assert_eq!(
            note.verify(&memory.verifier()).unwrap().unwrap().time,
            Some(1_700_000_000)
        );
        assert_eq!(memory.newest(&hash_of("log.example")), Some(note));
        assert_eq!(memory.newest(&hash_of("other.example")), None);

        assert_eq!(memory.add(&log.body(0, 9), 1), Answer::Elsewhere(5));
        assert_eq!(memory.add(&log.body(3, 4), 1), Answer::Elsewhere(5));
        assert!(
            matches!(memory.add(&log.body(5, 5), 1), Answer::Cosigned(_)),
            "a heartbeat"
        );
        let mut wrong = log.submission(5, 9);
        wrong.proof.pop();
        assert!(matches!(
            memory.add(wrong.to_string().as_bytes(), 1),
            Answer::Inconsistent(_)
        ));
        let backwards = Submission {
            old_size: 9,
            ..log.submission(0, 5)
        };
        assert!(matches!(
            memory.add(backwards.to_string().as_bytes(), 1),
            Answer::Malformed(_)
        ));

        // The same key, another history; it is kept as evidence.
        let fork = Log {
            key: SigningKey::parse(&key).map_or(log.key, |_| Log::new(0, 0).key),
            tree: Log::new(30, 1).tree,
        };
        assert_eq!(memory.add(&fork.body(5, 9), 1), Answer::Unsigned);
        assert_eq!(
            memory.add(b"old 0\n\n", 1),
            Answer::Malformed(
                "the checkpoint cannot be read: it has no signatures after an empty line".to_owned()
            )
        );
    }

    #[test]
    fn a_fork_is_refused_also_after_a_restart_and_kept_as_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let (_, key) = SigningKey::generate("w.example").unwrap();
        let log = Log::new(30, 0);
        let memory = witness(folder.path(), &key, &log);
        assert!(matches!(memory.add(&log.body(0, 8), 1), Answer::Cosigned(_)));
        drop(memory);
        let memory = witness(folder.path(), &key, &log);
        let fork = Log {
            tree: Log::new(30, 1).tree,
            ..log
        };
        assert!(matches!(
            memory.add(&fork.body(8, 12), 2),
            Answer::Inconsistent(_)
        ));
        assert!(matches!(memory.add(&fork.body(8, 8), 2), Answer::Inconsistent(_)));
        let evidence = place(folder.path(), "log.example").with_extension("refused");
        assert_eq!(fs::read(evidence).unwrap(), fork.body(8, 8));

        let unknown = Log::new(3, 0);
        let other = Memory::open(folder.path(), SigningKey::parse(&key).unwrap(), vec![]);
        assert!(matches!(other, Err(MemoryError::NoLogs)));
        let mut foreign = unknown.submission(0, 2);
        foreign.checkpoint.text = foreign.checkpoint.text.replace("log.example", "other.example");
        assert_eq!(memory.add(foreign.to_string().as_bytes(), 1), Answer::UnknownLog);

        fs::write(place(folder.path(), "log.example"), "nothing\n").unwrap();
        let damaged = Memory::open(
            folder.path(),
            SigningKey::parse(&key).unwrap(),
            vec![fork.key.verifier(Use::Log)],
        );
        assert!(matches!(damaged, Err(MemoryError::Damaged(_))));
    }
}
