//! Bundles: baselines carried by hand to where there is no network.
//!
//! A bundle is a list of files behind a manifest that has the length and SHA-256 of each, and a signature over
//! the manifest. [`Sealed::open`] is the only way to the files: it gives all of them or says what is wrong.

use crate::file::{Content, Filed};
use crate::signature::{PublicKey, Signature, Signer, TrustedKeys, Untrusted};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// What comes before a manifest where it is signed, so that nothing else that is signed can pass for one.
const CONTEXT: &[u8] = b"norma.dev/bundle/v1\0";

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name: a single path component.
    pub name: String,
    /// What is in it, as [`file::to_bytes`](crate::file::to_bytes) gives it.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    who: String,
    at: Timestamp,
    listed: Vec<Listed>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    length: u64,
    sha256: [u8; 32],
}

impl Listed {
    fn of(entry: &Entry) -> Self {
        Self {
            name: entry.name.clone(),
            length: entry.content.len() as u64,
            sha256: Sha256::digest(&entry.content).into(),
        }
    }

    fn is(&self, entry: &Entry) -> bool {
        let found = Self::of(entry);
        (&self.name, self.length, self.sha256) == (&found.name, found.length, found.sha256)
    }
}

/// A bundle of which nothing is believed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// As it was signed: bytes, since another program may write the same manifest otherwise.
    #[serde(with = "serde_bytes")]
    manifest: Vec<u8>,
    signature: Signature,
    entries: Vec<Entry>,
}

impl Filed for Sealed {
    const CONTENT: Content = Content::Bundle;
}

/// A bundle that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who made it, in their own words.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// The files.
    pub entries: Vec<Entry>,
}

/// A bundle that cannot be made or is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The signature does not count.
    #[error("the bundle is refused: {0}")]
    Untrusted(#[from] Untrusted),
    /// The signature counts, but this is no manifest.
    #[error("the bundle's manifest cannot be read: {0}")]
    Manifest(#[from] rmp_serde::decode::Error),
    /// The manifest cannot be written.
    #[error("the bundle's manifest cannot be written: {0}")]
    Unwritable(#[from] rmp_serde::encode::Error),
    /// A file is not the one that was signed.
    #[error("the bundle is refused: {0} is not the file that was signed")]
    Changed(String),
    /// Files are missing or were added.
    #[error("the bundle is refused: it has {found} files, and {listed} were signed")]
    Count {
        /// Files that are there.
        found: usize,
        /// Files of the manifest.
        listed: usize,
    },
    /// A name that could lead elsewhere, or is there twice.
    #[error("{0:?} cannot be the name of a file of a bundle")]
    Name(String),
}

impl Sealed {
    /// Signs files.
    pub fn seal(entries: Vec<Entry>, who: &str, at: Timestamp, signer: &Signer) -> Result<Self, BundleError> {
        check_names(&entries)?;
        let manifest = rmp_serde::to_vec(&Manifest {
            who: who.to_owned(),
            at,
            listed: entries.iter().map(Listed::of).collect(),
        })?;
        let signature = signer.sign(&signed(&manifest));
        Ok(Self {
            manifest,
            signature,
            entries,
        })
    }

    /// Who signed it, by its own account.
    #[must_use]
    pub const fn signer(&self) -> PublicKey {
        self.signature.key
    }

    /// The files, if all of them are those that a trusted key signed.
    pub fn open(self, keys: &TrustedKeys) -> Result<Opened, BundleError> {
        keys.verify(&signed(&self.manifest), &self.signature)?;
        let manifest: Manifest = rmp_serde::from_slice(&self.manifest)?;
        if manifest.listed.len() != self.entries.len() {
            return Err(BundleError::Count {
                found: self.entries.len(),
                listed: manifest.listed.len(),
            });
        }
        for (listed, entry) in manifest.listed.iter().zip(&self.entries) {
            if !listed.is(entry) {
                return Err(BundleError::Changed(entry.name.clone()));
            }
        }
        check_names(&self.entries)?;
        Ok(Opened {
            who: manifest.who,
            at: manifest.at,
            entries: self.entries,
        })
    }
}

fn signed(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
}

fn check_names(entries: &[Entry]) -> Result<(), BundleError> {
    let mut names = BTreeSet::new();
    for Entry { name, .. } in entries {
        let is_plain = !name.is_empty()
            && name.len() <= 200
            && !name.starts_with('.')
            && !name
                .contains(|character: char| character == '/' || character == '\\' || character.is_control());
        if !is_plain || !names.insert(name) {
            return Err(BundleError::Name(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Evidence;
    use crate::file;
    use crate::testing::evidence_of;

    fn signer(seed: u8) -> Signer {
        Signer::of_seed(&[seed; 32]).unwrap()
    }

    fn sealed() -> Sealed {
        let evidence = evidence_of("n", 1, [("/x".to_owned(), [1, 1])]);
        let entries = vec![
            Entry {
                name: "evidence".to_owned(),
                content: file::to_bytes(&evidence).unwrap(),
            },
            Entry {
                name: "notes".to_owned(),
                content: b"as agreed".to_vec(),
            },
        ];
        Sealed::seal(entries, "ada", Timestamp::from_unix(7), &signer(1)).unwrap()
    }

    fn refused(sealed: Sealed) -> String {
        let keys: TrustedKeys = [signer(1).key()].into_iter().collect();
        sealed.open(&keys).unwrap_err().to_string()
    }

    #[test]
    fn what_was_sealed_is_opened() {
        let bytes = file::to_bytes(&sealed()).unwrap();
        let keys: TrustedKeys = [signer(1).key()].into_iter().collect();
        let opened = file::from_bytes::<Sealed>(&bytes).unwrap().open(&keys).unwrap();
        assert_eq!(opened.who, "ada");
        let evidence: Evidence = file::from_bytes(&opened.entries[0].content).unwrap();
        assert_eq!(evidence.facts().count(), 1);
    }

    #[test]
    fn a_changed_bundle_is_refused_as_a_whole() {
        let mut changed = sealed();
        changed.entries[1].content.push(b'!');
        assert_eq!(
            refused(changed),
            "the bundle is refused: notes is not the file that was signed"
        );
        let mut shortened = sealed();
        shortened.entries.pop();
        assert_eq!(
            refused(shortened),
            "the bundle is refused: it has 1 files, and 2 were signed"
        );
        let mut swapped = sealed();
        swapped.entries.swap(0, 1);
        assert!(refused(swapped).contains("is not the file"));
        let mut forged = sealed();
        forged.manifest[3] ^= 1;
        assert!(refused(forged).contains("does not verify"));
        let foreign = Sealed::seal(Vec::new(), "eve", Timestamp::from_unix(7), &signer(2)).unwrap();
        assert!(refused(foreign).contains("not trusted"));
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["", "../x", ".x", "a/b", "a\nb"] {
            let entry = Entry {
                name: name.to_owned(),
                content: Vec::new(),
            };
            assert!(Sealed::seal(vec![entry], "ada", Timestamp::from_unix(7), &signer(1)).is_err());
        }
    }
}
