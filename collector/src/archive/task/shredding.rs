//! Shredding of a segment that somebody asks for, in the turn of what archives and removes.

use super::Task;
use crate::archive::inbox::{self as handed, Undone};
use crate::archive::retain::RemoveError;
use crate::archive::shred::{self, ShredError};
use std::path::Path;

impl Task {
    /// Makes the contents of one segment unreadable, as a file asks for.
    pub(super) async fn shred(&mut self, path: &Path) -> Result<(), Undone> {
        let (wish, uid) = handed::read::<shred::Wish>(path)?;
        wish.check()?;
        match self.shred_segment(&wish, uid).await {
            Ok(()) => Ok(()),
            Err(ShredError::Refused(why)) => Err(Undone::Refused(why)),
            Err(ShredError::Failed(error)) => {
                tracing::error!(%error, segment = wish.segment, "cannot shred a segment; trying again");
                Err(Undone::Later)
            }
        }
    }

    async fn shred_segment(&mut self, wish: &shred::Wish, uid: u32) -> Result<(), ShredError> {
        self.look().map_err(RemoveError::from)?;
        let number = wish.segment;
        let kept = self.books.all().find(|kept| kept.facts.segment == number);
        let kept = kept.cloned().ok_or_else(|| {
            ShredError::Refused(format!(
                "segment {number} is not archived: there is no key to be destroyed"
            ))
        })?;
        let about = shred::About::find(&self.remover, &self.keys_dir, &kept)?;
        about.permit(&self.remover).await?;
        if about.segment.path.exists() {
            let is_newest = self.sealed.keys().next_back() == Some(&kept.first_record);
            let why = if is_newest {
                Some("it is the newest that is sealed; try again when the next one is")
            } else if self.delivered.through() < about.manifest.records.1 {
                Some("a sink has not read all of it yet; try again when it has")
            } else if self.store.is_some() && kept.stored.is_none() {
                Some("the store does not have it yet; try again when it has")
            } else {
                None
            };
            if let Some(why) = why {
                return Err(ShredError::Refused(format!(
                    "segment {number} is on this disk in plain and cannot be removed: {why}"
                )));
            }
            let file = match (&self.archive, &self.store) {
                (Some(archive), Some(_)) => Some(archive.directory.join(&kept.object)),
                _ => None,
            };
            let reason = format!("shredded: {}", wish.reason);
            let (segment, manifest) = (&about.segment, &about.manifest);
            self.remover
                .remove(segment, manifest, reason, Some(&kept), None, file)
                .await?;
        }
        about.destroy(&self.remover, &self.keys_dir, wish, uid).await
    }
}
