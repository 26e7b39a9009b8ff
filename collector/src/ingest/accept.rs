//! From a TCP connection to a node.

use super::connection::{Connection, Peer};
use super::credentials::Credentials;
use super::refusals::Refusals;
use super::revocation::OUT_OF_DATE;
use crate::pki::principal_of;
use rustls::{CertificateError, Error as TlsError, PeerIncompatible};
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Two round trips and a signature; even a node under heavy load needs no more.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers that have not yet proven who they are.
const MAX_HANDSHAKES: usize = 256;
/// One connection per node, and room for reconnects.
const MAX_CONNECTIONS: usize = 8192;
/// Longest wait for a refused peer to read why, and most bytes that it may still send.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;
/// Until file descriptors are free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Nodes that have connected, as tonic takes them.
pub type Connections = ReceiverStream<io::Result<Connection>>;

/// Accepts connections until told to stop.
pub fn start(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    refusals: Refusals,
    stop: CancellationToken,
) -> (Connections, JoinHandle<()>) {
    let (ready, connections) = mpsc::channel(1);
    let acceptor = Acceptor {
        credentials,
        refusals,
        ready,
        handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
        places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    (
        ReceiverStream::new(connections),
        tokio::spawn(acceptor.run(listener, stop)),
    )
}

#[derive(Clone)]
struct Acceptor {
    credentials: Arc<Credentials>,
    refusals: Refusals,
    ready: mpsc::Sender<io::Result<Connection>>,
    handshakes: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

enum HandshakeError {
    /// Nothing was asked of us: a probe that looks whether the port is open.
    Probe,
    /// The peer may not come in, or did not try in earnest.
    Refused(String),
}

impl Acceptor {
    async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let handshakes = TaskTracker::new();
        let credentials = Arc::clone(&self.credentials);
        let watch = credentials.watch();
        tokio::pin!(watch);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = &mut watch => continue,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((tcp, address, turn)) => {
                    let acceptor = self.clone();
                    let stop = stop.clone();
                    handshakes.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = acceptor.admit(tcp, address, turn) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        handshakes.close();
        handshakes.wait().await;
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let turn = Arc::clone(&self.handshakes)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (tcp, address) = listener.accept().await?;
        Ok((tcp, address, turn))
    }

    /// Finds out who connects; hands the connection on or refuses it.
    async fn admit(self, tcp: TcpStream, address: SocketAddr, turn: OwnedSemaphorePermit) {
        let outcome = match timeout(HANDSHAKE_TIMEOUT, self.handshake(tcp, address)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HandshakeError::Refused("no TLS handshake in time".to_owned())),
        };
        drop(turn);
        match outcome {
            Ok(connection) => {
                tracing::debug!(peer = %address, who = %connection.peer.who, "connected");
                if self.ready.send(Ok(connection)).await.is_err() {
                    tracing::debug!(peer = %address, "connected while the collector stops");
                }
            }
            Err(HandshakeError::Probe) => tracing::debug!(peer = %address, "closed before a byte was sent"),
            Err(HandshakeError::Refused(reason)) => self.refusals.refuse(address, &reason, None),
        }
    }

    async fn handshake(&self, tcp: TcpStream, address: SocketAddr) -> Result<Connection, HandshakeError> {
        match tcp.peek(&mut [0]).await {
            Ok(0) | Err(_) => return Err(HandshakeError::Probe),
            Ok(_) => {}
        }
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off delays on a connection");
        }
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| HandshakeError::Refused("too many connections are open".to_owned()))?;
        let acceptor = TlsAcceptor::from(self.credentials.current());
        let tls = match acceptor.accept(tcp).into_fallible().await {
            Ok(tls) => tls,
            Err((error, tcp)) => {
                linger(tcp).await;
                return Err(HandshakeError::Refused(reason(&error)));
            }
        };
        let chain: Arc<[CertificateDer<'static>]> = tls
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let certificate = chain
            .first()
            .ok_or_else(|| HandshakeError::Refused("it shows no client certificate".to_owned()))?;
        let (who, not_after) =
            principal_of(certificate).map_err(|error| HandshakeError::Refused(error.to_string()))?;
        let peer = Peer {
            address,
            who,
            expires: instant(not_after),
            chain,
        };
        Ok(Connection {
            tls,
            peer,
            _place: place,
        })
    }
}

/// Lets the peer read why it was refused. With TLS 1.3 it has sent its first request by then, and closing
/// a connection with unread bytes resets it, which would throw the alert away.
async fn linger(mut tcp: TcpStream) {
    let until_closed = async {
        tcp.shutdown().await?;
        tokio::io::copy(&mut tcp.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    match timeout(LINGER_TIMEOUT, until_closed).await {
        Ok(Ok(_)) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a refused connection broke"),
    }
}

/// A time in seconds since 1970 on the monotonic clock.
fn instant(seconds: i64) -> Instant {
    /// A timer further away never fires in practice and would overflow.
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Instant::now()
        + at.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO)
            .min(FAR)
}

/// Why a handshake failed, in words of the one who has to mend it.
fn reason(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection during the TLS handshake".to_owned(),
            _ => format!("the connection failed during the TLS handshake: {error}"),
        };
    };
    match tls {
        TlsError::NoCertificatesPresented => "it shows no client certificate".to_owned(),
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::Revoked) => "its certificate was revoked".to_owned(),
        TlsError::InvalidCertificate(CertificateError::UnknownRevocationStatus) => {
            "there is no revocation list of its issuer; add it to `tls.crl`, or let such certificates count with \
             `tls.crl_expired: accept`"
                .to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
        ) => OUT_OF_DATE.to_owned(),
        TlsError::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet; one of the clocks may be wrong".to_owned(),
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not from an authority in client_ca".to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => "its certificate is not one for clients".to_owned(),
        TlsError::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "it does not offer TLS 1.3".to_owned(),
        TlsError::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        TlsError::AlertReceived(alert) => format!("it refused the collector with the TLS alert {alert:?}"),
        other => format!("TLS: {other}"),
    }
}
