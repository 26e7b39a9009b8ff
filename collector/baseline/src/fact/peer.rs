//! Who is at the other end of a connection, by the most lasting name that is known.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

/// The other end. The first of these that applies names it: an address is what changes most.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer<S = Arc<str>> {
    /// A workload of the cluster.
    Workload(S),
    /// A name that this very container resolved to the address; another's answers prove nothing.
    Domain(S),
    /// The registrable part of such names, where those below it are an open set.
    RegisteredDomain(S),
    /// A block, where the addresses in it are an open set.
    Cidr(Block),
    /// An address of which nothing else is known.
    Address(IpAddr),
}

impl Peer {
    /// Names a peer by what is known of its address.
    #[must_use]
    pub fn of(address: IpAddr, workload: Option<Arc<str>>, resolved: Option<&str>) -> Self {
        match (workload, resolved) {
            (Some(workload), _) => Self::Workload(workload),
            (None, Some(name)) => Self::Domain(Arc::from(
                name.trim_end_matches('.').to_ascii_lowercase().as_str(),
            )),
            (None, None) => Self::Address(address.to_canonical()),
        }
    }
}

impl<S> Peer<S> {
    /// The same peer with its text replaced.
    pub fn map<'a, T>(&'a self, text: impl FnOnce(&'a S) -> T) -> Peer<T> {
        match self {
            Self::Workload(name) => Peer::Workload(text(name)),
            Self::Domain(name) => Peer::Domain(text(name)),
            Self::RegisteredDomain(name) => Peer::RegisteredDomain(text(name)),
            Self::Cidr(block) => Peer::Cidr(*block),
            Self::Address(address) => Peer::Address(*address),
        }
    }
}

impl Peer<&str> {
    /// The next wider name: the registered domain of a name, the block of an address.
    pub(crate) fn wider(&self) -> Option<Self> {
        match self {
            Self::Domain(name) => registered_domain(name).map(Self::RegisteredDomain),
            Self::Address(address) => Some(Self::Cidr(Block::around(*address))),
            Self::Workload(_) | Self::RegisteredDomain(_) | Self::Cidr(_) => None,
        }
    }
}

/// The part of a name that somebody registered, by the public suffix list: `example.co.uk` of
/// `a.b.example.co.uk`. `None` for a public suffix itself, and for names within a cluster, whose suffixes are
/// nobody's to register.
#[must_use]
pub fn registered_domain(name: &str) -> Option<&str> {
    if name.ends_with(".local") || name.ends_with(".internal") {
        return None;
    }
    psl::domain_str(name)
}

impl<S: AsRef<str>> fmt::Display for Peer<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) | Self::Domain(name) => out.write_str(name.as_ref()),
            Self::RegisteredDomain(name) => write!(out, "below {}", name.as_ref()),
            Self::Cidr(block) => block.fmt(out),
            Self::Address(address) => address.fmt(out),
        }
    }
}

/// A block of addresses. Always one of the two sizes that networks are handed out in: /24, or /64 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "IpAddr", into = "IpAddr")]
pub struct Block(IpAddr);

impl Block {
    /// The block that an address is in.
    #[must_use]
    pub const fn around(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self(IpAddr::V4(Ipv4Addr::new(a, b, c, 0)))
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
        }
    }
}

/// A text or an address that is no block of the sizes in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the first address of a /24 block or, for IPv6, of a /64 block")]
pub struct NotABlock;

impl TryFrom<IpAddr> for Block {
    type Error = NotABlock;

    fn try_from(address: IpAddr) -> Result<Self, NotABlock> {
        let block = Self::around(address);
        (block.0 == address).then_some(block).ok_or(NotABlock)
    }
}

impl From<Block> for IpAddr {
    fn from(block: Block) -> Self {
        block.0
    }
}

impl FromStr for Block {
    type Err = NotABlock;

    fn from_str(text: &str) -> Result<Self, NotABlock> {
        let (address, length) = text.split_once('/').ok_or(NotABlock)?;
        let address: IpAddr = address.parse().map_err(|_| NotABlock)?;
        let wanted = if address.is_ipv4() { "24" } else { "64" };
        if length != wanted {
            return Err(NotABlock);
        }
        Self::try_from(address)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.0, if self.0.is_ipv4() { 24 } else { 64 })
    }
}

/// What kind of peer was accepted. Who exactly a client is changes with every client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum PeerClass {
    /// From the same network namespace.
    Loopback,
    /// A workload of the cluster.
    Workload,
    /// A private or link-local address that is no known workload: a node, a probe, another network.
    Private,
    /// Anywhere else.
    Public,
}

impl PeerClass {
    pub(crate) const ALL: [Self; 4] = [Self::Loopback, Self::Workload, Self::Private, Self::Public];

    /// The class of an address, given whether it is a known workload's.
    #[must_use]
    pub const fn of(address: IpAddr, of_workload: bool) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Loopback,
            _ if of_workload => Self::Workload,
            IpAddr::V4(address)
                if address.is_private()
                    || address.is_link_local()
                    // Carrier-grade NAT (RFC 6598), which clusters use for their nodes.
                    || (address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64) =>
            {
                Self::Private
            }
            IpAddr::V6(address) if address.is_unique_local() || address.is_unicast_link_local() => {
                Self::Private
            }
            _ => Self::Public,
        }
    }

    /// As in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback peers",
            Self::Workload => "workloads of the cluster",
            Self::Private => "private addresses",
            Self::Public => "public addresses",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_the_most_lasting_name_that_is_known() {
        let address: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(
            Peer::of(address, Some("shop/web".into()), Some("x.example.com")),
            Peer::Workload("shop/web".into())
        );
        assert_eq!(
            Peer::of(address, None, Some("X.Example.COM.")),
            Peer::Domain("x.example.com".into())
        );
        let unnamed = Peer::of(address, None, None);
        assert_eq!(unnamed.to_string(), "192.0.2.7");
        assert_eq!(
            unnamed.map(AsRef::as_ref).wider().unwrap().to_string(),
            "192.0.2.0/24"
        );
    }

    #[test]
    fn a_public_suffix_is_nobodys_domain() {
        assert_eq!(registered_domain("a.b.example.co.uk"), Some("example.co.uk"));
        assert_eq!(registered_domain("co.uk"), None);
        assert_eq!(registered_domain("db.shop.svc.cluster.local"), None);
    }

    #[test]
    fn blocks_are_read_as_they_are_printed() {
        for text in ["192.0.2.0/24", "2001:db8::/64"] {
            assert_eq!(text.parse::<Block>().unwrap().to_string(), text);
        }
        for text in ["192.0.2.1/24", "192.0.0.0/16", "192.0.2.0", "x/24"] {
            assert_eq!(text.parse::<Block>(), Err(NotABlock), "{text}");
        }
    }

    #[test]
    fn nodes_with_shared_addresses_are_no_public_peers() {
        let class = |text: &str| PeerClass::of(text.parse().unwrap(), false);
        assert_eq!(class("100.64.3.1"), PeerClass::Private);
        assert_eq!(class("100.128.3.1"), PeerClass::Public);
        assert_eq!(class("fd00::1"), PeerClass::Private);
        assert_eq!(class("::ffff:127.0.0.1"), PeerClass::Loopback);
    }
}
