//! Issuing the certificate that a node asks for.

use crate::config::EnrolmentConfig;
use crate::pki::{Authority, NodeName, PkiError, Serial, certify_node};
use norma_wire::pb::NodeCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is none, or not signed with its own key.
    #[error("the certificate signing request cannot be taken: {0}")]
    Request(rcgen::Error),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] PkiError),
}

/// Issues certificates of the configured authority.
#[derive(Clone, Debug)]
pub struct Issuer(pub EnrolmentConfig);

impl Issuer {
    /// A certificate for `node` with the key of a signing request (PKCS #10, DER), and its serial number.
    pub fn issue(&self, node: &NodeName, request: &[u8]) -> Result<(NodeCertificate, Serial), IssueError> {
        let request =
            rcgen::CertificateSigningRequestParams::from_der(&request.into()).map_err(IssueError::Request)?;
        let authority = Authority::open(&self.0.ca)?;
        let certificate = certify_node(&authority, node, &request.public_key, self.0.validity)?;
        let serial = X509Certificate::from_der(&certificate)
            .map(|(_, parsed)| Serial::of(parsed.raw_serial()))
            .map_err(|_| PkiError::Make(rcgen::Error::CouldNotParseCertificate))?;
        Ok((self.answer(&certificate)?, serial))
    }

    /// What a node gets with its certificate (DER).
    pub fn answer(&self, certificate: &[u8]) -> Result<NodeCertificate, PkiError> {
        Ok(NodeCertificate {
            chain: vec![certificate.to_vec()],
            authorities: vec![self.authority()?.to_vec()],
        })
    }

    /// The authority's certificate.
    pub fn authority(&self) -> Result<CertificateDer<'static>, PkiError> {
        let path = self.0.ca.join("ca.pem");
        CertificateDer::from_pem_file(&path).map_err(|error| PkiError::Content {
            path,
            what: format!("cannot be used: {error}"),
        })
    }
}
