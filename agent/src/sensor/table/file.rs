//! Files.

use super::{At, Capability, Tier, Way, essential, extra};
use super::{CLAIMED, NO_COMPAT, NO_IO_URING, PERMITTED_ONLY};
use crate::sensor::evasion::Sight::{self, Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::{Group, KIND_FILE, KIND_OPEN, KIND_PRIVILEGE};

const CUT: &str = "paths of more than 96 components lack the directories nearest the root, and say so";
const NO_NAME: &str = "a file opened by its handle may have no path; its inode and device are told";
const RACE: &str = "a thread that replaces or closes the descriptor before the call of its sibling returns changes or \
                    hides what is reported";
const TOLD_BY_OPEN: &str = "files that an open creates or truncates are told by the open";
const NOT_ALL_RECEIVED: &str = "sockets, pipes and anonymous files are not reported";
const OTHER_MOUNT: &str = "where the filesystem is mounted more than once the path may be one by another mount than \
                           the one used";
const KERNEL_OWN: &str = "opens by the kernel for an exec, and of an overlay's layers, are not reported";
const MPROTECT_UNKNOWN: &str = "whether memory that mprotect makes executable belongs to a file is not known, and \
                                shared memory that it makes writable is not seen";

/// Evasions that make no difference to a walk from the opened file, wherever it is seen.
const OPENED: &[(Technique, Sight)] = &[
    (Technique::Symlink, Fully),
    (Technique::HardLink, Fully),
    (Technique::ProcRoot, Fully),
    (Technique::BindMount, Fully),
    (Technique::RelativePath, Fully),
    (Technique::Chroot, Fully),
    (Technique::GarbageNames, Fully),
    (Technique::LongPath, Partly(CUT)),
    (Technique::OpenByHandle, Fully),
    (Technique::Toctou, Fully),
    (Technique::IoUringFile, Fully),
];
const CHANGED: &[(Technique, Sight)] = &[(Technique::PathOperation, Fully), (Technique::IoUringFile, Fully)];
const CHANGED_CLAIMED: &[(Technique, Sight)] = &[(Technique::PathOperation, Partly(CLAIMED))];
const CODE: &[(Technique, Sight)] = &[(Technique::LdSo, Fully), (Technique::MappedCode, Fully)];

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "open",
        what: "files that are opened",
        kinds: &[KIND_OPEN],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Path, Group::Open],
                hooks: &[essential("lsm_file_open", At::Lsm("file_open"))],
                sees: OPENED,
                blind_spots: &[PERMITTED_ONLY, KERNEL_OWN, NO_NAME],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Open],
                hooks: &[essential("fexit_file_open", At::Fexit("security_file_open"))],
                sees: OPENED,
                blind_spots: &[PERMITTED_ONLY, KERNEL_OWN, NO_NAME],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open],
                hooks: &[
                    essential("open_exit", At::SyscallExit("openat")),
                    extra("open_exit", At::SyscallExit("openat2")),
                    extra("open_exit", At::SyscallExit("open")),
                    extra("open_exit", At::SyscallExit("creat")),
                    extra("open_exit", At::SyscallExit("open_by_handle_at")),
                ],
                sees: &[
                    (Technique::Symlink, Fully),
                    (Technique::HardLink, Fully),
                    (Technique::ProcRoot, Fully),
                    (Technique::BindMount, Fully),
                    (Technique::RelativePath, Fully),
                    (Technique::Chroot, Fully),
                    (Technique::GarbageNames, Fully),
                    (Technique::LongPath, Partly(CUT)),
                    (Technique::OpenByHandle, Fully),
                    (
                        Technique::Toctou,
                        Partly(
                            "what is opened comes from the opened file, unless another thread replaces the \
                                descriptor; other operations on files are told by the name given",
                        ),
                    ),
                ],
                blind_spots: &[
                    "opens through io_uring are not seen",
                    NO_COMPAT,
                    "opens that the kernel does itself are not seen (executables, their libraries' loader, core dumps)",
                    RACE,
                    "a file renamed between its open and the return is reported under the new name",
                    "whether the open truncated the file is not told",
                    NO_NAME,
                ],
            },
        ],
    },
    Capability {
        name: "open-failed",
        what: "opens that are refused or fail",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Names],
                hooks: &[
                    essential("fexit_do_filp_open", At::Fexit("do_filp_open")),
                    extra("fexit_do_handle_open", At::Fexit("do_handle_open")),
                ],
                sees: &[(Technique::FailedOpen, Fully)],
                blind_spots: &[OPEN_FAILED_NAME, OPEN_FAILED_EARLY],
            },
            // By the name that it has since 7.0.
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Names],
                hooks: &[
                    essential("fexit_do_file_open", At::Fexit("do_file_open")),
                    extra("fexit_do_handle_open", At::Fexit("do_handle_open")),
                ],
                sees: &[(Technique::FailedOpen, Fully)],
                blind_spots: &[OPEN_FAILED_NAME, OPEN_FAILED_EARLY],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Regs],
                hooks: OPEN_RETURNS,
                sees: &[(Technique::FailedOpen, Partly(NO_COMPAT))],
                blind_spots: &[CLAIMED, NO_IO_URING, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "open-path",
        what: "files that are opened without access to their content (O_PATH)",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Names],
                hooks: &[
                    essential("fexit_do_filp_open", At::Fexit("do_filp_open")),
                    extra("fexit_do_handle_open", At::Fexit("do_handle_open")),
                ],
                sees: &[(Technique::OpenPath, Fully)],
                blind_spots: &[OPEN_TREE],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Names],
                hooks: &[
                    essential("fexit_do_file_open", At::Fexit("do_file_open")),
                    extra("fexit_do_handle_open", At::Fexit("do_handle_open")),
                ],
                sees: &[(Technique::OpenPath, Fully)],
                blind_spots: &[OPEN_TREE],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Regs],
                hooks: OPEN_RETURNS,
                sees: &[(Technique::OpenPath, Partly(NO_COMPAT))],
                blind_spots: &[OPEN_TREE, NO_IO_URING, NO_COMPAT, RACE],
            },
        ],
    },
    Capability {
        name: "receive",
        what: "open files that come from another process",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Path, Group::Open],
                hooks: &[essential("lsm_file_receive", At::Lsm("file_receive"))],
                sees: &[(Technique::FdPassing, Fully)],
                blind_spots: &[PERMITTED_ONLY, NOT_ALL_RECEIVED],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Open],
                hooks: &[essential(
                    "fexit_file_receive",
                    At::Fexit("security_file_receive"),
                )],
                sees: &[(Technique::FdPassing, Fully)],
                blind_spots: &[PERMITTED_ONLY, NOT_ALL_RECEIVED],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open],
                hooks: &[essential("exit_pidfd_getfd", At::SyscallExit("pidfd_getfd"))],
                sees: &[(Technique::FdPassing, Partly(ONLY_TAKEN))],
                blind_spots: &[ONLY_TAKEN, NOT_ALL_RECEIVED, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "unlink",
        what: "names that are removed",
        kinds: &[KIND_FILE],
        ways: &[
            lsm(&[
                essential("lsm_path_unlink", At::Lsm("path_unlink")),
                essential("lsm_path_rmdir", At::Lsm("path_rmdir")),
            ]),
            fexit(&[
                essential("fexit_path_unlink", At::Fexit("security_path_unlink")),
                essential("fexit_path_rmdir", At::Fexit("security_path_rmdir")),
            ]),
            exits(&[
                essential("exit_unlinkat", At::SyscallExit("unlinkat")),
                extra("exit_unlink", At::SyscallExit("unlink")),
                extra("exit_rmdir", At::SyscallExit("rmdir")),
            ]),
        ],
    },
    Capability {
        name: "rename",
        what: "files that get another name, and hard links",
        kinds: &[KIND_FILE],
        ways: &[
            lsm(&[
                essential("lsm_path_rename", At::Lsm("path_rename")),
                essential("lsm_path_link", At::Lsm("path_link")),
            ]),
            fexit(&[
                essential("fexit_path_rename", At::Fexit("security_path_rename")),
                essential("fexit_path_link", At::Fexit("security_path_link")),
            ]),
            exits(&[
                essential("exit_renameat2", At::SyscallExit("renameat2")),
                essential("exit_linkat", At::SyscallExit("linkat")),
                extra("exit_renameat", At::SyscallExit("renameat")),
                extra("exit_rename", At::SyscallExit("rename")),
                extra("exit_link", At::SyscallExit("link")),
            ]),
        ],
    },
    Capability {
        name: "create",
        what: "directories, nodes and symbolic links that are made",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                blind_spots: &[PERMITTED_ONLY, TOLD_BY_OPEN],
                ..lsm(&[
                    essential("lsm_path_mkdir", At::Lsm("path_mkdir")),
                    essential("lsm_path_mknod", At::Lsm("path_mknod")),
                    essential("lsm_path_symlink", At::Lsm("path_symlink")),
                ])
            },
            Way {
                blind_spots: &[PERMITTED_ONLY, TOLD_BY_OPEN],
                ..fexit(&[
                    essential("fexit_path_mkdir", At::Fexit("security_path_mkdir")),
                    essential("fexit_path_mknod", At::Fexit("security_path_mknod")),
                    essential("fexit_path_symlink", At::Fexit("security_path_symlink")),
                ])
            },
            Way {
                blind_spots: &[CLAIMED, NO_IO_URING, NO_COMPAT, BIND_MAKES],
                ..exits(&[
                    essential("exit_mkdirat", At::SyscallExit("mkdirat")),
                    essential("exit_mknodat", At::SyscallExit("mknodat")),
                    essential("exit_symlinkat", At::SyscallExit("symlinkat")),
                    extra("exit_mkdir", At::SyscallExit("mkdir")),
                    extra("exit_mknod", At::SyscallExit("mknod")),
                    extra("exit_symlink", At::SyscallExit("symlink")),
                ])
            },
        ],
    },
    Capability {
        name: "chmod",
        what: "permissions that change",
        kinds: &[KIND_FILE],
        ways: &[
            lsm(&[essential("lsm_path_chmod", At::Lsm("path_chmod"))]),
            fexit(&[essential("fexit_path_chmod", At::Fexit("security_path_chmod"))]),
            exits(&[
                essential("exit_fchmodat", At::SyscallExit("fchmodat")),
                essential("exit_fchmod", At::SyscallExit("fchmod")),
                extra("exit_fchmodat", At::SyscallExit("fchmodat2")),
                extra("exit_chmod", At::SyscallExit("chmod")),
            ]),
        ],
    },
    Capability {
        name: "chown",
        what: "owners that change",
        kinds: &[KIND_FILE],
        ways: &[
            lsm(&[essential("lsm_path_chown", At::Lsm("path_chown"))]),
            fexit(&[essential("fexit_path_chown", At::Fexit("security_path_chown"))]),
            // Before 6.1 there are no programs on the check, for it takes structures.
            Way {
                blind_spots: &["what does not get as far as the file, as on a read-only mount, is not seen"],
                ..fexit(&[essential("fexit_chown_common", At::Fexit("chown_common"))])
            },
            exits(&[
                essential("exit_fchownat", At::SyscallExit("fchownat")),
                essential("exit_fchown", At::SyscallExit("fchown")),
                extra("exit_chown", At::SyscallExit("chown")),
                extra("exit_chown", At::SyscallExit("lchown")),
            ]),
        ],
    },
    Capability {
        name: "xattr",
        what: "extended attributes and access control lists that change",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                blind_spots: &[PERMITTED_ONLY, OTHER_MOUNT, FILE_FLAGS],
                ..lsm(&[
                    essential("lsm_inode_setxattr", At::Lsm("inode_setxattr")),
                    essential("lsm_inode_removexattr", At::Lsm("inode_removexattr")),
                    extra("lsm_inode_set_acl", At::Lsm("inode_set_acl")),
                    extra("lsm_inode_remove_acl", At::Lsm("inode_remove_acl")),
                ])
            },
            Way {
                blind_spots: &[PERMITTED_ONLY, OTHER_MOUNT, FILE_FLAGS],
                ..fexit(&[
                    essential("fexit_inode_setxattr", At::Fexit("security_inode_setxattr")),
                    essential("fexit_inode_removexattr", At::Fexit("security_inode_removexattr")),
                    extra("fexit_inode_set_acl", At::Fexit("security_inode_set_acl")),
                    extra("fexit_inode_remove_acl", At::Fexit("security_inode_remove_acl")),
                ])
            },
            Way {
                blind_spots: &[CLAIMED, NO_IO_URING, NO_COMPAT, FILE_FLAGS],
                ..exits(&[
                    essential("exit_setxattr", At::SyscallExit("setxattr")),
                    essential("exit_fsetxattr", At::SyscallExit("fsetxattr")),
                    essential("exit_removexattr", At::SyscallExit("removexattr")),
                    essential("exit_fremovexattr", At::SyscallExit("fremovexattr")),
                    extra("exit_setxattr", At::SyscallExit("lsetxattr")),
                    extra("exit_removexattr", At::SyscallExit("lremovexattr")),
                    extra("exit_setxattrat", At::SyscallExit("setxattrat")),
                    extra("exit_removexattrat", At::SyscallExit("removexattrat")),
                ])
            },
        ],
    },
    Capability {
        name: "truncate",
        what: "files that are cut to a length",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                blind_spots: &[PERMITTED_ONLY, TOLD_BY_OPEN],
                ..lsm(&[
                    essential("lsm_path_truncate", At::Lsm("path_truncate")),
                    extra("lsm_file_truncate", At::Lsm("file_truncate")),
                ])
            },
            Way {
                blind_spots: &[PERMITTED_ONLY, TOLD_BY_OPEN],
                ..fexit(&[
                    essential("fexit_path_truncate", At::Fexit("security_path_truncate")),
                    extra("fexit_file_truncate", At::Fexit("security_file_truncate")),
                ])
            },
            exits(&[
                essential("exit_truncate", At::SyscallExit("truncate")),
                essential("exit_ftruncate", At::SyscallExit("ftruncate")),
            ]),
        ],
    },
    Capability {
        name: "chroot",
        what: "processes that change their root directory",
        kinds: &[KIND_FILE],
        ways: &[
            lsm(&[essential("lsm_path_chroot", At::Lsm("path_chroot"))]),
            fexit(&[essential("fexit_path_chroot", At::Fexit("security_path_chroot"))]),
            exits(&[essential("exit_chroot", At::SyscallExit("chroot"))]),
        ],
    },
    Capability {
        name: "map",
        what: "files that are mapped for execution, or shared and writable",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: MAPPINGS,
                hooks: &[
                    essential("lsm_mmap_file", At::Lsm("mmap_file")),
                    essential("lsm_file_mprotect", At::Lsm("file_mprotect")),
                ],
                sees: CODE,
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::Fentry,
                needs: MAPPINGS,
                hooks: &[
                    essential("fexit_mmap_file", At::Fexit("security_mmap_file")),
                    essential("fexit_file_mprotect", At::Fexit("security_file_mprotect")),
                ],
                sees: CODE,
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Regs],
                hooks: &[essential("exit_mmap", At::SyscallExit("mmap"))],
                sees: &[
                    (Technique::LdSo, Partly(MPROTECT_UNKNOWN)),
                    (Technique::MappedCode, Partly(MPROTECT_UNKNOWN)),
                ],
                blind_spots: &[MPROTECT_UNKNOWN, RACE, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "exec-memory",
        what: "memory that no file backs and that becomes executable",
        kinds: &[KIND_PRIVILEGE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: MAPPINGS,
                hooks: &[
                    essential("lsm_mmap_file", At::Lsm("mmap_file")),
                    essential("lsm_file_mprotect", At::Lsm("file_mprotect")),
                ],
                sees: &[(Technique::AnonymousCode, Fully)],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::Fentry,
                needs: MAPPINGS,
                hooks: &[
                    essential("fexit_mmap_file", At::Fexit("security_mmap_file")),
                    essential("fexit_file_mprotect", At::Fexit("security_file_mprotect")),
                ],
                sees: &[(Technique::AnonymousCode, Fully)],
                blind_spots: &[PERMITTED_ONLY],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Regs],
                hooks: &[
                    essential("exit_mmap", At::SyscallExit("mmap")),
                    essential("exit_mprotect", At::SyscallExit("mprotect")),
                    extra("exit_mprotect", At::SyscallExit("pkey_mprotect")),
                ],
                sees: &[(Technique::AnonymousCode, Partly(NO_COMPAT))],
                blind_spots: &[MPROTECT_UNKNOWN, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "mount",
        what: "mounts that are made, moved, changed and removed",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: NAMES,
                hooks: &[
                    essential("lsm_sb_mount", At::Lsm("sb_mount")),
                    essential("lsm_sb_umount", At::Lsm("sb_umount")),
                    essential("lsm_sb_pivotroot", At::Lsm("sb_pivotroot")),
                    essential("lsm_move_mount", At::Lsm("move_mount")),
                ],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY, BIND_SOURCE],
            },
            Way {
                tier: Tier::Fentry,
                needs: NAMES,
                hooks: &[
                    essential("fexit_sb_mount", At::Fexit("security_sb_mount")),
                    essential("fexit_sb_umount", At::Fexit("security_sb_umount")),
                    essential("fexit_sb_pivotroot", At::Fexit("security_sb_pivotroot")),
                    essential("fexit_move_mount", At::Fexit("security_move_mount")),
                ],
                sees: &[],
                blind_spots: &[PERMITTED_ONLY, BIND_SOURCE],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Regs],
                hooks: &[
                    essential("exit_mount", At::SyscallExit("mount")),
                    essential("exit_umount", At::SyscallExit("umount")),
                    essential("exit_pivot_root", At::SyscallExit("pivot_root")),
                    extra("exit_move_mount", At::SyscallExit("move_mount")),
                ],
                sees: &[],
                blind_spots: &[CLAIMED, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "mount-detached",
        what: "mounts that are made before they are attached, and attributes of mounts that change",
        kinds: &[KIND_FILE],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[
                    Group::Actor,
                    Group::Path,
                    Group::Open,
                    Group::Names,
                    Group::Regs,
                    Group::Compat,
                ],
                hooks: &[
                    essential("native_fsmount", At::Fexit("__x64_sys_fsmount")),
                    essential("compat_fsmount", At::Fexit("__ia32_sys_fsmount")),
                    essential("native_open_tree", At::Fexit("__x64_sys_open_tree")),
                    essential("compat_open_tree", At::Fexit("__ia32_sys_open_tree")),
                    extra("native_open_tree_attr", At::Fexit("__x64_sys_open_tree_attr")),
                    extra("compat_open_tree_attr", At::Fexit("__ia32_sys_open_tree_attr")),
                    extra("native_mount_setattr", At::Fexit("__x64_sys_mount_setattr")),
                    extra("compat_mount_setattr", At::Fexit("__ia32_sys_mount_setattr")),
                ],
                sees: &[],
                blind_spots: &[SETATTR_NAME, NO_FSCONFIG],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Path, Group::Open, Group::Names, Group::Regs],
                hooks: &[
                    essential("exit_fsmount", At::SyscallExit("fsmount")),
                    essential("exit_open_tree", At::SyscallExit("open_tree")),
                    extra("exit_open_tree", At::SyscallExit("open_tree_attr")),
                    extra("exit_mount_setattr", At::SyscallExit("mount_setattr")),
                ],
                sees: &[],
                blind_spots: &[SETATTR_NAME, NO_FSCONFIG, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "sysctl",
        what: "settings of the kernel that are written",
        kinds: &[KIND_FILE],
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor],
            hooks: &[essential("sysctl", At::RootCgroup)],
            sees: &[],
            blind_spots: &[PERMITTED_ONLY, "the value that is written is not reported"],
        }],
    },
];

const NAMES: &[Group] = &[Group::Actor, Group::Path, Group::Open, Group::Names, Group::Regs];
const MAPPINGS: &[Group] = &[Group::Actor, Group::Path, Group::Open, Group::Memory, Group::Regs];
const OPEN_FAILED_NAME: &str = "there is no file to walk from: the name is as the program gave it";
const OPEN_FAILED_EARLY: &str =
    "opens with invalid arguments, and names that cannot be read, fail before they are seen";
const OPEN_TREE: &str = "directories that open_tree opens without cloning them are not seen";
const ONLY_TAKEN: &str =
    "only files taken by pidfd_getfd are seen, not those received over Unix sockets or from a tracer";
const BIND_MAKES: &str =
    "the file that bind makes for a Unix socket is not seen here; its listening is seen by unix";
const FILE_FLAGS: &str = "flags such as immutable and append-only, which are set by ioctl, are not seen";
const SETATTR_NAME: &str = "the mount whose attributes change is told by the name given";
const NO_FSCONFIG: &str = "a filesystem that is changed by fsconfig is not seen";
const BIND_SOURCE: &str = "what a bind mount shows is told by the name given";
/// The return from each call that opens.
const OPEN_RETURNS: &[super::Hook] = &[
    essential("exit_openat_rest", At::SyscallExit("openat")),
    extra("exit_openat2_rest", At::SyscallExit("openat2")),
    extra("exit_open_rest", At::SyscallExit("open")),
    extra("exit_creat_rest", At::SyscallExit("creat")),
    extra("exit_open_by_handle_rest", At::SyscallExit("open_by_handle_at")),
];

/// A change of the file tree, seen at its security check.
const fn lsm(hooks: &'static [super::Hook]) -> Way {
    Way {
        tier: Tier::Lsm,
        needs: NAMES,
        hooks,
        sees: CHANGED,
        blind_spots: &[PERMITTED_ONLY],
    }
}

/// The same after the check.
const fn fexit(hooks: &'static [super::Hook]) -> Way {
    Way {
        tier: Tier::Fentry,
        needs: NAMES,
        hooks,
        sees: CHANGED,
        blind_spots: &[PERMITTED_ONLY],
    }
}

/// The same at the return from the system calls.
const fn exits(hooks: &'static [super::Hook]) -> Way {
    Way {
        tier: Tier::SyscallTracepoint,
        needs: &[Group::Actor, Group::Path, Group::Open, Group::Regs],
        hooks,
        sees: CHANGED_CLAIMED,
        blind_spots: &[CLAIMED, NO_IO_URING, NO_COMPAT],
    }
}
