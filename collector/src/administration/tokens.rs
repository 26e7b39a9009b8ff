//! Tokens for a node's first certificate, which root makes beside the running collector (`norma-collector pki token`).
//!
//! A token is recorded when the collector first sees it, and again by each collector that starts while it is unused. That
//! it was used is in the record of the certificate that was issued for it.

use super::{fact, own};
use crate::enrolment::token;
use norma_wire::audit::{Administration, AdministrativeAct as Act};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is looked for new ones.
pub const LOOK: Duration = Duration::from_secs(1);

/// Tokens in a directory, of which some were recorded.
pub struct Seen {
    directory: PathBuf,
    recorded: BTreeSet<String>,
}

impl Seen {
    /// Of which none was.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            recorded: BTreeSet::new(),
        }
    }

    /// Records of those that are new.
    pub fn look(&mut self) -> Vec<Administration> {
        let good = token::Tokens::in_directory(&self.directory).good();
        let ids: BTreeSet<String> = good.iter().map(|token| token.id.clone()).collect();
        self.recorded.retain(|id| ids.contains(id));
        let new = good
            .into_iter()
            .filter(|token| self.recorded.insert(token.id.clone()));
        new.map(|token| {
            let until = jiff::Timestamp::from_second(token.expires)
                .map_or_else(|_| token.expires.to_string(), |time| time.to_string());
            own(
                Act::Token,
                format!("node {}", token.node),
                vec![fact("token", token.id), fact("good until", until)],
            )
        })
        .collect()
    }
}
