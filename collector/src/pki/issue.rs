//! Certificates for collectors and nodes.

use super::authority::{Authority, PkiError, at, write_new};
use super::node::{NodeName, Person, Role};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Days for which a server certificate is valid, unless asked otherwise: the most that clients commonly take.
pub const SERVER_DAYS: u32 = 397;
/// Days for which a certificate of a node or person is valid, unless asked otherwise: short, besides revocation.
pub const NODE_DAYS: u32 = 90;
/// Clocks of nodes lag.
const BACKDATE: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The names under which agents reach a collector.
#[derive(Clone, Debug, Default)]
pub struct ServerNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

/// Makes `server.pem` and `server-key.pem` in `out`.
pub fn issue_server(
    authority: &Authority,
    out: &Path,
    names: &ServerNames,
    days: u32,
) -> Result<(), PkiError> {
    let first = names
        .dns
        .first()
        .cloned()
        .or_else(|| names.ip.first().map(ToString::to_string));
    let first = first.ok_or(PkiError::NoNames)?;
    let mut params = leaf(&first, days);
    for name in &names.dns {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into()?));
    }
    params
        .subject_alt_names
        .extend(names.ip.iter().copied().map(SanType::IpAddress));
    write_pair(authority, out, "server", &params)
}

/// Makes `node.pem` and `node-key.pem` in `out`.
pub fn issue_node(authority: &Authority, out: &Path, node: &NodeName, days: u32) -> Result<(), PkiError> {
    let mut params = leaf(node.as_str(), days);
    let uri = format!("spiffe://{}/node/{node}", authority.trust_domain);
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    write_pair(authority, out, "node", &params)
}

/// Certifies a node's own key, for `validity` from now on.
pub fn certify_node(
    authority: &Authority,
    node: &NodeName,
    key: &impl PublicKeyData,
    validity: Duration,
) -> Result<CertificateDer<'static>, PkiError> {
    let mut params = leaf(node.as_str(), 0);
    params.not_after = (SystemTime::now() + validity).into();
    let uri = format!("spiffe://{}/node/{node}", authority.trust_domain);
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    // Not derived from the key, as it would be otherwise: each certificate of a key can be revoked by itself.
    let mut serial = [0; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut serial)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    Ok(params.signed_by(key, &authority.issuer)?.der().clone())
}

/// Makes `operator.pem` and `operator-key.pem`, or those of an auditor, in `out`.
pub fn issue_person(
    authority: &Authority,
    out: &Path,
    role: Role,
    person: &Person,
    days: u32,
) -> Result<(), PkiError> {
    let mut params = leaf(&person.to_string(), days);
    let role = role.as_str();
    let uri = format!("spiffe://{}/{role}/{person}", authority.trust_domain);
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    write_pair(authority, out, role, &params)
}

pub(super) fn set_validity(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + DAY * days).into();
}

fn leaf(common_name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    // X.520 bounds a common name at 64 characters; what counts is in the alternative names.
    let common_name: String = common_name.chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A collector is a client of its sinks; being a client alone makes nobody a node.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, days);
    params
}

fn write_pair(
    authority: &Authority,
    out: &Path,
    name: &str,
    params: &CertificateParams,
) -> Result<(), PkiError> {
    fs::create_dir_all(out).map_err(at(out))?;
    let (certificate_path, key_path) = (
        out.join(format!("{name}.pem")),
        out.join(format!("{name}-key.pem")),
    );
    for path in [&certificate_path, &key_path] {
        if path.symlink_metadata().is_ok() {
            return Err(PkiError::Exists(path.clone()));
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
    let certificate = params.signed_by(&key, &authority.issuer)?;
    write_new(&key_path, &key.serialize_pem(), 0o600)?;
    write_new(&certificate_path, &certificate.pem(), 0o644)
}
