//! One agent's stream: hello, welcome, batches up, acknowledgements down; and beside them, what is told of baselines.

use super::arrival::Arrivals;
use super::connection::Peer;
use super::counts;
use super::credentials::Admission;
use super::handover::Statement;
use super::news::News;
use super::refusals::Refusals;
use super::shares::{Held, Share, Shares};
use super::steps::Clocks;
use crate::audit::{Appended, Arrival, AuditLog, Beside, Content, Outbox, StorageError};
use crate::baselines::{self, Baselines};
use crate::config::EventLimits;
use crate::heads::Heads;
use crate::heads::claim::Claim;
use crate::heads::key::NodeKey;
use crate::pki::NodeName;
use bytes::Bytes;
use norma_wire::audit::record::Body;
use norma_wire::pb::{
    Ack, Batch, Busy, Rejection, SignedHandover, SignedHead, ToAgent, ToCollector, Welcome,
    ingest_server::Ingest, to_agent, to_collector,
};
use norma_wire::text::printable;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// An agent says hello at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Batches that are read while others are being stored.
const READ_AHEAD: usize = 8;
/// Batches that wait are stored together up to this.
const MAX_TOGETHER: usize = 4 << 20;
/// Answers on their way to the agent.
const ANSWERS: usize = 64;
/// While nothing can be stored, it is tried again after this, and after ever longer up to
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// this.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The service that agents call.
#[derive(Debug)]
pub struct Deliver {
    /// Where events go.
    pub log: AuditLog,
    /// What nodes signed.
    pub heads: Heads,
    /// Who may stay.
    pub admission: Admission,
    /// Where refusals go.
    pub refusals: Refusals,
    /// Where evidence goes.
    pub baselines: Baselines,
    /// Which events are taken.
    pub events: EventLimits,
    /// What nodes told of their clocks.
    pub clocks: Clocks,
    /// What each node may take.
    pub shares: Shares,
    /// The collector stops.
    pub stop: CancellationToken,
}

#[tonic::async_trait]
impl Ingest for Deliver {
    type DeliverStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<ToCollector>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let Some(node) = peer.who.node().cloned() else {
            let reason = format!("{} wants to deliver events, which only nodes may", peer.who);
            self.refusals.refuse(peer.address, &reason, None);
            return Err(Status::permission_denied(reason));
        };
        let Some(share) = self.shares.stream(&node) else {
            let reason = "the node has too many streams open (limits.node_streams)";
            self.refusals.refuse(peer.address, reason, Some(&node));
            return Err(Status::resource_exhausted(reason));
        };
        let (answers, stream) = mpsc::channel(ANSWERS);
        let session = Session {
            peer,
            node,
            share: Arc::new(share),
            admission: self.admission.clone(),
            log: self.log.clone(),
            heads: self.heads.clone(),
            refusals: self.refusals.clone(),
            baselines: self.baselines.clone(),
            events: self.events,
            clocks: self.clocks.clone(),
            stop: self.stop.clone(),
            news: Mutex::new(News::of(&self.log)),
            answers,
            _open: self.refusals.counts().open(),
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

struct Session {
    peer: Peer,
    node: NodeName,
    admission: Admission,
    log: AuditLog,
    heads: Heads,
    refusals: Refusals,
    baselines: Baselines,
    events: EventLimits,
    clocks: Clocks,
    share: Arc<Share>,
    stop: CancellationToken,
    news: Mutex<News>,
    answers: mpsc::Sender<Result<ToAgent, Status>>,
    /// Counts it among the streams that are open.
    _open: counts::Open,
}

/// With what a stream begins.
struct Welcomed {
    outbox: Outbox,
    durable_sequence: u64,
    /// The newest head, which the next one names.
    newest: Option<SignedHead>,
    /// What is to be recorded of where the node comes from.
    handed: Option<Body>,
}

/// Why a stream ended.
enum End {
    /// The agent ended it.
    Finished,
    /// The agent is gone.
    Gone,
    /// The collector ended it.
    Because(Status),
}

impl From<StorageError> for End {
    fn from(error: StorageError) -> Self {
        Self::Because(Status::unavailable(error.to_string()))
    }
}

impl Session {
    async fn run(self, stream: Streaming<ToCollector>) {
        let (node, peer) = (self.node.clone(), self.peer.address);
        match self.deliver(stream).await {
            End::Finished | End::Gone => tracing::info!(%node, %peer, "agent disconnected"),
            End::Because(status) => {
                tracing::info!(%node, %peer, reason = status.message(), "stream ended");
                if self.answers.send(Err(status)).await.is_err() {
                    tracing::debug!(%node, "the agent was gone before it was told why");
                }
            }
        }
    }

    async fn deliver(&self, mut stream: Streaming<ToCollector>) -> End {
        let Welcomed {
            outbox,
            durable_sequence,
            newest,
            handed,
        } = match self.welcome(&mut stream).await {
            Ok(welcomed) => welcomed,
            Err(end) => return end,
        };
        let (batches, queue) = mpsc::channel(READ_AHEAD);
        let joined = self
            .baselines
            .joined(self.node.as_str(), self.answers.clone())
            .await;
        let joined = Arc::new(joined);
        let reader = tokio::spawn(read(
            stream,
            batches,
            Arc::clone(&self.share),
            Arc::clone(&joined),
            self.stop.clone(),
        ));
        let steps = self.clocks.of(&outbox);
        let arrivals = Arrivals::new(outbox.clone(), self.events, durable_sequence, steps);
        let end = tokio::select! {
            end = self.store(outbox, arrivals, (newest, handed), queue) => end,
            () = tokio::time::sleep_until(self.peer.expires) => {
                End::Because(Status::unauthenticated("the client certificate has expired"))
            }
            reason = self.admission.clone().withdrawn(&self.peer.chain) => {
                self.refusals.refuse(self.peer.address, &reason, Some(&self.node));
                End::Because(Status::unauthenticated(reason))
            }
        };
        reader.abort();
        joined.left().await;
        end
    }

    async fn welcome(&self, stream: &mut Streaming<ToCollector>) -> Result<Welcomed, End> {
        let first = tokio::select! {
            first = timeout(HELLO_TIMEOUT, stream.message()) => first,
            () = self.stop.cancelled() => return Err(End::Because(stopping())),
        };
        let first = first
            .map_err(|_| End::Because(Status::deadline_exceeded("no hello in time")))?
            .map_err(End::Because)?
            .ok_or(End::Finished)?;
        let Some(to_collector::Message::Hello(hello)) = first.message else {
            return Err(End::Because(Status::invalid_argument(
                "a stream begins with hello",
            )));
        };
        if hello.node != self.node.as_str() {
            let claimed: String = printable(hello.node.as_bytes()).chars().take(80).collect();
            let reason = format!(
                "it says that it is node `{claimed}`, its certificate names `{}`",
                self.node
            );
            self.refusals.refuse(self.peer.address, &reason, Some(&self.node));
            return Err(End::Because(Status::permission_denied(reason)));
        }
        self.news.lock().await.remembered(&self.log, &hello).await;
        let outbox = Outbox {
            node: hello.node,
            epoch: hello.epoch,
        };
        let turn = self.heads.turn(&outbox).await;
        let durable_sequence = self.log.watermark(outbox.clone()).await?;
        let newest = self.heads.newest(&outbox);
        let handed = self.handed(&outbox, durable_sequence, hello.handover)?;
        drop(turn);
        let version = printable(hello.agent_version.as_bytes());
        let (node, peer) = (&outbox.node, self.peer.address);
        tracing::info!(node, %peer, epoch = outbox.epoch, version, durable_sequence, "agent connected");
        let collector_version = env!("CARGO_PKG_VERSION").to_owned();
        self.answer(to_agent::Message::Welcome(Welcome {
            durable_sequence,
            collector_version,
            head: newest.clone(),
            log: self.log.promises().name().to_owned(),
        }))
        .await?;
        Ok(Welcomed {
            outbox,
            durable_sequence,
            newest,
            handed,
        })
    }

    async fn store(
        &self,
        outbox: Outbox,
        mut arrivals: Arrivals,
        (mut newest, mut handed): (Option<SignedHead>, Option<Body>),
        mut queue: mpsc::Receiver<Result<(Batch, Held), Status>>,
    ) -> End {
        let key = match self.key() {
            Ok(key) => key,
            Err(end) => return end,
        };
        let mut ended = None;
        while ended.is_none() {
            let mut events = Vec::new();
            let mut claims = Vec::new();
            // Until they are stored.
            let mut memory = Vec::new();
            let mut bytes = 0;
            let mut next = queue.recv().await;
            loop {
                match next {
                    Some(Ok((batch, held))) => match self.claim(&outbox, &key, &batch) {
                        Ok(claim) => {
                            memory.push(held);
                            bytes += batch.events.iter().map(Bytes::len).sum::<usize>();
                            events.extend(batch.events);
                            claims.extend(claim);
                        }
                        Err(end) => ended = Some(end),
                    },
                    Some(Err(status)) => ended = Some(End::Because(status)),
                    None => ended = Some(End::Finished),
                }
                if ended.is_some() || bytes >= MAX_TOGETHER {
                    break;
                }
                match queue.try_recv() {
                    Ok(more) => next = Some(more),
                    Err(_) => break,
                }
            }
            counts::add(&self.refusals.counts().bytes, bytes as u64);
            if events.is_empty() {
                continue;
            }
            let arrived = arrivals.examine(events);
            if let Some(steps) = arrivals.news() {
                self.clocks.put(&outbox, steps);
            }
            let state = (&mut newest, &mut handed);
            if let Err(end) = self.append(&outbox, &key, arrived, claims, state).await {
                return end;
            }
        }
        ended.unwrap_or(End::Finished)
    }

    /// The key of the peer's certificate.
    fn key(&self) -> Result<NodeKey, End> {
        match self.peer.chain.first().map(|leaf| NodeKey::of(leaf)) {
            Some(Ok(key)) => Ok(key),
            _ => Err(End::Because(Status::internal(
                "the connection has no certificate",
            ))),
        }
    }

    /// What is recorded of where a node comes from.
    fn handed(
        &self,
        outbox: &Outbox,
        durable: u64,
        signed: Option<SignedHandover>,
    ) -> Result<Option<Body>, End> {
        let Some(signed) = signed else { return Ok(None) };
        let statement = Statement::check(outbox, &self.key()?, signed).map_err(|error| {
            let reason = error.to_string();
            self.refusals.refuse(self.peer.address, &reason, Some(&self.node));
            End::Because(Status::invalid_argument(reason))
        })?;
        Ok(statement.record(self.log.promises().name(), durable))
    }

    /// Checks what a node states of a batch. One without a head is that of an agent that does not sign.
    fn claim(&self, outbox: &Outbox, key: &NodeKey, batch: &Batch) -> Result<Option<Claim>, End> {
        let Some(signed) = batch.head.clone() else {
            return Ok(None);
        };
        Claim::check(outbox, key, signed, &batch.events)
            .map(Some)
            .map_err(|error| {
                let reason = error.to_string();
                self.refusals.refuse(self.peer.address, &reason, Some(&self.node));
                End::Because(Status::invalid_argument(reason))
            })
    }

    /// Stores arrivals with the heads that cover them, however long that takes, and acknowledges them.
    ///
    /// The stream is not read past what cannot be stored: what comes later must not be stored before it, or it
    /// would count as delivered.
    async fn append(
        &self,
        outbox: &Outbox,
        key: &NodeKey,
        arrivals: Vec<Arrival>,
        claims: Vec<Claim>,
        (newest, handed): (&mut Option<SignedHead>, &mut Option<Body>),
    ) -> Result<(), End> {
        let (began, taken) = (Instant::now(), arrivals.len() as u64);
        let counts = self.refusals.counts();
        let turn = self.heads.turn(outbox).await;
        if !claims.is_empty() && self.heads.newest(outbox) != *newest {
            // What it signed goes on from what is not the newest any more. It is told what is when it comes again.
            return Err(End::Because(Status::aborted(
                "another stream of this node and epoch has delivered since this one began",
            )));
        }
        let claims = Heads::news(newest.as_ref(), claims);
        let statement = handed.take();
        let key_record = (statement.is_some() || !claims.is_empty())
            .then(|| self.heads.key_record(outbox, key, &self.peer.chain))
            .flatten();
        let new_key = key_record.is_some();
        let beside = Beside {
            before: key_record.into_iter().chain(statement).collect(),
            after: Heads::record(&claims).into_iter().collect(),
        };
        let mut retry_after = FIRST_RETRY;
        let appended = loop {
            let asked = self
                .log
                .append_with(outbox.clone(), arrivals.clone(), beside.clone());
            match asked.await {
                Ok(appended) => break appended,
                Err(StorageError::Closed) => return Err(End::Because(stopping())),
                Err(error) => {
                    counts::add(&counts.busy, 1);
                    self.busy(&error, retry_after).await?;
                }
            }
            retry_after = (retry_after * 2).min(LAST_RETRY);
        };
        if new_key {
            self.heads.key_recorded(outbox, key);
        }
        self.heads.recorded(&turn, outbox, &claims);
        drop(turn);
        if let Some(last) = claims.last() {
            *newest = Some(last.signed.clone());
        }
        for arrival in arrivals {
            if let Content::Rejected(rejected) = arrival.content {
                let (sequence, reason, detail) = (rejected.sequence, rejected.reason(), &rejected.detail);
                tracing::warn!(node = outbox.node, sequence, ?reason, detail, "rejected an event");
                counts.reject(reason);
                let rejection = Rejection {
                    sequence,
                    reason: reason.into(),
                    detail: rejected.detail,
                };
                self.answer(to_agent::Message::Rejection(rejection)).await?;
            }
        }
        let Appended {
            durable_sequence,
            duplicates,
        } = appended;
        counts::add(&counts.events, taken);
        counts::add(&counts.duplicates, duplicates);
        counts.stored.add(began.elapsed());
        if duplicates > 0 {
            tracing::debug!(node = outbox.node, duplicates, "events came again");
        }
        let checkpoint = self.news.lock().await.take(&self.log);
        self.answer(to_agent::Message::Ack(Ack {
            through: durable_sequence,
            checkpoint,
        }))
        .await
    }

    async fn busy(&self, error: &StorageError, retry_after: Duration) -> Result<(), End> {
        let retry_after_ms = retry_after.as_millis() as u32;
        self.answer(to_agent::Message::Busy(Busy {
            detail: error.to_string(),
            retry_after_ms,
        }))
        .await?;
        tokio::select! {
            () = tokio::time::sleep(retry_after) => Ok(()),
            () = self.answers.closed() => Err(End::Gone),
            () = self.stop.cancelled() => Err(End::Because(stopping())),
        }
    }

    async fn answer(&self, message: to_agent::Message) -> Result<(), End> {
        self.answers
            .send(Ok(ToAgent {
                message: Some(message),
            }))
            .await
            .map_err(|_| End::Gone)
    }
}

/// Reads batches ahead of the one that is being stored, and hands on what is about baselines.
async fn read(
    mut stream: Streaming<ToCollector>,
    batches: mpsc::Sender<Result<(Batch, Held), Status>>,
    share: Arc<Share>,
    baselines: Arc<baselines::Stream>,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = stop.cancelled() => Err(stopping()),
        };
        let batch = match message {
            Ok(Some(ToCollector {
                message: Some(to_collector::Message::Batch(batch)),
            })) => {
                let bytes = batch.events.iter().map(Bytes::len).sum();
                tokio::select! {
                    held = share.take(batch.events.len(), bytes) => Ok((batch, held)),
                    () = stop.cancelled() => Err(stopping()),
                }
            }
            Ok(Some(ToCollector {
                message: Some(to_collector::Message::Hello(_)),
            })) => Err(Status::invalid_argument("a stream has one hello")),
            Ok(Some(ToCollector {
                message: Some(to_collector::Message::Interest(interest)),
            })) => {
                baselines.interest(interest).await;
                continue;
            }
            Ok(Some(ToCollector {
                message: Some(to_collector::Message::Evidence(delta)),
            })) => {
                baselines.evidence(delta);
                continue;
            }
            // Something that only a newer agent says.
            Ok(Some(ToCollector { message: None })) => continue,
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let last = batch.is_err();
        if batches.send(batch).await.is_err() || last {
            return;
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the collector is stopping")
}
