//! What is kept of a baseline on disk: one file each, written whole and renamed into place.

use crate::config::hex;
use crate::fleet::Others;
use norma_baseline::estimate::Settled;
use norma_baseline::evidence::Saved;
use norma_baseline::file::{self, FormatError};
use norma_baseline::norm::Norm;
use norma_baseline::overlay::Subject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Version of the file format.
const FORMAT: u32 = 2;
pub(super) const EXTENSION: &str = "baseline";
/// Largest file that is read: some times what the limits of a baseline allow.
const BYTES_MAX: u64 = 64 << 20;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The operating system's answer.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// It is larger than any that is written.
    #[error("{0} bytes are more than the {BYTES_MAX} that are read")]
    TooLarge(u64),
    /// The outer form.
    #[error("{0}")]
    Form(#[from] rmp_serde::decode::Error),
    /// A part of it.
    #[error("{0}")]
    Part(#[from] FormatError),
    /// Another version wrote it.
    #[error("format {0} is not known; this agent reads format {FORMAT}")]
    Version(u32),
}

/// What a file holds.
pub(super) struct Stored {
    /// Whose.
    pub subject: Subject,
    /// How far it is.
    pub counted: Counted,
    /// What was recorded.
    pub recorder: Saved,
    /// What followed from it.
    pub norm: Norm,
    /// What other nodes knew.
    pub others: Others,
}

/// How far a baseline is, besides what its norm says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// Time that counted for a fixed window, in nanoseconds.
    pub learned_ns: u64,
    /// Replicas that ran when fields came to be judged; `None` before.
    pub replicas_then: Option<u32>,
    /// What this revision does differently was reported.
    pub release_reported: bool,
}

#[derive(Serialize, Deserialize)]
struct Form {
    format: u32,
    subject: Subject,
    learned_ns: u64,
    #[serde(with = "serde_bytes")]
    recorder: Vec<u8>,
    #[serde(with = "serde_bytes")]
    norm: Vec<u8>,
    /// Absent where nothing was known of others.
    #[serde(default)]
    others: Option<OthersForm>,
    #[serde(default)]
    replicas_then: Option<u32>,
    #[serde(default)]
    release_reported: bool,
}

#[derive(Serialize, Deserialize)]
struct OthersForm {
    settled: Settled,
    replicas: u32,
    #[serde(default)]
    replicas_then: Option<u32>,
    #[serde(with = "serde_bytes")]
    evidence: Vec<u8>,
}

/// The baselines of a directory; a file that cannot be used is set aside with a warning.
pub(super) fn read_all(directory: &Path) -> std::io::Result<Vec<Stored>> {
    std::fs::create_dir_all(directory)?;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(EXTENSION) => match read(&path) {
                Ok(stored) => all.push(stored),
                Err(error) => set_aside(&path, &error),
            },
            Some("msgpack") => tracing::warn!(
                file = %path.display(),
                "an earlier version learned this baseline by the clock; it is not used, the workload is learned anew"
            ),
            _ => {}
        }
    }
    Ok(all)
}

pub(super) fn read(path: &Path) -> Result<Stored, StoreError> {
    let length = std::fs::metadata(path)?.len();
    if length > BYTES_MAX {
        return Err(StoreError::TooLarge(length));
    }
    let form: Form = rmp_serde::from_slice(&std::fs::read(path)?)?;
    if form.format != FORMAT {
        return Err(StoreError::Version(form.format));
    }
    Ok(Stored {
        subject: form.subject,
        counted: Counted {
            learned_ns: form.learned_ns,
            replicas_then: form.replicas_then,
            release_reported: form.release_reported,
        },
        recorder: file::from_bytes(&form.recorder)?,
        norm: file::from_bytes(&form.norm)?,
        others: match form.others {
            Some(others) => Others {
                settled: others.settled,
                replicas: others.replicas,
                replicas_then: others.replicas_then,
                evidence: file::from_bytes(&others.evidence)?,
            },
            None => Others::default(),
        },
    })
}

/// Writes one.
pub(super) fn write(
    directory: &Path,
    subject: &Subject,
    counted: Counted,
    recorder: &Saved,
    norm: &Norm,
    others: &Others,
) -> std::io::Result<()> {
    let form = Form {
        format: FORMAT,
        subject: subject.clone(),
        learned_ns: counted.learned_ns,
        replicas_then: counted.replicas_then,
        release_reported: counted.release_reported,
        recorder: file::to_bytes(recorder).map_err(std::io::Error::other)?,
        norm: file::to_bytes(norm).map_err(std::io::Error::other)?,
        others: Some(OthersForm {
            settled: others.settled,
            replicas: others.replicas,
            replicas_then: others.replicas_then,
            evidence: file::to_bytes(&others.evidence).map_err(std::io::Error::other)?,
        }),
    };
    let bytes = rmp_serde::to_vec_named(&form).map_err(std::io::Error::other)?;
    let place = place(directory, subject);
    let temporary = place.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, place)?;
    File::open(directory)?.sync_all()
}

/// Removes one.
pub(super) fn remove(directory: &Path, subject: &Subject) {
    let place = place(directory, subject);
    if let Err(error) = std::fs::remove_file(&place) {
        tracing::warn!(file = %place.display(), %error, "cannot remove a baseline that is forgotten");
    }
}

/// Names of workloads and revisions are of any length and of any letters.
fn place(directory: &Path, subject: &Subject) -> PathBuf {
    let name = hex(&Sha256::digest(format!("{}\0{}", subject.workload, subject.revision).as_bytes())[..16]);
    directory.join(format!("{name}.{EXTENSION}"))
}

fn set_aside(path: &PathBuf, why: &StoreError) {
    let aside = path.with_extension("damaged");
    tracing::warn!(file = %path.display(), %why, "baseline cannot be read; it is set aside as *.damaged and learned anew");
    if let Err(error) = std::fs::rename(path, &aside) {
        tracing::warn!(file = %path.display(), %error, "cannot set the damaged baseline aside");
    }
}
