//! Reaching a syslog receiver over TLS 1.3.

use crate::config::SyslogConfig;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Name lookup, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a receiver cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// A certificate or key.
    #[error("cannot use {}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Network or handshake.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// What happened.
        source: io::Error,
    },
}

/// A receiver and how it is reached.
#[derive(Debug)]
pub struct Receiver {
    config: SyslogConfig,
}

impl Receiver {
    /// Checks that the certificates can be used.
    pub fn new(config: SyslogConfig) -> Result<Self, ReceiverError> {
        tls(&config)?;
        Ok(Self { config })
    }

    /// Connects, with the certificates that are in the files now.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, ReceiverError> {
        let connector = TlsConnector::from(Arc::new(tls(&self.config)?));
        let address = &self.config.address;
        let connecting = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            connector.connect(self.config.server_name.clone(), tcp).await
        };
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|elapsed| Err(elapsed.into()))
            .map_err(|source| ReceiverError::Connect {
                address: address.clone(),
                source,
            })
    }
}

fn tls(config: &SyslogConfig) -> Result<ClientConfig, ReceiverError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(&config.ca)? {
        roots.add(authority).map_err(|error| wrong(&config.ca, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong(&config.ca, &error))?
        .with_root_certificates(roots);
    match &config.client {
        Some((certificate, key_path)) => {
            let key = PrivateKeyDer::from_pem_file(key_path).map_err(|error| wrong(key_path, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| wrong(key_path, &error))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ReceiverError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(path, &error))?;
    if certificates.is_empty() {
        Err(wrong(path, &"it holds no PEM certificate"))
    } else {
        Ok(certificates)
    }
}

fn wrong(path: &Path, what: &dyn std::fmt::Display) -> ReceiverError {
    ReceiverError::File {
        path: path.to_owned(),
        what: what.to_string(),
    }
}
