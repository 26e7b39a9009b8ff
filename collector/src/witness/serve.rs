//! The witness's HTTP interface: `POST /add-checkpoint` and `GET /<hash of the origin>/checkpoint`.

use super::memory::{Answer, Memory};
use super::tls::{self, TlsError};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use norma_tlog::note::MAX_NOTE;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections at a time; logs open one now and then.
const CONNECTIONS: usize = 256;
/// A handshake, and the head of a request, take no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A body takes no longer.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Reads the certificate and key of a witness.
pub fn tls_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    tls::server(certificate, key)
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, memory: Arc<Memory>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, memory) = (acceptor.clone(), Arc::clone(&memory));
        tokio::spawn(async move {
            match acceptor {
                None => talk(tcp, peer, memory).await,
                Some(acceptor) => match timeout(PATIENCE, acceptor.accept(tcp)).await {
                    Ok(Ok(stream)) => talk(stream, peer, memory).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
                    Err(_) => tracing::debug!(%peer, "no TLS in time"),
                },
            }
            drop(place);
        });
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    memory: Arc<Memory>,
) {
    let service = service_fn(move |request| {
        let memory = Arc::clone(&memory);
        async move { Ok::<_, Infallible>(answer(request, &memory, peer).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

async fn answer(request: Request<Incoming>, memory: &Arc<Memory>, peer: SocketAddr) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path == "/add-checkpoint" {
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "POST it\n");
        }
        let body = Limited::new(request.into_body(), MAX_NOTE).collect();
        let Ok(Ok(body)) = timeout(BODY_PATIENCE, body).await else {
            return plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long or does not come\n",
            );
        };
        let (memory, body) = (Arc::clone(memory), body.to_bytes());
        let time = crate::clock::wall_ns() / 1_000_000_000;
        let added = tokio::task::spawn_blocking(move || memory.add(&body, time)).await;
        let added = added.unwrap_or(Answer::Failed);
        tracing::info!(%peer, answer = ?added, "add-checkpoint");
        return added.into();
    }
    let hash = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/checkpoint"));
    match hash.and_then(|hash| memory.newest(hash)) {
        Some(note) if request.method() == Method::GET => plain(StatusCode::OK, note.to_string()),
        Some(_) => plain(StatusCode::METHOD_NOT_ALLOWED, "GET it\n"),
        None => plain(StatusCode::NOT_FOUND, "no such checkpoint\n"),
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Cosigned(line) => plain(StatusCode::OK, line.to_string()),
            Answer::Malformed(what) => plain(StatusCode::BAD_REQUEST, what + "\n"),
            Answer::Unsigned => plain(StatusCode::FORBIDDEN, "the log has not signed it\n"),
            Answer::UnknownLog => plain(StatusCode::NOT_FOUND, "this log is not watched\n"),
            Answer::Elsewhere(size) => {
                let mut response = plain(StatusCode::CONFLICT, format!("{size}\n"));
                let form = header::HeaderValue::from_static("text/x.tlog.size");
                response.headers_mut().insert(header::CONTENT_TYPE, form);
                response
            }
            Answer::Inconsistent(what) => plain(StatusCode::UNPROCESSABLE_ENTITY, what + "\n"),
            Answer::Failed => plain(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be kept\n"),
        }
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let form = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, form);
    response
}
