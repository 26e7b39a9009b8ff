//! Checkpoints of the audit log on one stream: what the agent remembers, and what it is told.

use crate::audit::AuditLog;
use norma_tlog::Note;
use norma_wire::audit::CheckpointConflict;
use norma_wire::audit::record::Body;
use norma_wire::pb::{self, Hello};
use tokio::sync::watch;

/// Notes of a hello that are looked at.
const NOTES_MAX: usize = 32;

/// What one agent is told of checkpoints.
#[derive(Debug)]
pub struct News {
    newest: watch::Receiver<Option<Note>>,
    /// Size of the tree that the agent remembers, 0 for none.
    size: u64,
}

impl News {
    /// For an agent that remembers nothing.
    pub fn of(log: &AuditLog) -> Self {
        let mut newest = log.promises().watch();
        newest.mark_changed();
        Self { newest, size: 0 }
    }

    /// Takes what the agent says that it remembers of this log. What the log does not go on from is recorded.
    pub async fn remembered(&mut self, log: &AuditLog, hello: &Hello) {
        let newest = hello.checkpoints.iter().map(|note| (note, true));
        let conflicts = hello.inconsistent_checkpoints.iter().map(|note| (note, false));
        for (note, is_newest) in newest.chain(conflicts).take(NOTES_MAX) {
            match tokio::task::block_in_place(|| log.promises().remembers(note)) {
                Ok(Some(Ok(size))) if is_newest => self.size = self.size.max(size),
                Ok(Some(Ok(_)) | None) => {}
                Ok(Some(Err(_))) if !log.promises().is_news(&hello.node, note) => {}
                Ok(Some(Err(conflict))) => {
                    let newest = log.promises().newest().map(|(_, note)| note.to_string());
                    let record = CheckpointConflict {
                        who: format!("node {}", hello.node),
                        remembered: String::from_utf8_lossy(note).into_owned(),
                        checkpoint: newest.unwrap_or_default(),
                        detail: conflict.to_string(),
                    };
                    tracing::error!(node = hello.node, %conflict, "an agent remembers another audit log");
                    if let Err(error) = log.note(Body::CheckpointConflict(record)).await {
                        tracing::error!(%error, "cannot record that");
                    }
                }
                Err(error) => tracing::error!(%error, "cannot compare what an agent remembers"),
            }
        }
    }

    /// The newest checkpoint, where the agent was not told of it yet.
    pub fn take(&mut self, log: &AuditLog) -> Option<pb::Checkpoint> {
        if !self.newest.has_changed().unwrap_or(false) {
            return None;
        }
        self.newest.mark_unchanged();
        match tokio::task::block_in_place(|| log.promises().since(self.size)) {
            Ok(Some((size, checkpoint))) => {
                self.size = size;
                Some(checkpoint)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "no checkpoint for an agent");
                None
            }
        }
    }
}
