//! Where a scraper asks.

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Scrapers that are answered at once.
const CONNECTIONS: usize = 8;
/// A request is sent at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest that an answer may take to be taken.
const LONGEST: Duration = Duration::from_secs(30);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A loopback address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

/// An address that metrics are not served at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLoopback;

impl fmt::Display for NotLoopback {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "is no loopback address with a port, such as 127.0.0.1:9464: metrics are served without TLS, and therefore \
             not to the network; put a proxy that asks who wants to know in front of it",
        )
    }
}

impl std::error::Error for NotLoopback {}

impl FromStr for Listen {
    type Err = NotLoopback;

    fn from_str(text: &str) -> Result<Self, NotLoopback> {
        let address: SocketAddr = text.parse().map_err(|_| NotLoopback)?;
        if address.ip().to_canonical().is_loopback() {
            Ok(Self(address))
        } else {
            Err(NotLoopback)
        }
    }
}

/// A page that is served. It ends with the program, or when this is dropped.
#[derive(Debug)]
pub struct Serving {
    /// Where; the port is the real one where 0 was configured.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `/metrics`; `page` is called for each scrape.
///
/// # Errors
/// The port cannot be had.
pub async fn serve(listen: Listen, page: Arc<dyn Fn() -> String + Send + Sync>) -> io::Result<Serving> {
    let listener = TcpListener::bind(listen.0).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(accept(listener, page));
    Ok(Serving { address, task })
}

async fn accept(listener: TcpListener, page: Arc<dyn Fn() -> String + Send + Sync>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a scraper");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let answering = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(|request| {
                        let answer = answer(&request, &*page);
                        async { Ok::<_, Infallible>(answer) }
                    }),
                );
            if let Ok(Err(error)) = tokio::time::timeout(LONGEST, answering).await {
                tracing::debug!(%error, "a scraper was not answered");
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, page: &(dyn Fn() -> String + Send + Sync)) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"GET /metrics\n")));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut response = Response::new(Full::new(Bytes::from(page())));
    let kind = header::HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn only_loopback_addresses_are_served() {
        for good in ["127.0.0.1:9464", "[::1]:0", "127.8.8.8:1"] {
            assert!(good.parse::<Listen>().is_ok(), "{good}");
        }
        for bad in [
            "0.0.0.0:9464",
            "10.0.0.1:9464",
            "[::]:1",
            "localhost:1",
            "127.0.0.1",
            "",
        ] {
            assert_eq!(bad.parse::<Listen>(), Err(NotLoopback), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_scraper_gets_the_page_and_nothing_else_is_there() {
        let serving = serve("127.0.0.1:0".parse().unwrap(), Arc::new(|| "# EOF\n".to_owned()))
            .await
            .unwrap();
        let ask = |line: &'static str| async move {
            let mut stream = tokio::net::TcpStream::connect(serving.address).await.unwrap();
            let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let page = ask("GET /metrics").await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.ends_with("# EOF\n"),
            "{page}"
        );
        assert!(page.contains("openmetrics-text"), "{page}");
        assert!(ask("POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(ask("GET /").await.starts_with("HTTP/1.1 404"));
    }
}
