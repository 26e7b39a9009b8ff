//! Files.

use super::{At, Capability, Tier, Way, essential, extra};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::Group;

use super::{CLAIMED, NO_COMPAT, NO_IO_URING, PERMITTED_ONLY};

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "open",
        what: "files that are opened",
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
            sees: &[],
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
        name: "unlink",
        what: "names that are removed",
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Path],
                hooks: &[
                    essential("lsm_path_unlink", At::Lsm("path_unlink")),
                    essential("lsm_path_rmdir", At::Lsm("path_rmdir")),
                ],
                sees: &[(Technique::PathOperation, Fully), (Technique::IoUringFile, Fully)],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path],
                hooks: &[
                    essential("fexit_path_unlink", At::Fexit("security_path_unlink")),
                    essential("fexit_path_rmdir", At::Fexit("security_path_rmdir")),
                ],
                sees: &[(Technique::PathOperation, Fully), (Technique::IoUringFile, Fully)],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[
                    essential("exit_unlinkat", At::SyscallExit("unlinkat")),
                    extra("exit_unlink", At::SyscallExit("unlink")),
                    extra("exit_rmdir", At::SyscallExit("rmdir")),
                ],
                sees: &[(Technique::PathOperation, Partly(CLAIMED))],
                blind_spots: &[CLAIMED, NO_IO_URING, NO_COMPAT],
            },
        ],
    },
];
