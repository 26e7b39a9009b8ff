//! The kernel and the machine.

use super::{
    At, Capability, NO_COMPAT, NO_COMPAT_ADJUSTMENT, NO_COMPAT_FAILED, PERMITTED_ONLY, Tier, Way, essential,
    extra, without,
};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::{Group, KIND_HOST};

const KINDS_ONLY: &str =
    "that requests of a kind are made is reported, with their number, not what they are made on";

const LOADED_ONLY: &str = "programs that are attached by ioctl (to performance events) or netlink (to interfaces) are seen when they \
     are loaded";
const SOCKETS_LOADED_ONLY: &str = "programs that are attached by ioctl, netlink or as a socket's filter are seen \
                                   when they are loaded";

const PERF_TYPE: &str =
    "the type is the one that the kernel settled on, which may be another than was asked for";
const BY_DEVICE: &str = "one that is made by /dev/userfaultfd is seen as a file that is opened";
const OWN_START: &str = "a module whose own start fails is reported as loaded, and then as failed";
const BPF_CLAIMED: &str = "names and types are as the caller gives them";
const UNCOUNTED: &str =
    "requests after the last report of a kind, which is made once a second, are not counted";
const POLLED: &str =
    "before 5.12, requests that a thread of the kernel takes from the ring (SQPOLL) are that thread's";

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "module",
        what: "kernel modules that are asked for, loaded and removed",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::BtfTracepoint,
                needs: &[Group::Actor, Group::Module, Group::Regs, Group::Compat],
                hooks: &[
                    essential("module_load", At::BtfTracepoint("module_load")),
                    essential("module_free", At::BtfTracepoint("module_free")),
                    extra("module_request", At::BtfTracepoint("module_request")),
                    essential("native_init_module_failed", At::Fexit("__x64_sys_init_module")),
                    essential("compat_init_module_failed", At::Fexit("__ia32_sys_init_module")),
                    essential("native_finit_module_failed", At::Fexit("__x64_sys_finit_module")),
                    essential("compat_finit_module_failed", At::Fexit("__ia32_sys_finit_module")),
                    essential(
                        "native_delete_module_failed",
                        At::Fexit("__x64_sys_delete_module"),
                    ),
                    essential(
                        "compat_delete_module_failed",
                        At::Fexit("__ia32_sys_delete_module"),
                    ),
                ],
                sees: &[(Technique::KernelModule, Fully)],
                blind_spots: &[OWN_START],
            },
            Way {
                tier: Tier::BtfTracepoint,
                needs: &[Group::Actor, Group::Module],
                hooks: &[
                    essential("module_load", At::BtfTracepoint("module_load")),
                    essential("module_free", At::BtfTracepoint("module_free")),
                    extra("module_request", At::BtfTracepoint("module_request")),
                    extra("exit_init_module_failed", At::SyscallExit("init_module")),
                    extra("exit_finit_module_failed", At::SyscallExit("finit_module")),
                    extra("exit_delete_module_failed", At::SyscallExit("delete_module")),
                ],
                sees: &[(Technique::KernelModule, Fully)],
                blind_spots: &[OWN_START, NO_COMPAT_FAILED],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[],
                hooks: &[without("init_module")],
                sees: &[(Technique::KernelModule, Fully)],
                blind_spots: &["this kernel is built without modules: there is nothing to see"],
            },
        ],
    },
    Capability {
        name: "bpf",
        what: "BPF programs that are loaded and attached",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Open, Group::Bpf],
                hooks: &[
                    essential("lsm_bpf", At::Lsm("bpf")),
                    extra("fexit_socket_filter", At::Fexit("sk_attach_bpf")),
                    extra("fexit_socket_choice", At::Fexit("sk_reuseport_attach_bpf")),
                ],
                sees: &[(Technique::BpfProgram, Partly(LOADED_ONLY))],
                blind_spots: &[PERMITTED_ONLY, LOADED_ONLY],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Open, Group::Bpf],
                hooks: &[
                    essential("fexit_bpf", At::Fexit("security_bpf")),
                    extra("fexit_socket_filter", At::Fexit("sk_attach_bpf")),
                    extra("fexit_socket_choice", At::Fexit("sk_reuseport_attach_bpf")),
                ],
                sees: &[(Technique::BpfProgram, Partly(LOADED_ONLY))],
                blind_spots: &[PERMITTED_ONLY, LOADED_ONLY],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Open, Group::Regs, Group::Bpf],
                hooks: &[essential("exit_bpf", At::SyscallExit("bpf"))],
                sees: &[(Technique::BpfProgram, Partly(SOCKETS_LOADED_ONLY))],
                blind_spots: &[
                    NO_COMPAT,
                    SOCKETS_LOADED_ONLY,
                    "which program is attached is as the caller gives it",
                ],
            },
        ],
    },
    Capability {
        name: "bpf-refused",
        what: "BPF programs that are not loaded or attached after all",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Open, Group::Regs, Group::Compat, Group::Bpf],
                hooks: &[
                    essential("native_bpf_failed", At::Fexit("__x64_sys_bpf")),
                    essential("compat_bpf_failed", At::Fexit("__ia32_sys_bpf")),
                ],
                sees: &[],
                blind_spots: &[BPF_CLAIMED],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Open, Group::Regs, Group::Bpf],
                hooks: &[essential("exit_bpf_failed", At::SyscallExit("bpf"))],
                sees: &[],
                blind_spots: &[NO_COMPAT, BPF_CLAIMED],
            },
        ],
    },
    Capability {
        name: "keys",
        what: "use of the kernel's key store",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential("compat_keyctl", At::Fexit("__ia32_compat_sys_keyctl")),
                    essential("compat_add_key", At::Fexit("__ia32_sys_add_key")),
                    essential("compat_request_key", At::Fexit("__ia32_sys_request_key")),
                    essential("native_keyctl", At::Fexit("__x64_sys_keyctl")),
                    essential("native_add_key", At::Fexit("__x64_sys_add_key")),
                    essential("native_request_key", At::Fexit("__x64_sys_request_key")),
                ],
                sees: &[],
                blind_spots: &["descriptions of keys are as the caller gives them"],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("exit_keyctl", At::SyscallExit("keyctl")),
                    essential("exit_add_key", At::SyscallExit("add_key")),
                    essential("exit_request_key", At::SyscallExit("request_key")),
                ],
                sees: &[],
                blind_spots: &[NO_COMPAT, "descriptions of keys are as the caller gives them"],
            },
        ],
    },
    Capability {
        name: "perf-event",
        what: "performance events that are opened",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Open, Group::Regs, Group::Compat, Group::Perf],
                hooks: &[
                    essential("compat_perf_event_open", At::Fexit("__ia32_sys_perf_event_open")),
                    essential("native_perf_event_open", At::Fexit("__x64_sys_perf_event_open")),
                ],
                sees: &[],
                blind_spots: &[PERF_TYPE],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Open, Group::Regs, Group::Perf],
                hooks: &[essential(
                    "exit_perf_event_open",
                    At::SyscallExit("perf_event_open"),
                )],
                sees: &[],
                blind_spots: &[NO_COMPAT, PERF_TYPE],
            },
        ],
    },
    Capability {
        name: "userfaultfd",
        what: "processes that handle page faults themselves",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential("compat_userfaultfd", At::Fexit("__ia32_sys_userfaultfd")),
                    essential("native_userfaultfd", At::Fexit("__x64_sys_userfaultfd")),
                ],
                sees: &[],
                blind_spots: &[BY_DEVICE],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[essential("exit_userfaultfd", At::SyscallExit("userfaultfd"))],
                sees: &[],
                blind_spots: &[NO_COMPAT, BY_DEVICE],
            },
        ],
    },
    Capability {
        name: "io-uring",
        what: "io_uring, and the kinds of requests made by it",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::BtfTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::Compat, Group::IoUring],
                hooks: &[
                    essential("io_uring_submit_req", At::BtfTracepoint("io_uring_submit_req")),
                    essential("io_uring_create", At::BtfTracepoint("io_uring_create")),
                    essential(
                        "native_io_uring_setup_failed",
                        At::Fexit("__x64_sys_io_uring_setup"),
                    ),
                    essential(
                        "compat_io_uring_setup_failed",
                        At::Fexit("__ia32_sys_io_uring_setup"),
                    ),
                ],
                sees: &[
                    (Technique::IoUringFile, Partly(KINDS_ONLY)),
                    (Technique::IoUringNetwork, Partly(KINDS_ONLY)),
                ],
                blind_spots: &[KINDS_ONLY, UNCOUNTED],
            },
            Way {
                tier: Tier::BtfTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::Compat, Group::IoUring],
                hooks: &[
                    essential("io_uring_submit_sqe", At::BtfTracepoint("io_uring_submit_sqe")),
                    essential("io_uring_create", At::BtfTracepoint("io_uring_create")),
                    essential(
                        "native_io_uring_setup_failed",
                        At::Fexit("__x64_sys_io_uring_setup"),
                    ),
                    essential(
                        "compat_io_uring_setup_failed",
                        At::Fexit("__ia32_sys_io_uring_setup"),
                    ),
                ],
                sees: &[
                    (Technique::IoUringFile, Partly(KINDS_ONLY)),
                    (Technique::IoUringNetwork, Partly(KINDS_ONLY)),
                ],
                blind_spots: &[KINDS_ONLY, UNCOUNTED, POLLED],
            },
            Way {
                tier: Tier::BtfTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::IoUring],
                hooks: &[
                    essential("io_uring_submit_req", At::BtfTracepoint("io_uring_submit_req")),
                    essential("io_uring_create", At::BtfTracepoint("io_uring_create")),
                    extra("exit_io_uring_setup_failed", At::SyscallExit("io_uring_setup")),
                ],
                sees: &[
                    (Technique::IoUringFile, Partly(KINDS_ONLY)),
                    (Technique::IoUringNetwork, Partly(KINDS_ONLY)),
                ],
                blind_spots: &[KINDS_ONLY, NO_COMPAT_FAILED, UNCOUNTED],
            },
            Way {
                tier: Tier::BtfTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::IoUring],
                hooks: &[
                    essential("io_uring_submit_sqe", At::BtfTracepoint("io_uring_submit_sqe")),
                    essential("io_uring_create", At::BtfTracepoint("io_uring_create")),
                    extra("exit_io_uring_setup_failed", At::SyscallExit("io_uring_setup")),
                ],
                sees: &[
                    (Technique::IoUringFile, Partly(KINDS_ONLY)),
                    (Technique::IoUringNetwork, Partly(KINDS_ONLY)),
                ],
                blind_spots: &[KINDS_ONLY, NO_COMPAT_FAILED, UNCOUNTED, POLLED],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("exit_io_uring_enter", At::SyscallExit("io_uring_enter")),
                    extra("exit_io_uring_setup_failed", At::SyscallExit("io_uring_setup")),
                ],
                sees: &[
                    (
                        Technique::IoUringFile,
                        Partly("that requests are made is reported, not of which kind"),
                    ),
                    (
                        Technique::IoUringNetwork,
                        Partly("that requests are made is reported, not of which kind"),
                    ),
                ],
                blind_spots: &[
                    NO_COMPAT,
                    "that requests are made is reported, not of which kind",
                    "requests that a thread of the kernel takes from the ring (SQPOLL) are not seen",
                ],
            },
        ],
    },
    Capability {
        name: "kexec",
        what: "kernels that are loaded to boot into",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Open, Group::Path, Group::Regs, Group::Compat],
                hooks: &[
                    essential("native_kexec_load", At::Fexit("__x64_sys_kexec_load")),
                    essential("compat_kexec_load", At::Fexit("__ia32_compat_sys_kexec_load")),
                    extra("native_kexec_file_load", At::Fexit("__x64_sys_kexec_file_load")),
                ],
                sees: &[],
                blind_spots: &[],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Open, Group::Path, Group::Regs],
                hooks: &[
                    essential("exit_kexec_load", At::SyscallExit("kexec_load")),
                    extra("exit_kexec_file_load", At::SyscallExit("kexec_file_load")),
                ],
                sees: &[],
                blind_spots: &[NO_COMPAT],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[],
                hooks: &[without("kexec_load")],
                sees: &[],
                blind_spots: &["this kernel is built without kexec: there is nothing to see"],
            },
        ],
    },
    Capability {
        name: "device",
        what: "raw devices that are opened and made",
        kinds: &[KIND_HOST],
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor],
            hooks: &[essential("device_access", At::RootCgroup)],
            sees: &[(
                Technique::RawDevice,
                Partly(
                    "block devices, mem, kmem, port, kmsg, nvram, tun, fuse, kvm, device mapper, loop control, \
                     vhost-net, SCSI generic and machine registers; other character devices are seen as files \
                     that are opened",
                ),
            )],
            blind_spots: &[
                "character devices other than mem, kmem, port, kmsg, nvram, tun, fuse, kvm, device mapper, loop \
                 control, vhost-net, SCSI generic and machine registers are not reported",
                "a device that is reached by a descriptor from another process is not seen",
                "ioperm and iopl are not seen",
                PERMITTED_ONLY,
            ],
        }],
    },
    Capability {
        name: "clock",
        what: "changes of the time",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential("lsm_settime", At::Lsm("settime")),
                    essential("shared_adjtimex", At::Fexit("do_adjtimex")),
                    essential("native_clock_adjtime", At::Fexit("__x64_sys_clock_adjtime")),
                    essential("compat_clock_adjtime", At::Fexit("__ia32_sys_clock_adjtime")),
                    essential("compat_clock_adjtime32", At::Fexit("__ia32_sys_clock_adjtime32")),
                ],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential("fexit_settime", At::Fexit("security_settime64")),
                    essential("shared_adjtimex", At::Fexit("do_adjtimex")),
                    essential("native_clock_adjtime", At::Fexit("__x64_sys_clock_adjtime")),
                    essential("compat_clock_adjtime", At::Fexit("__ia32_sys_clock_adjtime")),
                    essential("compat_clock_adjtime32", At::Fexit("__ia32_sys_clock_adjtime32")),
                ],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("lsm_settime", At::Lsm("settime")),
                    extra("exit_adjtimex", At::SyscallExit("adjtimex")),
                    extra("exit_clock_adjtime", At::SyscallExit("clock_adjtime")),
                ],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY, NO_COMPAT_ADJUSTMENT],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("fexit_settime", At::Fexit("security_settime64")),
                    extra("exit_adjtimex", At::SyscallExit("adjtimex")),
                    extra("exit_clock_adjtime", At::SyscallExit("clock_adjtime")),
                ],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY, NO_COMPAT_ADJUSTMENT],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("exit_clock_settime", At::SyscallExit("clock_settime")),
                    essential("exit_settimeofday", At::SyscallExit("settimeofday")),
                    extra("exit_adjtimex", At::SyscallExit("adjtimex")),
                    extra("exit_clock_adjtime", At::SyscallExit("clock_adjtime")),
                ],
                sees: &[],
                blind_spots: &[NO_COMPAT, "the new time is as the caller gives it"],
            },
        ],
    },
    Capability {
        name: "clock-refused",
        what: "attempts to change the time that fail",
        kinds: &[KIND_HOST],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Regs, Group::Compat],
                hooks: &[
                    essential(
                        "native_clock_settime_failed",
                        At::Fexit("__x64_sys_clock_settime"),
                    ),
                    essential(
                        "compat_clock_settime_failed",
                        At::Fexit("__ia32_sys_clock_settime"),
                    ),
                    essential(
                        "compat_clock_settime32_failed",
                        At::Fexit("__ia32_sys_clock_settime32"),
                    ),
                    essential("native_settimeofday_failed", At::Fexit("__x64_sys_settimeofday")),
                    essential(
                        "compat_settimeofday_failed",
                        At::Fexit("__ia32_compat_sys_settimeofday"),
                    ),
                    essential("compat_stime32_failed", At::Fexit("__ia32_sys_stime32")),
                    essential("shared_adjtimex_failed", At::Fexit("do_adjtimex")),
                    essential(
                        "native_clock_adjtime_failed",
                        At::Fexit("__x64_sys_clock_adjtime"),
                    ),
                    essential(
                        "compat_clock_adjtime_failed",
                        At::Fexit("__ia32_sys_clock_adjtime"),
                    ),
                    essential(
                        "compat_clock_adjtime32_failed",
                        At::Fexit("__ia32_sys_clock_adjtime32"),
                    ),
                ],
                sees: &[],
                blind_spots: &[],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("exit_clock_settime_failed", At::SyscallExit("clock_settime")),
                    extra("exit_settimeofday_failed", At::SyscallExit("settimeofday")),
                    extra("exit_adjtimex_failed", At::SyscallExit("adjtimex")),
                    extra("exit_clock_adjtime_failed", At::SyscallExit("clock_adjtime")),
                ],
                sees: &[],
                blind_spots: &[NO_COMPAT],
            },
        ],
    },
];
