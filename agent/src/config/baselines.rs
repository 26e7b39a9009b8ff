//! The section on what is done with baselines.

use norma_baseline::signature::TrustedKeys;
use norma_settings::{Faults, Spanned};
use serde::Deserialize;
use std::path::Path;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBaselines {
    trusted_keys: Option<Vec<Spanned<String>>>,
}

impl RawBaselines {
    /// The keys, each given in hexadecimal digits or in a file.
    pub fn validate(self, path: &Path, base: &Path, faults: &mut Faults) -> TrustedKeys {
        let mut keys = Vec::new();
        for entry in self.trusted_keys.into_iter().flatten() {
            match TrustedKeys::named(&entry.value, base) {
                Ok(named) => keys.extend(named),
                Err(error) => faults.push(path, &entry, error.to_string()),
            }
        }
        keys.into_iter().collect()
    }
}
