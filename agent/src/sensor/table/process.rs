//! Processes and what they may do.

use super::{At, Capability, Tier, Way, essential, extra};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::Group;

const NOT_MAPPED_AGAIN: &str =
    "arguments are those at the start; what a program writes over them later is not seen";

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "exec",
        what: "programs that are executed",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Exec],
            hooks: &[essential("process_exec", At::BtfTracepoint("sched_process_exec"))],
            sees: &[],
            blind_spots: &[
                "an exec that fails is not seen",
                "for a script the interpreter's file is reported, and the script by the name given to exec",
                "the dynamic linker and libraries that a program maps are not seen",
                NOT_MAPPED_AGAIN,
            ],
        }],
    },
    Capability {
        name: "exit",
        what: "processes that end",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Exit],
            hooks: &[essential("process_exit", At::BtfTracepoint("sched_process_exit"))],
            sees: &[],
            blind_spots: &["the end of a thread that is not the last of its process is not seen"],
        }],
    },
    Capability {
        name: "fork",
        what: "processes that are made",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor],
            hooks: &[essential("process_fork", At::BtfTracepoint("sched_process_fork"))],
            sees: &[],
            blind_spots: &["new threads are not seen"],
        }],
    },
    Capability {
        name: "kill-exec",
        what: "processes killed before their first instruction where a rule says so",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Exec],
            hooks: &[essential("process_exec", At::BtfTracepoint("sched_process_exec"))],
            sees: &[],
            blind_spots: &[
                "the process is killed before its first instruction; what it was before the exec is gone too",
                "paths that are longer than 248 bytes match only rules for a directory above; paths with more \
                 than 96 components, and files that are in no directory (memfd), match no rule",
                "a script is matched by its interpreter, not by its own path",
                "a hard link, a copy or a bind mount of the file under another path is another path",
            ],
        }],
    },
    Capability {
        name: "cgroup",
        what: "control groups that come and go",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Cgroup],
            hooks: &[
                essential("cgroup_made", At::BtfTracepoint("cgroup_mkdir")),
                essential("cgroup_removed", At::BtfTracepoint("cgroup_rmdir")),
            ],
            sees: &[],
            blind_spots: &["control groups of the v1 hierarchies, and renames, are not seen"],
        }],
    },
];
