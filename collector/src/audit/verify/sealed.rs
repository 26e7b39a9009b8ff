//! A segment against what it was sealed as, and against its heads.

use super::report::{Fault, Range};
use crate::audit::entry::{OpenHead, Sealed};
use crate::audit::head::Head;
use crate::audit::manifest::Manifest;
use crate::audit::segment::Segment;
use crate::audit::summary::Summary;
use norma_tlog::Hash;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What came of it.
pub struct Compared {
    /// Whether the segment is what was sealed.
    pub is_it: bool,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// A segment that is sound in itself.
pub struct Sound<'a> {
    pub segment: &'a Segment,
    pub summary: &'a Summary,
    /// Its number.
    pub number: u64,
    /// Digest of the manifest before.
    pub previous: Hash,
}

impl Sound<'_> {
    /// Compares it with what it was sealed as. With `digests`, the SHA-256 of the file is worked out; else that of a
    /// manifest that the tlog names is believed, since the tree and the chain are over every byte of the file already.
    pub fn compare(&self, sealed: &Sealed, digests: bool) -> Compared {
        let root = self.summary.tree.root();
        if (root, (self.summary.first, self.summary.last)) != (sealed.root, sealed.records) {
            return Compared {
                is_it: false,
                faults: vec![self.of_other_records(sealed)],
            };
        }
        let path = self.segment.manifest();
        let there = fs::read(&path);
        let stated = there
            .as_ref()
            .ok()
            .filter(|there| !digests && Hash(Sha256::digest(there).into()) == sealed.manifest)
            .and_then(|there| Manifest::parse(there).ok());
        let sha256 = match stated {
            Some(manifest) => manifest.sha256,
            None => match sha256_of(&self.segment.path) {
                Ok(sha256) => sha256,
                Err(error) => {
                    let what = format!("its digest cannot be worked out: {error}");
                    return Compared {
                        is_it: true,
                        faults: vec![Fault::of_file(self.segment.path.clone(), what)],
                    };
                }
            },
        };
        let manifest = Manifest::with(self.summary, sha256, self.number, self.previous);
        let must = manifest.to_string();
        let mut faults = Vec::new();
        let wrong = match there {
            Ok(there) if there == must.as_bytes() => None,
            Ok(there) => {
                let same = there
                    .iter()
                    .zip(must.as_bytes())
                    .take_while(|(there, must)| there == must)
                    .count();
                Some((
                    same as u64,
                    "it is not the manifest of the segment beside it".to_owned(),
                ))
            }
            Err(error) => Some((0, format!("the manifest cannot be read: {error}"))),
        };
        if let Some((offset, what)) = wrong {
            let mut fault = Fault::of_file(path.clone(), what);
            fault.offset = offset;
            faults.push(fault);
        }
        if manifest.digest() != sealed.manifest {
            let what = "the tlog names a manifest that says something else than the segment: it was forged"
                .to_owned();
            faults.push(Fault::of_file(path, what));
        }
        Compared { is_it: true, faults }
    }

    fn of_other_records(&self, sealed: &Sealed) -> Fault {
        let what =
            "its records are not those that were sealed: the tlog has another root for them".to_owned();
        Fault {
            file: self.segment.path.clone(),
            offset: 0,
            index: self.segment.first_index,
            what: what + &told(self.segment, sealed),
            lost: Some(Range {
                first: sealed.records.0,
                last: sealed.records.1,
            }),
        }
    }
}

fn sha256_of(path: &Path) -> io::Result<Hash> {
    let mut sha256 = Sha256::new();
    io::copy(&mut File::open(path)?, &mut sha256)?;
    Ok(Hash(sha256.finalize().into()))
}

/// Why a head is not one of the segment that was read up to the record that it names.
pub fn disagreement(head: &OpenHead, here: Head, summary: &Summary) -> Option<String> {
    let agrees = head.records == (summary.first, here.index)
        && head.chain == here.hash
        && head.root == summary.tree.root();
    (!agrees).then(|| {
        format!(
            "a head of the tlog (of {}) has another hash for the records up to {}: records were changed",
            crate::audit::show::time(head.time_ns),
            head.records.1
        )
    })
}

/// What the manifest of a damaged segment says of it, where it is the one that the tlog names.
pub fn told(segment: &Segment, sealed: &Sealed) -> String {
    let manifest = fs::read(segment.manifest()).ok();
    let proven = manifest.filter(|bytes| Hash(Sha256::digest(bytes).into()) == sealed.manifest);
    let Some(manifest) = proven.and_then(|bytes| Manifest::parse(&bytes).ok()) else {
        return "; its manifest is not there to say what they were".to_owned();
    };
    let events: u64 = manifest.outboxes.values().map(|held| held.events).sum();
    let nodes: Vec<String> = manifest
        .outboxes
        .iter()
        .take(8)
        .map(|(outbox, held)| format!("{} {}-{}", outbox.node, held.first, held.last))
        .collect();
    format!(
        "; by its manifest, which is proven, the segment had {events} events between {} and {} ({}{})",
        crate::audit::show::time(manifest.time_ns.0),
        crate::audit::show::time(manifest.time_ns.1),
        nodes.join(", "),
        if manifest.outboxes.len() > nodes.len() {
            ", …"
        } else {
            ""
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::MAGIC;

    /// What only the log's own key could have sealed.
    #[test]
    fn a_digest_that_is_not_that_of_the_file_is_found_where_it_is_worked_out() {
        let folder = tempfile::tempdir().unwrap();
        let segment = Segment::new(folder.path(), 1);
        fs::write(&segment.path, MAGIC).unwrap();
        let summary = Summary::new(1);
        let found = |sha256, digests| {
            let manifest = Manifest::with(&summary, sha256, 0, Hash::default());
            fs::write(segment.manifest(), manifest.to_string()).unwrap();
            let sealed = Sealed {
                segment: 0,
                records: manifest.records,
                root: manifest.root,
                manifest: manifest.digest(),
            };
            let sound = Sound {
                segment: &segment,
                summary: &summary,
                number: 0,
                previous: Hash::default(),
            };
            let compared = sound.compare(&sealed, digests);
            assert!(compared.is_it);
            compared.faults.len()
        };
        let right = Hash(Sha256::digest(MAGIC).into());
        let wrong = Hash([7; 32]);
        assert_eq!(
            [
                found(right, false),
                found(right, true),
                found(wrong, false),
                found(wrong, true)
            ],
            [0, 0, 0, 2]
        );
    }
}
