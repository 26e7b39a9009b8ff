//! Records of the event ring.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of everything in this crate. A record of another version is refused.
pub const ABI_VERSION: u16 = 5;

/// A program was executed: body [`ExecBody`].
pub const KIND_EXEC: u16 = 1;
/// A process was created (not a thread): body [`ForkBody`]. The actor is the creating process.
pub const KIND_FORK: u16 = 2;
/// The last thread of a process ended: body [`ExitBody`].
pub const KIND_EXIT: u16 = 3;
/// A file was opened: body [`OpenBody`].
pub const KIND_OPEN: u16 = 4;
/// A connection was started, or refused by policy: body [`ConnectBody`].
pub const KIND_CONNECT: u16 = 5;
/// A TCP socket began to listen: body [`ListenBody`].
pub const KIND_LISTEN: u16 = 6;
/// A control group of the v2 hierarchy was made or removed: body [`CgroupBody`].
pub const KIND_CGROUP: u16 = 7;
/// A change to files, or a mapping of one: body [`crate::ActBody`].
pub const KIND_FILE: u16 = 8;
/// A change of what a process may do, or an act on another process: body [`crate::ActBody`].
pub const KIND_PRIVILEGE: u16 = 9;
/// An act on the kernel or the machine: body [`crate::ActBody`].
pub const KIND_HOST: u16 = 10;
/// Something in the life of a socket: body [`crate::SocketBody`].
pub const KIND_SOCKET: u16 = 11;
/// A DNS message on its way: body [`crate::DnsBody`].
pub const KIND_DNS: u16 = 12;
/// One more than the highest kind; the length of per-kind arrays.
pub const KINDS: usize = 13;

/// The executable's or file's path was cut at its front: the directories nearest the root are missing.
pub const FLAG_PATH_TRUNCATED: u32 = 1 << 0;
/// The path ends at a dentry that is not reachable from a mount point (memfd, pipe, socket, detached mount).
pub const FLAG_PATH_DISCONNECTED: u32 = 1 << 1;
/// The file had no name left in its directory when it was seen.
pub const FLAG_FILE_DELETED: u32 = 1 << 2;
/// `argv` was longer than what is reported.
pub const FLAG_ARGV_TRUNCATED: u32 = 1 << 3;
/// Reading `argv` failed; what is reported is empty.
pub const FLAG_ARGV_UNREADABLE: u32 = 1 << 4;
/// The file name given to exec was longer than what is reported.
pub const FLAG_FILENAME_TRUNCATED: u32 = 1 << 5;
/// The environment was longer than what is carried, or could not be read.
pub const FLAG_ENVIRONMENT_TRUNCATED: u32 = 1 << 6;

/// Nothing was done about the act.
pub const ACTION_NONE: u32 = 0;
/// The act was refused with EPERM.
pub const ACTION_DENIED: u32 = 1;
/// The process was sent SIGKILL before it could return to user space.
pub const ACTION_KILLED: u32 = 2;

/// Longest part of `argv` that is reported, in bytes.
pub const ARGV_MAX: usize = 64 << 10;
/// Places for the record of an exec that each processor has: one may be preempted by another.
pub const EXEC_SLOTS: u32 = 2;
/// Index of the [`Turns`] of execs.
pub const TURN_EXEC: u32 = 0;
/// Of forks.
pub const TURN_FORK: u32 = 1;
/// Of the ends of processes.
pub const TURN_EXIT: u32 = 2;
/// Of the states of sockets.
pub const TURN_SOCKET: u32 = 3;
/// Acts whose programs have stand-ins.
pub const TURNS: u32 = 4;
/// Most programs for one of them.
pub const TURNS_MAX: usize = 3;
/// Longest part of the environment that is carried, in bytes.
pub const ENVIRONMENT_MAX: usize = 16 << 10;
/// Most path components that are walked.
pub const PATH_COMPONENTS_MAX: usize = 96;
/// Longest name of a path component (NAME_MAX of Linux), without the terminating NUL.
pub const NAME_MAX: usize = 255;
/// Longest path tail that is emitted, in bytes.
pub const PATH_MAX: usize = 4096;
/// Longest file name given to exec that is reported, in bytes.
pub const FILENAME_MAX: usize = 1024;
/// Longest control group path that is reported, in bytes.
pub const CGROUP_PATH_MAX: usize = 1024;

/// Who of a program and its stand-ins is in the middle of an act, on one processor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Turns {
    /// Not 0 for those that are, the program itself first.
    pub busy: [u64; TURNS_MAX],
    /// The task whose act was seen to, for the stand-ins that are called for the same act.
    pub done: u64,
    /// Acts that stand-ins saw to.
    pub stood_in: u64,
}

/// Start of each record: what happened when, and who did it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// [`ABI_VERSION`].
    pub abi: u16,
    /// One of the `KIND_*` constants.
    pub kind: u16,
    /// Length of the whole record in bytes, this header included.
    pub len: u32,
    /// Processor on which the event happened.
    pub cpu: u32,
    /// `FLAG_*` bits.
    pub flags: u32,
    /// Position among all records that this processor tried to emit, lost ones included; starts at 1.
    pub seq: u64,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub boot_ns: u64,
    /// Id of the actor's control group in the v2 hierarchy (the inode number of its directory).
    pub cgroup_id: u64,
    /// Start time of the actor's thread group leader, CLOCK_BOOTTIME in nanoseconds.
    pub start_ns: u64,
    /// The same for its real parent.
    pub parent_start_ns: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of the real parent in the initial pid namespace.
    pub ppid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Real group id in the initial user namespace.
    pub gid: u32,
    /// Effective user id in the initial user namespace.
    pub euid: u32,
    /// Inode number of the mount namespace, 0 where unknown.
    pub mnt_ns: u32,
    /// Inode number of the pid namespace for children, 0 where unknown.
    pub pid_ns: u32,
    /// Inode number of the network namespace, 0 where unknown.
    pub net_ns: u32,
    /// Inode number of the user namespace, 0 where unknown.
    pub user_ns: u32,
    /// `comm` of the thread, NUL-padded.
    pub comm: [u8; 16],
}

/// The file has its data in the upper layer of an overlay: it was made or changed on top of the image.
pub const ORIGIN_UPPER: u32 = 1 << 0;
/// It lies on the mount that is the root directory of the process.
pub const ORIGIN_ROOT_MOUNT: u32 = 1 << 1;

/// Where a file that is executed comes from, as its kernel objects tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileFacts {
    /// Inode number.
    pub inode: u64,
    /// Last change of its content, nanoseconds since 1970.
    pub mtime_ns: u64,
    /// Last change of its inode, nanoseconds since 1970.
    pub ctime_ns: u64,
    /// Device of the inode, as the kernel encodes it (major << 20 | minor).
    pub dev: u32,
    /// Mode bits of the inode; 0 where there is no such file.
    pub mode: u32,
    /// Type of the filesystem, as statfs(2) gives it.
    pub magic: u32,
    /// Hard links; 0 for a file that has no name any more.
    pub nlink: u32,
    /// `ORIGIN_*` bits.
    pub origin: u32,
    /// Zero.
    pub reserved: u32,
}

/// Body of [`KIND_EXEC`]. Tails: path, path of the script, filename, argv, environment.
///
/// The header describes the process after the exec.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExecBody {
    /// The executable (for a script: its interpreter).
    pub file: FileFacts,
    /// The script; all zero where none was executed, or its file could not be found.
    pub script: FileFacts,
    /// `ACTION_*`: what was done about it in the kernel.
    pub action: u32,
    /// Rule that caused the action, 0 where there is none; see [`crate::Rule`].
    pub rule: u32,
    /// Length of the path tail in bytes: the executable's components, leaf first, each ended by NUL.
    pub path_len: u32,
    /// Length of the tail with the script's path, in the form of the path.
    pub script_len: u32,
    /// Length of the filename tail in bytes: the name given to exec as the kernel copied it
    /// (for a script: the script), without NUL.
    pub filename_len: u32,
    /// Length of the argv tail in bytes: the arguments, each ended by NUL.
    pub argv_len: u32,
    /// Length of the environment's tail in bytes: `NAME=value`, each ended by NUL. 0 where it is not wanted.
    pub environment_len: u32,
    /// Length in bytes that argv has in the process.
    pub argv_total: u32,
    /// `FLAG_PATH_*` and `FLAG_FILE_*` of the script.
    pub script_flags: u32,
    /// 1 where a script was executed.
    pub is_script: u32,
}

/// Body of [`KIND_FORK`]. No tails.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ForkBody {
    /// Start time of the child, CLOCK_BOOTTIME in nanoseconds.
    pub child_start_ns: u64,
    /// Process id of the child in the initial pid namespace.
    pub child_pid: u32,
    /// Zero.
    pub reserved: u32,
}

/// Body of [`KIND_EXIT`]. No tails.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExitBody {
    /// Status as wait(2) encodes it.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
    /// Time on a processor in nanoseconds, all threads together.
    pub runtime_ns: u64,
    /// Part of it that ticks of the clock found in user space.
    pub user_ns: u64,
    /// Part of it that ticks of the clock found in the kernel.
    pub system_ns: u64,
    /// Largest resident memory in pages.
    pub max_rss_pages: u64,
}

/// Body of [`KIND_OPEN`]. Tails: path.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OpenBody {
    /// Inode number of the file.
    pub inode: u64,
    /// Device of that inode, as the kernel encodes it (major << 20 | minor).
    pub dev: u32,
    /// Mode bits of that inode (type and permissions).
    pub mode: u32,
    /// `f_flags` of the opened file (O_* of the running architecture).
    pub open_flags: u32,
    /// `f_mode` of the opened file (FMODE_* of the kernel): bit 0 read, bit 1 write; bit 20 where
    /// this open created the file.
    pub file_mode: u32,
    /// Length of the path tail in bytes: components, leaf first, each ended by NUL.
    pub path_len: u32,
    /// Zero.
    pub reserved: u32,
    /// By which the same would be recognised, see [`crate::KnownBucket`]; 0 where it cannot be.
    pub identity: u64,
}

/// Body of [`KIND_CONNECT`]. No tails.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConnectBody {
    /// Remote address; an IPv4 address as its IPv4-mapped IPv6 address.
    pub remote_addr: [u8; 16],
    /// Local address in the same form; zero where not yet chosen.
    pub local_addr: [u8; 16],
    /// Remote port in host byte order.
    pub remote_port: u16,
    /// Local port in host byte order, 0 where not yet chosen.
    pub local_port: u16,
    /// AF_INET (2) or AF_INET6 (10): the family of the socket.
    pub family: u16,
    /// IPPROTO_*: 6 for TCP, 17 for UDP.
    pub protocol: u16,
    /// `ACTION_*`: what was done about it in the kernel.
    pub action: u32,
    /// Rule that caused the action, 0 where there is none; see [`crate::Rule`].
    pub rule: u32,
    /// The same number means the same socket; 0 where unknown. See [`crate::SocketBody`].
    pub cookie: u64,
    /// By which the same would be recognised, see [`crate::KnownBucket`]; 0 where it cannot be.
    pub identity: u64,
}

/// Body of [`KIND_LISTEN`]. No tails.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ListenBody {
    /// Local address; an IPv4 address as its IPv4-mapped IPv6 address.
    pub local_addr: [u8; 16],
    /// Local port in host byte order; 0 where the kernel chooses one after this point.
    pub local_port: u16,
    /// AF_INET (2) or AF_INET6 (10).
    pub family: u16,
    /// IPPROTO_*: 6 for TCP.
    pub protocol: u16,
    /// Zero.
    pub reserved: u16,
}

/// The control group was made.
pub const CGROUP_MADE: u32 = 1;
/// The control group was removed.
pub const CGROUP_REMOVED: u32 = 2;

/// Body of [`KIND_CGROUP`]. Tails: path.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupBody {
    /// Id of the control group.
    pub id: u64,
    /// [`CGROUP_MADE`] or [`CGROUP_REMOVED`].
    pub operation: u32,
    /// Length of the path tail in bytes: the path from the root of the hierarchy, without NUL.
    pub path_len: u32,
}

const _: () = assert!(size_of::<Header>() == 112);
const _: () = assert!(size_of::<ExecBody>() == 136);
const _: () = assert!(size_of::<FileFacts>() == 48);
const _: () = assert!(size_of::<ForkBody>() == 16);
const _: () = assert!(size_of::<ExitBody>() == 40);
const _: () = assert!(size_of::<OpenBody>() == 40);
const _: () = assert!(size_of::<ConnectBody>() == 64);
const _: () = assert!(size_of::<ListenBody>() == 24);
const _: () = assert!(size_of::<CgroupBody>() == 16);
