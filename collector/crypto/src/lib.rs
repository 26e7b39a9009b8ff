//! Which cryptographic library agent and collector work with: AWS-LC, or with the feature `fips` its validated form.
//!
//! With that feature rustls offers and takes only what is approved: no ChaCha20, no X25519 by itself. Nothing in the
//! programs chooses suites or groups, so that [`check`] at the start is enough.

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ServerConfig};

/// Whether this is a build with the validated form.
pub const IS_FIPS: bool = cfg!(feature = "fips");

/// The version of the package that this is used in, and whether it is a build with the validated form.
#[cfg(feature = "fips")]
#[macro_export]
macro_rules! version {
    () => {
        concat!(env!("CARGO_PKG_VERSION"), " (FIPS)")
    };
}

/// The version of the package that this is used in, and whether it is a build with the validated form.
#[cfg(not(feature = "fips"))]
#[macro_export]
macro_rules! version {
    () => {
        env!("CARGO_PKG_VERSION")
    };
}

/// A FIPS build that would not work as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// The module.
    #[error(
        "this is a FIPS build, and the cryptographic module is not in FIPS mode: build it with `cargo xtask fips`"
    )]
    Module,
    /// What TLS is to use.
    #[error("this is a FIPS build, and TLS would use algorithms that are not approved")]
    Tls,
}

/// Whether the library is what the build promises; without the feature it is.
pub fn check() -> Result<(), NotApproved> {
    if !IS_FIPS {
        return Ok(());
    }
    aws_lc_rs::try_fips_mode().map_err(|_| NotApproved::Module)?;
    if default_provider().fips() {
        Ok(())
    } else {
        Err(NotApproved::Tls)
    }
}

/// Whether a server uses only what the build promises.
pub fn check_server(config: &ServerConfig) -> Result<(), NotApproved> {
    if IS_FIPS && !config.fips() {
        return Err(NotApproved::Tls);
    }
    Ok(())
}

/// Whether a client uses only what the build promises.
pub fn check_client(config: &ClientConfig) -> Result<(), NotApproved> {
    if IS_FIPS && !config.fips() {
        return Err(NotApproved::Tls);
    }
    Ok(())
}
