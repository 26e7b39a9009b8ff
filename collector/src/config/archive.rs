//! `archive` and `retention`.

use super::check::Check;
use super::raw;
use crate::archive::keys::KekSource;
use crate::archive::retain::Retention;
use crate::archive::store::{Store, StoreSettings};
use crate::archive::{ArchiveConfig, Cluster};
use norma_settings::Spanned;
use std::path::Path;
use std::time::Duration;

/// The region of stores that have none.
const DEFAULT_REGION: &str = "us-east-1";
/// Objects are not locked.
const NOT: &str = "none";
/// Stands in for the name of a cluster that is wrong.
const UNNAMED: &str = "unnamed";

impl Check<'_> {
    pub(super) fn archive(&mut self, raw: &raw::Archive, default: &Path) -> ArchiveConfig {
        let cluster = raw.cluster.value.parse::<Cluster>().or_else(|error| {
            self.fault(&raw.cluster, error);
            UNNAMED.parse()
        });
        ArchiveConfig {
            directory: match &raw.directory {
                Some(directory) => self.base.join(directory),
                None => default.to_owned(),
            },
            #[expect(clippy::expect_used, reason = "a constant")]
            cluster: cluster.expect("a name of letters"),
            store: raw.store.as_ref().and_then(|store| self.store(store)),
            encryption: raw
                .encryption
                .as_ref()
                .and_then(|encryption| self.encryption(encryption)),
        }
    }

    fn encryption(&mut self, raw: &raw::Encryption) -> Option<KekSource> {
        let source = KekSource::named(&raw.key.value, self.base);
        let usable = source.and_then(|source| source.check().map(|()| source));
        usable
            .map_err(|error| self.fault(&raw.key, format!("archive.encryption.key: {error}")))
            .ok()
    }

    fn store(&mut self, raw: &raw::Store) -> Option<StoreSettings> {
        let endpoint = match raw.endpoint.value.parse::<url::Url>() {
            Ok(endpoint) => endpoint,
            Err(error) => {
                self.fault(
                    &raw.endpoint,
                    format!("not a URL such as `https://s3.example.org`: {error}"),
                );
                return None;
            }
        };
        let mut prefix = raw
            .prefix
            .as_ref()
            .map(|prefix| prefix.value.clone())
            .unwrap_or_default();
        if let Some(given) = &raw.prefix
            && (given.value.starts_with('/') || given.value.contains(' '))
        {
            self.fault(
                given,
                "a prefix is folders with `/` between them, without one at the beginning",
            );
        }
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        if raw.bucket.value.is_empty() || raw.bucket.value.contains(['/', ' ']) {
            self.fault(&raw.bucket, "not the name of a bucket");
        }
        let settings = StoreSettings {
            endpoint,
            region: raw.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            bucket: raw.bucket.value.clone(),
            prefix,
            path_style: raw.addressing.unwrap_or_default() == raw::Addressing::Path,
            ca: raw.ca.as_ref().map(|ca| self.file(ca)),
            credentials: self.file(&raw.credentials),
            retain: if raw.retain.value == NOT {
                None
            } else {
                self.time(&raw.retain)
            },
        };
        if let Err(error) = Store::new(settings.clone()) {
            self.fault(&raw.endpoint, error);
        }
        Some(settings)
    }

    pub(super) fn retention(&mut self, raw: &raw::Retention, archive: Option<&raw::Archive>) -> Retention {
        if let Some(after) = &raw.after_archive
            && archive.is_none_or(|archive| archive.store.is_none())
        {
            self.fault(
                after,
                "segments go after a store has them, and there is none: `archive.store` is missing",
            );
        }
        Retention {
            keep: raw.keep.as_ref().and_then(|text| self.time(text)),
            after_archive: raw.after_archive.as_ref().and_then(|text| self.time(text)),
        }
    }

    fn time(&mut self, text: &Spanned<String>) -> Option<Duration> {
        norma_settings::duration(&text.value)
            .map_err(|error| self.fault(text, error))
            .ok()
    }
}
