//! Revocation lists: read from files, kept in a cache of their own, and asked about connections that are open.
//!
//! A list counts when it is signed by one of the client authorities. The newest one that was ever read is kept on the
//! disk: it is used while its source is gone or unreadable, and one with a lower number does not take its place, so that
//! nobody brings a revoked certificate back with an old list.

use super::credentials::{CredentialError, wrong};
use crate::config::{CrlFiles, WhenExpired};
use crate::durable::{self, Sync};
use crate::pki::Serial;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

/// A list of one issuer.
#[derive(Clone, Debug)]
pub(super) struct List {
    der: CertificateRevocationListDer<'static>,
    issuer: Vec<u8>,
    number: Option<BigUint>,
    this_update: i64,
    /// Seconds since 1970.
    next_update: Option<i64>,
    revoked: BTreeSet<Serial>,
}

/// The lists that are in force.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    lists: Vec<List>,
    when_expired: WhenExpired,
}

impl Revocations {
    /// Reads the files, or for those that cannot be read what the cache has of them.
    pub fn load(files: &CrlFiles, authorities: &[CertificateDer<'_>]) -> Result<Self, CredentialError> {
        super::lists::explain(files)?;
        let mut lists = Vec::new();
        for path in &files.files {
            let cache = cache_file(&files.cache, path);
            let cached = read(&cache, authorities).ok();
            let current = match (read(path, authorities), cached) {
                (Ok(current), Some(cached)) if is_older(&current, &cached) => {
                    tracing::error!(
                        file = %path.display(),
                        "this revocation list is older than one that was there before, which stays in force"
                    );
                    cached
                }
                (Ok(current), cached) => {
                    if cached.is_none_or(|cached| is_older(&cached, &current)) {
                        keep(path, &cache);
                    }
                    current
                }
                (Err(error), Some(cached)) => {
                    tracing::error!(%error, "the revocation list that was read last stays in force");
                    cached
                }
                (Err(error), None) => return Err(error),
            };
            lists.extend(current);
        }
        Ok(Self {
            lists,
            when_expired: files.when_expired,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Whether certificates count although the list of their issuer is out of date or not there.
    pub fn is_lenient(&self) -> bool {
        self.when_expired == WhenExpired::Accept
    }

    /// The lists in DER.
    pub fn ders(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.lists.iter().map(|list| list.der.clone()).collect()
    }

    /// Why the holder of a certificate, who was let in before, may no longer stay.
    pub fn objection(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let now = jiff::Timestamp::now().as_second();
        for certificate in chain {
            let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
                continue;
            };
            let serial = Serial::of(certificate.raw_serial());
            let issuer = certificate.issuer().as_raw();
            for list in self.lists.iter().filter(|list| list.issuer == issuer) {
                if list.revoked.contains(&serial) {
                    return Some(format!("the client certificate {serial} was revoked"));
                }
                if !self.is_lenient() && list.next_update.is_some_and(|next| next < now) {
                    return Some(OUT_OF_DATE.to_owned());
                }
            }
        }
        None
    }
}

/// Why nobody of an issuer gets in any more.
pub const OUT_OF_DATE: &str = "the revocation list of the certificate's issuer is out of date; replace it (norma-collector pki crl \
                               makes one), or let certificates count meanwhile with `tls.crl_expired: accept`";

pub(super) fn read(path: &Path, authorities: &[CertificateDer<'_>]) -> Result<Vec<List>, CredentialError> {
    let bytes = fs::read(path).map_err(|error| wrong(path, &error))?;
    lists(path, &bytes, authorities)
}

/// The lists in what came from `path`, each signed by one of the authorities.
pub(super) fn lists(
    path: &Path,
    bytes: &[u8],
    authorities: &[CertificateDer<'_>],
) -> Result<Vec<List>, CredentialError> {
    // DER begins with the tag of a sequence.
    let ders: Vec<CertificateRevocationListDer<'static>> = if bytes.first() == Some(&0x30) {
        vec![bytes.to_vec().into()]
    } else {
        CertificateRevocationListDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(path, &error))?
    };
    if ders.is_empty() {
        return Err(wrong(path, &"it holds no revocation list"));
    }
    ders.iter().map(|der| list(path, der, authorities)).collect()
}

fn list(
    path: &Path,
    der: &CertificateRevocationListDer<'static>,
    authorities: &[CertificateDer<'_>],
) -> Result<List, CredentialError> {
    let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| wrong(path, &error))?;
    let signed = authorities.iter().any(|authority| {
        X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
            authority.subject().as_raw() == parsed.issuer().as_raw()
                && parsed.verify_signature(authority.public_key()).is_ok()
        })
    });
    if !signed {
        return Err(wrong(
            path,
            &"the revocation list is not signed by an authority in client_ca",
        ));
    }
    let list = List {
        issuer: parsed.issuer().as_raw().to_vec(),
        number: parsed.crl_number().cloned(),
        this_update: parsed.last_update().timestamp(),
        next_update: parsed.next_update().map(|next| next.timestamp()),
        revoked: parsed
            .iter_revoked_certificates()
            .map(|revoked| Serial::of(revoked.raw_serial()))
            .collect(),
        der: der.clone(),
    };
    Ok(list)
}

/// Whether a list comes before another of the same issuer.
pub(super) fn is_older(these: &[List], those: &[List]) -> bool {
    these.iter().any(|this| {
        those
            .iter()
            .filter(|that| that.issuer == this.issuer)
            .any(|that| (&this.number, this.this_update) < (&that.number, that.this_update))
    })
}

fn keep(path: &Path, cache: &Path) {
    let kept = fs::read(path).and_then(|bytes| {
        if let Some(directory) = cache.parent() {
            fs::create_dir_all(directory)?;
        }
        durable::replace(cache, &bytes, Sync::Now)
    });
    if let Err(error) = kept {
        tracing::error!(%error, file = %cache.display(), "cannot keep the revocation list; it would be missing if its source goes away");
    }
}

/// Named by where its source is.
fn cache_file(directory: &Path, source: &Path) -> PathBuf {
    let name = Sha256::digest(source.as_os_str().as_encoded_bytes());
    directory.join(format!("{}.crl", norma_wire::text::Hex(&name[..8])))
}

#[cfg(test)]
mod tests {
    use super::super::credentials::read_certificates;
    use super::*;
    use crate::pki::{Authority, Reason, publish, revoke};

    #[test]
    fn a_list_is_read_in_either_form() {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path();
        Authority::create(ca, &"norma".parse().unwrap()).unwrap();
        let authorities = read_certificates(&ca.join("ca.pem")).unwrap();
        // The byte that ends lines of text, which binary data may hold, too.
        let serial: Serial = "0a".parse().unwrap();
        revoke(ca, &serial, Reason::KeyCompromise).unwrap();
        let pem = ca.join("list.pem");
        publish(ca, &pem, 7).unwrap();
        let der = ca.join("list.der");
        let bytes = CertificateRevocationListDer::from_pem_file(&pem).unwrap();
        assert!(bytes.contains(&b'\n'));
        fs::write(&der, bytes.as_ref()).unwrap();
        for file in [pem, der] {
            let lists = read(&file, &authorities).unwrap();
            assert!(lists[0].revoked.contains(&serial), "{}", file.display());
        }
    }
}
