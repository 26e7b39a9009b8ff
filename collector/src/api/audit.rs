//! What auditors ask.

use super::desk::{Desk, asked};
use super::holding::Holding;
use super::search;
use crate::audit::inventory;
use crate::audit::prove::{self, ProveError, Wanted};
use crate::audit::{gaps, show};
use crate::pki::Role;
use norma_wire::api::audit_server::Audit;
use norma_wire::api::{
    CheckpointReply, CheckpointRequest, GapsReply, GapsRequest, HoldsReply, HoldsRequest, ManifestReply,
    ManifestsRequest, ProveReply, ProveRequest, QueryReply, QueryRequest, StatusReply, StatusRequest,
};
use norma_wire::audit::AdministrativeAct as Act;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Searches that read the log at the same time; ingest needs the disk more.
const SEARCHES: usize = 2;
/// Records on their way to who asked.
const AHEAD: usize = 64;

/// The service.
#[derive(Debug)]
pub struct AuditService {
    desk: Desk,
    holding: Holding,
    /// Places for what reads much of the log.
    readers: Arc<Semaphore>,
}

type Answer<T> = Result<Response<T>, Status>;

impl AuditService {
    pub fn new(desk: Desk, holding: Holding) -> Self {
        Self {
            desk,
            holding,
            readers: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    /// Does what reads much of the log, when there is a place.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let place = Arc::clone(&self.readers).acquire_owned().await;
        let place = place.map_err(|_| Status::unavailable("the collector stops"))?;
        let task = tokio::task::spawn_blocking(move || {
            let found = read();
            drop(place);
            found
        });
        task.await.map_err(|error| Status::internal(error.to_string()))
    }
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl Audit for AuditService {
    type ManifestsStream = ReceiverStream<Result<ManifestReply, Status>>;
    type QueryStream = ReceiverStream<Result<QueryReply, Status>>;

    async fn status(&self, request: Request<StatusRequest>) -> Answer<StatusReply> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        self.desk.status(&peer).await.map(Response::new)
    }

    async fn holds(&self, request: Request<HoldsRequest>) -> Answer<HoldsReply> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        self.holding.list(&peer).await
    }

    async fn checkpoint(&self, request: Request<CheckpointRequest>) -> Answer<CheckpointReply> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        self.desk
            .record(&peer, Act::Checkpoint, "the newest checkpoint", Vec::new())
            .await?;
        let promises = self.desk.log.promises();
        let (_, note) = promises.newest().ok_or_else(|| {
            Status::unavailable("there is no checkpoint yet; it comes within the checkpoint interval")
        })?;
        Ok(Response::new(CheckpointReply {
            note: note.to_string().into_bytes(),
            key: promises.key().to_string(),
        }))
    }

    async fn manifests(&self, request: Request<ManifestsRequest>) -> Answer<Self::ManifestsStream> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        self.desk
            .record(&peer, Act::Manifests, "all sealed segments", Vec::new())
            .await?;
        let directory = self.desk.log.directory();
        let sealed = self
            .reading(move || inventory::sealed(&directory))
            .await?
            .map_err(failed)?;
        let (sender, stream) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            for sealed in sealed {
                let reply = ManifestReply {
                    file: sealed.file,
                    manifest: sealed.manifest,
                };
                if sender.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn gaps(&self, request: Request<GapsRequest>) -> Answer<GapsReply> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        self.desk
            .record(&peer, Act::Gaps, "the whole log", Vec::new())
            .await?;
        let directory = self.desk.log.directory();
        let gaps = self
            .reading(move || gaps::gaps(&directory))
            .await?
            .map_err(failed)?;
        Ok(Response::new(GapsReply {
            json: serde_json::to_string_pretty(&gaps).map_err(failed)?,
            explained: gaps.are_explained(),
        }))
    }

    async fn prove(&self, request: Request<ProveRequest>) -> Answer<ProveReply> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        let text = request.into_inner().wanted;
        let wanted: Wanted = match text.parse() {
            Ok(wanted) => wanted,
            Err(why) => {
                let why = Status::invalid_argument(why);
                return Err(self.desk.refuse(&peer, Act::Proof, text, why).await);
            }
        };
        self.desk.record(&peer, Act::Proof, text, Vec::new()).await?;
        let directory = self.desk.log.directory();
        let proof = self
            .reading(move || prove::prove(&directory, &wanted, None))
            .await?
            .map_err(|error| match error {
                ProveError::NotFound => Status::not_found(error.to_string()),
                ProveError::TooNew(_) => Status::unavailable(error.to_string()),
                error => failed(error),
            })?;
        Ok(Response::new(ProveReply {
            proof: proof.to_string(),
        }))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Answer<Self::QueryStream> {
        let peer = self.desk.caller(&request, Role::Auditor)?;
        let query = request.into_inner();
        let mut facts = Vec::new();
        for (name, wall_ns) in [("from", query.from_wall_ns), ("to", query.to_wall_ns)] {
            if wall_ns != 0 {
                facts.push(asked(name, &show::time(wall_ns)));
            }
        }
        let lists = [
            ("node", &query.nodes),
            ("kind", &query.kinds),
            ("namespace", &query.namespaces),
        ];
        for (name, list) in lists {
            if !list.is_empty() {
                facts.push(asked(name, &list.join(", ")));
            }
        }
        if query.alerts {
            facts.push(asked("only", "alerts"));
        }
        if query.limit != 0 {
            facts.push(asked("limit", &query.limit.to_string()));
        }
        self.desk
            .record(&peer, Act::Query, "the audit log", facts)
            .await?;
        // What is written while it is searched is not part of the answer.
        let newest = self.desk.log.head().borrow().index;
        let directory = self.desk.log.directory();
        let (sender, stream) = mpsc::channel(AHEAD);
        let place = Arc::clone(&self.readers).acquire_owned().await;
        let place = place.map_err(|_| Status::unavailable("the collector stops"))?;
        tokio::task::spawn_blocking(move || {
            search::search(&directory, newest, &query, &mut |reply| {
                sender.blocking_send(reply).is_ok()
            });
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
