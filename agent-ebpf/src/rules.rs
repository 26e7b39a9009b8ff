//! Rules that the kernel side enforces.

use crate::kernel::{sock::is_mapped, task::Task};
use crate::settings;
use crate::verifier::{load, store};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, lpm_trie::Key};
use norma_abi::{
    ACTION_NONE, PathRuleKey, PeerRuleKey, Rule, RuleCounts, SCOPE_ANY, SCOPE_EXEMPT, SCOPE_MUTE_OPEN,
    SCOPE_RECOGNISE, Scope,
};

#[map]
static SCOPES: HashMap<u64, Scope> = HashMap::with_max_entries(8192, 0);
/// Goes up with each change of [`SCOPES`], after it.
#[map]
static SCOPE_GENERATION: Array<u64> = Array::with_max_entries(1, 0);
/// Flags found in [`SCOPES`], see [`scope_flags`].
#[map]
static SCOPE_MEMORY: Array<u64> = Array::with_max_entries(norma_abi::SCOPE_MEMORY, 0);
#[map]
static RULE_COUNTS: Array<RuleCounts> = Array::with_max_entries(1, 0);
#[map]
static PATH_RULES: LpmTrie<PathRuleKey, Rule> = LpmTrie::with_max_entries(4096, 0);
#[map]
static PEER_RULES: LpmTrie<PeerRuleKey, Rule> = LpmTrie::with_max_entries(4096, 0);

/// What holds in a control group.
///
/// Of one that the agent has not placed yet it is only known whether its processes share the host's pid
/// namespace. Those that do may be a service of the host that just starts, which must not be killed.
#[inline(always)]
pub fn scope(cgroup: u64) -> Scope {
    // SAFETY: the value is copied; user space replaces it as a whole.
    if let Some(scope) = unsafe { SCOPES.get(&cgroup) } {
        return *scope;
    }
    let on_host = Task::untyped().namespaces().pid() == settings::host_pid_ns();
    Scope {
        id: SCOPE_ANY,
        flags: if on_host { SCOPE_EXEMPT } else { 0 },
    }
}

/// Whether opens are reported of a control group, and whether what is known of it is recognised.
#[inline(always)]
pub fn opens(cgroup: u64) -> Opens {
    match scope_flags(cgroup) & (SCOPE_MUTE_OPEN | SCOPE_RECOGNISE) {
        0 => Opens::Reported,
        SCOPE_RECOGNISE => Opens::Recognised,
        _ => Opens::Muted,
    }
}

/// What is done about the opens of a control group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// None is reported.
    Muted,
    /// All are reported.
    Reported,
    /// Those that are not known are reported.
    Recognised,
}

/// Whether what is known of a control group is recognised.
#[inline(always)]
pub fn recognises(cgroup: u64) -> bool {
    scope_flags(cgroup) & SCOPE_RECOGNISE != 0
}

/// Whether what a bit of `SCOPE_MUTE_*` stands for is not reported of a control group.
#[inline(always)]
pub fn is_muted(cgroup: u64, bit: u32) -> bool {
    scope_flags(cgroup) & bit != 0
}

/// Bits of [`Scope::flags`].
const FLAG_BITS: u32 = 8;
/// 2^64 divided by the golden ratio: spreads numbers that lie close together.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Flags of a control group; none where the agent has not placed it.
///
/// Every open asks for them, and a look into a hash map costs as much as a whole trivial program. So an answer is
/// remembered in an array, as one word that is read and written at once: generation and flags, xored with
/// the spread id of the control group. What comes out for another control group, or after a change of the
/// scopes, is not the present generation.
#[inline(always)]
fn scope_flags(cgroup: u64) -> u32 {
    let spread = cgroup.wrapping_mul(SPREAD);
    let slot = (spread >> (64 - norma_abi::SCOPE_MEMORY.ilog2())) as u32;
    let (Some(generation), Some(memory)) = (SCOPE_GENERATION.get(0), SCOPE_MEMORY.get_ptr_mut(slot)) else {
        return 0;
    };
    // Read before the scopes: an answer that a change overtakes is remembered under the generation before it.
    let generation = load(generation);
    let remembered = load(memory) ^ spread;
    if remembered >> FLAG_BITS == generation {
        return remembered as u32 & ((1 << FLAG_BITS) - 1);
    }
    // SAFETY: the value is read as a whole; user space replaces it as a whole.
    let flags = unsafe { SCOPES.get(&cgroup) }.map_or(0, |scope| load(&scope.flags));
    store(memory, (generation << FLAG_BITS | u64::from(flags)) ^ spread);
    flags
}

/// Whether any path rule could hold in this scope.
#[inline(always)]
pub fn any_path(scope: Scope) -> bool {
    scope.flags & SCOPE_EXEMPT == 0 && RULE_COUNTS.get(0).is_some_and(|counts| load(&counts.paths) != 0)
}

/// Whether there are peer rules at all.
#[inline(always)]
pub fn has_peers() -> bool {
    RULE_COUNTS.get(0).is_some_and(|counts| load(&counts.peers) != 0)
}

/// Whether any peer rule could hold in this scope.
#[inline(always)]
pub fn any_peer(scope: Scope) -> bool {
    scope.flags & SCOPE_EXEMPT == 0 && RULE_COUNTS.get(0).is_some_and(|counts| load(&counts.peers) != 0)
}

/// The rule for a path in one scope.
#[inline(always)]
pub fn path(key: &mut Key<PathRuleKey>, scope: u32) -> Option<Rule> {
    key.data.scope = scope.to_ne_bytes();
    PATH_RULES
        .get(&*key)
        .copied()
        .filter(|rule| rule.action != ACTION_NONE)
}

/// The rule for a peer: that of the scope itself before that of every container. Within a scope the entry
/// for the port counts before the one for every port, and an entry without action is an exemption.
#[inline(always)]
pub fn peer(scope: Scope, port: [u8; 2], addr: [u8; 16]) -> Option<Rule> {
    let family = if is_mapped(&addr) { 4 } else { 6 };
    let mut key = Key::new(
        8 * size_of::<PeerRuleKey>() as u32,
        PeerRuleKey {
            scope: scope.id.to_ne_bytes(),
            port,
            family,
            reserved: 0,
            addr,
        },
    );
    peer_within(&mut key, scope.id, port).or_else(|| peer_within(&mut key, SCOPE_ANY, port))
}

#[inline(always)]
fn peer_within(key: &mut Key<PeerRuleKey>, scope: u32, port: [u8; 2]) -> Option<Rule> {
    key.data.scope = scope.to_ne_bytes();
    key.data.port = port;
    let mut found = PEER_RULES.get(&*key).copied();
    if found.is_none() {
        key.data.port = [0; 2];
        found = PEER_RULES.get(&*key).copied();
    }
    found.filter(|rule| rule.action != ACTION_NONE)
}
