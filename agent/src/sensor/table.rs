//! Each capability with the ways to have it, best first: the one place where that is written down.
//!
//! What is attached, what `norma-agent doctor` reports, which evasions are seen, and the documentation are
//! all made from this table.

mod file;
mod host;
mod network;
mod privilege;
mod process;

use super::coverage::Tier;
use super::evasion::{Sight, Technique};
use norma_abi::Group;

/// Something that the agent wants to see or to do.
pub struct Capability {
    /// Its name in reports and in the configuration.
    pub name: &'static str,
    /// What it is, to complete "sees ...".
    pub what: &'static str,
    /// What its programs report, as `KIND_*`.
    pub kinds: &'static [u16],
    /// Ways to have it, best first.
    pub ways: &'static [Way],
}

/// One way to have a capability.
pub struct Way {
    /// How it ranks.
    pub tier: Tier,
    /// Fields that its programs read.
    pub needs: &'static [Group],
    /// Where it hooks in.
    pub hooks: &'static [Hook],
    /// Evasions that it sees, of those that concern this capability.
    pub sees: &'static [(Technique, Sight)],
    /// What it does not see or do.
    pub blind_spots: &'static [&'static str],
}

/// A program and where it is attached.
pub struct Hook {
    /// Name of the program in the object.
    pub program: &'static str,
    /// Where it goes.
    pub at: At,
    /// The way is no way without it. Other hooks are for entry points that not every kernel has.
    pub essential: bool,
    /// What it is to other programs there.
    pub turn: Turn,
}

/// What a program is to others that hook in at the same place for the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// The only one.
    Alone,
    /// It has stand-ins, and this index in `norma_abi::Turns`.
    First(u32),
    /// It does the work where those before it are in the middle of something.
    StandIn,
}

/// Places to attach to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    /// A BPF-LSM hook.
    Lsm(&'static str),
    /// The entry to a kernel function.
    Fentry(&'static str),
    /// The return from a kernel function.
    Fexit(&'static str),
    /// A tracepoint, with typed arguments.
    BtfTracepoint(&'static str),
    /// The return from a system call.
    SyscallExit(&'static str),
    /// Nowhere: this kernel is built without this system call, so that there is nothing to see.
    NoSyscall(&'static str),
    /// The root of the v2 control group hierarchy; the kind of the program says for what.
    RootCgroup,
    /// Packets that reach a socket below the root of the v2 control group hierarchy.
    RootCgroupIngress,
    /// Packets that leave one.
    RootCgroupEgress,
}

const fn essential(program: &'static str, at: At) -> Hook {
    Hook {
        program,
        at,
        essential: true,
        turn: Turn::Alone,
    }
}

const fn extra(program: &'static str, at: At) -> Hook {
    Hook {
        program,
        at,
        essential: false,
        turn: Turn::Alone,
    }
}

/// With an index in `norma_abi::Turns`. Its stand-ins come after it.
const fn first(turn: u32, program: &'static str, at: At) -> Hook {
    Hook {
        turn: Turn::First(turn),
        ..essential(program, at)
    }
}

const fn stand_in(program: &'static str, at: At) -> Hook {
    Hook {
        turn: Turn::StandIn,
        ..extra(program, at)
    }
}

/// The way to have a capability that this kernel has no use for.
const fn without(syscall: &'static str) -> Hook {
    Hook {
        program: "",
        at: At::NoSyscall(syscall),
        essential: true,
        turn: Turn::Alone,
    }
}

/// Limits that many ways share.
const PERMITTED_ONLY: &str =
    "seen at the security check: that it was permitted, not whether it then succeeded";
const CLAIMED: &str = "paths are as the program gave them: relative names, symbolic links and a change of user \
                       memory at the same time are not resolved";
const NO_IO_URING: &str = "io_uring requests are not seen here; that they are made is seen by io-uring";
const NOT_MAPPED_AGAIN: &str =
    "arguments are those at the start; what a program writes over them later is not seen";
const NO_COMPAT: &str = "system calls by the 32-bit interface are not seen";
const NO_COMPAT_FAILED: &str = "attempts that fail are not seen by the 32-bit interface";
const NO_COMPAT_ADJUSTMENT: &str = "corrections by adjtimex through the 32-bit interface are not seen";

impl Way {
    /// How far it sees a technique of those that concern its capability. Another interface to all system calls
    /// concerns every capability, so a way says where it does not see that.
    pub fn sight(&self, technique: Technique) -> Option<Sight> {
        const BLIND: [&str; 3] = [NO_COMPAT, NO_COMPAT_FAILED, NO_COMPAT_ADJUSTMENT];
        if technique == Technique::Compat32 {
            let blind = self.blind_spots.iter().any(|spot| BLIND.contains(spot));
            return (!blind).then_some(Sight::Fully);
        }
        self.sees
            .iter()
            .find_map(|(seen, sight)| (*seen == technique).then_some(*sight))
    }
}

/// All that there is.
pub fn capabilities() -> impl Iterator<Item = &'static Capability> {
    [process::ALL, privilege::ALL, file::ALL, network::ALL, host::ALL]
        .into_iter()
        .flatten()
}
