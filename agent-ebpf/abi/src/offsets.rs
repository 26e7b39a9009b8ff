//! Where the running kernel keeps the fields that the programs read.
//!
//! One table says which fields there are; the struct that crosses the boundary and the list by which the
//! agent looks them up in the kernel's BTF are both made from it, so that they cannot drift apart.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

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
    /// Arguments of one by the 32-bit interface of x86-64.
    Compat,
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
    /// Performance events.
    Perf,
    /// Namespaces.
    Namespaces,
    /// Relations between processes.
    Tasks,
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
            /// Of a kernel that has no field.
            pub const NONE: Self = Self { $($name: ABSENT,)* };
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
    regs_compat_arg0: Compat required "pt_regs" "bx";
    regs_compat_arg1: Compat required "pt_regs" "cx";
    regs_compat_arg2: Compat required "pt_regs" "dx";
    regs_compat_arg3: Compat required "pt_regs" "si";
    regs_compat_arg4: Compat required "pt_regs" "di";
    regs_number: Regs optional "pt_regs" "orig_ax" or "syscallno";

    file_dentry: Path required "file" "f_path.dentry";
    file_mnt: Path required "file" "f_path.mnt";
    file_inode: Path required "file" "f_inode";
    inode_number: Path required "inode" "i_ino";
    inode_generation: Path required "inode" "i_generation";
    inode_mode: Path required "inode" "i_mode";
    inode_sb: Path required "inode" "i_sb";
    super_dev: Path required "super_block" "s_dev";
    dentry_parent: Path required "dentry" "d_parent";
    dentry_name: Path required "dentry" "d_name.name";
    dentry_name_len: Path required "dentry" "d_name.len";
    dentry_name_hash: Path required "dentry" "d_name.hash";
    dentry_seq: Path required "dentry" "d_seq";
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
    mnt_namespace_event: Path optional "mnt_namespace" "event";

    bprm_file: Exec required "linux_binprm" "file";
    bprm_filename: Exec required "linux_binprm" "filename";
    // Since 5.8.
    bprm_executable: Exec optional "linux_binprm" "executable";
    bprm_interp: Exec required "linux_binprm" "interp";
    task_works: Exec optional "task_struct" "task_works";
    callback_next: Exec optional "callback_head" "next";
    // By which a closed file waits for its last step; renamed in 5.18 and 6.10.
    file_work: Exec optional "file" "f_task_work" or "f_rcuhead" or "f_u.fu_rcuhead";
    task_fs: Exec required "task_struct" "fs";
    fs_root_mnt: Exec required "fs_struct" "root.mnt";
    super_magic: Exec required "super_block" "s_magic";
    inode_nlink: Exec required "inode" "i_nlink";
    // Renamed in 6.7 and 6.11.
    inode_mtime: Exec optional "inode" "i_mtime_sec" or "__i_mtime.tv_sec" or "i_mtime.tv_sec";
    inode_mtime_nsec: Exec optional "inode" "i_mtime_nsec" or "__i_mtime.tv_nsec" or "i_mtime.tv_nsec";
    inode_ctime: Exec optional "inode" "i_ctime_sec" or "__i_ctime.tv_sec" or "i_ctime.tv_sec";
    inode_ctime_nsec: Exec optional "inode" "i_ctime_nsec" or "__i_ctime.tv_nsec" or "i_ctime.tv_nsec";
    task_mm: Exec required "task_struct" "mm";
    mm_exe: Exec required "mm_struct" "exe_file";
    mm_arg_start: Exec required "mm_struct" "arg_start";
    mm_arg_end: Exec required "mm_struct" "arg_end";
    mm_env_start: Exec required "mm_struct" "env_start";
    mm_env_end: Exec required "mm_struct" "env_end";

    task_signal: Exit required "task_struct" "signal";
    task_exit_code: Exit required "task_struct" "exit_code";
    signal_live: Exit required "signal_struct" "live.counter";
    signal_flags: Exit required "signal_struct" "flags";
    signal_group_exit_code: Exit required "signal_struct" "group_exit_code";
    task_utime: Exit required "task_struct" "utime";
    task_stime: Exit required "task_struct" "stime";
    task_runtime: Exit required "task_struct" "se.sum_exec_runtime";
    signal_utime: Exit required "signal_struct" "utime";
    signal_stime: Exit required "signal_struct" "stime";
    signal_runtime: Exit required "signal_struct" "sum_sched_runtime";
    signal_maxrss: Exit required "signal_struct" "maxrss";

    task_files: Open required "task_struct" "files";
    files_fdt: Open required "files_struct" "fdt";
    fdtable_fd: Open required "fdtable" "fd";
    fdtable_max: Open required "fdtable" "max_fds";
    file_flags: Open required "file" "f_flags";
    file_mode: Open required "file" "f_mode";

    filename_name: Names required "filename" "name";
    open_flags_flag: Names required "open_flags" "open_flag";
    dentry_super: Names required "dentry" "d_sb";
    super_root: Names required "super_block" "s_root";
    super_type: Names required "super_block" "s_type";
    fs_type_name: Names required "file_system_type" "name";
    super_mounts: Names required "super_block" "s_mounts";
    // Until 6.17 a list of these, then each names the next.
    mount_instance: Names optional "mount" "mnt_instance";
    mount_next_of_super: Names optional "mount" "mnt_next_for_sb";

    vma_start: Memory required "vm_area_struct" "vm_start";
    vma_end: Memory required "vm_area_struct" "vm_end";
    vma_flags: Memory required "vm_area_struct" "vm_flags";
    vma_file: Memory required "vm_area_struct" "vm_file";
    vma_written: Memory required "vm_area_struct" "anon_vma";

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
    sock_type: Sock optional "sock" "sk_type";
    sock_error: Sock required "sock" "sk_err";
    sock_flags: Sock required "sock" "__sk_common.skc_flags";
    sock_cookie: Sock required "sock" "__sk_common.skc_cookie";
    sock_net: Sock optional "sock" "__sk_common.skc_net.net";
    // A pointer or something else in one word before 5.15.
    sock_cgroup: Sock optional "sock" "sk_cgrp_data.cgroup";
    sock_cgroup_value: Sock optional "sock" "sk_cgrp_data.val";
    // The port that a socket has sent from; `skc_num` is 0 by the time that it is closed.
    inet_source_port: Sock required "inet_sock" "inet_sport";

    tcp_source_port: Tcp required "tcp_sock" "inet_conn.icsk_inet.inet_sport";
    tcp_sent: Tcp required "tcp_sock" "bytes_sent";
    tcp_sent_again: Tcp required "tcp_sock" "bytes_retrans";
    tcp_received: Tcp required "tcp_sock" "bytes_received";

    file_private: Socket required "file" "private_data";
    socket_sock: Socket required "socket" "sk";
    socket_file: Socket required "socket" "file";
    socket_type: Socket required "socket" "type";
    message_name: Socket required "msghdr" "msg_name";
    unix_peer: Socket optional "unix_sock" "peer";
    unix_address: Socket optional "unix_sock" "addr";
    unix_dentry: Socket optional "unix_sock" "path.dentry";
    unix_mount: Socket optional "unix_sock" "path.mnt";
    unix_address_len: Socket optional "unix_address" "len";
    unix_address_name: Socket optional "unix_address" "name";

    task_cgroups: Actor optional "task_struct" "cgroups";
    css_set_cgroup: Actor optional "css_set" "dfl_cgrp";
    cgroup_kn: Cgroup required "cgroup" "kn";
    cgroup_root: Cgroup required "cgroup" "root";
    kernfs_id: Cgroup required "kernfs_node" "id";
    cgroup_root_hierarchy: Cgroup required "cgroup_root" "hierarchy_id";

    task_real_cred: Credentials required "task_struct" "real_cred";
    cred_suid: Credentials required "cred" "suid.val";
    cred_fsuid: Credentials required "cred" "fsuid.val";
    cred_sgid: Credentials required "cred" "sgid.val";
    cred_egid: Credentials required "cred" "egid.val";
    cred_fsgid: Credentials required "cred" "fsgid.val";
    cred_groups: Credentials required "cred" "group_info";
    group_info_count: Credentials required "group_info" "ngroups";
    cred_cap_effective: Credentials required "cred" "cap_effective";
    cred_cap_permitted: Credentials required "cred" "cap_permitted";
    cred_cap_inheritable: Credentials required "cred" "cap_inheritable";
    cred_cap_ambient: Credentials required "cred" "cap_ambient";

    nsproxy_uts: Namespaces required "nsproxy" "uts_ns";
    nsproxy_ipc: Namespaces required "nsproxy" "ipc_ns";
    nsproxy_cgroup: Namespaces required "nsproxy" "cgroup_ns";
    // Since 5.6.
    nsproxy_time: Namespaces optional "nsproxy" "time_ns_for_children";
    inode_private: Namespaces required "inode" "i_private";
    // The type moved from the operations to the namespace itself in 6.18.
    ns_common_type: Namespaces optional "ns_common" "ns_type";
    ns_common_ops: Namespaces optional "ns_common" "ops";
    ns_operations_type: Namespaces optional "proc_ns_operations" "type";

    task_flags: Tasks required "task_struct" "flags";
    task_thread_pid: Tasks required "task_struct" "thread_pid";
    pid_level: Tasks required "pid" "level";
    pid_numbers: Tasks required "pid" "numbers";
    task_parent: Tasks required "task_struct" "parent";
    task_ptraced: Tasks required "task_struct" "ptraced";
    task_ptrace_entry: Tasks required "task_struct" "ptrace_entry";
    // The second where the kernel is built for real time.
    signal_exec_mutex: Tasks required "signal_struct"
        "cred_guard_mutex.owner.counter" or "cred_guard_mutex.rtmutex.owner";
    siginfo_code: Tasks required "kernel_siginfo" "si_code";

    bpf_prog_type: Bpf required "bpf_prog" "type";
    bpf_prog_aux: Bpf required "bpf_prog" "aux";
    bpf_prog_aux_name: Bpf required "bpf_prog_aux" "name";
    perf_event_type: Perf required "perf_event" "attr.type";
    perf_event_config: Perf required "perf_event" "attr.config";
    // Kernels without loadable modules have none.
    module_name: Module optional "module" "name";
    request_opcode: IoUring required "io_kiocb" "opcode";
}

const _: () = assert!(size_of::<Offsets>() == 4 * FIELDS.len());
