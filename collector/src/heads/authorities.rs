//! Authorities of nodes' certificates, as those have them who check a log.

use crate::pki::Serial;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// Authorities of nodes' certificates, and what they revoked.
#[derive(Clone, Debug)]
pub struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    certificates: Vec<CertificateDer<'static>>,
    /// By issuer and serial number: from when on, in seconds since 1970.
    revoked: BTreeMap<(Vec<u8>, Serial), i64>,
}

impl Authorities {
    /// Those in a PEM file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let unusable = |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", path.display());
        let mut roots = RootCertStore::empty();
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate.clone()).map_err(|error| unusable(&error))?;
            certificates.push(certificate);
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(aws_lc_rs::default_provider()),
        );
        Ok(Self {
            verifier: verifier.build().map_err(|error| unusable(&error))?,
            certificates,
            revoked: BTreeMap::new(),
        })
    }

    /// Takes the revocation lists in a file into account, in PEM or DER, which one of these authorities must have
    /// signed. How old they are says nothing of what they revoke.
    pub fn revoke(&mut self, path: &Path) -> Result<(), String> {
        let unusable = |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", path.display());
        let bytes = std::fs::read(path).map_err(|error| unusable(&error))?;
        let lists: Vec<CertificateRevocationListDer<'_>> = if bytes.first() == Some(&0x30) {
            vec![bytes.as_slice().into()]
        } else {
            let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<_, _>>();
            lists.map_err(|error| unusable(&error))?
        };
        if lists.is_empty() {
            return Err(unusable(&"it holds no revocation list"));
        }
        for list in &lists {
            let (_, list) = CertificateRevocationList::from_der(list).map_err(|error| unusable(&error))?;
            let signed = self.certificates.iter().any(|authority| {
                X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
                    authority.subject().as_raw() == list.issuer().as_raw()
                        && list.verify_signature(authority.public_key()).is_ok()
                })
            });
            if !signed {
                return Err(unusable(
                    &"none of the authorities given has signed the revocation list",
                ));
            }
            for revoked in list.iter_revoked_certificates() {
                let which = (list.issuer().as_raw().to_vec(), Serial::of(revoked.raw_serial()));
                let at = revoked.revocation_date.timestamp();
                let first = self.revoked.entry(which).or_insert(at);
                *first = at.min(*first);
            }
        }
        Ok(())
    }

    /// When the first certificate of a chain was revoked, in seconds since 1970.
    pub(super) fn revoked_at(&self, chain: &[Vec<u8>]) -> Option<i64> {
        chain
            .iter()
            .filter_map(|der| {
                let (_, certificate) = X509Certificate::from_der(der).ok()?;
                let issuer = certificate.issuer().as_raw().to_vec();
                self.revoked
                    .get(&(issuer, Serial::of(certificate.raw_serial())))
                    .copied()
            })
            .min()
    }

    pub(super) fn check(&self, chain: &[Vec<u8>], at_ns: u64) -> Result<(), String> {
        let chain: Vec<CertificateDer<'_>> = chain
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err("there is no certificate".to_owned());
        };
        let at = UnixTime::since_unix_epoch(Duration::from_nanos(at_ns));
        self.verifier
            .verify_client_cert(leaf, intermediates, at)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }
}
