//! Revocation lists from where authorities publish them (RFC 5280, section 4.2.1.13): fetched over HTTP, checked, and put
//! into files, from which they are read as any other.
//!
//! Plain HTTP is how such lists are published: they are signed, so that nobody can forge one, and an old one is not taken
//! for a new one. Who keeps a newer one away is noticed when the one that is there gets out of date.

use super::credentials::{CredentialError, read_certificates, wrong};
use super::revocation::{is_older, lists, read};
use crate::archive::{Endpoint, HttpError};
use crate::config::{CrlFiles, FetchedList, TlsFiles};
use crate::durable::{self, Sync};
use http::StatusCode;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Largest list that is taken: one revocation takes some 40 bytes.
const BYTES_MAX: usize = 32 << 20;
/// How long one fetch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no new list.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Url(String),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("it answers {0}{1}")]
    Status(StatusCode, String),
    #[error(transparent)]
    List(#[from] CredentialError),
    #[error("it is older than one that was there before, which stays in force")]
    Older,
    #[error("cannot keep it as {path}: {source}")]
    Keep { path: String, source: std::io::Error },
}

/// What is known of one location.
struct Location {
    list: FetchedList,
    /// What the server said of what it gave last, by which it tells whether there is another.
    tag: String,
    modified: String,
    /// The last fetch failed, which was told.
    is_failing: bool,
}

/// Fetches all lists once, before certificates are first checked, and then at their interval until told to stop.
pub async fn start(files: &TlsFiles, stop: CancellationToken) -> Option<JoinHandle<()>> {
    let crl = files.crl.clone();
    if crl.fetched.is_empty() {
        return None;
    }
    let mut locations: Vec<Location> = crl
        .fetched
        .iter()
        .map(|list| Location {
            list: list.clone(),
            tag: String::new(),
            modified: String::new(),
            is_failing: false,
        })
        .collect();
    let files = files.clone();
    for location in &mut locations {
        location.look(&files, &crl).await;
    }
    Some(tokio::spawn(async move {
        let mut looks = tokio::time::interval(crl.every);
        looks.tick().await;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            for location in &mut locations {
                tokio::select! {
                    () = location.look(&files, &crl) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }))
}

impl Location {
    async fn look(&mut self, files: &TlsFiles, crl: &CrlFiles) {
        let url = self.list.url.clone();
        match self.fetch(files, crl).await {
            Ok(is_new) => {
                if is_new {
                    tracing::info!(%url, "fetched a revocation list");
                } else if self.is_failing {
                    tracing::info!(%url, "the revocation list can be fetched again");
                }
                self.is_failing = false;
            }
            Err(error) => {
                // Whatever it is, the next time all of it is asked for.
                self.tag.clear();
                self.modified.clear();
                if !self.is_failing {
                    tracing::error!(%url, %error, "cannot fetch a revocation list; trying again");
                }
                self.is_failing = true;
            }
        }
    }

    /// Whether there is a new one, which is durable.
    async fn fetch(&mut self, files: &TlsFiles, crl: &CrlFiles) -> Result<bool, FetchError> {
        let endpoint = Endpoint::new(&self.list.url, None).map_err(FetchError::Url)?;
        let conditions = [
            ("if-none-match", &self.tag),
            ("if-modified-since", &self.modified),
        ];
        let headers: Vec<(&str, &str)> = conditions
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = tokio::time::timeout(PATIENCE, endpoint.get(&self.list.url, &headers, BYTES_MAX));
        let answer = answer.await.map_err(|_| FetchError::Slow)??;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if !headers.is_empty() => return Ok(false),
            status => {
                let elsewhere = answer.header("location");
                let hint = if elsewhere.is_empty() {
                    String::new()
                } else {
                    format!(": name {elsewhere} itself in tls.crl")
                };
                return Err(FetchError::Status(status, hint));
            }
        }
        let is_new = tokio::task::block_in_place(|| self.keep(&answer.body, files, crl))?;
        self.tag = answer.header("etag");
        self.modified = answer.header("last-modified");
        Ok(is_new)
    }

    /// Puts what came in the place of what is there, once it is known to be a list that counts.
    fn keep(&self, bytes: &[u8], files: &TlsFiles, crl: &CrlFiles) -> Result<bool, FetchError> {
        let path = &self.list.file;
        if std::fs::read(path).is_ok_and(|there| there == bytes) {
            return Ok(false);
        }
        let authorities = read_certificates(&files.client_ca)?;
        let source = self.list.url.as_str().as_ref();
        let new = lists(source, bytes, &authorities)?;
        if read(path, &authorities).is_ok_and(|there| is_older(&new, &there)) {
            return Err(FetchError::Older);
        }
        durable::create_folders(&crl.cache)
            .and_then(|()| durable::replace(path, bytes, Sync::Now))
            .map_err(|source| FetchError::Keep {
                path: path.display().to_string(),
                source,
            })?;
        Ok(true)
    }
}

/// Says what is missing where a list was never fetched.
pub(super) fn explain(crl: &CrlFiles) -> Result<(), CredentialError> {
    let never = crl.fetched.iter().find(|list| !list.file.exists());
    match never {
        Some(list) => Err(wrong(
            list.url.as_str().as_ref(),
            &"this revocation list could not be fetched yet, and there is none from before; without it nobody's \
              certificate can be checked (tls.crl)",
        )),
        None => Ok(()),
    }
}
