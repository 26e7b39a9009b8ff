//! The keys that sign, and the statements by which one followed another.
//!
//! While `audit.next_key` is configured, each checkpoint is signed with both keys, so that those who know either can
//! check it, and `tlog/rotation/` has the statement that the second follows the first. Once it is `audit.key` alone, the
//! old one signs no more, and agents follow the statement.

use super::key::{KeyFileError, LogKey, TokenError};
use crate::durable;
use norma_tlog::note::SignatureLine;
use norma_tlog::{Note, Policy, Rotation, VerifierKey};
use norma_wire::audit::KeyRotation;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Below the tlog's folder: one note each, named by numbers from 1 on.
pub const FOLDER: &str = "rotation";
/// Whoever may read checkpoints may read what their keys are.
const MODE: u32 = 0o640;

/// What signs checkpoints.
#[derive(Debug)]
pub struct Keys {
    current: LogKey,
    next: Option<LogKey>,
}

/// Why the keys cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The statement cannot be signed.
    #[error("cannot sign the change of the audit log's key: {0}")]
    Sign(#[from] TokenError),
    /// Twice the same.
    #[error("audit.next_key is the key of audit.key; leave it out, or name another one")]
    Same,
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{} is damaged: {what}; put it back from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl Keys {
    /// One key, or one and the one that follows it.
    pub fn new(current: LogKey, next: Option<LogKey>) -> Result<Self, RotationError> {
        match &next {
            Some(next) if next.verifier() == current.verifier() => Err(RotationError::Same),
            _ => Ok(Self { current, next }),
        }
    }

    /// Name of the log.
    pub fn name(&self) -> &str {
        self.current.name()
    }

    /// The key that others know the log by.
    pub fn verifier(&self) -> VerifierKey {
        self.current.verifier()
    }

    /// The signatures of a checkpoint.
    pub fn sign(&self, text: &str) -> Result<Vec<SignatureLine>, TokenError> {
        let keys = [Some(&self.current), self.next.as_ref()];
        keys.into_iter().flatten().map(|key| key.sign(text)).collect()
    }

    /// Makes the statement that the next key follows, where there is a next key and no statement in `tlog`; gives what
    /// is to be recorded of it.
    pub fn state(&self, tlog: &Path) -> Result<Option<KeyRotation>, RotationError> {
        let Some(next) = &self.next else {
            return Ok(None);
        };
        let (old, new) = (self.verifier(), next.verifier());
        let told = |statement: Vec<u8>| KeyRotation {
            old: old.to_string(),
            new: new.to_string(),
            statement: String::from_utf8_lossy(&statement).into_owned(),
        };
        let statements = read(tlog)?;
        for statement in &statements {
            let rotation = Rotation::parse(statement).ok();
            if rotation.is_some_and(|rotation| rotation.old == old && rotation.new == new) {
                return Ok(Some(told(statement.clone())));
            }
        }
        let rotation = Rotation {
            old: old.clone(),
            new: new.clone(),
            time: crate::clock::wall_ns() / 1_000_000_000,
        };
        let text = rotation.to_string();
        let signatures = self.sign(&text)?;
        let statement = Note { text, signatures }.to_string().into_bytes();
        let folder = tlog.join(FOLDER);
        let path = folder.join((statements.len() + 1).to_string());
        durable::create_folders(&folder).map_err(io_error(&folder))?;
        durable::create(&path, &statement, MODE).map_err(io_error(&path))?;
        Ok(Some(told(statement)))
    }
}

/// The statements in `tlog`, oldest first; each is signed by both of its keys.
pub fn read(tlog: &Path) -> Result<Vec<Vec<u8>>, RotationError> {
    let folder = tlog.join(FOLDER);
    let mut statements = Vec::new();
    for number in 1.. {
        let path = folder.join(number.to_string());
        let statement = match fs::read(&path) {
            Ok(statement) => statement,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(io_error(&path)(error)),
        };
        if let Err(error) = Rotation::parse(&statement) {
            return Err(RotationError::Damaged {
                path,
                what: error.to_string(),
            });
        }
        statements.push(statement);
    }
    Ok(statements)
}

/// Keys of the log besides `current`, under which others may remember it: those that lead to it.
pub fn earlier(statements: &[Vec<u8>], current: &VerifierKey) -> Vec<VerifierKey> {
    let all = statements
        .iter()
        .filter_map(|statement| Rotation::parse(statement).ok());
    let mut earlier = Vec::new();
    for rotation in all {
        let leads = Rotation::lead(statements.iter().map(Vec::as_slice), &rotation.old, current);
        if leads && rotation.old != *current && !earlier.contains(&rotation.old) {
            earlier.push(rotation.old);
        }
    }
    earlier
}

/// What somebody is told who knows an older key of the log in `tlog` only.
pub fn hint(tlog: &Path, policy: &Policy) -> Option<String> {
    let statements = read(tlog).ok()?;
    let mut rotations = statements
        .iter()
        .filter_map(|statement| Rotation::parse(statement).ok());
    let rotation = rotations.rfind(|rotation| policy.logs.contains(&rotation.old))?;
    Some(format!(
        "the key of the log was changed: {}, which the trust policy has, signed that {} follows it. Ask the log's \
         owner, and add `log {}` to the policy if they say the same",
        rotation.old, rotation.new, rotation.new
    ))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RotationError + use<> {
    let path = path.to_owned();
    move |source| RotationError::Io { path, source }
}
