//! What a certificate says, for people.

use super::authority::{PkiError, content};
use super::crl::Serial;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// The facts of one certificate.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    subject: String,
    issuer: String,
    serial: Serial,
    authority: bool,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The certificates in a PEM file.
pub fn show(path: &Path) -> Result<Vec<CertificateFacts>, PkiError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| content(path, &error))?;
    if certificates.is_empty() {
        return Err(content(path, &"it holds no certificate"));
    }
    certificates
        .iter()
        .map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).map_err(|error| content(path, &error))?;
            Ok(facts(&certificate))
        })
        .collect()
}

fn facts(certificate: &X509Certificate<'_>) -> CertificateFacts {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() {
            names.extend(san.general_names.iter().map(name));
        }
    }
    CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: Serial::of(certificate.raw_serial()),
        authority: certificate.is_ca(),
        names,
        not_before: timestamp(certificate.validity().not_before),
        not_after: timestamp(certificate.validity().not_after),
    }
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(dns) => format!("DNS {dns}"),
        GeneralName::URI(uri) => format!("URI {uri}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => format!("IP {}", IpAddr::from(v4)),
            (_, Ok(v6)) => format!("IP {}", IpAddr::from(v6)),
            _ => "IP (malformed)".to_owned(),
        },
        other => other.to_string(),
    }
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl fmt::Display for CertificateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = Timestamp::now();
        let state = if now < self.not_before {
            "not valid yet"
        } else if now > self.not_after {
            "EXPIRED"
        } else {
            "valid"
        };
        writeln!(f, "subject:   {}", self.subject)?;
        writeln!(f, "issuer:    {}", self.issuer)?;
        writeln!(f, "serial:    {}", self.serial)?;
        writeln!(f, "authority: {}", if self.authority { "yes" } else { "no" })?;
        for name in &self.names {
            writeln!(f, "name:      {name}")?;
        }
        write!(
            f,
            "validity:  {} to {} ({state})",
            self.not_before, self.not_after
        )
    }
}
