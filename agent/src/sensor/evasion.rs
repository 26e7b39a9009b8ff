//! Well-known ways to escape the sight of a runtime monitor.
//!
//! Which of them this kernel lets the agent see follows from the ways in the attach table: each way names the
//! techniques that it sees, and whatever is not named by an attached way is not seen.

use std::fmt;

/// How much of a technique is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sight {
    /// Something of it is seen, with this limit.
    Partly(&'static str),
    /// It makes no difference.
    Fully,
}

macro_rules! techniques {
    ($($(#[$doc:meta])* $name:ident $text:literal $what:literal;)*) => {
        /// A technique.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Technique {
            $(#[doc = $what] $name,)*
        }

        impl Technique {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it is.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

techniques! {
    Toctou "toctou" "the path or address in user memory is changed between the check and the use";
    Symlink "symlink" "a file is reached through a symbolic link";
    HardLink "hard-link" "a file is reached by another hard link";
    ProcRoot "proc-root" "a file is reached through /proc/PID/root or /proc/PID/fd";
    BindMount "bind-mount" "a file is reached through a bind mount";
    RelativePath "relative" "a file is reached by a relative path, `..` or a directory descriptor";
    Chroot "chroot" "a file is reached from a changed root directory";
    OpenByHandle "open-by-handle" "a file is opened by its handle";
    FdPassing "fd-passing" "an open file is received from another process";
    PathOperation "path-operation" "a file is changed by its path without opening it (rename over it, truncate, unlink)";
    FailedOpen "failed-open" "an open is tried and refused";
    OpenPath "o-path" "a file is opened with O_PATH and reopened later";
    Compat32 "compat-32bit" "system calls are made by the 32-bit interface";
    IoUringFile "io-uring-file" "files are opened and changed by io_uring requests";
    IoUringNetwork "io-uring-network" "connections are made and accepted by io_uring requests";
    TcpFastOpen "tcp-fast-open" "a connection is made by sendto(MSG_FASTOPEN), without connect";
    Mptcp "mptcp" "a connection is made by Multipath TCP";
    UdpUnconnected "udp-unconnected" "datagrams are sent without connecting the socket";
    RawSocket "raw-socket" "packets are sent by a raw or packet socket";
    MappedAddress "mapped-address" "an IPv4 peer is reached as an IPv4-mapped IPv6 address";
    LdSo "ld-so" "a program is started by running the dynamic linker on it";
    MappedCode "mapped-code" "a library that the image did not ship is mapped (dlopen, LD_PRELOAD)";
    Script "script" "a script is run by its interpreter";
    Memfd "memfd" "a program is executed from anonymous memory";
    Deleted "deleted" "a program is executed from a file that has no name any more";
    Volume "volume" "a program is executed from a volume, tmpfs or shared memory";
    AnonymousCode "anonymous-code" "memory that no file backs becomes executable";
    Injection "injection" "another process is changed by ptrace, process_vm_writev or /proc/PID/mem";
    CommForging "comm-forging" "a process changes its name or argv[0]";
    ThreadExec "thread-exec" "a thread that is not the first of its process executes a program";
    ShortLived "short-lived" "a process ends before anybody can look at it";
    LongPath "long-path" "paths and argument lists are longer than a monitor's buffers";
    GarbageNames "garbage-names" "names hold newlines, control characters and invalid UTF-8";
    CredentialChange "credential-change" "a process changes its user, group or capabilities after it was started";
    NamespaceChange "namespace-change" "a process enters or makes namespaces";
    CgroupMove "cgroup-move" "a process moves to another control group";
    SignalOutside "signal-outside" "a process outside the sender's container is signalled";
    KernelModule "kernel-module" "a kernel module is loaded";
    BpfProgram "bpf-program" "a BPF program is loaded or attached";
    RawDevice "raw-device" "disks, memory or ports are accessed below the file system";
    DnsTunnel "dns-tunnel" "data leaves in DNS queries";
    Flood "flood" "events are produced faster than they can be taken";
}

impl fmt::Display for Technique {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
