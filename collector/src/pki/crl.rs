//! Revoking certificates of the own authority, and its list of them (RFC 5280, section 5).

use super::authority::{Authority, PkiError, at, content};
use crate::durable::{self, Sync};
use jiff::Timestamp;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Days after which a list must have been replaced by a newer one, unless asked otherwise.
pub const CRL_DAYS: u32 = 7;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of collectors lag.
const BACKDATE: Duration = Duration::from_secs(300);
/// In the authority's directory: what was revoked, and the newest list.
const REVOKED: &str = "revoked.json";
const LIST: &str = "crl.pem";

/// A certificate's number within its authority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

/// Why a certificate is revoked; RFC 5280, section 5.3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not said.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// Another certificate took its place.
    Superseded,
    /// The node is no more.
    CessationOfOperation,
    /// What it allowed is no longer allowed.
    PrivilegeWithdrawn,
}

/// What was revoked so far.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Revoked {
    /// Number of the newest list.
    number: u64,
    certificates: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    serial: String,
    /// RFC 3339.
    revoked_at: String,
    reason: Reason,
}

impl Serial {
    /// That of the first certificate in a PEM file.
    pub fn of_file(path: &Path) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_file(path).map_err(|error| content(path, &error))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| content(path, &error))?;
        Ok(Self::of(certificate.raw_serial()))
    }

    /// From its bytes, most significant first.
    pub fn of(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        norma_wire::text::Hex(&self.0).fmt(f)
    }
}

impl FromStr for Serial {
    type Err = PkiError;

    /// Hexadecimal digits, with or without colons, as `norma-collector pki show` and openssl print them.
    fn from_str(text: &str) -> Result<Self, PkiError> {
        let wrong = || PkiError::Serial(text.to_owned());
        let digits: String = text.chars().filter(|digit| *digit != ':').collect();
        if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let padded = if digits.len().is_multiple_of(2) {
            digits
        } else {
            format!("0{digits}")
        };
        let bytes: Result<Vec<u8>, _> = (0..padded.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&padded[at..at + 2], 16))
            .collect();
        Ok(Self::of(&bytes.map_err(|_| wrong())?))
    }
}

/// Revokes a certificate of the authority in `directory`, and makes a list that says so. A second time changes nothing
/// but the list's number.
pub fn revoke(directory: &Path, serial: &Serial, reason: Reason) -> Result<(), PkiError> {
    let mut revoked = read(directory)?;
    let serial = serial.to_string();
    if !revoked.certificates.iter().any(|entry| entry.serial == serial) {
        revoked.certificates.push(Entry {
            serial,
            revoked_at: Timestamp::now().to_string(),
            reason,
        });
        write(directory, &revoked)?;
    }
    publish(directory, &directory.join(LIST), CRL_DAYS)
}

/// Makes a new list of the authority in `directory`, valid for `days`, in `out`.
pub fn publish(directory: &Path, out: &Path, days: u32) -> Result<(), PkiError> {
    let authority = Authority::open(directory)?;
    let mut revoked = read(directory)?;
    revoked.number += 1;
    // A number is never used twice, even if the list does not come about.
    write(directory, &revoked)?;
    let mut revoked_certs = Vec::new();
    for entry in &revoked.certificates {
        let serial: Serial = entry.serial.parse()?;
        let revoked_at: Timestamp = entry
            .revoked_at
            .parse()
            .map_err(|error| content(&directory.join(REVOKED), &error))?;
        revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from(serial.0),
            revocation_time: SystemTime::from(revoked_at).into(),
            reason_code: (entry.reason != Reason::Unspecified).then(|| entry.reason.into()),
            invalidity_date: None,
        });
    }
    let now = SystemTime::now();
    let list = CertificateRevocationListParams {
        this_update: (now - BACKDATE).into(),
        next_update: (now + DAY * days).into(),
        crl_number: SerialNumber::from(revoked.number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&authority.issuer)?;
    let write = |path: &Path| durable::replace(path, list.pem()?.as_bytes(), Sync::Now).map_err(at(path));
    let own = directory.join(LIST);
    if out != own {
        write(&own)?;
    }
    write(out)
}

fn read(directory: &Path) -> Result<Revoked, PkiError> {
    let path = directory.join(REVOKED);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| content(&path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Revoked::default()),
        Err(error) => Err(at(&path)(error)),
    }
}

fn write(directory: &Path, revoked: &Revoked) -> Result<(), PkiError> {
    let path = directory.join(REVOKED);
    let bytes = serde_json::to_vec_pretty(revoked).map_err(|error| content(&path, &error))?;
    durable::replace(&path, &bytes, Sync::Now).map_err(at(&path))
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_read_in_every_common_form() {
        let serial: Serial = "0A:ff".parse().unwrap();
        assert_eq!(serial, "aff".parse().unwrap());
        assert_eq!(serial, Serial::of(&[0, 0x0a, 0xff]));
        for wrong in ["", "0x1", "g", &"1".repeat(41)] {
            assert!(wrong.parse::<Serial>().is_err(), "{wrong}");
        }
    }
}
