//! The authority: its key, its certificate, and the trust domain that it speaks for.

use super::node::IdentityError;
use crate::durable;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// Ten years: replacing an authority means replacing every certificate.
const DAYS: u32 = 3653;
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";

/// What can go wrong with certificates and keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Nothing is ever overwritten.
    #[error("{} is there already and is never overwritten; use another directory or move it away", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Not a name of a node.
    #[error(transparent)]
    Node(#[from] IdentityError),
    /// Not a trust domain.
    #[error("`{0}` is not a trust domain: lower-case letters, digits, `.`, `-` and `_`")]
    TrustDomain(String),
    /// Not a serial number.
    #[error(
        "`{0}` is not a serial number: at most 40 hexadecimal digits, as `norma-collector pki show` prints them"
    )]
    Serial(String),
    /// Agents could not check such a certificate.
    #[error("a server certificate needs at least one --dns or --ip name, the ones that agents connect to")]
    NoNames,
}

/// The first part of a SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain(String);

impl FromStr for TrustDomain {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(valid) {
            return Err(PkiError::TrustDomain(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An authority that can sign.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) trust_domain: TrustDomain,
}

impl Authority {
    /// Makes `ca.pem` and `ca-key.pem` in `directory`.
    pub fn create(directory: &Path, trust_domain: &TrustDomain) -> Result<(), PkiError> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Norma CA for {trust_domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        super::issue::set_validity(&mut params, DAYS);
        let certificate = params.self_signed(&key)?;
        let (certificate_path, key_path) = (directory.join(CERTIFICATE), directory.join(KEY));
        for path in [&certificate_path, &key_path] {
            if path.symlink_metadata().is_ok() {
                return Err(PkiError::Exists(path.clone()));
            }
        }
        write_new(&key_path, &key.serialize_pem(), 0o600)?;
        write_new(&certificate_path, &certificate.pem(), 0o644)
    }

    /// Reads the authority in `directory`.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (directory.join(CERTIFICATE), directory.join(KEY));
        let key = fs::read_to_string(&key_path).map_err(at(&key_path))?;
        let key = KeyPair::from_pem(&key).map_err(|error| content(&key_path, &error))?;
        let certificate = CertificateDer::from_pem_file(&certificate_path)
            .map_err(|error| content(&certificate_path, &error))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|error| content(&certificate_path, &error))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            let what = format!("does not belong to the key in {}", key_path.display());
            return Err(PkiError::Content {
                path: certificate_path,
                what,
            });
        }
        let trust_domain = trust_domain(&parsed).ok_or_else(|| PkiError::Content {
            path: certificate_path.clone(),
            what: "names no trust domain (URI spiffe://TRUSTDOMAIN); make it with `norma-collector pki init`"
                .to_owned(),
        })?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, trust_domain })
    }
}

fn trust_domain(certificate: &X509Certificate<'_>) -> Option<TrustDomain> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().find_map(|name| match name {
                    GeneralName::URI(uri) => uri.strip_prefix("spiffe://")?.parse().ok(),
                    _ => None,
                })
            }
            _ => None,
        })
}

/// Writes a file that must not be there.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    durable::create(path, text.as_bytes(), mode).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists(path.to_owned()),
        _ => PkiError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> PkiError + use<> {
    let path = path.to_owned();
    move |source| PkiError::Io { path, source }
}

pub(super) fn content(path: &Path, error: &dyn fmt::Display) -> PkiError {
    PkiError::Content {
        path: path.to_owned(),
        what: format!("cannot be used: {error}"),
    }
}
