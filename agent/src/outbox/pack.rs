//! Compressing closed segments beside the pipeline.
//!
//! Events are far more alike than different, so what waits for a collector that is away takes a fraction of its
//! length. A segment is packed when it was not acknowledged soon after it was closed: while the collector takes
//! events, nothing is compressed that is about to be removed.

use super::rewrite::{Job, Rewritten, rewrite};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// What came of a segment.
pub(super) struct Packed {
    /// The segment, by its first sequence.
    pub first: u64,
    /// How often it had been rewritten before.
    pub revision: u32,
    /// The new file.
    pub result: io::Result<Rewritten>,
}

/// A thread that packs one segment after the other.
pub(super) struct Packer {
    jobs: Option<SyncSender<(Job, u32)>>,
    done: Receiver<Packed>,
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Packer {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, inbox) = sync_channel::<(Job, u32)>(1);
        let (outbox, done) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("outbox-pack".to_owned())
            .spawn(move || {
                for (job, revision) in inbox {
                    let packed = Packed {
                        first: job.first,
                        revision,
                        result: rewrite(&job),
                    };
                    if outbox.send(packed).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            busy: false,
            thread: Some(thread),
        })
    }

    /// Whether it can be given a segment.
    pub fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Has a segment packed.
    pub fn pack(&mut self, job: Job, revision: u32) {
        if let Some(jobs) = &self.jobs {
            self.busy = jobs.try_send((job, revision)).is_ok();
        }
    }

    /// What is done, if anything.
    pub fn take(&mut self) -> Option<Packed> {
        match self.done.try_recv() {
            Ok(packed) => {
                self.busy = false;
                Some(packed)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                // Nothing is packed any more; everything else goes on.
                self.jobs = None;
                None
            }
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.jobs = None;
        // It may wait for its last result to be taken.
        while self.done.recv().is_ok() {}
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the outbox packing thread panicked");
        }
    }
}
