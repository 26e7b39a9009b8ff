//! Taking events from agents.
//!
//! One listening port, TLS 1.3 only, client certificates required. A connection that gets through carries
//! the [`Principal`](crate::pki::Principal) of its certificate, and whatever comes over it must be that node's.
//! A certificate that is revoked or expires ends its open streams, too. Who is refused is logged and goes into the
//! audit log.

mod accept;
mod arrival;
mod connection;
pub mod counts;
mod credentials;
mod deliver;
mod handover;
mod lists;
mod news;
mod refusals;
mod revocation;
mod shares;
mod steps;

pub(crate) use accept::start as accept_connections;
pub use connection::{Connection, Peer, Visitor};
pub use credentials::{Admission, CredentialError, Credentials};
pub use refusals::Refusals;

use crate::audit::AuditLog;
use crate::baselines::Baselines;
use crate::config::Config;
use crate::enrolment::token::Tokens;
use crate::enrolment::{self, EnrolmentServer, Issuer, RenewalService};
use crate::heads::Heads;
use deliver::Deliver;
use norma_wire::pb::ingest_server::IngestServer;
use norma_wire::pb::renewal_server::RenewalServer;
use shares::Shares;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use steps::Clocks;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;

/// A batch, uncompressed; also what a compressed one may grow to. Agents stay below with batches of up
/// to 4 MiB and one event of any size that the collector may be configured to take.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// A peer that is gone without a word is noticed after this and [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long streams and connections may take to end before they are cut.
const DRAIN: Duration = Duration::from_secs(10);

/// Why ingest cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificate, key or authority cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// What nodes told of their clocks.
    #[error("cannot read {}: {source}", path.display())]
    Clocks {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Running ingest.
#[derive(Debug)]
pub struct Ingest {
    /// Where it listens; the port is the real one where 0 was configured.
    pub address: SocketAddr,
    /// What it shows to others, and by what it knows them.
    pub credentials: Arc<Credentials>,
    /// Where refusals go.
    pub refused: Refusals,
    stop: CancellationToken,
    acceptor: JoinHandle<()>,
    enrolment: Option<EnrolmentServer>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    refusals: JoinHandle<()>,
    lists: Option<JoinHandle<()>>,
}

/// Begins to accept agents.
pub async fn start(
    config: &Config,
    log: &AuditLog,
    heads: &Heads,
    baselines: &Baselines,
) -> Result<Ingest, StartError> {
    let stop = CancellationToken::new();
    let path = config.clocks_file();
    let clocks = Clocks::open(&path).map_err(|source| StartError::Clocks { path, source })?;
    let lists = lists::start(&config.tls, stop.clone()).await;
    let credentials = Arc::new(Credentials::load(&config.tls)?);
    let listen = |source| StartError::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;

    let (refusals, refusals_task) = Refusals::start(log.clone(), stop.clone());
    let (connections, acceptor) =
        accept::start(listener, Arc::clone(&credentials), refusals.clone(), stop.clone());
    let issuer = config.enrolment.clone().map(Issuer);
    let enrolment = match (&issuer, issuer.as_ref().and_then(|issuer| issuer.0.listen)) {
        (Some(issuer), Some(address)) => {
            let tokens = Tokens::in_directory(&config.tokens_dir());
            let offered = enrolment::Offer {
                issuer: issuer.clone(),
                tokens,
                log: log.clone(),
                refusals: refusals.clone(),
            };
            let serving = enrolment::serve(address, offered, Arc::clone(&credentials), stop.clone()).await;
            let serving = serving.map_err(|source| StartError::Listen { address, source })?;
            tracing::info!(address = %serving.address, "nodes can enrol");
            Some(serving)
        }
        _ => None,
    };
    let renewal = RenewalServer::new(RenewalService {
        issuer,
        log: log.clone(),
        refusals: refusals.clone(),
        admission: credentials.admission(),
    });
    let service = IngestServer::new(Deliver {
        log: log.clone(),
        heads: heads.clone(),
        admission: credentials.admission(),
        refusals: refusals.clone(),
        baselines: baselines.clone(),
        events: config.events,
        clocks,
        shares: Shares::new(config.nodes),
        stop: stop.clone(),
    })
    // Answers go out as they are: each would take megabytes to be compressed, and nearly all have a few bytes.
    .accept_compressed(CompressionEncoding::Zstd)
    .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(service)
        .add_service(renewal)
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
    Ok(Ingest {
        address,
        credentials,
        refused: refusals,
        stop,
        acceptor,
        enrolment,
        server: tokio::spawn(server),
        refusals: refusals_task,
        lists,
    })
}

impl Ingest {
    /// Accepts nobody any more, lets what was received be stored and answered, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let drained = async {
            if let Some(enrolment) = &mut self.enrolment
                && (&mut enrolment.task).await.is_err()
            {
                return false;
            }
            (&mut self.acceptor).await.is_ok()
                && (&mut self.server).await.is_ok()
                && (&mut self.refusals).await.is_ok()
                && match &mut self.lists {
                    Some(lists) => lists.await.is_ok(),
                    None => true,
                }
        };
        match tokio::time::timeout(DRAIN, drained).await {
            Ok(true) => {}
            Ok(false) => tracing::error!("ingest ended in a panic"),
            Err(_) => {
                tracing::warn!("agents did not end their connections in time; cutting them");
                self.acceptor.abort();
                if let Some(enrolment) = &self.enrolment {
                    enrolment.task.abort();
                }
                self.server.abort();
                self.refusals.abort();
            }
        }
    }
}
