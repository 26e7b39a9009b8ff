//! What processes may do, and what they do to others.

use super::{At, Capability, NO_COMPAT, NOT_MAPPED_AGAIN, PERMITTED_ONLY, Tier, Way, essential, extra};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::{Group, KIND_PRIVILEGE};

const BY_CLONE: &str = "a child that is made in new namespaces is seen only with clone-namespace";
const REFUSED_ELSEWHERE: &str =
    "attempts that the kernel refuses before this check are not seen here; refused-privilege sees them";

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "ids",
        what: "processes that change their user and group ids",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Credentials],
                hooks: &[
                    essential("lsm_task_fix_setuid", At::Lsm("task_fix_setuid")),
                    essential("lsm_task_fix_setgid", At::Lsm("task_fix_setgid")),
                ],
                sees: &[(Technique::CredentialChange, Fully)],
                blind_spots: &[PERMITTED_ONLY, REFUSED_ELSEWHERE],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Credentials],
                hooks: &[
                    essential("fexit_task_fix_setuid", At::Fexit("security_task_fix_setuid")),
                    essential("fexit_task_fix_setgid", At::Fexit("security_task_fix_setgid")),
                ],
                sees: &[(Technique::CredentialChange, Fully)],
                blind_spots: &[PERMITTED_ONLY, REFUSED_ELSEWHERE],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Credentials, Group::Regs],
                hooks: &[
                    essential("exit_ids", At::SyscallExit("setuid")),
                    essential("exit_ids", At::SyscallExit("setgid")),
                    essential("exit_ids", At::SyscallExit("setreuid")),
                    essential("exit_ids", At::SyscallExit("setregid")),
                    essential("exit_ids", At::SyscallExit("setresuid")),
                    essential("exit_ids", At::SyscallExit("setresgid")),
                    extra("exit_fs_ids", At::SyscallExit("setfsuid")),
                    extra("exit_fs_ids", At::SyscallExit("setfsgid")),
                ],
                sees: &[(Technique::CredentialChange, Partly(NO_COMPAT))],
                blind_spots: &[NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "groups",
        what: "processes that change their supplementary groups",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Credentials],
                hooks: &[essential("lsm_task_fix_setgroups", At::Lsm("task_fix_setgroups"))],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY, REFUSED_ELSEWHERE],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Credentials],
                hooks: &[essential(
                    "fexit_task_fix_setgroups",
                    At::Fexit("security_task_fix_setgroups"),
                )],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY, REFUSED_ELSEWHERE],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Credentials, Group::Regs, Group::Compat],
                hooks: &[
                    essential("native_setgroups", At::Fexit("__x64_sys_setgroups")),
                    essential("compat_setgroups", At::Fexit("__ia32_sys_setgroups")),
                    essential("compat_setgroups16", At::Fexit("__ia32_sys_setgroups16")),
                ],
                sees: &[],
                blind_spots: &[],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Credentials, Group::Regs],
                hooks: &[essential("exit_setgroups", At::SyscallExit("setgroups"))],
                sees: &[],
                blind_spots: &[NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "capabilities",
        what: "processes that change their capabilities",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Credentials],
                hooks: &[essential("lsm_capset", At::Lsm("capset"))],
                sees: &[(Technique::CredentialChange, Fully)],
                blind_spots: &[PERMITTED_ONLY, REFUSED_ELSEWHERE],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Credentials],
                hooks: &[essential("fexit_capset", At::Fexit("security_capset"))],
                sees: &[(Technique::CredentialChange, Fully)],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Credentials, Group::Regs],
                hooks: &[essential("exit_capset", At::SyscallExit("capset"))],
                sees: &[(Technique::CredentialChange, Partly(NO_COMPAT))],
                blind_spots: &[NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "capability-use",
        what: "capabilities that processes use, and those that they lack",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: CAPABILITY_USE,
                hooks: &[essential("fexit_security_capable", At::Fexit("security_capable"))],
                sees: &[],
                blind_spots: &[FIRST_USE],
            },
            Way {
                tier: Tier::Fentry,
                needs: CAPABILITY_USE,
                hooks: &[essential("fexit_cap_capable", At::Fexit("cap_capable"))],
                sees: &[],
                blind_spots: &[FIRST_USE],
            },
            Way {
                tier: Tier::BtfTracepoint,
                needs: CAPABILITY_USE,
                hooks: &[essential("cap_capable", At::BtfTracepoint("cap_capable"))],
                sees: &[],
                blind_spots: &[FIRST_USE, IN_PASSING, CAPABILITY_ONLY],
            },
        ],
    },
    Capability {
        name: "refused-privilege",
        what: "attempts to change ids and capabilities and to trace others that fail",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Credentials, Group::Regs, Group::Compat],
                hooks: &[
                    essential("shared_setuid_failed", At::Fexit("__sys_setuid")),
                    essential("shared_setgid_failed", At::Fexit("__sys_setgid")),
                    essential("shared_setreuid_failed", At::Fexit("__sys_setreuid")),
                    essential("shared_setregid_failed", At::Fexit("__sys_setregid")),
                    essential("shared_setresuid_failed", At::Fexit("__sys_setresuid")),
                    essential("shared_setresgid_failed", At::Fexit("__sys_setresgid")),
                    essential("native_setgroups_failed", At::Fexit("__x64_sys_setgroups")),
                    essential("compat_setgroups_failed", At::Fexit("__ia32_sys_setgroups")),
                    essential("compat_setgroups16_failed", At::Fexit("__ia32_sys_setgroups16")),
                    essential("native_capset_failed", At::Fexit("__x64_sys_capset")),
                    essential("compat_capset_failed", At::Fexit("__ia32_sys_capset")),
                    essential("native_ptrace_failed", At::Fexit("__x64_sys_ptrace")),
                    essential("compat_ptrace_failed", At::Fexit("__ia32_compat_sys_ptrace")),
                ],
                sees: &[],
                blind_spots: &[FS_IDS_SILENT, TRACED_UNKNOWN],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Credentials, Group::Regs],
                hooks: &[
                    essential("exit_setuid_failed", At::SyscallExit("setuid")),
                    essential("exit_setgid_failed", At::SyscallExit("setgid")),
                    essential("exit_setreuid_failed", At::SyscallExit("setreuid")),
                    essential("exit_setregid_failed", At::SyscallExit("setregid")),
                    essential("exit_setreuid_failed", At::SyscallExit("setresuid")),
                    essential("exit_setregid_failed", At::SyscallExit("setresgid")),
                    extra("exit_setgroups_failed", At::SyscallExit("setgroups")),
                    essential("exit_capset_failed", At::SyscallExit("capset")),
                    essential("exit_ptrace_failed", At::SyscallExit("ptrace")),
                ],
                sees: &[],
                blind_spots: &[FS_IDS_SILENT, TRACED_UNKNOWN, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "prctl",
        what: "no_new_privs, ambient capabilities and seccomp by prctl",
        kinds: &[KIND_PRIVILEGE],
        // A BPF-LSM program on task_prctl would have to return ENOSYS, and fexit there tells no outcome.
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Credentials, Group::Regs, Group::Compat],
                hooks: &[
                    essential("compat_prctl", At::Fexit("__ia32_sys_prctl")),
                    essential("native_prctl", At::Fexit("__x64_sys_prctl")),
                ],
                sees: &[],
                blind_spots: &[SETS_DROPPED],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Credentials, Group::Regs],
                hooks: &[essential("exit_prctl", At::SyscallExit("prctl"))],
                sees: &[],
                blind_spots: &[NO_COMPAT, SETS_DROPPED],
            },
        ],
    },
    Capability {
        name: "seccomp",
        what: "seccomp filters that are installed",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential("compat_seccomp", At::Fexit("__ia32_sys_seccomp")),
                    essential("native_seccomp", At::Fexit("__x64_sys_seccomp")),
                ],
                sees: &[],
                blind_spots: &["what a filter does is not looked at"],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[essential("exit_seccomp", At::SyscallExit("seccomp"))],
                sees: &[],
                blind_spots: &[NO_COMPAT, "what a filter does is not looked at"],
            },
        ],
    },
    Capability {
        name: "namespace",
        what: "namespaces that processes leave and enter",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[
                    Group::Actor,
                    Group::Regs,
                    Group::Compat,
                    Group::Path,
                    Group::Open,
                    Group::Exec,
                    Group::Namespaces,
                ],
                hooks: &[
                    essential("compat_unshare", At::Fexit("__ia32_sys_unshare")),
                    essential("compat_setns", At::Fexit("__ia32_sys_setns")),
                    essential("native_unshare", At::Fexit("__x64_sys_unshare")),
                    essential("native_setns", At::Fexit("__x64_sys_setns")),
                ],
                sees: &[(Technique::NamespaceChange, Fully)],
                blind_spots: &[BY_CLONE],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[
                    Group::Actor,
                    Group::Regs,
                    Group::Path,
                    Group::Open,
                    Group::Exec,
                    Group::Namespaces,
                ],
                hooks: &[
                    essential("exit_unshare", At::SyscallExit("unshare")),
                    essential("exit_setns", At::SyscallExit("setns")),
                ],
                sees: &[(Technique::NamespaceChange, Partly(NO_COMPAT))],
                blind_spots: &[NO_COMPAT, BY_CLONE],
            },
        ],
    },
    Capability {
        name: "clone-namespace",
        what: "children that are made in new namespaces",
        kinds: &[KIND_PRIVILEGE],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Namespaces],
            hooks: &[essential(
                "process_fork_ns",
                At::BtfTracepoint("sched_process_fork"),
            )],
            sees: &[(
                Technique::NamespaceChange,
                Partly("by clone fully; by unshare and setns where namespace is had"),
            )],
            blind_spots: &["an attempt that fails is not seen"],
        }],
    },
    Capability {
        name: "ptrace",
        what: "processes that trace others, or open their memory",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor],
                hooks: &[
                    essential("lsm_ptrace_access_check", At::Lsm("ptrace_access_check")),
                    essential("lsm_ptrace_traceme", At::Lsm("ptrace_traceme")),
                ],
                sees: &[(Technique::Injection, Fully)],
                blind_spots: &[
                    PERMITTED_ONLY,
                    "which request of ptrace it is",
                    "looking without the right to change (PTRACE_MODE_READ) is not reported",
                    REFUSED_ELSEWHERE,
                ],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor],
                hooks: &[
                    essential(
                        "fexit_ptrace_access_check",
                        At::Fexit("security_ptrace_access_check"),
                    ),
                    essential("fexit_ptrace_traceme", At::Fexit("security_ptrace_traceme")),
                ],
                sees: &[(Technique::Injection, Fully)],
                blind_spots: &[
                    PERMITTED_ONLY,
                    "which request of ptrace it is",
                    "looking without the right to change (PTRACE_MODE_READ) is not reported",
                ],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::Tasks],
                hooks: &[essential("exit_ptrace", At::SyscallExit("ptrace"))],
                sees: &[(
                    Technique::Injection,
                    Partly("/proc/PID/mem is seen only as a file that is opened"),
                )],
                blind_spots: &[
                    NO_COMPAT,
                    "of ptrace the beginning is reported, not each request",
                    "/proc/PID/mem is seen only as a file that is opened",
                ],
            },
        ],
    },
    Capability {
        name: "vm-access",
        what: "memory of other processes that is read and written",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat, Group::Tasks],
                hooks: &[
                    essential(
                        "compat_process_vm_writev",
                        At::Fexit("__ia32_sys_process_vm_writev"),
                    ),
                    essential(
                        "compat_process_vm_readv",
                        At::Fexit("__ia32_sys_process_vm_readv"),
                    ),
                    essential(
                        "native_process_vm_writev",
                        At::Fexit("__x64_sys_process_vm_writev"),
                    ),
                    essential("native_process_vm_readv", At::Fexit("__x64_sys_process_vm_readv")),
                ],
                sees: &[(Technique::Injection, Partly(VM_INJECTION))],
                blind_spots: &[VM_TARGET],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::Tasks],
                hooks: &[
                    essential("exit_process_vm_writev", At::SyscallExit("process_vm_writev")),
                    essential("exit_process_vm_readv", At::SyscallExit("process_vm_readv")),
                ],
                sees: &[(Technique::Injection, Partly(VM_INJECTION))],
                blind_spots: &[NO_COMPAT, VM_TARGET],
            },
        ],
    },
    Capability {
        name: "signal",
        what: "signals to processes outside the sender's control group",
        kinds: &[KIND_PRIVILEGE],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Regs, Group::Tasks, Group::Cgroup],
            hooks: &[essential("signal_generate", At::BtfTracepoint("signal_generate"))],
            sees: &[(Technique::SignalOutside, Fully)],
            blind_spots: &[
                "a signal that is refused, and signal 0, which only asks for existence, are not seen",
                "where no v2 control group tells the two apart, it is no signal to the outside",
            ],
        }],
    },
    Capability {
        name: "comm",
        what: "threads that get another name",
        kinds: &[KIND_PRIVILEGE],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Exit, Group::Tasks],
            hooks: &[essential("task_rename", At::BtfTracepoint("task_rename"))],
            sees: &[(Technique::CommForging, Fully)],
            blind_spots: &[NOT_MAPPED_AGAIN],
        }],
    },
    Capability {
        name: "cgroup-move",
        what: "processes that are moved to another control group",
        kinds: &[KIND_PRIVILEGE],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Cgroup],
            hooks: &[essential(
                "cgroup_attach_task",
                At::BtfTracepoint("cgroup_attach_task"),
            )],
            sees: &[(Technique::CgroupMove, Fully)],
            blind_spots: &[
                "moves within the v1 hierarchies are not seen",
                "a child that is made in another control group (CLONE_INTO_CGROUP) is seen by its first act there",
            ],
        }],
    },
];

/// What tells who uses a capability.
const CAPABILITY_USE: &[Group] = &[
    Group::Actor,
    Group::Credentials,
    Group::Path,
    Group::Open,
    Group::Exec,
];
const FIRST_USE: &str = "of each executable and capability, one use in some minutes is reported; of which object it \
                         was needed for nothing is told";
const IN_PASSING: &str = "CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_RESOURCE, CAP_SYSLOG and CAP_PERFMON are not reported: \
                          the kernel also asks for them in passing, which the tracepoint does not tell apart";
const CAPABILITY_ONLY: &str = "what another security module refuses is reported as used";
const FS_IDS_SILENT: &str = "setfsuid and setfsgid do not tell that they were refused";
const TRACED_UNKNOWN: &str = "of tracing that was refused the other process is not known";
const SETS_DROPPED: &str = "capabilities dropped from the bounding and the ambient set are not seen";
const VM_INJECTION: &str = "process_vm_writev; ptrace and /proc/PID/mem as far as ptrace is had";
const VM_TARGET: &str = "the other process is known where ptrace is had by a security check; else by its number, in \
                         the initial pid namespace only";
