//! Bringing the spool to stable storage beside the pipeline, which must not wait for the disk.

use super::Shared;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

struct Request {
    file: Arc<File>,
    through: u64,
}

/// A thread that syncs and then lets the reader go on.
pub(super) struct Syncer {
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
    requested: u64,
}

impl Syncer {
    /// Starts the thread.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (requests, inbox) = sync_channel::<Request>(1);
        let thread = std::thread::Builder::new().name("outbox-sync".to_owned()).spawn(move || {
            for request in inbox {
                match request.file.sync_data() {
                    Ok(()) => advance(&shared, request.through),
                    Err(error) => tracing::error!(%error, "cannot bring the outbox to stable storage; it is not shipped until that works"),
                }
            }
        })?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
            requested: 0,
        })
    }

    /// Asks for everything up to a sequence. While a request waits, another is not needed: the next round
    /// of the pipeline asks again.
    pub fn request(&mut self, file: Arc<File>, through: u64) {
        if through <= self.requested {
            return;
        }
        if let Some(requests) = &self.requests {
            match requests.try_send(Request { file, through }) {
                Ok(()) => self.requested = through,
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => tracing::error!("the outbox sync thread has ended"),
            }
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the outbox sync thread panicked");
        }
    }
}

/// Lets the reader go on up to a sequence.
pub(super) fn advance(shared: &Shared, through: u64) {
    shared.durable.send_if_modified(|durable| {
        let moved = through > *durable;
        *durable = (*durable).max(through);
        moved
    });
}
