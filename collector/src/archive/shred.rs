//! Making the contents of one segment unreadable, wherever its archive file is kept: its key is destroyed.
//!
//! In this order, each step durable before the next: the segment that is still on this disk in plain is removed as by
//! policy, the statement is signed, the log has the record of it, the key is overwritten and removed. A crash in
//! between is completed when what asked for it is taken again. What proves the log (leaf hashes, manifests, entries)
//! does not need the key.

use super::inbox::{self, Outcome, Undone};
use super::kept::Kept;
use super::keys::{self, KeyError};
use super::retain::{RemoveError, Remover};
use super::write::manifest_of;
use super::{ArchiveError, at};
use crate::audit::key::TokenError;
use crate::audit::shredding::{self, Shredding};
use crate::audit::{Manifest, ReadError, Segment, StorageError};
use crate::durable;
use norma_wire::audit::{Shredded, record::Body};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Where it is asked for, in the collector's state directory.
pub const DIRECTORY: &str = "shreds";
pub(super) const REQUEST: &str = "shred";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The segment, by its number.
    pub segment: u64,
    /// Why, on one line.
    pub reason: String,
    /// Who wants it, on one line.
    pub who: String,
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum ShredError {
    /// It must not be, or there is nothing to be done.
    #[error("{0}")]
    Refused(String),
    /// It may work later.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Its plain copy.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// A file.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be recorded.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The key of the log is away.
    #[error("cannot sign that a segment is shredded: {0}")]
    Sign(#[from] TokenError),
    /// The key of the segment.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<RemoveError> for ShredError {
    fn from(error: RemoveError) -> Self {
        Self::Failed(error.into())
    }
}

impl Wish {
    /// Reason and person must be there, each on one line, as they become lines of a statement.
    pub(super) fn check(&self) -> Result<(), Undone> {
        inbox::check_words(&self.reason, &self.who)?;
        if self.reason.contains(char::is_control) || self.who.contains(char::is_control) {
            return Err(Undone::Refused(
                "the reason and who wants it take one line each".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Hands a wish over to the collector of a state directory, and waits for what becomes of it.
///
/// # Errors
/// It cannot be put there.
pub fn hand_over(directory: &Path, wish: &Wish) -> io::Result<Outcome> {
    inbox::hand_over(directory, REQUEST, wish)
}

/// The segment that it is about.
pub(super) struct About<'a> {
    pub(super) segment: Segment,
    pub(super) manifest: Manifest,
    kept: &'a Kept,
}

impl<'a> About<'a> {
    /// A segment that has a key, or had one until it was destroyed.
    pub(super) fn find(remover: &Remover, keys_dir: &Path, kept: &'a Kept) -> Result<Self, ShredError> {
        let segment = Segment::new(&remover.log.directory(), kept.first_record);
        let number = kept.facts.segment;
        let refused = |why: String| Err(ShredError::Refused(why));
        if !kept.encrypted {
            return refused(format!(
                "segment {number} was archived without encryption: there is no key to be destroyed"
            ));
        }
        let stated = shredding::read(&segment).map_err(|error| failed(&segment, error))?;
        if stated.is_none() && !keys::is_there(keys_dir, kept.first_record) {
            return refused(format!(
                "the key of segment {number} is not in {}, and nothing states that it was destroyed: it was lost or \
                 moved, and whoever has a copy can read the segment",
                keys_dir.display()
            ));
        }
        match manifest_of(&segment).map_err(Failed::from)? {
            Some(manifest) => Ok(Self {
                segment,
                manifest,
                kept,
            }),
            None => refused(format!(
                "segment {number} has no manifest, and could not be proven any more: run `norma-collector audit verify`"
            )),
        }
    }

    /// Whether no hold is on it.
    pub(super) async fn permit(&self, remover: &Remover) -> Result<(), ShredError> {
        match remover.holds.in_force().await.covering(&self.kept.facts) {
            Some(hold) => Err(held(self.kept, &hold.id)),
            None => Ok(()),
        }
    }

    /// States, records and destroys.
    pub(super) async fn destroy(
        &self,
        remover: &Remover,
        keys_dir: &Path,
        wish: &Wish,
        uid: u32,
    ) -> Result<(), ShredError> {
        // From here on no hold is placed until it is done.
        let in_force = remover.holds.in_force().await;
        if let Some(hold) = in_force.covering(&self.kept.facts) {
            return Err(held(self.kept, &hold.id));
        }
        if self.segment.path.exists() {
            return Err(ShredError::Refused(format!(
                "segment {} is on this disk in plain and could not be removed",
                self.manifest.segment
            )));
        }
        self.carry_out(remover, keys_dir, wish, uid).await?;
        tracing::info!(
            segment = wish.segment,
            who = wish.who,
            reason = wish.reason,
            "the key of a segment is destroyed"
        );
        Ok(())
    }

    async fn carry_out(
        &self,
        remover: &Remover,
        keys_dir: &Path,
        wish: &Wish,
        uid: u32,
    ) -> Result<(), Failed> {
        let path = self.segment.shredding();
        let begun = shredding::read(&self.segment).map_err(at(&path))?;
        let stated = match begun {
            // It is the last step.
            Some(_) if !keys::is_there(keys_dir, self.kept.first_record) => return Ok(()),
            Some((_, begun)) => begun,
            None => {
                let stated = Shredding {
                    segment: self.manifest.segment,
                    records: self.manifest.records,
                    manifest: self.manifest.digest(),
                    shredded_ns: crate::clock::wall_ns(),
                    after: remover.log.head().borrow().index,
                    uid,
                    who: wish.who.clone(),
                    reason: wish.reason.clone(),
                };
                let note = stated.sign(&remover.key)?.to_string();
                durable::create(&path, note.as_bytes(), 0o640).map_err(at(&path))?;
                stated
            }
        };
        let text = stated.to_string();
        let is_this = |body: &Body| matches!(body, Body::Shredded(shredded) if shredded.statement == text);
        if !remover.is_recorded(stated.after, is_this)? {
            let shredded = Shredded {
                segment: stated.segment,
                first_record: stated.records.0,
                last_record: stated.records.1,
                statement: text.clone(),
                reason: stated.reason,
                who: stated.who,
                uid: stated.uid,
            };
            remover.log.note(Body::Shredded(shredded)).await?;
        }
        Ok(keys::destroy(keys_dir, self.kept.first_record)?)
    }
}

fn held(kept: &Kept, hold: &str) -> ShredError {
    ShredError::Refused(format!(
        "the legal hold {hold} is on segment {}; release it first (`norma-collector audit hold release`)",
        kept.facts.segment
    ))
}

fn failed(segment: &Segment, error: io::Error) -> Failed {
    Failed::Archive(at(&segment.shredding())(error))
}
