//! This node's TLS identity.
//!
//! The files are read anew for each connection, so a renewed certificate is used without a restart. While they are being
//! replaced, or are wrong, the last pair that fitted together stays in use.

use super::chain::HeadSigner;
use crate::config::CollectorTarget;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Identity files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Missing or not PEM.
    #[error("cannot use {what} {}: {reason}", path.display())]
    Unusable {
        /// Which of the files.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate's time is over.
    #[error(
        "the client certificate {} expired on {not_after}; issue a new one (norma-collector pki issue node) and \
         replace the file, the agent goes on by itself",
        path.display()
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        not_after: String,
    },
    /// The certificate's time has not come, which mostly means a wrong clock.
    #[error("the client certificate {} is not valid before {not_before}; check this node's clock", path.display())]
    NotYet {
        /// The file.
        path: PathBuf,
        /// When.
        not_before: String,
    },
}

/// State of the identity files, to notice that they were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<Option<(SystemTime, u64)>>);

/// The state of the files now.
pub fn fingerprint(target: &CollectorTarget) -> Fingerprint {
    let state = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    Fingerprint(
        [&target.ca, &target.certificate, &target.key]
            .into_iter()
            .map(state)
            .collect(),
    )
}

/// Who this node is to the collector.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For connections.
    pub config: Arc<ClientConfig>,
    /// For batch heads.
    pub signer: HeadSigner,
}

/// TLS 1.3 only, with this node's certificate, trusting the configured authority only.
pub fn identity(target: &CollectorTarget) -> Result<Identity, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the certificate authority", &target.ca)? {
        roots
            .add(certificate)
            .map_err(|error| unusable("the certificate authority", &target.ca, &error))?;
    }
    let chain = certificates("the client certificate", &target.certificate)?;
    check_validity(&target.certificate, &chain)?;
    let key = PrivateKeyDer::from_pem_file(&target.key)
        .map_err(|error| unusable("the client key", &target.key, &error))?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| unusable("the client key", &target.key, &error))?;
    let signer = HeadSigner::new(signing, &public_key_info(&target.certificate, &chain)?);
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable("TLS 1.3 with", &target.ca, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable("the client certificate with its key", &target.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    norma_crypto::check_client(&config).map_err(|error| unusable("TLS with", &target.certificate, &error))?;
    Ok(Identity {
        config: Arc::new(config),
        signer,
    })
}

fn public_key_info(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Vec<u8>, IdentityError> {
    let leaf = chain
        .first()
        .ok_or_else(|| unusable("the client certificate", path, &"it holds no certificate"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| unusable("the client certificate", path, &error))?;
    Ok(parsed.public_key().raw.to_vec())
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(what, path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(what, path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn check_validity(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), IdentityError> {
    let Some(leaf) = chain.first() else { return Ok(()) };
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| unusable("the client certificate", path, &error))?;
    let validity = parsed.validity();
    let now = x509_parser::time::ASN1Time::now();
    if now > validity.not_after {
        return Err(IdentityError::Expired {
            path: path.to_owned(),
            not_after: validity.not_after.to_string(),
        });
    }
    if now < validity.not_before {
        return Err(IdentityError::NotYet {
            path: path.to_owned(),
            not_before: validity.not_before.to_string(),
        });
    }
    Ok(())
}

fn unusable(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Unusable {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
