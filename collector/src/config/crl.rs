//! `tls.crl`.

use super::check::Check;
use super::{CrlFiles, FetchedList, raw};
use norma_settings::Spanned;
use norma_wire::text::Hex;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEFAULT_REFRESH: Duration = Duration::from_secs(300);
/// Shorter asks more of a server than lists change.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// Longer, and what is revoked counts for days.
const MAX_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// Begins locations that are no files.
const SCHEME: &str = "://";

impl Check<'_> {
    pub(super) fn revocation_lists(&mut self, raw: &raw::Tls, cache: PathBuf) -> CrlFiles {
        let mut lists = CrlFiles {
            files: Vec::new(),
            fetched: Vec::new(),
            every: self.duration(
                raw.crl_refresh.as_ref(),
                DEFAULT_REFRESH,
                MIN_REFRESH..=MAX_REFRESH,
                "must be between 1s and 24h",
            ),
            cache,
            when_expired: raw.crl_expired,
        };
        for location in &raw.crl {
            if location.value.contains(SCHEME) {
                let Some(fetched) = self.fetched(location, &lists.cache) else {
                    continue;
                };
                lists.files.push(fetched.file.clone());
                lists.fetched.push(fetched);
            } else {
                // It may be missing for a while: the cache stands in.
                lists.files.push(self.base.join(&location.value));
            }
        }
        if let (Some(given), true) = (&raw.crl_refresh, lists.fetched.is_empty()) {
            self.fault(
                given,
                "no list is fetched: `crl` has no `http://` location beside it",
            );
        }
        lists
    }

    fn fetched(&mut self, location: &Spanned<String>, cache: &Path) -> Option<FetchedList> {
        match location.value.parse::<url::Url>() {
            Ok(url) if url.scheme() == "http" && url.has_host() => {
                let name = Sha256::digest(url.as_str());
                let file = cache.join(format!("fetched-{}.crl", Hex(&name[..8])));
                Some(FetchedList { url, file })
            }
            Ok(url) if url.scheme() == "https" => {
                self.fault(
                    location,
                    "lists are fetched over http:// alone, as authorities publish them: they are signed. Have another \
                     program fetch this one into a file",
                );
                None
            }
            _ => {
                self.fault(
                    location,
                    "neither a file nor a location such as `http://pki.example.org/ca.crl`",
                );
                None
            }
        }
    }
}
