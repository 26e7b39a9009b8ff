//! A log in a folder of its own.

use super::arrival::arrival;
use super::verified::verify;
use norma_collector::audit::verify::{Expected, Remembered, Report};
use norma_collector::audit::{AuditSettings, OpenError, Outbox, WriterSettings, open};
use norma_tlog::{Note, Policy};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Bytes of each event besides what it says.
pub const PADDING: usize = 300;

pub struct Log {
    pub folder: TempDir,
}

impl Log {
    /// A log with events 1 to `events`, a few of which fill a file.
    pub fn new(events: u64) -> Self {
        let log = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        log.write(1, events);
        log
    }

    pub fn audit(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub fn settings(&self) -> AuditSettings {
        AuditSettings {
            writer: WriterSettings {
                segment_bytes: 1500,
                segment_age: Duration::from_secs(3600),
                commit_interval: Duration::ZERO,
            },
            checkpoint_interval: Duration::from_secs(3600),
            key: self.folder.path().join("audit.key").into(),
            next_key: None,
            origin: Some("log.example/test".to_owned()),
        }
    }

    /// Starts a collector's log, appends events and stops it.
    pub fn write(&self, first: u64, last: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (log, writing) = open(&self.audit(), &self.settings()).unwrap();
            for sequence in first..=last {
                let outbox = Outbox {
                    node: "worker-1".into(),
                    epoch: 5,
                };
                log.append(outbox, vec![arrival(sequence, PADDING)])
                    .await
                    .unwrap();
            }
            writing.stop("test").await.unwrap();
        });
    }

    pub fn refusal(&self) -> OpenError {
        open(&self.audit(), &self.settings()).map(|_| ()).unwrap_err()
    }

    pub fn policy(&self) -> Policy {
        let vkey = fs::read_to_string(self.folder.path().join("audit.key.pub")).unwrap();
        Policy::of_log(vkey.trim().parse().unwrap())
    }

    pub fn checkpoint(&self) -> Note {
        Note::parse(&fs::read(self.audit().join("tlog/checkpoint")).unwrap()).unwrap()
    }

    pub fn verify(&self) -> Report {
        self.verify_with(Vec::new())
    }

    pub fn verify_with(&self, notes: Vec<Note>) -> Report {
        let remembered = |note| Remembered {
            name: "what a witness remembers".to_owned(),
            note,
        };
        let expected = Expected {
            policy: Some(self.policy()),
            checkpoints: notes.into_iter().map(remembered).collect(),
            ..Expected::default()
        };
        verify(&self.audit(), &expected).unwrap()
    }

    pub fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.audit())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect();
        files.sort();
        files
    }

    pub fn copy(&self) -> Self {
        let copy = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        copy_all(self.folder.path(), copy.folder.path());
        copy
    }
}

pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every file that holds something, apart from the lock and the private key.
pub fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else if path.metadata().unwrap().len() > 0 {
            files.push(path);
        }
    }
    files.sort();
    files
}
