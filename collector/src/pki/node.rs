//! Names of nodes and people, and whom a certificate names.

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
    #[error("`{0}` does not name anybody as spiffe://TRUSTDOMAIN/node/NAME (or operator, auditor) does")]
    Nobody(String),
    /// It names somebody else than a node.
    #[error("the certificate is that of {0}, not of a node")]
    NotANode(Principal),
    /// An authority is not a node.
    #[error("the certificate is that of a certificate authority, not of a node")]
    Authority,
    /// Not a name.
    #[error(
        "`{0}` is not a node name: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit, at most 253"
    )]
    Name(String),
}

/// What a certificate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Deliver its own events.
    Node,
    /// Run the collector: let nodes enrol.
    Operator,
    /// See what the audit log has.
    Auditor,
}

/// Name of a person or program that runs or audits the collector; the same form as a node's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Person(NodeName);

/// Somebody with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    /// A node.
    Node(NodeName),
    /// Who runs the collector.
    Operator(Person),
    /// Who audits it.
    Auditor(Person),
}

impl Role {
    /// As it is in a certificate.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

impl Principal {
    /// What it may do.
    pub fn role(&self) -> Role {
        match self {
            Self::Node(_) => Role::Node,
            Self::Operator(_) => Role::Operator,
            Self::Auditor(_) => Role::Auditor,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) | Self::Operator(Person(name)) | Self::Auditor(Person(name)) => name.as_str(),
        }
    }

    /// The node, if it is one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Node(name) => Some(name),
            Self::Operator(_) | Self::Auditor(_) => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role().as_str(), self.name())
    }
}

impl FromStr for Person {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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
    match principal_of(certificate)? {
        (Principal::Node(name), expires) => Ok((name, expires)),
        (other, _) => Err(IdentityError::NotANode(other)),
    }
}

/// Whom a certificate (DER) names, and when the certificate expires, in seconds since 1970.
pub fn principal_of(certificate: &[u8]) -> Result<(Principal, i64), IdentityError> {
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
    let principal = principal(uri)?;
    Ok((principal, certificate.validity().not_after.timestamp()))
}

fn principal(uri: &str) -> Result<Principal, IdentityError> {
    let nobody = || IdentityError::Nobody(uri.chars().take(300).collect());
    let (_, path) = uri
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(domain, _)| !domain.is_empty())
        .ok_or_else(nobody)?;
    let (role, name) = path.split_once('/').ok_or_else(nobody)?;
    match role {
        "node" => name.parse().map(Principal::Node),
        "operator" => name.parse().map(Principal::Operator),
        "auditor" => name.parse().map(Principal::Auditor),
        _ => Err(nobody()),
    }
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

    #[test]
    fn a_uri_names_one_role() {
        let role = |uri: &str| principal(uri).map(|principal| principal.role());
        assert_eq!(role("spiffe://d/node/a"), Ok(Role::Node));
        assert_eq!(role("spiffe://d/operator/alice"), Ok(Role::Operator));
        assert_eq!(role("spiffe://d/auditor/eve"), Ok(Role::Auditor));
        for wrong in [
            "spiffe:///node/a",
            "spiffe://d/root/a",
            "spiffe://d/node/a/operator/b",
            "spiffe://d/node/",
            "https://d/node/a",
        ] {
            assert!(role(wrong).is_err(), "{wrong}");
        }
    }
}
