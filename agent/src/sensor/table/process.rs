//! Processes.

use super::{
    At, Capability, Hook, NO_COMPAT, NOT_MAPPED_AGAIN, Tier, Way, essential, extra, first, stand_in,
};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::{
    Group, KIND_CGROUP, KIND_EXEC, KIND_EXIT, KIND_FORK, KIND_PRIVILEGE, TURN_EXEC, TURN_EXIT, TURN_FORK,
};

const CLAIMED_NAME: &str = "the name is as the program gave it";

const FORKED: At = At::BtfTracepoint("sched_process_fork");
const ENDED: At = At::BtfTracepoint("sched_process_exit");
const EXEC: At = At::BtfTracepoint("sched_process_exec");
const EXECUTED: &[Hook] = &[
    first(TURN_EXEC, "process_exec", EXEC),
    stand_in("process_exec_second", EXEC),
];

/// What becomes of a flood, in every tier.
const COUNTED: &str =
    "what finds a ring full is counted by control group and kind and admitted at once, not described";

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "exec",
        what: "programs that are executed",
        kinds: &[KIND_EXEC],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Exec],
            hooks: EXECUTED,
            sees: &[
                (Technique::Script, Fully),
                (Technique::Memfd, Fully),
                (Technique::Deleted, Fully),
                (Technique::Volume, Fully),
                (Technique::ThreadExec, Fully),
                (Technique::ShortLived, Fully),
                (Technique::GarbageNames, Fully),
                (
                    Technique::LongPath,
                    Partly("paths beyond 96 components and arguments beyond 64 KiB are cut, and marked"),
                ),
            ],
            blind_spots: &[
                "the file of a script that closes more than 64 descriptors by its exec is not found; it is then \
                 known by the name given to exec",
                "in a container whose root is no overlay, image and changes are not told apart",
                "the dynamic linker and libraries that a program maps are not seen here",
                NOT_MAPPED_AGAIN,
            ],
        }],
    },
    Capability {
        name: "exec-failed",
        what: "programs that were to be executed and were not",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential("native_execve", At::Fexit("__x64_sys_execve")),
                    essential("native_execveat", At::Fexit("__x64_sys_execveat")),
                    essential("compat_execve", At::Fexit("__ia32_compat_sys_execve")),
                    essential("compat_execveat", At::Fexit("__ia32_compat_sys_execveat")),
                ],
                sees: &[],
                blind_spots: &[CLAIMED_NAME],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("exit_execve", At::SyscallExit("execve")),
                    extra("exit_execveat", At::SyscallExit("execveat")),
                ],
                sees: &[],
                blind_spots: &[CLAIMED_NAME, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "exit",
        what: "processes that end",
        kinds: &[KIND_EXIT],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Exit],
            hooks: &[
                first(TURN_EXIT, "process_exit", ENDED),
                stand_in("process_exit_second", ENDED),
                stand_in("process_exit_third", ENDED),
            ],
            sees: &[(Technique::ShortLived, Fully)],
            blind_spots: &[
                "the end of a thread that is not the last of its process is not seen",
                "time on a processor is what was accounted when the last thread ended: up to a tick of the \
                 clock, and other threads that ended at the same moment, may be missing",
            ],
        }],
    },
    Capability {
        name: "fork",
        what: "processes that are made",
        kinds: &[KIND_FORK],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor],
            hooks: &[
                first(TURN_FORK, "process_fork", FORKED),
                stand_in("process_fork_second", FORKED),
                stand_in("process_fork_third", FORKED),
            ],
            sees: &[(Technique::Flood, Partly(COUNTED))],
            blind_spots: &["new threads are not seen"],
        }],
    },
    Capability {
        name: "kill-exec",
        what: "processes killed before their first instruction where a rule says so",
        kinds: &[KIND_EXEC],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Exec],
            hooks: EXECUTED,
            sees: &[],
            blind_spots: &[
                "the process is killed before its first instruction; what it was before the exec is gone too",
                "paths that are longer than 248 bytes match only rules for a directory above; paths with more \
                 than 96 components, and files that are in no directory (memfd), match no rule",
                "a hard link, a copy or a bind mount of the file under another path is another path",
            ],
        }],
    },
    Capability {
        name: "cgroup",
        what: "control groups that come and go",
        kinds: &[KIND_CGROUP],
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
