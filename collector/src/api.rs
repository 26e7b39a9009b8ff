//! What people and their programs ask of a running collector, on a port of its own.
//!
//! Two services, each for certificates of one role: an auditor reads and changes nothing; an operator lets nodes in, hands
//! in decisions, and places and releases legal holds. A certificate of another role gets neither, and is recorded as refused. Each request is a record
//! of the audit log under the name in the certificate, before it is answered.

mod audit;
mod desk;
mod holding;
mod operation;
mod search;

use crate::archive::holds::Holds;
use crate::audit::AuditLog;
use crate::config::{ApiConfig, Config};
use crate::enrolment::Issuer;
use crate::ingest::{Ingest, StartError, accept_connections};
use audit::AuditService;
use desk::Desk;
use holding::Holding;
use norma_wire::api::audit_server::AuditServer;
use norma_wire::api::operation_server::OperationServer;
use operation::OperationService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The largest request: decisions on baselines.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// How long answers may take to end before they are cut.
const DRAIN: Duration = Duration::from_secs(5);

/// The running service.
#[derive(Debug)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    acceptor: JoinHandle<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
}

/// Begins to answer.
pub async fn start(
    offered: &ApiConfig,
    config: &Config,
    log: &AuditLog,
    holds: &Holds,
    ingest: &Ingest,
) -> Result<Api, StartError> {
    let Ingest {
        credentials, refused, ..
    } = ingest;
    let listen = |source| StartError::Listen {
        address: offered.listen,
        source,
    };
    let listener = TcpListener::bind(offered.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let stop = CancellationToken::new();
    let (connections, acceptor) =
        accept_connections(listener, Arc::clone(credentials), refused.clone(), stop.clone());
    let desk = Desk {
        log: log.clone(),
        refusals: refused.clone(),
        admission: credentials.admission(),
    };
    let holding = Holding {
        desk: desk.clone(),
        holds: holds.clone(),
    };
    let auditors = AuditService::new(desk.clone(), holding.clone());
    let operators = OperationService {
        desk,
        holding,
        issuer: config.enrolment.clone().map(Issuer),
        tokens: config.tokens_dir(),
        baselines: config.baselines_dir(),
    };
    let server = tonic::transport::Server::builder()
        .add_service(AuditServer::new(auditors).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(OperationServer::new(operators).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
    Ok(Api {
        address,
        acceptor,
        server: tokio::spawn(server),
        stop,
    })
}

impl Api {
    /// Answers nobody any more, lets what was begun end, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let drained = async { (&mut self.acceptor).await.is_ok() && (&mut self.server).await.is_ok() };
        match tokio::time::timeout(DRAIN, drained).await {
            Ok(true) => {}
            Ok(false) => tracing::error!("the API ended in a panic"),
            Err(_) => {
                tracing::warn!("answers of the API did not end in time; cutting them");
                self.acceptor.abort();
                self.server.abort();
            }
        }
    }
}
