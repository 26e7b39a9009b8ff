//! One request to a store, or for what somebody publishes.

use crate::witness::tls;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A store answers within this, besides what the transfer of a large object takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Slower than this, and a transfer is given up: bytes a second.
const SLOWEST: u64 = 64 << 10;
/// Longest answer that is read, unless it is an object.
const ANSWER_MAX: usize = 1 << 20;

/// Where requests go.
#[derive(Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    authority: String,
    tls: Option<Arc<ClientConfig>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(String);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    headers: http::HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header, empty where there is none.
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Endpoint {
    /// Of the host of a URL; `https` needs authorities.
    ///
    /// # Errors
    /// The URL has no host, or the authorities cannot be used.
    pub fn new(url: &url::Url, ca: Option<&Path>) -> Result<Self, String> {
        let host = url.host_str().ok_or("it has no host")?.trim_matches(['[', ']']);
        let port = url.port_or_known_default().ok_or("it has no port")?;
        let tls = match (url.scheme(), ca) {
            ("https", Some(ca)) => Some(tls::client(ca).map_err(|error| error.to_string())?),
            ("https", None) => return Err("name the authorities of its certificate in `ca`".to_owned()),
            ("http", _) => None,
            _ => return Err("it is neither http nor https".to_owned()),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: url.authority().to_owned(),
            tls,
        })
    }

    /// Sends a request and reads the answer.
    pub async fn send(
        &self,
        method: &str,
        url: &url::Url,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let told = |error: &dyn std::fmt::Display| HttpError(format!("{}: {error}", self.authority));
        let patience = PATIENCE + Duration::from_secs(body.len() as u64 / SLOWEST);
        let mut request = Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| told(&error))?;
        let most = if method == "GET" { usize::MAX } else { ANSWER_MAX };
        let exchange = self.reach(request, most);
        timeout(patience, exchange)
            .await
            .map_err(|_| told(&"no answer in time"))?
    }

    /// Asks for what is at a URL, and takes no more than `most` bytes of it.
    pub async fn get(
        &self,
        url: &url::Url,
        headers: &[(&str, &str)],
        most: usize,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::builder()
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::new()))
            .map_err(|error| HttpError(format!("{}: {error}", self.authority)))?;
        self.reach(request, most).await
    }

    async fn reach(&self, request: Request<Full<Bytes>>, most: usize) -> Result<Answer, HttpError> {
        let told = |error: &dyn std::fmt::Display| HttpError(format!("{}: {error}", self.authority));
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| told(&error))?;
        match &self.tls {
            None => self.exchange(tcp, request, most).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|error| told(&error))?;
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(name, tcp)
                    .await
                    .map_err(|error| told(&error))?;
                self.exchange(stream, request, most).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Answer, HttpError> {
        let told = |error: &dyn std::fmt::Display| HttpError(format!("{}: {error}", self.authority));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| told(&error))?;
        let driven = tokio::spawn(connection);
        let response: Response<Incoming> =
            sender.send_request(request).await.map_err(|error| told(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await;
        driven.abort();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.map_err(|error| told(&error))?.to_bytes(),
        })
    }
}
