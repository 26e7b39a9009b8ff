//! From rules to entries of the kernel side's tries.

use super::{ControlError, Prefix};
use crate::observation::RuleNumber;
use ipnet::IpNet;
use norma_abi::{ACTION_DENIED, ACTION_KILLED, ACTION_NONE, PathRuleKey, PeerRuleKey, RULE_PATH_MAX, Rule};
use std::collections::BTreeMap;
use std::mem::offset_of;
use zerocopy::IntoBytes as _;

/// Which executables a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This absolute path.
    Exact(Vec<u8>),
    /// Everything under this directory.
    Subtree(Vec<u8>),
}

/// Scope (`SCOPE_ANY` for every container), executables that are killed in it, and the rule's number;
/// without a number they are exempt from a wider rule of the same scope.
pub type PathRule = (u32, PathPattern, Option<RuleNumber>);

/// Scope, peers that are refused in it, their port or `None` for every port, and the rule's number;
/// without a number they are exempt from a wider rule of the same scope.
pub type PeerRule = (u32, IpNet, Option<u16>, Option<RuleNumber>);

/// Entries of the path trie. Of two rules for the same pattern the first one counts.
pub fn path_entries(rules: &[PathRule]) -> Result<BTreeMap<Prefix, Rule>, ControlError> {
    let mut entries = BTreeMap::new();
    for (scope, pattern, number) in rules {
        let mut data = scope.to_ne_bytes().to_vec();
        data.extend(pattern.terminated()?);
        let bits = 8 * data.len() as u32;
        debug_assert!(data.len() <= size_of::<PathRuleKey>());
        entries
            .entry((data, bits))
            .or_insert(entry(ACTION_KILLED, *number));
    }
    Ok(entries)
}

/// Entries of the peer trie. Of two rules for the same peers the first one counts.
pub fn peer_entries(rules: &[PeerRule]) -> BTreeMap<Prefix, Rule> {
    let mut entries = BTreeMap::new();
    for (scope, net, port, number) in rules {
        let (family, addr, length) = match unmapped(*net) {
            IpNet::V4(net) => (4, net.network().to_ipv6_mapped(), 96 + net.prefix_len()),
            IpNet::V6(net) => (6, net.network(), net.prefix_len()),
        };
        let key = PeerRuleKey {
            scope: scope.to_ne_bytes(),
            port: port.unwrap_or(0).to_be_bytes(),
            family,
            reserved: 0,
            addr: addr.octets(),
        };
        let bits = 8 * offset_of!(PeerRuleKey, addr) as u32 + u32::from(length);
        entries
            .entry((key.as_bytes().to_vec(), bits))
            .or_insert(entry(ACTION_DENIED, *number));
    }
    entries
}

fn entry(action: u32, number: Option<RuleNumber>) -> Rule {
    number.map_or(
        Rule {
            action: ACTION_NONE,
            rule: 0,
        },
        |number| Rule {
            action,
            rule: number.0,
        },
    )
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is.
fn unmapped(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let (Some(v4), Some(length)) = (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
        && let Ok(v4) = ipnet::Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4);
    }
    net
}

impl PathPattern {
    /// The pattern with the byte that ends it in the trie.
    fn terminated(&self) -> Result<Vec<u8>, ControlError> {
        let (path, end) = match self {
            Self::Exact(path) => (path.as_slice(), 0),
            Self::Subtree(path) => (path.strip_suffix(b"/").unwrap_or(path), b'/'),
        };
        let text = || String::from_utf8_lossy(path).into_owned();
        let root = matches!(self, Self::Subtree(whole) if whole == b"/");
        if !(root || path.starts_with(b"/")) || path.contains(&0) {
            return Err(ControlError::NotAbsolute { pattern: text() });
        }
        if path.len() >= RULE_PATH_MAX {
            return Err(ControlError::PathTooLong {
                pattern: text(),
                length: path.len(),
            });
        }
        Ok([path, &[end]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminated(pattern: &PathPattern) -> Result<Vec<u8>, String> {
        pattern.terminated().map_err(|error| error.to_string())
    }

    #[test]
    fn patterns_end_so_that_a_prefix_is_a_whole_component() {
        assert_eq!(
            terminated(&PathPattern::Exact(b"/bin/nc".to_vec())),
            Ok(b"/bin/nc\0".to_vec())
        );
        assert_eq!(
            terminated(&PathPattern::Subtree(b"/tmp".to_vec())),
            Ok(b"/tmp/".to_vec())
        );
        assert_eq!(
            terminated(&PathPattern::Subtree(b"/tmp/".to_vec())),
            Ok(b"/tmp/".to_vec())
        );
        assert_eq!(
            terminated(&PathPattern::Subtree(b"/".to_vec())),
            Ok(b"/".to_vec())
        );
    }

    #[test]
    fn patterns_that_do_not_fit_are_named() {
        assert!(
            terminated(&PathPattern::Exact(b"bin/nc".to_vec()))
                .unwrap_err()
                .contains("bin/nc")
        );
        assert!(terminated(&PathPattern::Exact(b"/bin\0/nc".to_vec())).is_err());
        let long = [b"/", vec![b'x'; RULE_PATH_MAX].as_slice()].concat();
        assert!(
            terminated(&PathPattern::Exact(long))
                .unwrap_err()
                .contains("249 bytes")
        );
        let longest = [b"/", vec![b'x'; RULE_PATH_MAX - 2].as_slice()].concat();
        assert_eq!(
            terminated(&PathPattern::Exact(longest)).unwrap().len(),
            RULE_PATH_MAX
        );
    }

    #[test]
    fn a_network_of_mapped_addresses_is_an_ipv4_network() {
        let entries = |net: &str| peer_entries(&[(0, net.parse().unwrap(), None, Some(RuleNumber(1)))]);
        assert_eq!(entries("::ffff:10.0.0.0/104"), entries("10.0.0.0/8"));
        assert_ne!(entries("::/0"), entries("0.0.0.0/0"));
    }

    #[test]
    fn of_two_rules_for_the_same_peers_the_first_counts() {
        let net: IpNet = "10.1.2.3/8".parse().unwrap();
        let same: IpNet = "10.0.0.0/8".parse().unwrap();
        let entries = peer_entries(&[
            (7, net, Some(443), Some(RuleNumber(1))),
            (7, same, Some(443), Some(RuleNumber(2))),
        ]);
        assert_eq!(
            entries.into_values().map(|rule| rule.rule).collect::<Vec<_>>(),
            [1]
        );
    }
}
