//! Where the running kernel keeps the fields that the programs read.
//!
//! One table says which fields there are; the struct that crosses the boundary and the list by which the
//! agent looks them up in the kernel's BTF are both made from it, so that they cannot drift apart.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// What the compiled programs hold until the agent hands the real offsets in: an address so far off that
/// every read fails, so that a forgotten override is seen at once.
pub const UNRESOLVED: u32 = 0x7fff_0000;

/// Programs that need a field. A program loads only where all required fields of its groups were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Who acted: needed by every program.
    Actor,
    /// The walk from a file to its absolute path.
    Path,
    /// Execution of a program.
    Exec,
    /// End of a process.
    Exit,
    /// Opening of a file.
    Open,
    /// Sockets.
    Sock,
    /// Control groups.
    Cgroup,
    /// Arguments of the current system call.
    Regs,
    /// Entries of a directory and what they name, for operations on files.
    Names,
    /// Mapping of memory.
    Memory,
    /// Credentials in full.
    Credentials,
    /// Unix sockets, and sockets behind descriptors.
    Socket,
    /// Byte counts of TCP connections.
    Tcp,
    /// Requests of io_uring.
    IoUring,
    /// Kernel modules.
    Module,
    /// BPF programs.
    Bpf,
}

/// How to look one offset up.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Structure of the kernel.
    pub structure: &'static str,
    /// Paths of members within it, newest name first; the first that exists is taken.
    pub paths: &'static [&'static str],
    /// Who needs it.
    pub group: Group,
    /// Programs can do without it: its value then reads as 0.
    pub optional: bool,
}

macro_rules! offsets {
    ($($name:ident: $group:ident $kind:ident $structure:literal $first:literal $(or $other:literal)*;)*) => {
        /// Byte offsets of kernel fields, [`ABSENT`] where this kernel does not have the field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct Offsets {
            $(#[doc = concat!("`", $structure, ".", $first, "`")] pub $name: u32,)*
        }

        impl Offsets {
            /// The value that the programs are compiled with.
            pub const UNRESOLVED: Self = Self { $($name: UNRESOLVED,)* };
        }

        /// How to look the fields of [`Offsets`] up, in the order of its fields.
        pub const FIELDS: &[Field] = &[$(Field {
            structure: $structure,
            paths: &[$first $(, $other)*],
            group: Group::$group,
            optional: offsets!(@$kind),
        },)*];
    };
    (@required) => { false };
    (@optional) => { true };
}

offsets! {
    task_tgid: Actor required "task_struct" "tgid";
    task_pid: Actor required "task_struct" "pid";
    task_comm: Actor required "task_struct" "comm";
    task_real_parent: Actor required "task_struct" "real_parent";
    task_group_leader: Actor required "task_struct" "group_leader";
    // Renamed in 5.5.
    task_start: Actor required "task_struct" "start_boottime" or "real_start_time";
    task_cred: Actor required "task_struct" "cred";
    task_nsproxy: Actor required "task_struct" "nsproxy";
    cred_uid: Actor required "cred" "uid.val";
    cred_gid: Actor required "cred" "gid.val";
    cred_euid: Actor required "cred" "euid.val";
    cred_user_ns: Actor optional "cred" "user_ns";
    nsproxy_mnt: Actor optional "nsproxy" "mnt_ns";
    nsproxy_pid: Actor optional "nsproxy" "pid_ns_for_children";
    nsproxy_net: Actor optional "nsproxy" "net_ns";
    mnt_namespace_inum: Actor optional "mnt_namespace" "ns.inum";
    pid_namespace_inum: Actor optional "pid_namespace" "ns.inum";
    net_inum: Actor optional "net" "ns.inum";
    user_namespace_inum: Actor optional "user_namespace" "ns.inum";

    task_stack: Regs required "task_struct" "stack";
    // x86-64, then arm64, whose first argument is saved apart because its register takes the result.
    regs_arg0: Regs required "pt_regs" "di" or "orig_x0";
    regs_arg1: Regs required "pt_regs" "si" or "regs+8";
    regs_arg2: Regs required "pt_regs" "dx" or "regs+16";
    regs_arg3: Regs required "pt_regs" "r10" or "regs+24";
    regs_arg4: Regs required "pt_regs" "r8" or "regs+32";
    regs_arg5: Regs required "pt_regs" "r9" or "regs+40";

    file_dentry: Path required "file" "f_path.dentry";
    file_mnt: Path required "file" "f_path.mnt";
    file_inode: Path required "file" "f_inode";
    inode_number: Path required "inode" "i_ino";
    inode_mode: Path required "inode" "i_mode";
    inode_sb: Path required "inode" "i_sb";
    super_dev: Path required "super_block" "s_dev";
    dentry_parent: Path required "dentry" "d_parent";
    dentry_name: Path required "dentry" "d_name.name";
    dentry_name_len: Path required "dentry" "d_name.len";
    // Renamed in 6.13.
    dentry_inline_name: Path optional "dentry" "d_shortname" or "d_iname";
    dentry_inode: Path required "dentry" "d_inode";
    path_dentry: Path required "path" "dentry";
    path_mnt: Path required "path" "mnt";
    dentry_hash: Path required "dentry" "d_hash.pprev";
    vfsmount_root: Path required "vfsmount" "mnt_root";
    mount_vfsmount: Path required "mount" "mnt";
    mount_parent: Path required "mount" "mnt_parent";
    mount_mountpoint: Path required "mount" "mnt_mountpoint";
    mount_ns: Path required "mount" "mnt_ns";

    bprm_file: Exec required "linux_binprm" "file";
    bprm_filename: Exec required "linux_binprm" "filename";
    task_mm: Exec required "task_struct" "mm";
    mm_arg_start: Exec required "mm_struct" "arg_start";
    mm_arg_end: Exec required "mm_struct" "arg_end";

    task_signal: Exit required "task_struct" "signal";
    task_exit_code: Exit required "task_struct" "exit_code";
    signal_live: Exit required "signal_struct" "live.counter";
    signal_flags: Exit required "signal_struct" "flags";
    signal_group_exit_code: Exit required "signal_struct" "group_exit_code";

    task_files: Open required "task_struct" "files";
    files_fdt: Open required "files_struct" "fdt";
    fdtable_fd: Open required "fdtable" "fd";
    fdtable_max: Open required "fdtable" "max_fds";
    file_flags: Open required "file" "f_flags";
    file_mode: Open required "file" "f_mode";

    sock_family: Sock required "sock" "__sk_common.skc_family";
    sock_local_port: Sock required "sock" "__sk_common.skc_num";
    sock_remote_port: Sock required "sock" "__sk_common.skc_dport";
    sock_remote_v4: Sock required "sock" "__sk_common.skc_daddr";
    sock_local_v4: Sock required "sock" "__sk_common.skc_rcv_saddr";
    // Absent where the kernel is built without IPv6.
    sock_remote_v6: Sock optional "sock" "__sk_common.skc_v6_daddr";
    sock_local_v6: Sock optional "sock" "__sk_common.skc_v6_rcv_saddr";
    // A bit field before 5.6, which counts as absent.
    sock_protocol: Sock optional "sock" "sk_protocol";

    task_cgroups: Actor optional "task_struct" "cgroups";
    css_set_cgroup: Actor optional "css_set" "dfl_cgrp";
    cgroup_kn: Cgroup required "cgroup" "kn";
    cgroup_root: Cgroup required "cgroup" "root";
    kernfs_id: Cgroup required "kernfs_node" "id";
    cgroup_root_hierarchy: Cgroup required "cgroup_root" "hierarchy_id";
}

const _: () = assert!(size_of::<Offsets>() == 4 * FIELDS.len());
