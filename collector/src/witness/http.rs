//! One request to a witness.

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use norma_tlog::note::MAX_NOTE;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a witness is asked.
#[derive(Clone, Debug)]
pub struct Address {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

impl Address {
    /// Reads a submission prefix, an `https://` or `http://` URL.
    pub fn parse(prefix: &str) -> Option<Self> {
        let uri: Uri = format!("{}/add-checkpoint", prefix.trim_end_matches('/'))
            .parse()
            .ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { uri, host, port, tls })
    }

    /// Whether authorities are needed to reach it.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

/// Posts `body`; gives the status and the answer's body, or what kept it from coming.
pub async fn post(
    address: &Address,
    tls: Option<&Arc<ClientConfig>>,
    body: String,
) -> Result<(StatusCode, Bytes), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let tcp = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| told(&error))?;
    if !address.tls {
        return send(tcp, address, body).await;
    }
    let config = tls.ok_or("no authorities are configured (audit.witness_ca)")?;
    let name = ServerName::try_from(address.host.clone()).map_err(|error| told(&error))?;
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, tcp)
        .await
        .map_err(|error| told(&error))?;
    send(stream, address, body).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &Address,
    body: String,
) -> Result<(StatusCode, Bytes), String> {
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let driven = tokio::spawn(connection);
    let authority = address.uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::builder()
        .method(Method::POST)
        .uri(address.uri.path())
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(told)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_NOTE).collect().await;
    driven.abort();
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}
