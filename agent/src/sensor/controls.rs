//! Steering of the kernel side: scopes of control groups, and rules that it enforces by itself.

mod rule;

pub use rule::{PathPattern, PathRule, PeerRule};

use super::SensorError;
use super::shared::{Shared, take};
use crate::observation::CgroupId;
use aya::Ebpf;
use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError, lpm_trie::Key};
use norma_abi::{PathRuleKey, PeerRuleKey, RULE_PATH_MAX, Rule, RuleCounts, Scope};
use std::collections::BTreeMap;
use std::io;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Entries that a rule trie has room for.
const RULES_MAX: usize = 4096;
/// BPF_NOEXIST and BPF_EXIST are not wanted: insert or replace.
const ANY: u64 = 0;

/// Why a rule or scope could not be set. Nothing was changed, except after [`ControlError::Map`].
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The pattern does not fit the key.
    #[error("{pattern}: the path has {length} bytes, the kernel side compares at most {limit}", limit = RULE_PATH_MAX - 1)]
    PathTooLong {
        /// The pattern.
        pattern: String,
        /// Its length in bytes.
        length: usize,
    },
    /// Patterns are absolute paths without NUL.
    #[error("{pattern:?} is no absolute path")]
    NotAbsolute {
        /// The pattern.
        pattern: String,
    },
    /// More rules than there is room for.
    #[error(
        "{count} {what} rules are more than the {RULES_MAX} that the kernel side holds; merge or drop some"
    )]
    TooManyRules {
        /// `path` or `peer`.
        what: &'static str,
        /// How many were given.
        count: usize,
    },
    /// More control groups than there is room for.
    #[error("the scope map is full; control group {} gets the rules of every container", .0.0)]
    ScopesFull(CgroupId),
    /// The kernel refused the change.
    #[error("the kernel refuses a change of {what}: {source}")]
    Map {
        /// The map.
        what: &'static str,
        /// What it says.
        source: MapError,
    },
}

/// The maps through which the kernel side is steered.
pub struct Controls {
    scopes: HashMap<MapData, u64, Shared<Scope>>,
    generation: Array<MapData, u64>,
    changes: u64,
    counts: Array<MapData, Shared<RuleCounts>>,
    paths: RuleSet<PathRuleKey>,
    peers: RuleSet<PeerRuleKey>,
}

impl Controls {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        Ok(Self {
            scopes: take(ebpf, "SCOPES")?,
            generation: take(ebpf, "SCOPE_GENERATION")?,
            changes: 0,
            counts: take(ebpf, "RULE_COUNTS")?,
            paths: RuleSet {
                what: "path",
                trie: take(ebpf, "PATH_RULES")?,
                held: BTreeMap::new(),
            },
            peers: RuleSet {
                what: "peer",
                trie: take(ebpf, "PEER_RULES")?,
                held: BTreeMap::new(),
            },
        })
    }

    /// Says what holds in a control group.
    pub fn set_scope(&mut self, cgroup: CgroupId, scope: Scope) -> Result<(), ControlError> {
        self.scopes
            .insert(cgroup.0, Shared(scope), ANY)
            .map_err(|source| match full(&source) {
                true => ControlError::ScopesFull(cgroup),
                false => ControlError::Map {
                    what: "the scopes",
                    source,
                },
            })?;
        self.scopes_changed()
    }

    /// Makes the kernel side look the scopes up again instead of remembering them.
    fn scopes_changed(&mut self) -> Result<(), ControlError> {
        self.changes += 1;
        self.generation
            .set(0, self.changes, ANY)
            .map_err(|source| ControlError::Map {
                what: "the generation of the scopes",
                source,
            })
    }

    /// Forgets a control group; one that is not known is no error.
    pub fn remove_scope(&mut self, cgroup: CgroupId) -> Result<(), ControlError> {
        match self.scopes.remove(&cgroup.0) {
            Ok(()) => self.scopes_changed(),
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ControlError::Map {
                what: "the scopes",
                source,
            }),
        }
    }

    /// Makes these the rules for executables, and no others. What stays is enforced without a gap.
    pub fn replace_path_rules(&mut self, rules: &[PathRule]) -> Result<(), ControlError> {
        let wanted = rule::path_entries(rules)?;
        self.paths.replace(wanted)?;
        self.publish_counts()
    }

    /// Makes these the rules for peers, and no others. What stays is enforced without a gap.
    pub fn replace_peer_rules(&mut self, rules: &[PeerRule]) -> Result<(), ControlError> {
        self.peers.replace(rule::peer_entries(rules))?;
        self.publish_counts()
    }

    fn publish_counts(&mut self) -> Result<(), ControlError> {
        let counts = RuleCounts {
            paths: self.paths.held.len() as u32,
            peers: self.peers.held.len() as u32,
        };
        self.counts
            .set(0, Shared(counts), ANY)
            .map_err(|source| ControlError::Map {
                what: "the rule counts",
                source,
            })
    }
}

/// Key data and length of the prefix in bits.
type Prefix = (Vec<u8>, u32);

/// A trie with what it holds.
struct RuleSet<K> {
    what: &'static str,
    trie: LpmTrie<MapData, Shared<K>, Shared<Rule>>,
    held: BTreeMap<Prefix, Rule>,
}

impl<K: Copy + FromBytes + IntoBytes + Immutable + 'static> RuleSet<K> {
    fn replace(&mut self, wanted: BTreeMap<Prefix, Rule>) -> Result<(), ControlError> {
        if wanted.len() > RULES_MAX {
            return Err(ControlError::TooManyRules {
                what: self.what,
                count: wanted.len(),
            });
        }
        let stale: Vec<Prefix> = self
            .held
            .keys()
            .filter(|prefix| !wanted.contains_key(*prefix))
            .cloned()
            .collect();
        // New rules come before old ones go, unless both together do not fit.
        let room = self.held.len() + wanted.len() <= RULES_MAX;
        if !room {
            self.remove(&stale)?;
        }
        for (prefix, rule) in wanted {
            if self.held.get(&prefix) != Some(&rule) {
                self.trie
                    .insert(&key(&prefix), Shared(rule), ANY)
                    .map_err(|source| self.refused(source))?;
                self.held.insert(prefix, rule);
            }
        }
        if room {
            self.remove(&stale)?;
        }
        Ok(())
    }

    fn remove(&mut self, stale: &[Prefix]) -> Result<(), ControlError> {
        for prefix in stale {
            self.trie
                .remove(&key(prefix))
                .map_err(|source| self.refused(source))?;
            self.held.remove(prefix);
        }
        Ok(())
    }

    fn refused(&self, source: MapError) -> ControlError {
        ControlError::Map {
            what: if self.what == "path" {
                "the path rules"
            } else {
                "the peer rules"
            },
            source,
        }
    }
}

fn key<K: Copy + FromBytes + IntoBytes + Immutable + 'static>((data, bits): &Prefix) -> Key<Shared<K>> {
    let mut value = K::new_zeroed();
    let bytes = value.as_mut_bytes();
    let len = data.len().min(bytes.len());
    bytes[..len].copy_from_slice(&data[..len]);
    Key::new(*bits, Shared(value))
}

/// E2BIG is what a full map says.
fn full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(7))
}
