//! Each capability with the ways to have it, best first: the one place where that is written down.

use super::coverage::Tier;
use norma_abi::Group;

/// Something that the agent wants to see or to do.
pub struct Capability {
    /// Its name in reports.
    pub name: &'static str,
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
}

/// Places to attach to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    /// A tracepoint, with typed arguments.
    BtfTracepoint(&'static str),
    /// The return from a system call.
    SyscallExit(&'static str),
    /// The root of the v2 control group hierarchy.
    RootCgroup,
}

const fn essential(program: &'static str, at: At) -> Hook {
    Hook {
        program,
        at,
        essential: true,
    }
}

const fn extra(program: &'static str, at: At) -> Hook {
    Hook {
        program,
        at,
        essential: false,
    }
}

const NOT_MAPPED_AGAIN: &str =
    "arguments are those at the start; what a program writes over them later is not seen";

/// All that there is.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "exec",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Exec],
            hooks: &[essential("process_exec", At::BtfTracepoint("sched_process_exec"))],
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
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Exit],
            hooks: &[essential("process_exit", At::BtfTracepoint("sched_process_exit"))],
            blind_spots: &["the end of a thread that is not the last of its process is not seen"],
        }],
    },
    Capability {
        name: "fork",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor],
            hooks: &[essential("process_fork", At::BtfTracepoint("sched_process_fork"))],
            blind_spots: &["new threads are not seen"],
        }],
    },
    Capability {
        name: "open",
        ways: &[Way {
            tier: Tier::SyscallTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Open],
            hooks: &[
                essential("open_exit", At::SyscallExit("openat")),
                extra("open_exit", At::SyscallExit("openat2")),
                extra("open_exit", At::SyscallExit("open")),
                extra("open_exit", At::SyscallExit("creat")),
                extra("open_exit", At::SyscallExit("open_by_handle_at")),
            ],
            blind_spots: &[
                "opens through io_uring are not seen",
                "opens by 32-bit programs on a 64-bit kernel are not seen",
                "opens that fail are not seen",
                "opens that the kernel does itself are not seen (executables, their libraries' loader, core dumps)",
                "descriptors received from another process, and what is done to a file by its path \
                 without opening it (rename, unlink, truncate), are not seen",
                "a thread that replaces or closes the descriptor before its sibling's open returns changes or \
                 hides what is reported",
                "a file renamed between its open and the return is reported under the new name",
            ],
        }],
    },
    Capability {
        name: "connect",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Sock],
            hooks: &[essential(
                "socket_state",
                At::BtfTracepoint("inet_sock_set_state"),
            )],
            blind_spots: &[
                "the attempt is seen, not whether it succeeds",
                "UDP, raw and ping sockets are not seen, except where a rule refuses the peer",
                "Unix, vsock and other non-internet sockets are not seen",
                "accepted connections are not seen",
            ],
        }],
    },
    Capability {
        name: "listen",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Sock],
            hooks: &[essential(
                "socket_state",
                At::BtfTracepoint("inet_sock_set_state"),
            )],
            blind_spots: &[
                "a port that the kernel chooses at listen(2) itself is reported as 0",
                "bound UDP sockets are not seen",
            ],
        }],
    },
    Capability {
        name: "cgroup",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Cgroup],
            hooks: &[
                essential("cgroup_made", At::BtfTracepoint("cgroup_mkdir")),
                essential("cgroup_removed", At::BtfTracepoint("cgroup_rmdir")),
            ],
            blind_spots: &["control groups of the v1 hierarchies, and renames, are not seen"],
        }],
    },
    Capability {
        name: "deny-connect",
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor],
            hooks: &[
                essential("connect4", At::RootCgroup),
                essential("connect6", At::RootCgroup),
                essential("sendmsg4", At::RootCgroup),
                essential("sendmsg6", At::RootCgroup),
            ],
            blind_spots: &[
                "raw, packet and SCTP multi-homing sockets are not refused",
                "connections that exist when a rule comes are not cut",
                "a control group made inside a container's own has no scope of its own until the agent gives it one",
            ],
        }],
    },
    Capability {
        name: "kill-exec",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Path, Group::Exec],
            hooks: &[essential("process_exec", At::BtfTracepoint("sched_process_exec"))],
            blind_spots: &[
                "the process is killed before its first instruction; what it was before the exec is gone too",
                "paths that are longer than 248 bytes match only rules for a directory above; paths with more \
                 than 96 components, and files that are in no directory (memfd), match no rule",
                "a script is matched by its interpreter, not by its own path",
                "a hard link, a copy or a bind mount of the file under another path is another path",
            ],
        }],
    },
];
