//! The two services: enrolment for whoever has a token, renewal for nodes.

use super::issue::{IssueError, Issuer};
use super::token::{self, TokenError, Tokens};
use crate::audit::{AuditLog, StorageError};
use crate::ingest::{Admission, Connection, Credentials, Peer, Refusals, Visitor};
use crate::pki::{NodeName, Serial};
use norma_wire::audit::{Enrolled, record::Body};
use norma_wire::pb::enrolment_server::{Enrolment, EnrolmentServer as GrpcEnrolment};
use norma_wire::pb::renewal_server::Renewal;
use norma_wire::pb::{EnrolRequest, NodeCertificate, RenewRequest};
use rcgen::PublicKeyData as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Enrolling takes two round trips and a signature.
const VISIT: Duration = Duration::from_secs(10);
/// Nodes that enrol at the same time.
const MAX_VISITS: usize = 32;
/// A signing request and a token are far smaller.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// A folder is listed that is empty nearly always.
const TOKENS_INTERVAL: Duration = Duration::from_secs(2);
/// Until file descriptors are free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Running enrolment.
#[derive(Debug)]
pub struct EnrolmentServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends when it was told to stop.
    pub task: JoinHandle<()>,
}

/// Offers enrolment on a port of its own: its clients have no certificate yet.
pub async fn serve(
    listen: SocketAddr,
    offer: Offer,
    credentials: Arc<Credentials>,
    stop: CancellationToken,
) -> io::Result<EnrolmentServer> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let watching = watch_tokens(offer.tokens.clone(), offer.log.clone(), stop.clone());
    let service = GrpcEnrolment::new(offer).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let (ready, connections) = mpsc::channel(1);
    let server = tonic::transport::Server::builder()
        .timeout(VISIT)
        .max_connection_age(VISIT)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stop.clone().cancelled_owned());
    let accepting = accept(listener, credentials, ready, stop);
    let task = tokio::spawn(async move {
        let (served, (), ()) = tokio::join!(server, accepting, watching);
        if let Err(error) = served {
            tracing::error!(%error, "enrolment has ended");
        }
    });
    Ok(EnrolmentServer { address, task })
}

async fn accept(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    ready: mpsc::Sender<io::Result<Connection<Visitor>>>,
    stop: CancellationToken,
) {
    let visits = Arc::new(Semaphore::new(MAX_VISITS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "cannot accept connections for enrolment; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&visits).try_acquire_owned() else {
            tracing::warn!(peer = %address, "too many nodes enrol at the same time; this one tries again");
            continue;
        };
        let acceptor = TlsAcceptor::from(credentials.for_visitors());
        let ready = ready.clone();
        tokio::spawn(async move {
            match timeout(VISIT, acceptor.accept(tcp)).await {
                Ok(Ok(tls)) => {
                    let connection = Connection {
                        tls,
                        peer: Visitor { address },
                        _place: place,
                    };
                    if ready.send(Ok(connection)).await.is_err() {
                        tracing::debug!(peer = %address, "connected while the collector stops");
                    }
                }
                Ok(Err(error)) => tracing::debug!(peer = %address, %error, "no TLS handshake for enrolment"),
                Err(_) => tracing::debug!(peer = %address, "no TLS handshake for enrolment in time"),
            }
        });
    }
}

/// What enrolment needs.
#[derive(Debug)]
pub struct Offer {
    /// Issues certificates.
    pub issuer: Issuer,
    /// For these tokens.
    pub tokens: Tokens,
    /// Where they are recorded.
    pub log: AuditLog,
    /// Where refusals go.
    pub refusals: Refusals,
}

#[tonic::async_trait]
impl Enrolment for Offer {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<NodeCertificate>, Status> {
        let visitor = request.extensions().get::<Visitor>().cloned();
        let Visitor { address } = visitor.ok_or_else(|| Status::internal("the connection has no address"))?;
        let EnrolRequest { token, request } = request.into_inner();
        let refuse = |reason: String| {
            let id = token::id_of(&token);
            let told = format!("enrolment with token `{id}`: {reason}");
            self.refusals.refuse(address, &told, None);
            Status::permission_denied(reason)
        };
        // Before the token is used up.
        let asked = rcgen::CertificateSigningRequestParams::from_der(&request.as_slice().into())
            .map_err(|error| refuse(IssueError::Request(error).to_string()))?;
        record_tokens(&self.tokens, &self.log)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let key = asked.public_key.der_bytes();
        let taken = tokio::task::block_in_place(|| self.tokens.take(&token, key));
        let taken = taken.map_err(|error| refuse(error.to_string()))?;
        if let Some(certificate) = &taken.certificate {
            tracing::info!(node = %taken.node, peer = %address, "the answer to a token once more, to the same key");
            let again = self.issuer.answer(certificate);
            return again
                .map(Response::new)
                .map_err(|error| refuse(error.to_string()));
        }
        let issued = tokio::task::block_in_place(|| self.issuer.issue(&taken.node, &request));
        let (certificate, serial) = issued.map_err(|error| refuse(error.to_string()))?;
        let how = format!("token {}", taken.id);
        record(&self.log, &taken.node, &serial, address, how).await?;
        if let Some(leaf) = certificate.chain.first() {
            let kept = tokio::task::block_in_place(|| self.tokens.gave(&taken, leaf));
            kept.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(Response::new(certificate))
    }
}

/// Gives nodes their next certificate.
#[derive(Debug)]
pub struct RenewalService {
    /// Issues it; `None` where the collector does not.
    pub issuer: Option<Issuer>,
    /// Where it is recorded.
    pub log: AuditLog,
    /// Where refusals go.
    pub refusals: Refusals,
    /// Who may stay.
    pub admission: Admission,
}

#[tonic::async_trait]
impl Renewal for RenewalService {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<NodeCertificate>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let refuse = |reason: String| {
            self.refusals.refuse(peer.address, &reason, peer.who.node());
            Status::permission_denied(reason)
        };
        let Some(node) = peer.who.node() else {
            return Err(refuse(format!("{} asks for a node's certificate", peer.who)));
        };
        if let Some(reason) = self.admission.objection(&peer.chain) {
            return Err(refuse(reason));
        }
        let Some(issuer) = &self.issuer else {
            return Err(Status::unimplemented(
                "this collector issues no certificates: configure `enrolment` there, or renew them by other means",
            ));
        };
        let request = request.into_inner().request;
        let issued = tokio::task::block_in_place(|| issuer.issue(node, &request));
        let (certificate, serial) = issued.map_err(|error| refuse(error.to_string()))?;
        record(&self.log, node, &serial, peer.address, "renewal".to_owned()).await?;
        Ok(Response::new(certificate))
    }
}

/// Why tokens are not on record.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Log(#[from] StorageError),
}

/// Puts the making of tokens on record that was not yet. They are made by another process, with the collector running
/// or not.
async fn record_tokens(tokens: &Tokens, log: &AuditLog) -> Result<(), RecordError> {
    for made in tokio::task::block_in_place(|| tokens.unrecorded())? {
        let id = made.id.clone();
        log.note(Body::TokenMade(made)).await?;
        tokio::task::block_in_place(|| tokens.recorded(&id))?;
    }
    Ok(())
}

/// Records tokens soon after they are made.
async fn watch_tokens(tokens: Tokens, log: AuditLog, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(TOKENS_INTERVAL))
        .await
        .is_some()
    {
        if let Err(error) = record_tokens(&tokens, &log).await {
            tracing::error!(%error, "cannot record that tokens were made; trying again");
        }
    }
}

/// A certificate is given out when it is on record.
async fn record(
    log: &AuditLog,
    node: &NodeName,
    serial: &Serial,
    address: SocketAddr,
    how: String,
) -> Result<(), Status> {
    tracing::info!(%node, %serial, peer = %address, how, "issued a certificate");
    let enrolled = Enrolled {
        node: node.to_string(),
        serial: serial.to_string(),
        peer: address.ip().to_canonical().to_string(),
        how,
    };
    log.note(Body::Enrolled(enrolled))
        .await
        .map_err(|error| Status::unavailable(error.to_string()))
}
