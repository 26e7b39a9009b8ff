//! Node names, and the node that a certificate names.

use std::fmt;
use std::str::FromStr;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// Name of a node: a DNS subdomain as Kubernetes demands it (RFC 1123), at most 253 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

/// Why a certificate does not name a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// An SVID has exactly one URI.
    #[error("the certificate has {0} URI names where it must have one, spiffe://TRUSTDOMAIN/node/NAME")]
    Uris(usize),
    /// The URI is another's.
    #[error("`{0}` does not name a node as spiffe://TRUSTDOMAIN/node/NAME does")]
    NotANode(String),
    /// An authority is not a node.
    #[error("the certificate is that of a certificate authority, not of a node")]
    Authority,
    /// Not a name.
    #[error(
        "`{0}` is not a node name: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit, at most 253"
    )]
    Name(String),
}

impl NodeName {
    const MAX: usize = 253;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() <= Self::MAX && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError::Name(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The node that a certificate (DER) names, and when the certificate expires, in seconds since 1970.
pub fn node_of(certificate: &[u8]) -> Result<(NodeName, i64), IdentityError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Unreadable)?;
    if certificate.is_ca() {
        return Err(IdentityError::Authority);
    }
    let mut uris = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
            for name in &names.general_names {
                if let GeneralName::URI(uri) = name {
                    uris.push(*uri);
                }
            }
        }
    }
    let [uri] = uris.as_slice() else {
        return Err(IdentityError::Uris(uris.len()));
    };
    let not_a_node = || IdentityError::NotANode((*uri).chars().take(300).collect());
    let (domain, path) = uri
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(not_a_node)?;
    let name = path
        .strip_prefix("node/")
        .filter(|_| !domain.is_empty())
        .ok_or_else(not_a_node)?;
    Ok((name.parse()?, certificate.validity().not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_subdomains() {
        for name in ["a", "worker-1", "ip-10-0-0-1.eu.example", "0"] {
            assert!(name.parse::<NodeName>().is_ok(), "{name}");
        }
        let long = "a".repeat(254);
        for name in ["", "-a", "a-", "A", "a..b", "a/b", "a b", "../x", "é", &long] {
            assert!(name.parse::<NodeName>().is_err(), "{name}");
        }
    }
}
