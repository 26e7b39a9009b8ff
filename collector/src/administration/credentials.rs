//! Which certificate, authorities and revocation lists the collector uses.

use super::{fact, own};
use crate::config::TlsFiles;
use norma_wire::audit::{Administration, AdministrativeAct as Act};
use norma_wire::pb::Attribute;
use norma_wire::text::Hex;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// What became of the files when they were read.
#[derive(Clone, Debug)]
pub struct News {
    certificate: String,
    facts: Vec<Attribute>,
    refused: String,
}

impl News {
    /// These files are used.
    pub fn taken(files: &TlsFiles, expires: jiff::Timestamp) -> Self {
        let mut news = Self::of(files);
        news.facts.push(fact("expires", expires.to_string()));
        news
    }

    /// They are not; those of before stay in use.
    pub fn refused(files: &TlsFiles, why: &dyn std::fmt::Display) -> Self {
        Self {
            refused: why.to_string(),
            ..Self::of(files)
        }
    }

    fn of(files: &TlsFiles) -> Self {
        let named = [
            ("certificate", &files.certificate),
            ("authorities", &files.client_ca),
        ];
        let lists = files.crl.files.iter().map(|list| ("revocation list", list));
        Self {
            certificate: files.certificate.display().to_string(),
            facts: named
                .into_iter()
                .chain(lists)
                .map(|(name, file)| fact(name, digest(file)))
                .collect(),
            refused: String::new(),
        }
    }

    /// As a record.
    pub fn record(&self) -> Administration {
        Administration {
            refused: self.refused.clone(),
            ..own(Act::Credentials, self.certificate.clone(), self.facts.clone())
        }
    }
}

/// Which file, and what it has.
fn digest(file: &Path) -> String {
    match std::fs::read(file) {
        Ok(bytes) => format!("{} sha256 {}", file.display(), Hex(&Sha256::digest(bytes))),
        Err(error) => format!("{}: {error}", file.display()),
    }
}
