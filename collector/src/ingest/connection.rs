//! A connection whose peer has proven who it is.

use crate::pki::Principal;
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// Who, by the certificate.
    pub who: Principal,
    /// When that certificate expires.
    pub expires: Instant,
    /// The certificate, and the intermediate ones that came with it.
    pub chain: Arc<[CertificateDer<'static>]>,
}

/// Somebody without a certificate, who comes to enrol.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Where from.
    pub address: SocketAddr,
}

/// A connection, in the ordinary case of an agent or a person.
#[derive(Debug)]
pub struct Connection<P = Peer> {
    /// The encrypted stream.
    pub tls: TlsStream<TcpStream>,
    /// Who is there.
    pub peer: P,
    /// Its place among the connections that may be open.
    pub _place: OwnedSemaphorePermit,
}

impl<P: Clone + Send + Sync + 'static> Connected for Connection<P> {
    type ConnectInfo = P;

    fn connect_info(&self) -> P {
        self.peer.clone()
    }
}

impl<P: Unpin> AsyncRead for Connection<P> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_read(cx, buffer)
    }
}

impl<P: Unpin> AsyncWrite for Connection<P> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tls).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}
