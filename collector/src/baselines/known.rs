//! What is known of one workload at one revision, and how it lies on disk: one file, written whole.

use crate::durable::{self, Sync};
use norma_baseline::Timestamp;
use norma_baseline::estimate::Settled;
use norma_baseline::evidence::Evidence;
use norma_baseline::file::{self, FormatError};
use norma_baseline::overlay::Subject;
use norma_wire::text::Hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of the file format.
const FORMAT: u32 = 1;
/// How the files of baselines end.
pub const EXTENSION: &str = "fleet";
/// Largest file that is read: more than memory is given to all baselines together.
const BYTES_MAX: u64 = 1 << 30;

/// What one node said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Since when it judges each field.
    pub settled: Settled,
    /// Replicas that ran in the fleet when it came to judge; 0 before.
    #[serde(default)]
    pub replicas_then: u32,
    /// The state of its evidence that is held: run and version.
    pub held: (u64, u32),
}

/// What is known of one workload at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Whose.
    pub subject: Subject,
    /// The revision that it takes over from.
    pub predecessor: Option<Arc<str>>,
    /// What all nodes saw.
    pub evidence: Evidence,
    /// By name of the node.
    pub nodes: BTreeMap<String, Said>,
    /// A node has reported what the revision did differently in its first hours.
    pub release_reported: bool,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The operating system's answer.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It is larger than any that is written.
    #[error("{0} bytes are more than the {BYTES_MAX} that are read")]
    TooLarge(u64),
    /// The outer form.
    #[error("{0}")]
    Form(#[from] rmp_serde::decode::Error),
    /// The evidence in it.
    #[error("{0}")]
    Evidence(#[from] FormatError),
    /// Another version wrote it.
    #[error("format {0} is not known; this collector reads format {FORMAT}")]
    Version(u32),
    /// Somebody gave it another's name.
    #[error("it is that of {0}")]
    Misplaced(Subject),
}

#[derive(Serialize, Deserialize)]
struct Form {
    format: u32,
    subject: Subject,
    predecessor: Option<Arc<str>>,
    nodes: BTreeMap<String, Said>,
    #[serde(default)]
    release_reported: bool,
    #[serde(with = "serde_bytes")]
    evidence: Vec<u8>,
}

impl Known {
    /// Nothing yet.
    pub fn new(subject: Subject, predecessor: Option<Arc<str>>) -> Self {
        Self {
            subject,
            predecessor,
            evidence: Evidence::new(),
            nodes: BTreeMap::new(),
            release_reported: false,
        }
    }

    /// Since when each field is judged, by the earliest of all nodes but one. What is from before a person unlocked
    /// the baseline counts no more.
    pub fn settled(&self, but: &str, unlocked: Option<Timestamp>) -> Settled {
        let mut earliest = Settled::default();
        for said in self
            .nodes
            .iter()
            .filter(|(node, _)| *node != but)
            .map(|(_, said)| said)
        {
            for (earliest, since) in earliest.iter_mut().zip(said.settled) {
                let since = since.filter(|since| unlocked.is_none_or(|unlocked| *since > unlocked));
                *earliest = [*earliest, since].into_iter().flatten().min();
            }
        }
        earliest
    }

    /// Replicas that ran when fields came to be judged, by the least that any node but one said; 0 before.
    pub fn replicas_then(&self, but: &str, unlocked: Option<Timestamp>) -> u32 {
        let judges = |said: &Said| {
            said.settled
                .iter()
                .flatten()
                .any(|since| unlocked.is_none_or(|unlocked| *since > unlocked))
        };
        self.nodes
            .iter()
            .filter(|(node, said)| *node != but && said.replicas_then > 0 && judges(said))
            .map(|(_, said)| said.replicas_then)
            .min()
            .unwrap_or(0)
    }

    /// Its file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec_named(&Form {
            format: FORMAT,
            subject: self.subject.clone(),
            predecessor: self.predecessor.clone(),
            nodes: self.nodes.clone(),
            release_reported: self.release_reported,
            evidence: file::to_bytes(&self.evidence)?,
        })
    }

    /// Reads one file, which has to be where its subject belongs.
    pub fn read(path: &Path) -> Result<Self, FileFault> {
        let length = fs::metadata(path)?.len();
        if length > BYTES_MAX {
            return Err(FileFault::TooLarge(length));
        }
        let form: Form = rmp_serde::from_slice(&fs::read(path)?)?;
        if form.format != FORMAT {
            return Err(FileFault::Version(form.format));
        }
        if path.file_name() != Some(name(&form.subject).as_ref()) {
            return Err(FileFault::Misplaced(form.subject));
        }
        Ok(Self {
            subject: form.subject,
            predecessor: form.predecessor,
            nodes: form.nodes,
            release_reported: form.release_reported,
            evidence: file::from_bytes(&form.evidence)?,
        })
    }
}

/// All baselines of a directory, which is made where there is none. A file that cannot be used is set aside with a
/// warning; nodes tell again what they have.
pub fn read_all(directory: &Path) -> io::Result<Vec<Known>> {
    fs::create_dir_all(directory)?;
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        match Known::read(&path) {
            Ok(known) => all.push(known),
            Err(error) => {
                let aside = path.with_extension("damaged");
                tracing::error!(file = %path.display(), %error, aside = %aside.display(), "a baseline cannot be read and is set aside");
                fs::rename(&path, &aside)?;
            }
        }
    }
    Ok(all)
}

/// Puts a baseline's bytes in place of what is there; they are durable when this returns.
pub fn write(directory: &Path, subject: &Subject, bytes: &[u8]) -> io::Result<()> {
    durable::replace(&place(directory, subject), bytes, Sync::Now)
}

/// Removes a baseline.
pub fn remove(directory: &Path, subject: &Subject) -> io::Result<()> {
    match fs::remove_file(place(directory, subject)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn place(directory: &Path, subject: &Subject) -> PathBuf {
    directory.join(name(subject))
}

/// Names of workloads and revisions are of any length and of any letters.
fn name(subject: &Subject) -> String {
    let digest = Sha256::digest(format!("{}\0{}", subject.workload, subject.revision).as_bytes());
    format!("{}.{EXTENSION}", Hex(&digest[..16]))
}
