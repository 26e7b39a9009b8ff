//! The collector's certificate and key, the authorities of its agents and their revocation lists, as they are in their
//! files now.

use super::revocation::Revocations;
use crate::administration::News;
use crate::config::TlsFiles;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How often it is looked whether those who are connected may stay.
const LOOK: Duration = Duration::from_secs(1);

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Not readable, or not what it should be.
    #[error("cannot use {}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No agent would accept it.
    #[error("the certificate in {} expired at {at}; issue a new one, it is taken up without a restart", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: jiff::Timestamp,
    },
}

/// The newest set of files that was valid.
#[derive(Debug)]
pub struct Credentials {
    files: TlsFiles,
    current: Mutex<Current>,
    revocations: watch::Sender<Arc<Revocations>>,
    news: watch::Sender<News>,
}

/// Tells whether those who are connected may stay.
#[derive(Clone, Debug)]
pub struct Admission(watch::Receiver<Arc<Revocations>>);

impl Admission {
    /// Why the holder of these certificates may no longer stay, if so.
    pub fn objection(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        self.0.borrow().objection(chain)
    }

    /// Waits until the holder of these certificates may no longer stay, and says why.
    pub async fn withdrawn(mut self, chain: &[CertificateDer<'_>]) -> String {
        loop {
            if let Some(objection) = self.0.borrow_and_update().objection(chain) {
                return objection;
            }
            // Also without a new list: the one that is there gets out of date.
            tokio::time::timeout(LOOK, self.0.changed()).await.ok();
        }
    }
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    visitors: Arc<ServerConfig>,
    expires: jiff::Timestamp,
    /// Of the files as they were last tried, valid or not.
    seen: Fingerprint,
    expiry_logged: bool,
}

/// Changes whenever one of the files is written, replaced, or reached through another link.
type Fingerprint = Vec<Option<(u64, u64, i64, i64, u64)>>;

impl Credentials {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, CredentialError> {
        let seen = fingerprint(files);
        let Built {
            config,
            visitors,
            expires,
            revocations,
        } = build(files)?;
        let (revocations, _) = watch::channel(Arc::new(revocations));
        let (news, _) = watch::channel(News::taken(files, expires));
        let current = Mutex::new(Current {
            config,
            visitors,
            expires,
            seen,
            expiry_logged: false,
        });
        Ok(Self {
            files: files.clone(),
            current,
            revocations,
            news,
        })
    }

    /// What handshakes of those who come to enrol use: no certificate is asked for, and the authorities are shown, by
    /// which tokens know the collector.
    pub fn for_visitors(&self) -> Arc<ServerConfig> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.visitors)
    }

    /// What is used, now and whenever files were read again.
    pub fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// Looks after those who are connected.
    pub fn admission(&self) -> Admission {
        Admission(self.revocations.subscribe())
    }

    /// Reads the files whenever they change, for as long as this runs.
    pub async fn watch(&self) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            tokio::task::block_in_place(|| self.current());
        }
    }

    /// What the next handshake uses: the files as they are now, or the last ones that were valid.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = fingerprint(&self.files);
        if seen != current.seen {
            current.seen.clone_from(&seen);
            match build(&self.files) {
                Ok(built) => {
                    *current = Current {
                        config: built.config,
                        visitors: built.visitors,
                        expires: built.expires,
                        seen,
                        expiry_logged: false,
                    };
                    self.revocations.send_replace(Arc::new(built.revocations));
                    self.news.send_replace(News::taken(&self.files, current.expires));
                    tracing::info!(
                        expires = %current.expires,
                        "certificate, key, client authorities and revocation lists were read again"
                    );
                }
                Err(error) => {
                    self.news.send_replace(News::refused(&self.files, &error));
                    tracing::error!(%error, "keeping the certificate, key and client authorities from before");
                }
            }
        }
        if !current.expiry_logged && jiff::Timestamp::now() > current.expires {
            current.expiry_logged = true;
            let error = CredentialError::Expired {
                path: self.files.certificate.clone(),
                at: current.expires,
            };
            tracing::error!(%error, "agents refuse the collector's certificate");
        }
        Arc::clone(&current.config)
    }
}

fn fingerprint(files: &TlsFiles) -> Fingerprint {
    let state = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((
            file.dev(),
            file.ino(),
            file.mtime(),
            file.mtime_nsec(),
            file.len(),
        ))
    };
    [&files.certificate, &files.key, &files.client_ca]
        .into_iter()
        .chain(&files.crl.files)
        .map(state)
        .collect()
}

struct Built {
    config: Arc<ServerConfig>,
    visitors: Arc<ServerConfig>,
    expires: jiff::Timestamp,
    revocations: Revocations,
}

fn build(files: &TlsFiles) -> Result<Built, CredentialError> {
    let chain = read_certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let expires = check_expiry(&files.certificate, &chain)?;
    let mut roots = RootCertStore::empty();
    let authorities = read_certificates(&files.client_ca)?;
    for authority in &authorities {
        roots
            .add(authority.clone())
            .map_err(|error| wrong(&files.client_ca, &error))?;
    }
    let revocations = Revocations::load(&files.crl, &authorities)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    if !revocations.is_empty() {
        verifier = verifier.with_crls(revocations.ders());
        verifier = if revocations.is_lenient() {
            verifier.allow_unknown_revocation_status()
        } else {
            verifier.enforce_revocation_expiration()
        };
    }
    let verifier = verifier
        .build()
        .map_err(|error| wrong(&files.client_ca, &error))?;
    let builder = || {
        ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&files.certificate, &error))
    };
    let unfit = |error: rustls::Error| {
        wrong(
            &files.key,
            &format!("with {}: {error}", files.certificate.display()),
        )
    };
    let shown = chain.iter().chain(&authorities).cloned().collect();
    let mut visitors = builder()?
        .with_no_client_auth()
        .with_single_cert(shown, key.clone_key())
        .map_err(unfit)?;
    visitors.alpn_protocols = vec![b"h2".to_vec()];
    visitors.send_tls13_tickets = 0;
    let mut config = builder()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would not show its certificate to the authorities of today.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    norma_crypto::check_server(&config).map_err(|error| wrong(&files.certificate, &error))?;
    Ok(Built {
        config: Arc::new(config),
        visitors: Arc::new(visitors),
        expires,
        revocations,
    })
}

pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(path, &error))?;
    if certificates.is_empty() {
        return Err(wrong(path, &"it holds no PEM certificate"));
    }
    Ok(certificates)
}

fn check_expiry(path: &Path, chain: &[CertificateDer<'_>]) -> Result<jiff::Timestamp, CredentialError> {
    let leaf = chain.first().map(|der| X509Certificate::from_der(der));
    let Some(Ok((_, leaf))) = leaf else {
        return Err(wrong(path, &"the certificate cannot be parsed"));
    };
    let at = jiff::Timestamp::from_second(leaf.validity().not_after.timestamp())
        .map_err(|error| wrong(path, &error))?;
    if jiff::Timestamp::now() > at {
        return Err(CredentialError::Expired {
            path: path.to_owned(),
            at,
        });
    }
    Ok(at)
}

pub(crate) fn wrong(path: &Path, what: &dyn std::fmt::Display) -> CredentialError {
    CredentialError::File {
        path: path.to_owned(),
        what: what.to_string(),
    }
}
