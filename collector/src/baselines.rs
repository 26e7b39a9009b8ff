//! What workloads normally do, by the evidence of all nodes.
//!
//! Each node tells what it saw of a workload at a revision ([`pb::EvidenceDelta`]) and what it runs
//! ([`pb::Interest`]). Evidence merges in any order and any number of times to the same; what was taken is on stable
//! storage before the node is told so, and nodes tell again what is not held here. Whoever runs a workload is told
//! what all others saw of it, at once and whenever that changes, and what people decided on it.
//!
//! Merging, writing and telling is done by one task beside ingest. Evidence that finds it busy is refused, and told
//! again later: events never wait for it. A node counts for what its certificate names, and nothing else.

mod fleet;
pub mod handed;
mod known;
mod shelf;
mod task;
#[cfg(test)]
mod tests;

pub use fleet::{Bounds, Change, Fleet, Refusal};
pub use known::{EXTENSION, Known, read_all};
pub use shelf::shelf;

use norma_baseline::decisions::{Decisions, DecisionsError, Taken};
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline::signature::TrustedKeys;
use norma_baseline_command::shelf::Kept;
use norma_wire::pb::{self, ToAgent, to_agent};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use task::{Request, Task};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Requests that wait for the task; those with evidence hold up to [`fleet::DELTA_MAX`] each.
const QUEUE: usize = 32;

/// Answers on their way to an agent.
pub type Answers = mpsc::Sender<Result<ToAgent, Status>>;

/// A directory of baselines that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {reason}", path.display())]
pub struct OpenError {
    path: PathBuf,
    reason: io::Error,
}

/// Nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The decisions cannot be kept.
    #[error(transparent)]
    Unkept(#[from] DecisionsError),
    /// The evidence of a bundle is not taken.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The evidence of a bundle cannot be written.
    #[error("{0}: its baseline cannot be written; see the log of the collector")]
    Unwritten(Subject),
    /// The collector stops.
    #[error("the collector is stopping")]
    Stopping,
}

/// A handle to the fleet's baselines; clones share one task.
#[derive(Clone, Debug)]
pub struct Baselines {
    requests: mpsc::Sender<Request>,
    streams: Arc<AtomicU64>,
}

/// One stream of a node.
#[derive(Debug)]
pub struct Stream {
    node: String,
    number: u64,
    answers: Answers,
    requests: mpsc::Sender<Request>,
}

/// Reads what is stored in `directory` and begins to take evidence; decisions count if one of `keys` signed them.
pub fn start(
    directory: &Path,
    keys: TrustedKeys,
    stop: CancellationToken,
) -> Result<(Baselines, JoinHandle<()>), OpenError> {
    let stored = read_all(directory).map_err(|reason| OpenError {
        path: directory.to_owned(),
        reason,
    })?;
    tracing::info!(baselines = stored.len(), "what nodes learned is read");
    let (decisions, dropped) = Decisions::open(directory, keys);
    for dropped in dropped {
        tracing::error!("{dropped}");
    }
    let (requests, queue) = mpsc::channel(QUEUE);
    let task = Task::new(directory, Fleet::new(stored, Bounds::default()), decisions);
    let handle = Baselines {
        requests,
        streams: Arc::default(),
    };
    Ok((handle, tokio::spawn(task.run(queue, stop))))
}

impl Baselines {
    /// A node's stream begins; what it is told goes to `answers`. It takes the place of an earlier one of the node.
    pub async fn joined(&self, node: &str, answers: Answers) -> Stream {
        let stream = Stream {
            node: node.to_owned(),
            number: self.streams.fetch_add(1, Ordering::Relaxed),
            answers: answers.clone(),
            requests: self.requests.clone(),
        };
        stream
            .ask(Request::Joined {
                node: stream.node.clone(),
                stream: stream.number,
                answers,
            })
            .await;
        stream
    }

    /// Puts decisions in force and tells the nodes that they concern. They are on stable storage when this returns.
    pub async fn decide(&self, offered: Overlay) -> Result<Taken, DecideError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Decide { offered, reply };
        if self.requests.send(request).await.is_err() {
            return Err(DecideError::Stopping);
        }
        Ok(answer.await.map_err(|_| DecideError::Stopping)??)
    }

    /// Takes over what a bundle holds, which a trusted key signed. It is on stable storage when this returns.
    pub async fn import(&self, kept: Vec<Kept>) -> Result<(), DecideError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Import { kept, reply };
        if self.requests.send(request).await.is_err() {
            return Err(DecideError::Stopping);
        }
        answer.await.map_err(|_| DecideError::Stopping)?
    }

    /// Brings what is known to the disk, for those who want to read it.
    pub async fn write(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Write { reply }).await.is_ok() {
            // The collector stops, and writes everything on its way.
            let _stopping = answer.await;
        }
    }
}

impl Stream {
    /// The node says what it runs.
    pub async fn interest(&self, interest: pb::Interest) {
        self.ask(Request::Interest {
            node: self.node.clone(),
            interest,
        })
        .await;
    }

    /// The node tells what it saw. Does not wait: what finds no room is refused.
    pub fn evidence(&self, delta: pb::EvidenceDelta) {
        let request = Request::Evidence {
            node: self.node.clone(),
            delta,
        };
        let Err(error) = self.requests.try_send(request) else {
            return;
        };
        if let Request::Evidence { delta, .. } = error.into_inner() {
            let refused = pb::EvidenceRefused {
                workload: delta.workload,
                revision: delta.revision,
                reason: "the collector is busy with other evidence".to_owned(),
                later: true,
            };
            let answer = self.answers.try_send(Ok(ToAgent {
                message: Some(to_agent::Message::EvidenceRefused(refused)),
            }));
            if answer.is_err() {
                tracing::debug!(node = self.node, "it is told what is held when it joins again");
            }
        }
    }

    /// The stream ended.
    pub async fn left(&self) {
        self.ask(Request::Left {
            node: self.node.clone(),
            stream: self.number,
        })
        .await;
    }

    async fn ask(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            tracing::debug!(node = self.node, "baselines are closed");
        }
    }
}
