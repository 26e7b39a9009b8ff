//! Numbers of the kernel by the names that people know.

mod names;

use names::{BPF_ATTACHMENTS, BPF_PROGRAMS, IO_URING};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use norma_abi::{ARG_UNKNOWN, Form, KEY_ADD, KEY_REQUEST, OPCODE_UNKNOWN};
use rustix::mm::ProtFlags;
use rustix::mount::MountFlags;
use rustix::thread::{CapabilitySet, UnshareFlags};

/// An argument in words; `None` where it says nothing.
pub fn text(form: Form, value: u64) -> Option<String> {
    if value == ARG_UNKNOWN
        && matches!(
            form,
            Form::Number | Form::Hex | Form::Protection | Form::OpenFlags
        )
    {
        return None;
    }
    Some(match form {
        Form::Number | Form::Nanoseconds => value.to_string(),
        Form::Signed => (value as i64).to_string(),
        Form::Hex => format!("{value:#x}"),
        Form::Octal => format!("{value:#o}"),
        Form::Id if value as u32 == u32::MAX => return None,
        Form::Id => (value as u32).to_string(),
        Form::Device => format!("{}:{}", value >> 20, value & 0xf_ffff),
        Form::Capabilities => capabilities(value),
        Form::Signal => signal(value),
        Form::Namespaces => {
            let known = UnshareFlags::from_bits_truncate(value as u32);
            set(
                "CLONE_",
                known
                    .iter_names()
                    .map(|(name, bit)| (name, u64::from(bit.bits()))),
                value,
            )
        }
        Form::Protection => {
            let known = ProtFlags::from_bits_truncate(value as u32);
            set(
                "PROT_",
                known
                    .iter_names()
                    .map(|(name, bit)| (name, u64::from(bit.bits()))),
                value,
            )
        }
        Form::MountFlags => mount_flags(value),
        Form::AddressFamily => address_family(value),
        Form::BpfProgram => of(BPF_PROGRAMS, value),
        Form::BpfAttach | Form::BpfCommand | Form::SocketOption if value == ARG_UNKNOWN => return None,
        Form::BpfAttach => of(BPF_ATTACHMENTS, value),
        Form::BpfCommand => match value {
            5 => "prog-load".to_owned(),
            8 => "prog-attach".to_owned(),
            17 => "raw-tracepoint-open".to_owned(),
            28 => "link-create".to_owned(),
            other => other.to_string(),
        },
        Form::SocketOption => match value {
            50 => "attach-bpf".to_owned(),
            52 => "attach-reuseport-ebpf".to_owned(),
            other => other.to_string(),
        },
        Form::IoUring if value == OPCODE_UNKNOWN => return None,
        Form::IoUring => of(IO_URING, value),
        Form::Ptrace if value == u64::MAX => return None,
        Form::Ptrace => match value {
            0 => "traceme".to_owned(),
            16 => "attach".to_owned(),
            0x4206 => "seize".to_owned(),
            other => other.to_string(),
        },
        Form::Keyctl => keyctl(value),
        Form::DeviceAccess => device_access(value),
        Form::DeviceType => match value {
            1 => "block".to_owned(),
            2 => "character".to_owned(),
            other => other.to_string(),
        },
        Form::OpenFlags => super::flag_names(value as u32).join("|"),
    })
}

/// Flags of mount(2).
fn mount_flags(value: u64) -> String {
    // Those that say what to do, of which the crate makes functions.
    const ACTS: &[(&str, u64)] = &[
        ("REMOUNT", 1 << 5),
        ("MOVE", 1 << 13),
        ("UNBINDABLE", 1 << 17),
        ("PRIVATE", 1 << 18),
        ("SLAVE", 1 << 19),
        ("SHARED", 1 << 20),
    ];
    let acts = ACTS.iter().copied().filter(|(_, bit)| value & bit != 0);
    let how = MountFlags::from_bits_truncate(value as u32);
    let how = how.iter_names().map(|(name, bit)| (name, u64::from(bit.bits())));
    set("MS_", acts.chain(how), value)
}

/// Name of an errno, such as `EACCES`.
pub fn errno(error: u32) -> String {
    match Errno::from_raw(error.cast_signed()) {
        Errno::UnknownErrno => format!("errno {error}"),
        known => format!("{known:?}"),
    }
}

/// Names of the bits of a set that have one, joined, and the others as a number.
///
/// The sets of the crate keep bits that they have no names for.
fn set(prefix: &str, known: impl Iterator<Item = (&'static str, u64)>, value: u64) -> String {
    let mut beyond = value;
    let mut names = Vec::new();
    for (name, bits) in known {
        names.push(format!("{prefix}{name}"));
        beyond &= !bits;
    }
    if beyond != 0 {
        names.push(format!("{beyond:#x}"));
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join("|")
    }
}

/// The one capability of a set of one.
pub fn capability(set: u64) -> String {
    capabilities(set)
}

/// All that there are (the highest known and everything below) are one word.
fn capabilities(value: u64) -> String {
    let known = CapabilitySet::from_bits_truncate(value);
    let all = CapabilitySet::all().iter_names().count();
    if known.iter_names().count() == all {
        return "all".to_owned();
    }
    set(
        "CAP_",
        known.iter_names().map(|(name, bit)| (name, bit.bits())),
        value,
    )
}

fn signal(value: u64) -> String {
    i32::try_from(value)
        .ok()
        .and_then(|number| Signal::try_from(number).ok())
        .map_or_else(|| value.to_string(), |known| known.as_str().to_owned())
}

/// The name at this place of a table.
fn of(names: &[&str], value: u64) -> String {
    usize::try_from(value)
        .ok()
        .and_then(|at| names.get(at))
        .filter(|name| !name.is_empty())
        .map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

/// KEYCTL_* in lower case (keyctl(2)).
fn keyctl(operation: u64) -> String {
    const NAMES: &[&str] = &[
        "get-keyring-id",
        "join-session-keyring",
        "update",
        "revoke",
        "chown",
        "setperm",
        "describe",
        "clear",
        "link",
        "unlink",
        "search",
        "read",
        "instantiate",
        "negate",
        "set-reqkey-keyring",
        "set-timeout",
        "assume-authority",
        "get-security",
        "session-to-parent",
        "reject",
        "instantiate-iov",
        "invalidate",
        "get-persistent",
        "dh-compute",
        "pkey-query",
        "pkey-encrypt",
        "pkey-decrypt",
        "pkey-sign",
        "pkey-verify",
        "restrict-keyring",
        "move",
        "capabilities",
        "watch-key",
    ];
    match operation {
        KEY_ADD => "add-key".to_owned(),
        KEY_REQUEST => "request-key".to_owned(),
        other => of(NAMES, other),
    }
}

/// BPF_DEVCG_ACC_* in words.
fn device_access(bits: u64) -> String {
    let names: Vec<&str> = [(1, "make"), (2, "read"), (4, "write")]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join("|")
    }
}

/// AF_* without the prefix and in lower case.
pub fn address_family(family: u64) -> String {
    match family {
        1 => "unix".to_owned(),
        2 => "inet".to_owned(),
        10 => "inet6".to_owned(),
        16 => "netlink".to_owned(),
        17 => "packet".to_owned(),
        38 => "alg".to_owned(),
        40 => "vsock".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(form: Form, value: u64) -> String {
        text(form, value).unwrap()
    }

    #[test]
    fn numbers_of_the_kernel_have_names() {
        assert_eq!(errno(13), "EACCES");
        assert_eq!(errno(4_000), "errno 4000");
        assert_eq!(word(Form::Signal, 9), "SIGKILL");
        assert_eq!(word(Form::Signal, 40), "40");
        assert_eq!(word(Form::Capabilities, 0), "none");
        assert_eq!(word(Form::Capabilities, 1 << 21), "CAP_SYS_ADMIN");
        assert_eq!(word(Form::Capabilities, (1 << 41) - 1), "all");
        assert_eq!(word(Form::Namespaces, 0x1002_0000), "CLONE_NEWNS|CLONE_NEWUSER");
        assert_eq!(word(Form::Namespaces, 0x80), "CLONE_NEWTIME");
        assert_eq!(word(Form::Protection, 5), "PROT_READ|PROT_EXEC");
        assert_eq!(word(Form::MountFlags, 0x5000), "MS_BIND|MS_REC");
        assert_eq!(word(Form::MountFlags, 0x21), "MS_REMOUNT|MS_RDONLY");
        assert_eq!(text(Form::Number, ARG_UNKNOWN), None);
        assert_eq!(word(Form::BpfProgram, 26), "tracing");
        assert_eq!(word(Form::IoUring, 18), "openat");
        assert_eq!(text(Form::IoUring, OPCODE_UNKNOWN), None);
        assert_eq!(word(Form::Keyctl, 1), "join-session-keyring");
        assert_eq!(word(Form::Keyctl, KEY_ADD), "add-key");
        assert_eq!(word(Form::DeviceAccess, 6), "read|write");
        assert_eq!(word(Form::BpfProgram, 4_000), "4000");
    }
}
