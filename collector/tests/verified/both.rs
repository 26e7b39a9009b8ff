//! Verification by one thread and by several, which must find the same.

use norma_collector::audit::verify::{self, Expected, Report, VerifyError};
use std::num::NonZeroUsize;
use std::path::Path;

/// Verifies both ways, and compares the reports in every word.
pub fn verify(path: &Path, expected: &Expected) -> Result<Report, VerifyError> {
    let with = |threads| {
        let expected = Expected {
            threads: NonZeroUsize::new(threads),
            ..expected.clone()
        };
        verify::verify(path, &expected)
    };
    let (one, several) = (with(1), with(3));
    let text = |report: &Result<Report, VerifyError>| match report {
        Ok(report) => serde_json::to_string_pretty(report).unwrap_or_default() + &report.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(text(&one), text(&several), "threads find something else than one");
    let digests = Expected {
        digests: true,
        ..expected.clone()
    };
    let faults = |report: &Result<Report, VerifyError>| {
        report
            .as_ref()
            .map_or_else(|_| String::new(), |report| format!("{:?}", report.faults))
    };
    assert_eq!(
        faults(&verify::verify(path, &digests)),
        faults(&several),
        "digests show something else than the tree and the chain"
    );
    several
}
