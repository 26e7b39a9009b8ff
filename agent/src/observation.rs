//! What the sensor saw: the type that `decode` gives and `identity` takes.
//!
//! Values are as the kernel gave them, with bytes where Linux has bytes; who a process or control group
//! *is* comes later.

mod origin;

pub use origin::{Executable, Origin};

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroU64;

/// CLOCK_BOOTTIME in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Whole seconds, for what is kept of hundreds of thousands; enough for 136 years.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        (self.0 / 1_000_000_000) as u32
    }
}

/// Id of a control group in the v2 hierarchy: the inode number of its directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CgroupId(pub u64);

/// A process. Pids are reused, so the start time belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Start time of the thread group leader.
    pub start: BootTime,
}

/// Inode numbers of namespaces, 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub comm: ArrayVec<u8, 16>,
}

/// A path from kernel objects, in the mount namespace of the process that used it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device as the kernel encodes it (major << 20 | minor).
    pub dev: u32,
    /// Inode number.
    pub inode: u64,
}

/// By which the kernel side would recognise the same act, as long as nothing of what it compares has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActId(pub NonZeroU64);

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The executable (for a script: its interpreter).
    pub program: Executable,
    /// What was given to exec is run by an interpreter.
    pub is_script: bool,
    /// The file of the script, where it could be found.
    pub script: Option<Executable>,
    /// The name given to exec (for a script: the script).
    pub filename: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// There were more arguments than these.
    pub argv_truncated: bool,
    /// Names of environment variables, where they are wanted.
    pub environment: Vec<Vec<u8>>,
    /// There were more of them.
    pub environment_truncated: bool,
    /// What was done about it.
    pub action: KernelAction,
}

impl Exec {
    /// Where what is executed in a container comes from: the worse of executable and script.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let program = self.program.origin(true);
        match &self.script {
            Some(script) => program.or_worse(script.origin(true)),
            None => program,
        }
    }
}

/// A process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Status as wait(2) encodes it.
    pub status: u32,
    /// Time on a processor in nanoseconds, all threads together.
    pub runtime_ns: u64,
    /// Part of it that ticks of the clock found in user space.
    pub user_ns: u64,
    /// Part of it that ticks of the clock found in the kernel.
    pub system_ns: u64,
    /// Largest resident memory in pages.
    pub max_rss_pages: u64,
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
    /// By which the same would be recognised, where it can be.
    pub id: Option<ActId>,
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
    /// The same number means the same socket; 0 where unknown.
    pub cookie: u64,
    /// By what the kernel side would recognise it; `None` where it cannot.
    pub id: Option<ActId>,
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

/// What came of an act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Seen at the kernel's security check, before the act: it was permitted so far.
    #[default]
    Permitted,
    /// It was done.
    Succeeded,
    /// It was refused or failed, with this errno.
    Failed(u32),
}

/// A path, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Name {
    /// From kernel objects.
    Walked(KernelPath),
    /// As the program gave it; not resolved by the kernel.
    Claimed(Vec<u8>),
}

impl Name {
    /// The path as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Walked(path) => &path.bytes,
            Self::Claimed(bytes) => bytes,
        }
    }
}

/// One of [`norma_abi::OPERATIONS`].
#[derive(Clone, Copy)]
pub struct Op(&'static norma_abi::Operation);

impl Op {
    /// The operation with this number.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        norma_abi::operation(number).map(Self)
    }

    /// What the contract says of it.
    #[must_use]
    pub fn definition(self) -> &'static norma_abi::Operation {
        self.0
    }

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Self) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Op {}

impl std::fmt::Debug for Op {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0.name)
    }
}

/// The process acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which one.
    pub process: ProcessKey,
    /// Its control group; `CgroupId(0)` where unknown.
    pub cgroup: CgroupId,
}

/// A change of files, privileges or the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which one.
    pub op: Op,
    /// What came of it.
    pub outcome: Outcome,
    /// The file acted on, or the first of two paths.
    pub path: Option<Name>,
    /// The second of two paths.
    pub other: Option<Name>,
    /// A claimed path is relative to the directory of a descriptor.
    pub at_descriptor: bool,
    /// The inode acted on.
    pub file: FileId,
    /// Its mode bits, 0 where unknown.
    pub mode: u32,
    /// The process acted on.
    pub target: Option<Target>,
    /// Arguments; their meaning is in the definition of the operation.
    pub args: [u64; norma_abi::ACT_ARGS],
    /// What the definition of the operation says.
    pub text: Vec<u8>,
    /// The text was longer.
    pub text_truncated: bool,
    /// Done by an io_uring request.
    pub io_uring: bool,
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SocketOp {
    /// It was made.
    Made,
    /// It was bound to a local address.
    Bound,
    /// It came out of accept.
    Accepted,
    /// Its connection was established.
    Established,
    /// It was closed, or its connection failed.
    Closed,
    /// Datagrams were sent to a peer.
    Sent,
    /// It was connected (Unix, vsock).
    Connected,
    /// It began to listen (Unix, vsock).
    Listening,
}

impl SocketOp {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Bound => "bound",
            Self::Accepted => "accepted",
            Self::Established => "established",
            Self::Closed => "closed",
            Self::Sent => "sent",
            Self::Connected => "connected",
            Self::Listening => "listening",
        }
    }
}

/// One end of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// None, or not known.
    #[default]
    None,
    /// An internet address; IPv4-mapped ones as IPv4.
    Internet(SocketAddr),
    /// vsock.
    Vsock {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
    },
}

/// Something in the life of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// What.
    pub op: SocketOp,
    /// What came of it.
    pub outcome: Outcome,
    /// AF_*.
    pub family: u16,
    /// SOCK_* without flags, 0 where unknown.
    pub socket_type: u16,
    /// IPPROTO_*, or the protocol of the family.
    pub protocol: u32,
    /// The other end.
    pub remote: Endpoint,
    /// The own end.
    pub local: Endpoint,
    /// Name of a Unix socket.
    pub path: Option<Name>,
    /// The name is abstract.
    pub abstract_name: bool,
    /// The same number means the same socket; 0 where unknown.
    pub cookie: u64,
    /// When its connection began, where known. The kernel side does not say; it is told by the connection's
    /// first record.
    pub opened: Option<BootTime>,
    /// Payload bytes sent and acknowledged.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
    /// It had been established.
    pub was_established: bool,
    /// The addresses are as the program gave them.
    pub address_claimed: bool,
    /// It was there before the agent was.
    pub from_proc: bool,
    /// By what the kernel side would recognise the accepting of such a connection; `None` where it cannot.
    #[serde(skip)]
    pub id: Option<ActId>,
}

/// A DNS message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// It leaves the socket; otherwise it reaches it.
    pub sent: bool,
    /// Protocol.
    pub protocol: Protocol,
    /// The other end.
    pub remote: SocketAddr,
    /// Own port.
    pub local_port: u16,
    /// Length on the wire in bytes.
    pub total_len: u32,
    /// As in [`Socket`].
    pub cookie: u64,
    /// Only the beginning of the message was carried.
    pub cut: bool,
    /// What it says, or why nothing can be said of it.
    pub message: Result<DnsMessage, String>,
}

/// What a DNS message says. Texts are printable: other bytes than visible ASCII are `\xNN`, and so is a dot
/// within a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsMessage {
    /// By which the answer is matched to the query.
    pub id: u16,
    /// It is an answer; otherwise a query.
    pub answer: bool,
    /// The name asked for, without the dot at its end; `.` for the root.
    pub name: String,
    /// The type of record asked for, such as `A`.
    pub record_type: String,
    /// What came of the query, such as `NXDOMAIN`; empty in a query.
    pub code: String,
    /// Records of the answer.
    pub answers: Vec<DnsAnswer>,
    /// Why there may be more than this, where there may.
    pub incomplete: Option<String>,
}

/// A record of a DNS answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Whose record it is.
    pub name: String,
    /// Its type.
    pub record_type: String,
    /// Its content.
    pub value: String,
    /// How long it may be remembered, in seconds.
    pub ttl: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A program was executed.
    Exec(Exec),
    /// The actor created this process.
    Fork(ProcessKey),
    /// The process ended.
    Exit(Exit),
    /// A file was opened.
    Open(Open),
    /// A connection was started or refused.
    Connect(Connect),
    /// A socket began to listen.
    Listen(Listen),
    /// A control group came or went.
    Cgroup(CgroupChange),
    /// A change of files, privileges or the host.
    Operation(Box<Operation>),
    /// Something in the life of a socket.
    Socket(Box<Socket>),
    /// A DNS message. The actor's process is unknown (pid 0) where the message was received.
    Dns(Box<Dns>),
}

impl Act {
    /// By what the kernel side would recognise it; `None` where it cannot.
    #[must_use]
    pub fn id(&self) -> Option<ActId> {
        match self {
            Self::Open(open) => open.id,
            Self::Connect(connect) => connect.id,
            Self::Socket(socket) => socket.id,
            _ => None,
        }
    }
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
