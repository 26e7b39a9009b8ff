//! Operations that share one record form: changes of files, of privileges, of the host.
//!
//! One table names every operation and its arguments; the numbers that the kernel programs emit and the
//! names that events carry are both made from it.

use crate::record::{KIND_FILE, KIND_HOST, KIND_PRIVILEGE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`ActBody::result`] is what came of the act: 0, or a negative errno.
pub const ACT_RESULT: u32 = 1 << 0;
/// Seen before the act, at the kernel's security check: it was permitted so far, what came of it is not known.
pub const ACT_PERMITTED: u32 = 1 << 1;
/// The path is the text that the program handed to the kernel, read from user memory: relative names,
/// symbolic links and a race between check and use are not resolved. Plain bytes, not components.
pub const ACT_PATH_CLAIMED: u32 = 1 << 2;
/// The same for the other path.
pub const ACT_OTHER_CLAIMED: u32 = 1 << 3;
/// Done by an io_uring request.
pub const ACT_IO_URING: u32 = 1 << 4;
/// The text was longer than what is reported.
pub const ACT_TEXT_TRUNCATED: u32 = 1 << 5;
/// A claimed path is relative to the directory of a descriptor other than the working directory.
pub const ACT_AT_DESCRIPTOR: u32 = 1 << 6;
/// The path was walked; without components it is the root directory.
pub const ACT_PATH_WALKED: u32 = 1 << 7;
/// The same for the other path.
pub const ACT_OTHER_WALKED: u32 = 1 << 8;

/// Stands for add_key(2) among the operations of keyctl(2).
pub const KEY_ADD: u64 = 1 << 32;
/// Stands for request_key(2) among the operations of keyctl(2).
pub const KEY_REQUEST: u64 = 2 << 32;
/// Stands for an io_uring request of which nothing more is known.
pub const OPCODE_UNKNOWN: u64 = u32::MAX as u64;

/// Stands for an argument that is not known where the act was seen.
pub const ARG_UNKNOWN: u64 = u64::MAX;

/// Longest text tail in bytes.
pub const ACT_TEXT_MAX: usize = 1024;
/// Arguments of an operation.
pub const ACT_ARGS: usize = 4;

/// Body of [`KIND_FILE`], [`KIND_PRIVILEGE`] and [`KIND_HOST`]. Tails: path, other path, text.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ActBody {
    /// `OP_*`.
    pub op: u32,
    /// See [`ACT_RESULT`].
    pub result: i32,
    /// `ACT_*` bits.
    pub flags: u32,
    /// Mode bits of the inode acted on, 0 where there is none.
    pub mode: u32,
    /// Inode number acted on, 0 where there is none.
    pub inode: u64,
    /// Meaning by operation, see [`Operation::args`].
    pub args: [u64; ACT_ARGS],
    /// Start time of the process acted on, CLOCK_BOOTTIME in nanoseconds; 0 where there is none.
    pub target_start_ns: u64,
    /// Its control group, 0 where unknown.
    pub target_cgroup: u64,
    /// Its process id in the initial pid namespace.
    pub target_pid: u32,
    /// Device of the inode (major << 20 | minor).
    pub dev: u32,
    /// Length of the path tail in bytes: components, leaf first, each ended by NUL; plain bytes where claimed.
    pub path_len: u32,
    /// Length of the other path's tail, in the same form.
    pub other_len: u32,
    /// `FLAG_PATH_*` and `FLAG_FILE_*` of the other path; those of the path are in the header.
    pub other_flags: u32,
    /// Length of the text tail in bytes.
    pub text_len: u32,
}

const _: () = assert!(size_of::<ActBody>() == 96);

/// How an argument is written in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Decimal, unsigned.
    Number,
    /// Decimal, signed.
    Signed,
    /// Hexadecimal.
    Hex,
    /// Octal, as modes are written.
    Octal,
    /// A set of capabilities by name.
    Capabilities,
    /// A signal by name.
    Signal,
    /// CLONE_* flags by name.
    Namespaces,
    /// PROT_* bits by name.
    Protection,
    /// MS_*/mount flags by name.
    MountFlags,
    /// AF_* by name.
    AddressFamily,
    /// BPF_PROG_TYPE_* by name.
    BpfProgram,
    /// BPF_* command by name.
    BpfCommand,
    /// BPF_* attach type by name.
    BpfAttach,
    /// SO_* by name.
    SocketOption,
    /// KEYCTL_* by name; add_key and request_key as [`KEY_ADD`] and [`KEY_REQUEST`].
    Keyctl,
    /// BPF_DEVCG_ACC_* by name.
    DeviceAccess,
    /// BPF_DEVCG_DEV_* by name.
    DeviceType,
    /// IORING_OP_* by name.
    IoUring,
    /// major:minor of a device.
    Device,
    /// Nanoseconds.
    Nanoseconds,
    /// PTRACE_* request by name.
    Ptrace,
    /// O_* flags by name.
    OpenFlags,
    /// A user or group id; -1 means unchanged.
    Id,
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// `OP_*`.
    pub number: u32,
    /// Stable name, such as `file.unlink`.
    pub name: &'static str,
    /// Kind of its records.
    pub kind: u16,
    /// Names and forms of [`ActBody::args`]; those beyond are not used.
    pub args: &'static [(&'static str, Form)],
    /// What the text tail is, empty where there is none.
    pub text: &'static str,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal: $kind:ident $text:literal
        [$($arg:literal $form:ident),*] $(text $what:literal)?;)*) => {
        $($(#[$doc])* pub const $name: u32 = $number;)*
        /// Every operation, in the order of its numbers.
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            number: $number,
            name: $text,
            kind: $kind,
            args: &[$(($arg, Form::$form)),*],
            text: operations!(@ $($what)?),
        },)*];
    };
    (@) => { "" };
    (@ $what:literal) => { $what };
}

operations! {
    /// A name was removed from a directory.
    OP_UNLINK = 1: KIND_FILE "file.unlink" [];
    /// A directory was removed.
    OP_RMDIR = 2: KIND_FILE "file.rmdir" [];
    /// A file got another name; other path: the new name. With RENAME_EXCHANGE both files swap names.
    OP_RENAME = 3: KIND_FILE "file.rename" ["flags" Hex];
    /// A hard link was made; other path: the new name.
    OP_LINK = 4: KIND_FILE "file.link" [];
    /// A symbolic link was made; text: what it points to.
    OP_SYMLINK = 5: KIND_FILE "file.symlink" [] text "target";
    /// A directory was made.
    OP_MKDIR = 6: KIND_FILE "file.mkdir" ["mode" Octal];
    /// A file, device, pipe or socket was made without opening it.
    OP_MKNOD = 7: KIND_FILE "file.mknod" ["mode" Octal, "device" Device];
    /// Permissions changed.
    OP_CHMOD = 8: KIND_FILE "file.chmod" ["mode" Octal];
    /// Owner or group changed.
    OP_CHOWN = 9: KIND_FILE "file.chown" ["uid" Id, "gid" Id];
    /// An extended attribute was set; text: its name.
    OP_SETXATTR = 10: KIND_FILE "file.setxattr" ["flags" Hex] text "attribute";
    /// An extended attribute was removed; text: its name.
    OP_REMOVEXATTR = 11: KIND_FILE "file.removexattr" [] text "attribute";
    /// A file was cut to a length.
    OP_TRUNCATE = 12: KIND_FILE "file.truncate" ["length" Number];
    /// A file was mapped for execution.
    OP_MAP_EXEC = 13: KIND_FILE "file.map-exec" ["protection" Protection, "flags" Hex];
    /// A file was mapped shared and writable.
    OP_MAP_WRITE = 14: KIND_FILE "file.map-write" ["protection" Protection, "flags" Hex];
    /// A filesystem was mounted or a mount changed; path: where; other path: what, for a bind mount;
    /// text: type and device.
    OP_MOUNT = 15: KIND_FILE "mount.mount" ["flags" MountFlags] text "filesystem";
    /// A mount was removed.
    OP_UMOUNT = 16: KIND_FILE "mount.umount" ["flags" Hex];
    /// A mount was moved or attached; other path: where to; text: type of its filesystem.
    OP_MOVE_MOUNT = 17: KIND_FILE "mount.move" ["flags" Hex] text "filesystem";
    /// The root of the mount namespace changed; path: the new root; other path: where the old one went.
    OP_PIVOT_ROOT = 18: KIND_FILE "mount.pivot-root" [];
    /// The process changed its root directory.
    OP_CHROOT = 19: KIND_FILE "file.chroot" [];
    /// An open that did not succeed.
    OP_OPEN_FAILED = 20: KIND_FILE "file.open-failed" ["flags" OpenFlags];
    /// A file was opened without access to its content (O_PATH).
    OP_OPEN_PATH = 21: KIND_FILE "file.open-path" ["flags" OpenFlags];
    /// A value below /proc/sys was written; text: name of the setting; other text is not carried.
    OP_SYSCTL_WRITE = 22: KIND_FILE "file.sysctl-write" [] text "setting";
    /// An open file, directory or device was received from another process.
    OP_RECEIVE = 23: KIND_FILE "file.receive" ["flags" OpenFlags];
    /// A mount was made that is not attached anywhere yet; text: type of its filesystem.
    OP_DETACHED_MOUNT = 24: KIND_FILE "mount.detached" ["flags" Hex] text "filesystem";
    /// Attributes of a mount were changed (mount_setattr).
    OP_MOUNT_ATTRIBUTES = 25: KIND_FILE "mount.attributes" ["set" Hex, "clear" Hex];

    /// User or group ids changed.
    OP_SET_IDS = 64: KIND_PRIVILEGE "privilege.ids" ["uid" Id, "euid" Id, "gid" Id, "egid" Id];
    /// Capabilities changed.
    OP_CAPSET = 65: KIND_PRIVILEGE "privilege.capabilities"
        ["effective" Capabilities, "permitted" Capabilities, "inheritable" Capabilities];
    /// The process gave up gaining privileges by exec.
    OP_NO_NEW_PRIVS = 66: KIND_PRIVILEGE "privilege.no-new-privs" [];
    /// A seccomp filter was installed.
    OP_SECCOMP = 67: KIND_PRIVILEGE "privilege.seccomp" ["operation" Number, "flags" Hex];
    /// The process left namespaces for new ones.
    OP_UNSHARE = 68: KIND_PRIVILEGE "namespace.unshare" ["flags" Namespaces];
    /// The process entered a namespace.
    OP_SETNS = 69: KIND_PRIVILEGE "namespace.setns" ["flags" Namespaces];
    /// A child was made in new namespaces; target: the child.
    OP_CLONE_NS = 70: KIND_PRIVILEGE "namespace.clone" ["flags" Namespaces];
    /// Another process was traced, or its memory opened by right of tracing; target: that process.
    OP_PTRACE = 71: KIND_PRIVILEGE "process.ptrace" ["request" Ptrace, "mode" Hex];
    /// Another process's memory was read; target: that process, where it is known. `pid` is its number in the
    /// pid namespace of the actor.
    OP_VM_READ = 72: KIND_PRIVILEGE "process.vm-read" ["bytes" Number, "pid" Number];
    /// Another process's memory was written.
    OP_VM_WRITE = 73: KIND_PRIVILEGE "process.vm-write" ["bytes" Number, "pid" Number];
    /// A signal was sent to another process.
    OP_SIGNAL = 74: KIND_PRIVILEGE "process.signal" ["signal" Signal];
    /// Memory that no file backs, or that was written, became executable, or executable memory writable; path:
    /// the file, where it was mapped from one. Where the change is seen at a security check, address and length
    /// are those of the mapping that it is part of.
    OP_EXEC_MEMORY = 75: KIND_PRIVILEGE "process.exec-memory"
        ["address" Hex, "length" Number, "protection" Protection, "before" Protection];
    /// The thread was given another name; text: the new one. The header's `comm` is the one before.
    OP_COMM = 76: KIND_PRIVILEGE "process.comm" [] text "name";
    /// A process was moved to another control group; target: that process; text: path of the group.
    OP_CGROUP_MOVE = 77: KIND_PRIVILEGE "process.cgroup-move" ["to" Number] text "cgroup";
    /// An exec that did not succeed.
    OP_EXEC_FAILED = 78: KIND_PRIVILEGE "process.exec-failed" [];
    /// Supplementary groups changed.
    OP_SET_GROUPS = 79: KIND_PRIVILEGE "privilege.groups" ["count" Number];
    /// The kernel asked whether the process has a capability, because of what it wanted to do; reported once in some
    /// minutes for each executable. `namespace` is the inode number of the user namespace in which it takes it.
    OP_CAPABILITY_USE = 80: KIND_PRIVILEGE "privilege.capability-use"
        ["capability" Capabilities, "namespace" Number];

    /// A kernel module was loaded, or an attempt was made; text: its name where known.
    OP_MODULE_LOAD = 128: KIND_HOST "host.module-load" [] text "module";
    /// A kernel module was removed; text: its name.
    OP_MODULE_UNLOAD = 129: KIND_HOST "host.module-unload" [] text "module";
    /// A BPF program was loaded; text: its name.
    OP_BPF_LOAD = 130: KIND_HOST "host.bpf-load" ["type" BpfProgram] text "name";
    /// A BPF program was attached.
    OP_BPF_ATTACH = 131: KIND_HOST "host.bpf-attach" ["command" BpfCommand, "attach-type" BpfAttach, "option" SocketOption] text "name";
    /// A key operation; text: description of the key that was asked for or made.
    OP_KEYCTL = 132: KIND_HOST "host.keyctl" ["operation" Keyctl, "key" Signed] text "key";
    /// A performance event was opened.
    OP_PERF_EVENT = 133: KIND_HOST "host.perf-event" ["type" Number, "config" Hex, "pid" Signed, "cpu" Signed];
    /// A userfaultfd was made.
    OP_USERFAULTFD = 134: KIND_HOST "host.userfaultfd" ["flags" Hex];
    /// An io_uring was made.
    OP_IO_URING_SETUP = 135: KIND_HOST "host.io-uring-setup" ["entries" Number, "flags" Hex];
    /// Requests were submitted through io_uring; reported for each kind of request once per process and second.
    OP_IO_URING_OP = 136: KIND_HOST "host.io-uring-op" ["opcode" IoUring, "count" Number];
    /// A kernel to boot into was loaded.
    OP_KEXEC = 137: KIND_HOST "host.kexec" ["flags" Hex];
    /// A device was opened or made with raw access to disks, memory or ports.
    OP_DEVICE = 138: KIND_HOST "host.device" ["device" Device, "access" DeviceAccess, "type" DeviceType];
    /// The clock was set.
    OP_CLOCK_SET = 139: KIND_HOST "host.clock-set" ["clock" Number, "time" Nanoseconds];
    /// The kernel was made to ask user space for a module; text: its name or alias.
    OP_MODULE_REQUEST = 140: KIND_HOST "host.module-request" [] text "module";
    /// The agent's own liveness check.
    OP_CANARY = 160: KIND_HOST "host.canary" ["round" Number];
}

/// The operation with this number.
#[must_use]
pub fn operation(number: u32) -> Option<&'static Operation> {
    OPERATIONS
        .binary_search_by_key(&number, |operation| operation.number)
        .ok()
        .map(|index| &OPERATIONS[index])
}

const _: () = {
    let mut index = 1;
    while index < OPERATIONS.len() {
        assert!(OPERATIONS[index - 1].number < OPERATIONS[index].number);
        index += 1;
    }
};
