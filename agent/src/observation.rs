//! What the sensor saw: the type that `decode` gives and `identity` takes.
//!
//! Values are as the kernel gave them, with bytes where Linux has bytes; who a process or control group
//! *is* comes later.

use std::net::SocketAddr;

/// CLOCK_BOOTTIME in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

/// Id of a control group in the v2 hierarchy: the inode number of its directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// A process. Pids are reused, so the start time belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Start time of the thread group leader.
    pub start: BootTime,
}

/// Inode numbers of namespaces, 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Mount namespace.
    pub mnt: u32,
    /// Pid namespace for children.
    pub pid: u32,
    /// Network namespace.
    pub net: u32,
    /// User namespace.
    pub user: u32,
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The process.
    pub process: ProcessKey,
    /// Its real parent.
    pub parent: ProcessKey,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Real group id in the initial user namespace.
    pub gid: u32,
    /// Effective user id in the initial user namespace.
    pub euid: u32,
    /// Control group at the time.
    pub cgroup: CgroupId,
    /// Namespaces at the time.
    pub namespaces: Namespaces,
    /// `comm` of the thread, without padding.
    pub comm: Vec<u8>,
}

/// A path from kernel objects, in the mount namespace of the process that used it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelPath {
    /// `/` and the components; `…/` in front where the head was cut; just the name where disconnected.
    pub bytes: Vec<u8>,
    /// The directories nearest the root are missing.
    pub truncated: bool,
    /// Not reachable from a mount point (memfd, pipe, socket, detached mount).
    pub disconnected: bool,
    /// The file had no name left when it was seen.
    pub deleted: bool,
}

/// An inode on its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device as the kernel encodes it (major << 20 | minor).
    pub dev: u32,
    /// Inode number.
    pub inode: u64,
}

/// What the kernel side did about an act on behalf of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelAction {
    /// Nothing.
    #[default]
    None,
    /// Refused it with EPERM, for this rule.
    Denied(RuleNumber),
    /// Killed the process before its first instruction, for this rule.
    Killed(RuleNumber),
}

/// Number under which a compiled rule is known to the kernel side; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleNumber(pub u32);

/// A program was executed. The actor is the process after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The executable (for a script: its interpreter).
    pub path: KernelPath,
    /// Its inode.
    pub file: FileId,
    /// Mode bits of that inode.
    pub mode: u32,
    /// The name given to exec (for a script: the script).
    pub filename: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// There were more arguments than these.
    pub argv_truncated: bool,
    /// What was done about it.
    pub action: KernelAction,
}

/// A file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The file.
    pub path: KernelPath,
    /// Its inode.
    pub file: FileId,
    /// Mode bits of that inode (type and permissions).
    pub mode: u32,
    /// O_* flags of the opened file.
    pub flags: u32,
    /// Opened for reading.
    pub read: bool,
    /// Opened for writing.
    pub write: bool,
    /// This open created it.
    pub created: bool,
}

/// Transport protocol, as IPPROTO_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// Another one.
    Other(u16),
}

/// A connection was started, or refused by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The peer; an IPv4-mapped address as IPv4.
    pub remote: SocketAddr,
    /// The local end; `None` where not yet chosen.
    pub local: Option<SocketAddr>,
    /// Protocol.
    pub protocol: Protocol,
    /// What was done about it.
    pub action: KernelAction,
}

/// A socket began to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The local end; port 0 where the kernel chooses one after this point.
    pub local: SocketAddr,
    /// Protocol.
    pub protocol: Protocol,
}

/// A control group came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    /// Which one.
    pub id: CgroupId,
    /// It was removed; otherwise it was made.
    pub removed: bool,
    /// Path from the root of the v2 hierarchy.
    pub path: Vec<u8>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A program was executed.
    Exec(Exec),
    /// The actor created this process.
    Fork(ProcessKey),
    /// The process ended, with this status as wait(2) encodes it.
    Exit(u32),
    /// A file was opened.
    Open(Open),
    /// A connection was started or refused.
    Connect(Connect),
    /// A socket began to listen.
    Listen(Listen),
    /// A control group came or went.
    Cgroup(CgroupChange),
}

/// One record of the event ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Processor on which it happened.
    pub cpu: u32,
    /// Position among all records of that processor, lost ones included; starts at 1.
    pub seq: u64,
    /// When.
    pub at: BootTime,
    /// Who.
    pub actor: Actor,
    /// What.
    pub act: Act,
}
