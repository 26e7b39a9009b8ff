//! Getting this node's certificate: the first with a one-time token, the next over the one that it has.
//!
//! The key is made here and never leaves the node. [`store`] puts key, certificate and authority into a directory in
//! which they change together, in the manner of the volumes that Kubernetes projects.

pub mod renew;
pub mod store;
mod token;

pub use token::{Token, TokenError};

use crate::ship::TlsName;
use hyper_util::rt::TokioIo;
use norma_wire::pb::enrolment_client::EnrolmentClient;
use norma_wire::pb::{EnrolRequest, NodeCertificate};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::Endpoint;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No key or request can be made.
    #[error("cannot make a key and a signing request: {0}")]
    Make(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where.
        address: String,
        /// Why, with causes.
        reason: String,
    },
    /// It was asked and said no.
    #[error("the collector issues no certificate: {0}")]
    Refused(String),
    /// What it gave cannot be used.
    #[error("the collector gave a certificate that cannot be used: {0}")]
    Answer(String),
    /// It cannot be stored.
    #[error("cannot store the certificate in {}: {source}", directory.display())]
    Store {
        /// Where.
        directory: std::path::PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// A new key and the request to certify it. Names are the collector's to give.
pub struct Asked {
    key: KeyPair,
    /// PKCS #10, DER.
    pub request: Vec<u8>,
}

impl Asked {
    /// Makes both.
    pub fn new() -> Result<Self, EnrolError> {
        Self::with(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?)
    }

    /// For the key that is kept in `path` until it has a certificate, which is made where there is none. Whoever asks
    /// again with the same token and key gets the certificate whose way was cut before.
    pub fn kept(path: &Path) -> Result<Self, EnrolError> {
        let failed = |source: io::Error| EnrolError::Store {
            directory: path.to_owned(),
            source,
        };
        match std::fs::read_to_string(path) {
            Ok(pem) => Self::with(KeyPair::from_pem(&pem)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let asked = Self::new()?;
                store::keep(path, &asked.key.serialize_pem()).map_err(failed)?;
                Ok(asked)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn with(key: KeyPair) -> Result<Self, EnrolError> {
        let request = CertificateParams::default()
            .serialize_request(&key)?
            .der()
            .to_vec();
        Ok(Self { key, request })
    }

    /// What belongs to the answer, where the certificate is one of this key.
    pub fn answered(&self, answer: &NodeCertificate) -> Result<store::Files, EnrolError> {
        let leaf = answer
            .chain
            .first()
            .ok_or_else(|| EnrolError::Answer("there is none".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|error| EnrolError::Answer(error.to_string()))?;
        if parsed.public_key().subject_public_key.data != self.key.public_key_raw() {
            return Err(EnrolError::Answer("it is that of another key".to_owned()));
        }
        Ok(store::Files {
            certificates: store::pem(&answer.chain),
            key: self.key.serialize_pem(),
            authorities: store::pem(&answer.authorities),
        })
    }
}

/// Asks the collector at `address` (`host:port` of its enrolment) for the certificate that the token is for. Where the
/// connection ends before the answer, `asked` may be asked again.
pub async fn enrol(
    address: &str,
    name: &TlsName,
    token: &Token,
    asked: &Asked,
) -> Result<store::Files, EnrolError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned {
            authority: token.authority,
            provider,
        }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let failed = |reason: String| EnrolError::Connect {
        address: address.to_owned(),
        reason,
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| failed(error.to_string()))?
        .timeout(TIMEOUT)
        .connect_timeout(TIMEOUT);
    let (to, name) = (address.to_owned(), name.0.clone());
    let service = tower::service_fn(move |_: http::Uri| {
        let (connector, to, name) = (connector.clone(), to.clone(), name.clone());
        async move {
            let tcp = TcpStream::connect(&to).await?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let channel = endpoint
        .connect_with_connector(service)
        .await
        .map_err(|error| failed(crate::ship::causes(&error)))?;
    let answer = EnrolmentClient::new(channel)
        .enrol(EnrolRequest {
            token: token.text.clone(),
            request: asked.request.clone(),
        })
        .await
        .map_err(|status| match status.code() {
            Code::PermissionDenied => EnrolError::Refused(status.message().to_owned()),
            _ => failed(crate::ship::causes(&status)),
        })?
        .into_inner();
    asked.answered(&answer)
}

/// Trusts the authority whose certificate has a known digest, which the server shows with its own.
#[derive(Debug)]
struct Pinned {
    authority: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates
            .iter()
            .find(|certificate| Sha256::digest(certificate).as_slice() == self.authority)
            .ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
