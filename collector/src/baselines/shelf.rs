//! The fleet's baselines as people look at them: read from the disk, whether or not the collector runs.
//!
//! The collector keeps evidence; nodes work out what they judge by. What is shown is worked out here in the same
//! way, with the criteria that nodes have where their configuration names none.

use super::known::{EXTENSION, FileFault, Known};
use norma_baseline::estimate::Criteria;
use norma_baseline::evidence::Limits;
use norma_baseline::norm::{Inputs, Norm};
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline::pattern::Unprotected;
use norma_baseline_command::shelf::{Kept, Shelf, ShelfError, read_overlay};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Most revisions back that a norm takes over from: more than nodes are told of.
const ANCESTORS: usize = 8;

/// Reads a directory of baselines, and changes nothing. A file that cannot be used is a fault of the shelf.
pub fn shelf(directory: &Path) -> Result<Shelf, ShelfError> {
    let failed = |reason| ShelfError {
        path: directory.to_owned(),
        reason,
    };
    let mut known: BTreeMap<Subject, Known> = BTreeMap::new();
    let mut faults = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        match Known::read(&path) {
            Ok(read) => {
                known.insert(read.subject.clone(), read);
            }
            // The collector made room, or set it aside.
            Err(FileFault::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => faults.push(format!("{}: {error}", path.display())),
        }
    }
    let overlay = read_overlay(directory, &mut faults);
    let mut norms = BTreeMap::new();
    for subject in known.keys() {
        compile(&known, subject, &overlay, &mut norms, ANCESTORS);
    }
    let kept = known
        .into_iter()
        .filter_map(|(subject, known)| {
            Some(Kept {
                norm: norms.remove(&subject)?,
                evidence: known.evidence,
            })
        })
        .collect();
    Ok(Shelf::new(kept, overlay, faults))
}

/// Works out the norm of a baseline, after that of the one that it takes over from.
fn compile(
    known: &BTreeMap<Subject, Known>,
    subject: &Subject,
    overlay: &Overlay,
    norms: &mut BTreeMap<Subject, Norm>,
    ancestors: usize,
) {
    let Some(one) = known.get(subject).filter(|_| !norms.contains_key(subject)) else {
        return;
    };
    let before = one.predecessor.as_ref().map(|revision| Subject {
        workload: Arc::clone(&subject.workload),
        revision: Arc::clone(revision),
    });
    // A chain that leads back to itself, as two revisions that took turns make one, ends somewhere.
    if let Some(before) = before.as_ref().filter(|_| ancestors > 0) {
        compile(known, before, overlay, norms, ancestors - 1);
    }
    if norms.contains_key(subject) {
        return;
    }
    let total = one.evidence.total();
    let norm = Inputs {
        subject,
        evidence: &one.evidence,
        predecessor: before.and_then(|before| norms.get(&before)),
        overlay,
        settled: &one.settled("", overlay.whole(subject).unlocked),
        replicas: u32::try_from(total.replicas).unwrap_or(u32::MAX),
        criteria: &Criteria::default(),
        protection: &Unprotected,
        facts_max: Limits::merged().facts,
    }
    .compile_of_others();
    norms.insert(subject.clone(), norm);
}
